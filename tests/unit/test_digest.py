"""The row digest: equal for equal content, different for any difference."""

from __future__ import annotations

import random
from datetime import UTC
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ingestion import values
from ingestion.schema_discovery import Column, ImplicitRelationship, SchemaMap, Table
from ingestion.transform.digest import row_digest
from ingestion.transform.documents import DocumentBuilder
from ingestion.verification.index_side import digest_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ROWS = st.dictionaries(TEXT, TEXT, max_size=6)


@given(ROWS, st.randoms())
def test_order_does_not_matter(row: dict[str, str], shuffle: object) -> None:
    items = list(row.items())
    shuffle.shuffle(items)  # type: ignore[attr-defined]
    references = [{"relation": "a", "target_id": "1"}, {"target_id": "2", "relation": "b"}]
    assert row_digest(dict(items), references[::-1]) == row_digest(row, references)


@given(ROWS, ROWS)
def test_different_rows_differ(row: dict[str, str], other: dict[str, str]) -> None:
    assert (row_digest(row) == row_digest(other)) is (row == other)


def test_cells_do_not_run_into_each_other() -> None:
    assert row_digest({"a": "b", "c": ""}) != row_digest({"a": "", "c": "b"})
    assert row_digest({"a": '","c":"'}) != row_digest({"a": "", "c": ""})
    assert row_digest({}, [{"relation": "x"}]) != row_digest({})


def test_digests_are_signed_64_bits_and_stable_for_all_time() -> None:
    assert row_digest({"id": "1", "name": "é"}, [{"relation": "project", "target_id": "7"}]) == STORED
    assert -(2**63) <= STORED < 2**63


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TYPED: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "numeric": st.decimals(allow_infinity=False),
    "double precision": st.floats(),
    "boolean": st.booleans(),
    "text": st.text(st.characters(), max_size=600),
    "timestamp without time zone": st.datetimes(),
    "timestamp with time zone": st.datetimes(timezones=st.just(UTC)),
    "date": st.dates(),
    "time without time zone": st.times(),
    "interval": st.timedeltas(),
    "uuid": st.uuids(),
    "bytea": st.binary(max_size=40),
    "jsonb": JSON,
    "bigint[]": st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=4),
    "text[]": st.lists(st.text(max_size=12) | st.none(), max_size=4),
}
CELLS = st.lists(
    st.sampled_from(sorted(TYPED)).flatmap(lambda kind: st.tuples(st.just(kind), st.none() | TYPED[kind])),
    max_size=8,
)


@given(CELLS, st.integers(1, 2**40), st.randoms())
def test_any_row_of_any_types_has_one_digest_that_the_index_gives_back(
    cells: list[tuple[str, Any]], key: int, shuffle: random.Random
) -> None:
    """Typed or as text, in whatever order its columns stand; and what Vespa returns of it has the same."""
    columns = [Column("id", "bigint", False), Column("project_id", "bigint", True)]
    columns += [Column(f"c{i}", kind, True) for i, (kind, _) in enumerate(cells)]
    row = {"id": key, "project_id": key, **{f"c{i}": value for i, (_, value) in enumerate(cells)}}
    relations = [ImplicitRelationship("t", "project_id", "projects")]

    def built(columns: list[Column], row: dict[str, Any]) -> Any:
        table = Table("t", 0, columns, key_columns=["id"])
        return DocumentBuilder(SchemaMap("", "procore", [table], relations), table).build_row(row)

    made = built(columns, row)
    text = {column.name: values.to_text(row[column.name], column.data_type) for column in columns}
    shuffle.shuffle(columns)
    assert built(columns, text).digest == made.digest
    returned = orjson.loads(orjson.dumps(made.fields))
    assert returned["relationships"]
    assert digest_of(returned) == returned["row_digest"] == made.digest
    assert built(columns, {**text, "id": str(key + 1)}).digest != made.digest


STORED = 3679330844631111095
