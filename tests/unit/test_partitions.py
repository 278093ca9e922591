"""Partitions cover each block once; transaction ids compare in a circle; plans survive their storing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingestion.schema_discovery import Column, Table
from ingestion.sync import partitions
from ingestion.sync.key_lookup import key_parts
from ingestion.sync.partitions import Horizon, Kind, Storage
from ingestion.sync.settlement import Mode
from ingestion.sync.source_queries import TableQueries
from ingestion.sync.table_plan import Step, TablePlan

HORIZON = Horizon(xid=2**32 + 500, next_xid=2**32 + 510, read_at="2026-01-01T00:00:00.000000Z")


@given(st.lists(st.integers(0, 10_000), max_size=5), st.integers(1, 3000))
def test_block_ranges_cover_every_block_of_every_relation_once(blocks: list[int], size: int) -> None:
    storages = [Storage("public", f"leaf{i}", i, count) for i, count in enumerate(blocks)]
    *ranges, last = partitions.plan_blocks("t", storages, HORIZON, size=size)
    assert last.kind is Kind.SETTLE
    assert [part.ordinal for part in (*ranges, last)] == list(range(len(ranges) + 1))
    for storage in storages:
        covered = [
            block
            for part in ranges
            if part.relname == storage.relname
            for block in range(part.first_block, part.end_block)
        ]
        assert covered == list(range(storage.blocks))
    assert all(part.end_block - part.first_block <= size for part in ranges)


@given(st.integers(3, 2**40), st.integers(-(2**31) + 1, 2**31 - 1))
def test_a_row_version_is_at_or_after_a_horizon_exactly_if_its_transaction_was(
    horizon: int, offset: int
) -> None:
    xid = horizon + offset
    xmin, mark = xid % 2**32, horizon % 2**32
    if xid < 3 or xmin < 3 or mark < 3:
        return  # ids that PostgreSQL never gives to a transaction
    assert partitions.at_or_after(xmin, horizon) == (xid >= horizon)


def test_permanent_ids_are_older_than_every_horizon() -> None:
    for xmin in (0, 1, 2):
        for horizon in (3, 2**31, 2**32, 2**32 + 5, 2**33):
            assert not partitions.at_or_after(xmin, horizon)


def test_a_horizon_out_of_reach_says_why() -> None:
    assert partitions.out_of_reach(100, 100) == ""
    assert partitions.out_of_reach(100, 99 + 2**31) == ""
    assert "2^31" in partitions.out_of_reach(100, 100 + 2**31)
    assert "backwards" in partitions.out_of_reach(100, 99)


def test_a_rewritten_relation_is_noticed() -> None:
    parts = partitions.plan_blocks("t", [Storage("public", "t", 7, 10)], HORIZON)
    assert partitions.moved(parts, [Storage("public", "t", 7, 99)]) is None
    assert partitions.moved(parts, [Storage("public", "t", 8, 10)]) is parts[0]
    assert partitions.moved(parts, []) is parts[0]


@given(st.sampled_from(Mode), st.none() | st.integers(3, 2**60), st.frozensets(st.text()))
def test_a_plan_is_the_same_after_it_was_stored(mode: Mode, since: int | None, aside: frozenset[str]) -> None:
    parts = partitions.plan_blocks("t", [Storage("s", "r", 7, 5000)], HORIZON)
    steps = tuple(
        Step(part, {"ctid": "(3,4)"} if part.ordinal == 1 else None, part.ordinal == 0) for part in parts
    )
    plan = TablePlan(mode, since, 77, aside, steps)
    assert TablePlan.of(plan.stored()) == plan


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_a_key_tells_the_values_it_was_made_of_or_that_it_cannot(values: list[str]) -> None:
    from ingestion.transform import document_ids

    key = document_ids.user_part(values, "t")
    parts = key_parts(key, len(values))
    assert parts is None or parts == values
    if all(value.isalnum() and value.isascii() for value in values) and len(key) < 100:
        assert parts == values


def test_queries_quote_what_they_name() -> None:
    column = Column('a"b', "bigint", False, base_type="int8")
    table = Table("t", 0, [column], schema="we ird", relname='x"; --', key_columns=['a"b'])
    queries = TableQueries(table, heap=True)
    for query in (
        queries.everything(),
        queries.page(["1"], 10),
        queries.duplicates(),
        queries.with_keys([["1"]]),
    ):
        assert '"we ird"."x""; --"' in query.text
        assert '"a""b"' in query.text
