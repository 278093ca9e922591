"""A run of consecutive rows of one table, made column by column.

What several columns of a row share (its project, its creation, the row it refers to) is made once here
and remembered, so that the columns agree with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Final

from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.pools import FIRST_NAMES, LAST_NAMES, TRADES, Pools
from ingestion.sandbox.sample.world import EPOCH_MS, FIRST_MS, World, mix

NULL: Final = "\\N"
"""COPY's text form of NULL."""

DAY_MS: Final = 86_400_000
ROWS: Final = 512
"""Rows per chunk: bounds memory; part of the sample's identity, as is every draw."""

_TIE_ROWS: Final = 3_000
_TIE_PERIOD: Final = 9_000
_SYNC_DAYS: Final = (5, 33, 61, 92, 151)
_SYNC_MS: Final = tuple(EPOCH_MS - days * DAY_MS + 7_384_113 for days in reversed(_SYNC_DAYS))

Indexes = list[int]
"""Row numbers; -1 stands for none."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a column refers to, and which row of it each row of a chunk does."""

    target: str
    rows: Callable[[Chunk, Random], Indexes]


@dataclass(frozen=True, slots=True)
class Note:
    """A dirty value at row `place` of the chunk; `key` is the row's id where it is not the place's own."""

    place: int
    column: str
    kind: str
    expect: str
    key: str = ""


@dataclass(slots=True)
class TableRun:
    """One table being generated: the generators' states go on from chunk to chunk."""

    world: World
    pools: Pools
    table: facts.SampleTable
    kinds: Collection[str]
    references: dict[str, Reference]
    _randoms: dict[str, Random] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.world.rows[self.table.name]

    def random(self, purpose: str) -> Random:
        """The table's generator for a column or another purpose."""
        found = self._randoms.get(purpose)
        if found is None:
            found = self._randoms[purpose] = self.world.random(f"{self.table.name}:{purpose}")
        return found


class Chunk:
    """Rows `start` to `stop` of a table run."""

    def __init__(self, run: TableRun, start: int, stop: int) -> None:
        self.run, self.world, self.pools = run, run.world, run.pools
        self.table = run.table.name
        self.start, self.rows = start, range(start, stop)
        self.notes: list[Note] = []
        self._references: dict[str, Indexes] = {}
        self._shared: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def wants(self, kind: str) -> bool:
        """Whether dirt of this kind is switched on."""
        return kind in self.run.kinds

    def note(self, place: int, column: str, kind: str, expect: str = "indexed") -> None:
        self.notes.append(Note(place, column, kind, expect))

    @cached_property
    def ids(self) -> list[int]:
        """Bigint ids of the rows."""
        table, make = self.table, self.world.id
        return [make(table, row) for row in self.rows]

    @cached_property
    def ranks(self) -> list[int]:
        """The project of each row, as its rank by size."""
        if self.table == "owner_invoices":  # the project is the contract's
            rank = self.world.wheel("prime_contracts").rank
            return [rank(row) for row in self.reference("prime_contract_id")]
        wheel = self.world.wheel(self.table)
        return [wheel.rank(row) for row in self.rows]

    @cached_property
    def ordinals(self) -> list[int]:
        """Which row of its project each row is."""
        wheel = self.world.wheel(self.table)
        return [wheel.ordinal(row) for row in self.rows]

    @cached_property
    def projects(self) -> list[int]:
        """Project ids of the rows."""
        by_rank = [self.world.project_id(rank) for rank in range(self.world.working)]
        return [by_rank[rank] for rank in self.ranks]

    @cached_property
    def created(self) -> list[int]:
        """Creation in epoch milliseconds: growing with the row, with some noise."""
        draw = self.run.random("created_at").random
        span, rows = EPOCH_MS - FIRST_MS - 200 * DAY_MS, self.run.rows
        return [
            FIRST_MS + int((row + 0.5) / rows * span) + int((draw() - 0.5) * 30 * DAY_MS) + 15 * DAY_MS
            for row in self.rows
        ]

    @cached_property
    def updated(self) -> list[int]:
        """Last change: mostly equal to or after the creation; ties where a bulk sync stamped a run of rows."""
        draw = self.run.random("updated_at").random
        if self.table == "specification_sections":
            return [_SYNC_MS[int(draw() * 3)] - 3_600_000 for _ in self.rows]
        tie = min(_TIE_ROWS, int(self.run.rows * 0.35))
        ties = self.run.rows >= 200
        made = []
        for row, created in zip(self.rows, self.created, strict=True):
            place, share = row % _TIE_PERIOD, draw()
            if ties and 130 <= place < 130 + tie:
                period = row // _TIE_PERIOD
                made.append(_SYNC_MS[1] - 7_200_000 + period % 1_000)
            elif share < (0.60 if ties else 0.40):
                made.append(created)
            elif share < (0.63 if ties else 0.42):
                made.append(created - 1 - int(draw() * DAY_MS))
            else:
                made.append(min(EPOCH_MS, created + 1 + int(draw() ** 3 * 180 * DAY_MS)))
        return made

    @cached_property
    def synced(self) -> list[int]:
        """When the mirror fetched the row: after the last change, mostly in five instants."""
        draw = self.run.random("last_synced_at").random
        made = []
        for updated in self.updated:
            later = [instant for instant in _SYNC_MS if instant > updated]
            if later and draw() < 0.9:
                made.append(later[min(len(later) - 1, int(draw() ** 2 * len(later)))])
            else:
                made.append(updated + 1_000 + int(draw() * 3_600_000))
        return made

    def reference(self, column: str) -> Indexes:
        """The row that each row refers to in that column; -1 where it refers to none."""
        found = self._references.get(column)
        if found is None:
            made = self.run.references[f"{self.table}.{column}"]
            found = self._references[column] = made.rows(self, self.run.random(f"{column}:reference"))
        return found

    def shared(self, purpose: str, make: Callable[[Random], list[str]]) -> list[str]:
        """Values that several columns show in part, made once."""
        found = self._shared.get(purpose)
        if found is None:
            found = self._shared[purpose] = make(self.run.random(purpose))
        return found


def user_name(world: World, row: int) -> tuple[str, str]:
    """First and last name of a company user: a function of the row."""
    hashed = mix(world.salt("users") + row)
    return FIRST_NAMES[hashed % len(FIRST_NAMES)], LAST_NAMES[(hashed >> 20) % len(LAST_NAMES)]


def vendor_name(world: World, row: int) -> str:
    """Name of a vendor: a function of the row."""
    hashed = mix(world.salt("vendors") + row)
    form = ("LLC", "Inc.", "& Sons", "Ltd", "GmbH")[(hashed >> 40) % 5]
    return f"{LAST_NAMES[hashed % len(LAST_NAMES)]} {TRADES[(hashed >> 20) % len(TRADES)]} {form}"
