"""The horizon rule against a model that knows the true order of commits: no commit before a sync's begin is missed.

The model is a database of rows that stand in places: transactions take their ids when they begin to write, in
order, and commit or roll back whenever they like. A sync reads range after range of places, each in a snapshot of
its own, while transactions go on. What it takes of a range is decided by the product's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.sync.partitions import FIRST_NORMAL_XID, at_or_after, out_of_reach, row_version

PLACES = 6
KEYS = 5


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a row: what wrote it, where it stands, what it says."""

    xid: int
    place: int
    value: int


@dataclass(slots=True)
class Database:
    """`committed` is what a snapshot taken now sees."""

    next_xid: int
    committed: dict[int, Version] = field(default_factory=dict)
    open: dict[int, tuple[int, dict[int, Version]]] = field(default_factory=dict)
    """Transaction's name → its id and what it has written."""
    values: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def write(self, name: int, key: int, place: int) -> None:
        """Write in a transaction, which begins with it; a row that another one holds is left alone."""
        if any(key in rows for other, (_, rows) in self.open.items() if other != name):
            return
        if name not in self.open:
            self.open[name] = self._new_xid(), {}
        xid, rows = self.open[name]
        rows[key] = Version(xid, place, next(self.values))

    def end(self, name: int, *, commits: bool) -> None:
        _, rows = self.open.pop(name, (0, {}))
        if commits:
            self.committed |= rows

    def _new_xid(self) -> int:
        xid, self.next_xid = self.next_xid, self.next_xid + 1
        while row_version(xid) == FIRST_NORMAL_XID and xid % 2**32 != FIRST_NORMAL_XID:
            # The ids below are never given to a row.
            xid, self.next_xid = self.next_xid, self.next_xid + 1
        return xid

    def horizon(self) -> int:
        """The snapshot's oldest running transaction."""
        return min((xid for xid, _ in self.open.values()), default=self.next_xid)

    def newest(self) -> int:
        """What a naive watermark would take: the id that comes next."""
        return self.next_xid


@dataclass(slots=True)
class Sync:
    """One sync, range by range; with `since` only row versions at or after it, else all."""

    database: Database
    index: dict[int, int]
    since: int | None
    horizon: int
    due: dict[int, int]
    """What was committed when it began: it must be in the index at its end, or something newer."""
    ranges: list[tuple[int, int]] = field(default_factory=lambda: [(0, 2), (2, 4), (4, PLACES)])

    def step(self) -> bool:
        """Read the next range, or at last what moved meanwhile; whether that was the end."""
        if self.ranges:
            first, end = self.ranges.pop(0)
            rows = {k: v for k, v in self.database.committed.items() if first <= v.place < end}
            self._take({k: v for k, v in rows.items() if self.since is None or self._is_new(v, self.since)})
            return False
        self._take({k: v for k, v in self.database.committed.items() if self._is_new(v, self.horizon)})
        return True

    def _take(self, rows: dict[int, Version]) -> None:
        for key, version in rows.items():
            self.index[key] = max(version.value, self.index.get(key, -1))

    def _is_new(self, version: Version, horizon: int) -> bool:
        return at_or_after(row_version(version.xid), horizon)


def play(
    history: list[tuple[int, int, int]], first_xid: int, mark: Callable[[Database], int] = Database.horizon
) -> None:
    """Let it happen; raises AssertionError when a sync misses what was committed before it began."""
    database, index = Database(first_xid), dict[int, int]()
    sync, since = None, None

    def begin() -> Sync:
        due = {key: version.value for key, version in database.committed.items()}
        return Sync(database, index, since, mark(database), due)

    def finish(one: Sync) -> int:
        while not one.step():
            pass
        for key, value in one.due.items():
            assert index.get(key, -1) >= value, f"row {key} is missing or old"
        return one.horizon

    for what, key, place in history:
        name = key % 3
        match what:
            case 0 | 1 | 2:
                database.write(name, key % KEYS, place % PLACES)
            case 3:
                database.end(name, commits=True)
            case 4:
                database.end(name, commits=place % 4 > 0)
            case 5:
                sync = sync or begin()
                if place % 3:
                    sync.step()
                else:
                    since, sync = finish(sync), None
    if sync is not None:
        since = finish(sync)
    for name in list(database.open):
        database.end(name, commits=True)
    finish(begin())
    assert index == {key: version.value for key, version in database.committed.items()}


HISTORIES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 14), st.integers(0, 11)), max_size=60)
LATE = [(0, 1, 0), (0, 2, 1), (3, 2, 0), (5, 0, 0), (3, 1, 0), (5, 0, 0)]
"""A transaction takes its id, a later one commits, a sync runs, then the first one commits."""


@given(HISTORIES, st.integers(2**32 - 40, 2**32 + 4) | st.integers(FIRST_NORMAL_XID, 2**40))
def test_no_commit_before_a_sync_began_is_missed_at_its_end(
    history: list[tuple[int, int, int]], first_xid: int
) -> None:
    play(history, first_xid)


def test_the_model_sees_what_a_naive_watermark_loses() -> None:
    play(LATE, 100)
    with pytest.raises(AssertionError, match="row 1 is missing"):
        play(LATE, 100, Database.newest)


@given(st.integers(FIRST_NORMAL_XID, 2**40), st.integers(0, 2**31 - 1))
def test_a_version_within_reach_is_told_from_the_horizon_on_whatever_the_epoch(xid: int, ahead: int) -> None:
    later = xid + ahead
    assert not out_of_reach(xid, later)
    assert at_or_after(row_version(later), xid) or row_version(later) == row_version(xid) == FIRST_NORMAL_XID
    if ahead > FIRST_NORMAL_XID:
        assert not at_or_after(row_version(xid), later)
