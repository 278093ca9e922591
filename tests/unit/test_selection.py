"""Document selections: what they select, what they leave undecided, what they refuse."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.sandbox.vespa_endpoint.selection import Target, evaluate, parse, types_named
from ingestion.vespa.schemas import PROCORE_RECORD

FIELDS: dict[str, Any] = {
    "source_table": "rfis",
    "read_seq": 7,
    "project_id": -3,
    "content_text": "Concrete pump",
    "metadata": {"status": "open", "empty": ""},
    "relationships": [{"target_table": "projects", "target_id": "1"}, {"target_table": "users"}],
}


def selects(text: str) -> bool | None:
    return evaluate(parse(text), Target(PROCORE_RECORD, "procore", "rfis:12", FIELDS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("procore_record", True),
        ("procore_file", False),
        ("true", True),
        ("false or procore_record", True),
        ("procore_record.read_seq < 8", True),
        ("procore_record.read_seq < 7", False),
        ("procore_record.read_seq + 1 == 8 and 2 * (procore_record.read_seq - 4) == 6", True),
        ("(procore_record.read_seq+1) % 4 == 0", True),
        ("procore_record.project_id % 2 == -1", True),
        ("(procore_record.read_seq == 1 or (procore_record.read_seq) == 7)", True),
        ("procore_record.read_seq < now() - 60 and procore_record.read_seq < now()-60", True),
        ("procore_record.read_seq > now() + 60", False),
        ('procore_record.source_table + "x" == "rfisx"', True),
        ("procore_record.source_table + 1 == 2", None),
        ("procore_record.updated_at + 1 == 2", None),
        ("procore_record.read_seq % 0 == 0", None),
        ("8 > procore_record.read_seq", True),
        ("procore_record.read_seq <= 0x7 and procore_record.read_seq >= 7", True),
        ("procore_record.project_id == -3", True),
        ('procore_record.source_table == "rfis"', True),
        ('procore_record.source_table == "RFIS"', False),
        ("procore_record.source_table.lowercase() == 'rfis'", True),
        ('procore_record.source_table != "rfis"', False),
        ('procore_record.source_table = "rf?s"', True),
        ('procore_record.source_table = "r*"', True),
        ('procore_record.source_table = "[r]fis"', False),
        ('procore_record.content_text =~ "p[aeiou]mp"', True),
        ("procore_record.updated_at == null", True),
        ("procore_record.updated_at != null", False),
        ("procore_record.updated_at != 5", True),
        ("procore_record.updated_at < 5", None),
        ("not procore_record.updated_at < 5", None),
        ("procore_record.updated_at < 5 or procore_record.read_seq == 7", True),
        ("procore_record.updated_at < 5 and procore_record.read_seq == 8", False),
        ('procore_record.read_seq == "7"', None),
        ("procore_file.size == 1", None),
        ("not procore_record.read_seq == 8", True),
        ('procore_record.metadata{"status"} == "open"', True),
        ("procore_record.metadata{status} == 'shut'", False),
        ("procore_record.relationships.target_table == 'users'", True),
        ("procore_record.relationships[0].target_id == '1'", True),
        ("procore_record.relationships[5].target_id == '1'", False),
        ('id.namespace == "procore"', True),
        ('id.specific == "rfis:12" and id.type == "procore_record"', True),
        ('id == "id:procore:procore_record::rfis:12"', True),
        ("(procore_record.read_seq==1 or (procore_record.read_seq==7)) AND Not false", True),
    ],
)
def test_a_selection_decides_as_vespa_does(text: str, expected: bool | None) -> None:
    assert selects(text) is expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "the end"),
        ("music", "music"),
        ("music.year == 1", "music"),
        ("procore_record.nope == 1", "nope"),
        ("procore_record.read_seq", "comparison"),
        ("procore_record.read_seq ==", "the end"),
        ("procore_record.read_seq / 2 == 2", "division"),
        ("(procore_record.read_seq + 1 == 2", "expected ')'"),
        ("procore_record.relationships[$x].target_id == 1", "$"),
        ("procore_record.read_seq.hash() == 2", "hash"),
        ("id.user == 3", "id.user"),
        ('procore_record.source_table =~ "("', "regular expression"),
        ("(procore_record", "expected ')'"),
        ("procore_record.read_seq == 1 procore_record", "unexpected"),
        ("procore_record.read_seq == #", "#"),
    ],
)
def test_what_cannot_be_decided_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(Refused) as caught:
        selects(text)
    assert caught.value.status == 400
    assert named in str(caught.value)


def test_types_are_found_wherever_they_are_named() -> None:
    assert types_named(parse("not (procore_file or procore_record.read_seq < 2)")) == {
        "procore_file",
        "procore_record",
    }


@given(st.text())
def test_any_quoted_text_compares_equal_to_itself(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    target = Target(PROCORE_RECORD, "n", "u", {"source_table": text})
    assert evaluate(parse(f"procore_record.source_table == {quoted}"), target) is True


@given(st.text(alphabet="procore_record.se() =<>!&'\"[]{}$0x9 andortlowercase", max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(Refused):
        selects(text)
