"""Which row belongs to which project, which id it has, which row it refers to: all by arithmetic.

Nothing here is stored per row, so that a sample of any size needs the same memory. Row `i` of a table
gets an id that grows with `i`; projects are dealt out by a shuffled wheel whose slots follow a power
law; the k-th row of a project in a table is found without looking at the others, which is how a
reference always meets a row of the same project.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from dataclasses import dataclass
from random import Random
from typing import Final

from ingestion.sandbox.sample import facts

ID_BASE: Final = 2**49
COMPANY: Final = ID_BASE + 8_114
EPOCH_MS: Final = 1_780_272_000_000
"""2026-06-01T00:00:00Z: the sample's present. Nothing in the sample is stamped by a clock."""

FIRST_MS: Final = 1_609_718_400_000
"""2021-01-04T00:00:00Z: the first rows."""

_MASK: Final = 2**64 - 1
_LARGEST_SHARE: Final = 1 / 3
_IDLE_SHARE: Final = 6 / 31

# Lowest id beyond ID_BASE and the room for ids at scale 1. Tables of one group share a grid, and every
# 16th id lies exactly on it: one number is then an id of several tables.
_GROUPS: Final[dict[str, tuple[int, int, frozenset[str]]]] = {
    "projects": (100_000, 1_900_000, frozenset({"projects"})),
    "people": (2_000_000, 6_000_000, frozenset({"company_users", "vendors"})),
    "contracts": (
        1_000_000,
        4_000_000,
        frozenset(
            {
                "change_events",
                "change_orders",
                "commitment_change_orders",
                "commitment_contracts",
                "direct_costs",
                "owner_invoices",
                "prime_contract_change_orders",
                "prime_contracts",
                "requisitions",
            }
        ),
    ),
    "drawings": (
        10_000_000,
        290_000_000,
        frozenset(
            {
                "documents",
                "drawing_areas",
                "drawing_revisions",
                "drawing_sets",
                "drawings",
                "photos",
                "specification_section_divisions",
                "specification_section_revisions",
                "specification_sections",
            }
        ),
    ),
    "other": (6_000_000, 60_000_000, frozenset()),
}
ATTACHMENT_LOW: Final = 1_000_000_000

PROJECT_SCOPED: Final = frozenset(
    {
        "budget_line_items",
        "budget_views",
        "change_events",
        "change_orders",
        "commitment_change_order_items",
        "commitment_change_orders",
        "commitment_contract_items",
        "commitment_contracts",
        "daily_logs",
        "direct_cost_items",
        "direct_costs",
        "documents",
        "drawing_areas",
        "drawing_revisions",
        "drawing_sets",
        "drawings",
        "inspections",
        "invoice_submissions",
        "observations",
        "photos",
        "prime_contracts",
        "project_roles",
        "project_users",
        "punch_items",
        "requisitions",
        "rfis",
        "specification_section_divisions",
        "specification_section_revisions",
        "specification_sections",
        "submittal_attachments",
        "submittals",
        "timesheets",
    }
)
"""Tables whose rows the wheel deals out to projects."""

# Every working project has a row in each of these, so that a mandatory reference always finds one.
_COVERING: Final = (
    "budget_views",
    "commitment_change_orders",
    "commitment_contracts",
    "direct_costs",
    "drawing_areas",
    "drawing_sets",
    "drawings",
    "requisitions",
    "specification_section_divisions",
    "specification_sections",
    "submittals",
)


def mix(value: int) -> int:
    """A 64-bit hash of an integer: the same on every machine and version."""
    value = (value ^ (value >> 31)) * 0x9E3779B97F4A7C15 & _MASK
    value = (value ^ (value >> 29)) * 0xBF58476D1CE4E5B9 & _MASK
    return value ^ (value >> 32)


@dataclass(frozen=True, slots=True)
class Wheel:
    """Projects of a table's rows: one row each for the first `head`, then the slots round and round."""

    rows: int
    head: int
    slots: list[int]
    places: list[list[int]]

    def rank(self, row: int) -> int:
        """The project of a row, as its rank by size: 0 is the largest."""
        return row if row < self.head else self.slots[(row - self.head) % len(self.slots)]

    def count(self, rank: int) -> int:
        """How many rows the project has."""
        rounds, rest = divmod(self.rows - self.head, len(self.slots))
        places = self.places[rank]
        return (rank < self.head) + rounds * len(places) + bisect_left(places, rest)

    def row(self, rank: int, ordinal: int) -> int:
        """The project's row of that ordinal, 0 <= ordinal < count(rank)."""
        if rank < self.head:
            if ordinal == 0:
                return rank
            ordinal -= 1
        rounds, place = divmod(ordinal, len(self.places[rank]))
        return self.head + rounds * len(self.slots) + self.places[rank][place]

    def ordinal(self, row: int) -> int:
        """The inverse of `row`: which row of its project this is."""
        if row < self.head:
            return 0
        rounds, slot = divmod(row - self.head, len(self.slots))
        rank = self.slots[slot]
        places = self.places[rank]
        return (rank < self.head) + rounds * len(places) + bisect_left(places, slot)


class World:
    """The sample of one seed and scale. `rows` counts rows with an id of their own."""

    def __init__(self, seed: int, scale: float, rows: dict[str, int]) -> None:
        self.seed, self.scale, self.rows = seed, scale, rows
        covering = [rows[name] for name in _COVERING]
        projects = rows["projects"]
        self.working = max(1, min(projects - round(projects * _IDLE_SHARE), *covering))
        order = list(range(projects))
        self.random("projects:order").shuffle(order)
        self.project_rows = order[: self.working]
        self._shares = _shares(self.working)
        self._wheels: dict[str, Wheel] = {}
        self._grids = {name: self._grid(name) for name in facts.tables()}

    def random(self, label: str) -> Random:
        """A generator of its own for one purpose: leaving one purpose out moves no other value."""
        return Random(f"{self.seed}:{label}")

    def salt(self, label: str) -> int:
        """A number of the seed and a label, to be mixed with row numbers."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{label}".encode()).digest()[:7], "big")

    def wheel(self, table: str) -> Wheel:
        """The wheel of a table whose rows belong to projects."""
        # A section and its current revision have the same row number, so they share a wheel.
        name = "specification_sections" if table == "specification_section_revisions" else table
        if table not in self._wheels:
            slots = [
                rank
                for rank, share in enumerate(self._shares)
                for _ in range(max(1, round(share * 32 * self.working)))
            ]
            self.random(f"{name}:wheel").shuffle(slots)
            places: list[list[int]] = [[] for _ in range(self.working)]
            for slot, rank in enumerate(slots):
                places[rank].append(slot)
            head = min(self.working, self.rows[name], self.rows[table])
            self._wheels[table] = Wheel(self.rows[table], head, slots, places)
        return self._wheels[table]

    def id(self, table: str, row: int) -> int:
        """The id of a row of a table with bigint ids."""
        low, step, salt = self._grids[table]
        return low + row * step + (mix(salt + row) % step if row & 15 else 0)

    def absent_id(self, table: str, row: int) -> int:
        """An id near the row's that no row of the table has: what a deleted row leaves behind."""
        low, step, _ = self._grids[table]
        cell = low + row * step
        return cell + (self.id(table, row) - cell + 1) % step

    def uuid(self, table: str, row: int) -> str:
        """The id of a row of a table with UUIDs as text."""
        salt = self._grids[table][2]
        high, low = mix(salt + 2 * row), mix(salt + 2 * row + 1)
        digits = f"{high:016x}{low:016x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def project_id(self, rank: int) -> int:
        """The id of the working project of that rank."""
        return self.id("projects", self.project_rows[rank])

    def _grid(self, table: str) -> tuple[int, int, int]:
        for low, room, members in _GROUPS.values():
            if table in members or not members:
                group = members or {
                    name for name in self.rows if not any(name in g[2] for g in _GROUPS.values())
                }
                largest = max(self.rows[name] for name in group)
                return ID_BASE + low, max(4, room // max(1, largest)), self.salt(f"{table}:id")
        raise AssertionError(table)


def _shares(projects: int) -> list[float]:
    """The projects' shares of rows: the largest holds a third, the rest follow a power law."""
    if projects == 1:
        return [1.0]
    tail = [(rank + 1) ** -0.9 for rank in range(1, projects)]
    rest = (1 - _LARGEST_SHARE) / sum(tail) if projects > 3 else 1.0
    return [_LARGEST_SHARE, *(weight * rest for weight in tail)]
