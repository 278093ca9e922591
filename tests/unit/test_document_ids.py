"""Document ids: reversible, unique, safe."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.transform import document_ids as ids

KEYS = st.lists(st.text(max_size=300), min_size=1, max_size=3)
TABLES = st.text(min_size=1, max_size=80)


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        ("rfis", ["562949953421313"], "rfis:562949953421313"),
        ("budget_line_items", ["a b", "c:d", "~"], "budget_line_items:a~20b:c~3Ad:~7E"),
        ("other.schema", ["é/?#%+"], "other.schema:~C3~A9~2F~3F~23~25~2B"),
        ("t", ["00112233-4455-6677-8899-aabbccddeeff"], "t:00112233-4455-6677-8899-aabbccddeeff"),
        ("t", [""], "t:"),
        ("t", ["", ""], "t::"),
        ("t", ["-1.5_x"], "t:-1.5_x"),
        ("a:b", ["1"], "a~3Ab:1"),
    ],
)
def test_user_parts_are_written_as_promised(table: str, key: list[str], expected: str) -> None:
    assert ids.doc_id(table, ids.user_part(key, table)) == expected


def test_the_full_id_names_namespace_and_type() -> None:
    assert ids.vespa_id("procore", "procore_record", "rfis:7") == "id:procore:procore_record::rfis:7"


@given(TABLES, KEYS)
def test_every_id_is_safe_and_bounded(table: str, key: list[str]) -> None:
    user = ids.doc_id(table, ids.user_part(key, table))
    assert len(user) <= 200
    assert re.fullmatch(r"[A-Za-z0-9_.:~-]+", user)


@given(TABLES, KEYS)
def test_a_long_user_part_ends_in_the_hash_of_the_whole(table: str, key: list[str]) -> None:
    whole = f"{ids.escape(table)}:{':'.join(map(ids.escape, key))}"
    user = ids.doc_id(table, ids.user_part(key, table))
    if len(whole) <= 200:
        assert user == whole
    else:
        assert user == whole[:134] + "~~" + hashlib.sha256(whole.encode()).hexdigest()


@given(st.text())
def test_escaping_is_reversible(part: str) -> None:
    assert ids.unescape(ids.escape(part)) == part


@given(TABLES, TABLES, KEYS, KEYS)
def test_different_rows_have_different_ids(
    table: str, other: str, key: list[str], other_key: list[str]
) -> None:
    same = (table, key) == (other, other_key)
    mine, theirs = ids.user_part(key, table), ids.user_part(other_key, other)
    assert (ids.doc_id(table, mine) == ids.doc_id(other, theirs)) is same


@given(st.text())
def test_buckets_are_stable_and_in_range(key: str) -> None:
    assert 0 <= ids.key_bucket(key) < 1024
    assert ids.key_bucket("562949953421313") == 649
