"""Plants dirt in a chunk's columns and notes each planted value. Every kind can be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import Final

from ingestion import errors
from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.attachments import MESSY_KINDS
from ingestion.sandbox.sample.cells import UUID_TABLES, stamp_text
from ingestion.sandbox.sample.chunk import NULL, Chunk, Note, TableRun
from ingestion.sandbox.sample.dirt_values import CELL_KINDS, INDEXED, WARNED, CellKind
from ingestion.sandbox.sample.references import REFERENCES, SCOPED
from ingestion.sandbox.sample.world import EPOCH_MS

FILE_KINDS: Final = ("file_expired_url", "file_missing")
SECRET_KINDS: Final = ("secret_column", "secret_in_json")
REFERENCE_KINDS: Final = ("orphan_reference", "foreign_project_reference", "hierarchy_cycle")
ID_KINDS: Final = ("null_id", "zero_id", "negative_id", "identical_copy", "differing_copy")
ALL_KINDS: Final = frozenset(
    chain((k.name for k in CELL_KINDS), MESSY_KINDS, FILE_KINDS, SECRET_KINDS, REFERENCE_KINDS, ID_KINDS)
)

_SECRET_COLUMNS: Final = {
    "api_credentials": ("access_token", "refresh_token"),
    "webhook_hooks": ("destination_url",),
}
_HIERARCHIES: Final = ("documents", "vendors")
_ORPHANS, _FOREIGN = 0.01, 0.002
_COPIES: Final = 0.00025
_LARGE_TABLE, _ENOUGH_ROWS = 1_000, 50
_TRIES: Final = 256
_TELLING_COLUMNS: Final = ("updated_at", "response_status", "status")
"""Where two differing copies of a row differ: the first of these that the table has."""


@dataclass(frozen=True, slots=True)
class DirtOptions:
    """Which kinds of dirt are planted: all of them unless told otherwise."""

    kinds: frozenset[str] = ALL_KINDS

    def __post_init__(self) -> None:
        unknown = self.kinds - ALL_KINDS
        if unknown:
            raise errors.SettingsError(f"unknown kinds of dirt: {', '.join(sorted(unknown))}")

    @classmethod
    def of(cls, dirt: bool | DirtOptions) -> DirtOptions:
        """True: every kind; False: none."""
        return dirt if isinstance(dirt, DirtOptions) else cls() if dirt else cls(frozenset())

    def without(self, *kinds: str) -> DirtOptions:
        """The same but for these kinds."""
        return DirtOptions(self.kinds - frozenset(kinds))


@dataclass(frozen=True, slots=True)
class ExtraRow:
    """A row beyond those with an id of their own: a copy of another row, its id spoilt."""

    kind: str
    number: int


def extra_rows(table: facts.SampleTable, rows: int, options: DirtOptions) -> list[ExtraRow]:
    """The spoilt rows of a table of that size; the size includes them."""
    if table.base_rows < _LARGE_TABLE or rows < _ENOUGH_ROWS:
        return []
    copies = max(1, round(rows * _COPIES))
    single = 1 + rows // 20_000
    wanted = {
        "null_id": single,
        "zero_id": 1,
        "negative_id": single,
        "identical_copy": copies,
        "differing_copy": copies,
    }
    if table.columns[0].type != "bigint":
        wanted["zero_id"] = wanted["negative_id"] = 0
    return [
        ExtraRow(kind, number)
        for kind, count in wanted.items()
        if kind in options.kinds
        for number in range(count)
    ]


def nullable_columns(options: DirtOptions, rows: dict[str, int]) -> frozenset[tuple[str, str]]:
    """(table, column) whose NOT NULL has to go, because a NULL is planted there."""
    found = set()
    for table in facts.tables().values():
        if any(extra.kind == "null_id" for extra in extra_rows(table, rows[table.name], options)):
            found.add((table.name, "id"))
        if "null_updated_at" in options.kinds and table.base_rows >= _LARGE_TABLE and table.has("updated_at"):
            found.add((table.name, "updated_at"))
    return frozenset(found)


class Planter:
    """The dirt of one table run, planted chunk by chunk in the order of rows."""

    def __init__(self, run: TableRun, extras: list[ExtraRow]) -> None:
        self._run = run
        self._names = [column.name for column in run.table.columns]
        self._cells = [
            (kind, candidates, self._places(kind.name, kind.rate, at_least=run.table.name == kind.home))
            for kind in CELL_KINDS
            if kind.name in run.kinds and (candidates := self._candidates(kind))
        ]
        self._references = list(self._reference_places())
        order = run.world.random(f"{run.table.name}:extras")
        order.shuffle(extras)
        self._extras = list(zip(_Places(order, run.rows, len(extras)).until(run.rows), extras, strict=True))

    def plant(self, chunk: Chunk, columns: dict[str, list[str]]) -> dict[int, list[list[str]]]:
        """Plant what falls into the chunk; returns the spoilt rows to write after each place.

        A row that gets a copy stays clean otherwise, so that what is owed to both is plain.
        """
        taken = {(note.place, note.column) for note in chunk.notes}
        anchors = self._plan_extras(chunk)
        self._plant_references(chunk, columns, taken, anchors)
        self._plant_cells(chunk, columns, taken, anchors)
        if chunk.wants("secret_column"):
            for column in _SECRET_COLUMNS.get(chunk.table, ()):
                for place in range(len(chunk)):
                    chunk.note(place, column, "secret_column")
        return {
            place: [self._spoilt(chunk, columns, place, extra) for extra in extras]
            for place, extras in anchors.items()
        }

    def _candidates(self, kind: CellKind) -> list[str]:
        table = self._run.table
        return [
            column.name
            for column in table.columns
            if kind.fits(table, column) and f"{table.name}.{column.name}" not in REFERENCES
        ]

    def _places(self, purpose: str, rate: float, *, at_least: bool = False) -> _Places:
        run = self._run
        random = run.world.random(f"{run.table.name}:dirt:{purpose}")
        wanted = run.rows * rate
        count = int(wanted) + (random.random() < wanted % 1)
        return _Places(random, run.rows, max(count, int(at_least and run.rows > 0)))

    def _reference_places(self) -> Iterator[tuple[str, str, _Places]]:
        table = self._run.table.name
        for column in self._names:
            name = f"{table}.{column}"
            if name not in REFERENCES:
                continue
            if "orphan_reference" in self._run.kinds:
                yield "orphan_reference", column, self._places(f"{column}:orphan", _ORPHANS)
            if "foreign_project_reference" in self._run.kinds and name in SCOPED:
                yield "foreign_project_reference", column, self._places(f"{column}:foreign", _FOREIGN)

    def _plan_extras(self, chunk: Chunk) -> dict[int, list[ExtraRow]]:
        noted = {note.place for note in chunk.notes}
        anchors: dict[int, list[ExtraRow]] = {}
        while self._extras and self._extras[0][0] < chunk.rows.stop:
            row, extra = self._extras.pop(0)
            place = _find(chunk, row, lambda p: p not in anchors and p not in noted)
            anchors.setdefault(row - chunk.start if place < 0 else place, []).append(extra)
        return anchors

    def _plant_cells(
        self,
        chunk: Chunk,
        columns: dict[str, list[str]],
        taken: set[tuple[int, str]],
        anchors: dict[int, list[ExtraRow]],
    ) -> None:
        warned: set[int] = set()
        for kind, candidates, places in self._cells:
            warns = kind.expect == WARNED
            for row in places.until(chunk.rows.stop):
                column = places.random.choice(candidates)
                text = kind.make(places.random, chunk.pools)

                def fits(place: int, column: str = column, warns: bool = warns) -> bool:
                    # One warning a row, so that warnings and warned rows are the same number.
                    free = place not in anchors and (place, column) not in taken
                    return free and not (warns and place in warned)

                place = _find(chunk, row, fits)
                if place < 0:
                    continue
                if warns:
                    warned.add(place)
                columns[column][place] = text
                taken.add((place, column))
                chunk.note(place, column, kind.name, kind.expect)

    def _plant_references(
        self,
        chunk: Chunk,
        columns: dict[str, list[str]],
        taken: set[tuple[int, str]],
        anchors: dict[int, list[ExtraRow]],
    ) -> None:
        def put(place: int, column: str, kind: str, text: str) -> None:
            columns[column][place] = text
            taken.add((place, column))
            chunk.note(place, column, kind)

        if chunk.wants("hierarchy_cycle") and chunk.table in _HIERARCHIES and not chunk.start:
            # A row that is its own parent, and two that are each other's.
            free = [place for place in range(len(chunk)) if place not in anchors]
            if len(free) >= 8:
                for place, parent in ((free[2], free[2]), (free[4], free[7]), (free[7], free[4])):
                    put(place, "parent_id", "hierarchy_cycle", columns["id"][parent])
        for kind, column, places in self._references:
            cells = columns[column]
            for row in places.until(chunk.rows.stop):

                def fits(place: int, column: str = column, cells: list[str] = cells) -> bool:
                    return place not in anchors and cells[place] != NULL and (place, column) not in taken

                place = _find(chunk, row, fits)
                if place < 0:
                    continue
                make = self._orphan if kind == "orphan_reference" else self._foreign
                text = make(chunk, place, column, places.random)
                if text:
                    put(place, column, kind, text)

    def _orphan(self, chunk: Chunk, place: int, column: str, random: Random) -> str:
        target = REFERENCES[f"{chunk.table}.{column}"].target
        rows = chunk.world.rows[target]
        row = int(random.random() * rows)
        if target in UUID_TABLES:
            return chunk.world.uuid(target, rows + 1_000_000_000 + row)
        return str(chunk.world.absent_id(target, row))

    def _foreign(self, chunk: Chunk, place: int, column: str, random: Random) -> str:
        world, target = chunk.world, REFERENCES[f"{chunk.table}.{column}"].target
        if world.working < 2:
            return ""
        rank = (chunk.ranks[place] + 1 + int(random.random() * (world.working - 1))) % world.working
        wheel = world.wheel(target)
        count = wheel.count(rank)
        return str(world.id(target, wheel.row(rank, int(random.random() * count)))) if count else ""

    def _spoilt(self, chunk: Chunk, columns: dict[str, list[str]], place: int, extra: ExtraRow) -> list[str]:
        cells = {name: columns[name][place] for name in self._names}
        own = cells["id"]
        spoilt = {"null_id": NULL, "zero_id": "0", "negative_id": str(-1 - extra.number)}
        if extra.kind in spoilt:
            cells["id"] = key = spoilt[extra.kind]
            expect = "failed:null_key" if extra.kind == "null_id" else INDEXED
            chunk.notes.append(Note(place, "id", extra.kind, expect, key))
        elif extra.kind == "identical_copy":
            for expect in (INDEXED, "skipped:identical_copy"):
                chunk.notes.append(Note(place, "id", extra.kind, expect, own))
        else:
            changed = next(name for name in _TELLING_COLUMNS if name in cells)
            cells[changed] = stamp_text(EPOCH_MS) if changed == "updated_at" else "superseded"
            for _ in range(2):
                chunk.notes.append(Note(place, "id", extra.kind, "failed:duplicate_key", own))
        return list(cells.values())


class _Places:
    """Row numbers spread evenly over a table, each somewhere in its own stretch; used up in order."""

    def __init__(self, random: Random, rows: int, count: int) -> None:
        self.random = random
        self._next = _spread(Random(random.random()), rows, count)
        self._waiting = next(self._next, None)

    def until(self, stop: int) -> list[int]:
        """The row numbers below `stop` that were not given yet."""
        found = []
        while self._waiting is not None and self._waiting < stop:
            found.append(self._waiting)
            self._waiting = next(self._next, None)
        return found


def _spread(random: Random, rows: int, count: int) -> Iterator[int]:
    for stretch in range(count):
        yield int((stretch + random.random()) * rows / count)


def _find(chunk: Chunk, row: int, fits: Callable[[int], bool]) -> int:
    """The first place from the row on, round the chunk, that fits; -1 if none of the nearer ones does."""
    size = len(chunk)
    for step in range(min(_TRIES, size)):
        place = (row - chunk.start + step) % size
        if fits(place):
            return place
    return -1
