"""The row digest: equal for equal content, different for any difference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingestion.transform.digest import row_digest

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


STORED = 3679330844631111095
