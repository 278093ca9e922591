"""YQL: its tree, its literals, and the names of what is not supported."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.sandbox.vespa_endpoint.problems import QueryRefused
from ingestion.sandbox.vespa_endpoint.query_tree import (
    AllOf,
    AnyOf,
    Compare,
    Constant,
    In,
    Node,
    Not,
    OrderBy,
    Phrase,
    SameElement,
    Select,
    Term,
    UserText,
)
from ingestion.sandbox.vespa_endpoint.yql import parse_yql

USER = UserText(text="concrete pump", type="all")


def parse(statement: str, /, **parameters: Any) -> Select:
    return parse_yql(statement, parameters, USER)


def where(condition: str, /, **parameters: Any) -> Node:
    return parse(f"select * from sources * where {condition}", **parameters).where


A, B, C = Term("a", "x"), Term("b", "y"), Term("c", "z")


@pytest.mark.parametrize(
    ("condition", "tree"),
    [
        ("true", Constant(True)),
        ("false", Constant(False)),
        ("a contains 'x'", A),
        ('a contains "x"', A),
        ("a contains 'x' and b contains 'y' or c contains 'z'", AnyOf((AllOf((A, B)), C))),
        ("a contains 'x' AND (b contains 'y' OR c contains 'z')", AllOf((A, AnyOf((B, C))))),
        ("a contains 'x' and !(b contains 'y')", AllOf((A, Not(B)))),
        ("n = 5", Compare("n", "=", 5)),
        ("n >= -5000000000L", Compare("n", ">=", -5_000_000_000)),
        ("n<1.5e3", Compare("n", "<", 1500.0)),
        ("flag = true", Compare("flag", "=", True)),
        ("n in (1, 2L, @three)", In("n", (1, 2, 3))),
        ("s in ('a', \"b\")", In("s", ("a", "b"))),
        ("n not in (1)", Not(In("n", (1,)))),
        ("s in (@names)", In("s", ("x, y", "z"))),
        ("range(n, 1, 9L)", AllOf((Compare("n", ">=", 1), Compare("n", "<=", 9)))),
        ("range(n, -Infinity, 9)", AllOf((Compare("n", "<=", 9),))),
        ("t contains phrase('a', 'b')", Phrase("t", ("a", "b"))),
        ("t contains ({prefix: true}'ab')", Term("t", "ab", prefix=True)),
        ("t contains {prefix:true}'ab'", Term("t", "ab", prefix=True)),
        ("a contains ([{\"filter\": true}]'x')", A),
        (
            "m contains sameElement(key contains 'k', value contains 'v')",
            SameElement("m", (Term("key", "k"), Term("value", "v"))),
        ),
        (
            "m contains sameElement(key contains 'k' and value contains 'v')",
            SameElement("m", (Term("key", "k"), Term("value", "v"))),
        ),
        ("m.key contains 'k'", Term("m.key", "k")),
        ("weakAnd(a contains 'x', b contains 'y')", AnyOf((A, B))),
        ("({targetHits: 10}weakAnd(a contains 'x', b contains 'y'))", AnyOf((A, B))),
        ("userQuery()", AllOf((Term("default", "concrete"), Term("default", "pump")))),
        (
            "userInput('big \"red crane\" -old')",
            AllOf(
                (
                    AnyOf((Term("default", "big"), Phrase("default", ("red", "crane")))),
                    Not(Term("default", "old")),
                )
            ),
        ),
        ("{grammar: 'all', defaultIndex:'t'}userInput(@text)", AllOf((Term("t", "hi"), Term("t", "you")))),
        ('({grammar:"phrase"}userInput(@text))', Phrase("default", ("hi", "you"))),
        ("userInput('!!')", Constant(False)),
        ("a contains 'x' // remark\n and b contains 'y' /* more */", AllOf((A, B))),
        (r"a contains 'it\'s \"\u00e9\" \\ \n'", Term("a", 'it\'s "é" \\ \n')),
    ],
)
def test_a_condition_becomes_its_tree(condition: str, tree: Node) -> None:
    assert where(condition, three=3, names='"x, y", z', text="hi you") == tree


def test_a_whole_statement_is_read() -> None:
    found = parse(
        "select doc_id, updated_at from sources procore_record, procore_file where true "
        'order by updated_at desc, doc_id asc, "[rank]" limit 7 offset 3 timeout 250;'
    )
    assert found.fields == ("doc_id", "updated_at")
    assert found.sources == ("procore_record", "procore_file")
    assert found.order == (OrderBy("updated_at", True), OrderBy("doc_id"), OrderBy("[rank]"))
    assert (found.limit, found.offset, found.timeout_ms) == (7, 3, 250)
    assert parse("select * from procore_record where true").sources == ("procore_record",)


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("t contains ({distance:5}onear('a', 'b'))", "onear"),
        ("t contains uri('a')", "uri"),
        ("n != 5", "!="),
        ("nearestNeighbor(v, q)", "nearestNeighbor"),
        ("({scoreThreshold: 0.5}wand(t, {'a': 1}))", "scoreThreshold"),
        ("({scoreThreshold:0.5}wand(t, {'a': 1}))", "scoreThreshold"),
        ("t contains near('a', !'b')", "negative"),
        ("content_text contains ({stem:false}'a')", "stem"),
        ("t contains ({prefix: true}fuzzy('a'))", "prefix"),
        ("m contains sameElement(rank(a contains 'x', b contains 'y'))", "sameElement"),
        ("geoLocation(l, 1, 2, 'x')", "geoLocation"),
        ("predicate(p, 0, 0)", "predicate"),
        ("t contains ({fuzzy: true}'a')", "fuzzy"),
        ("t contains ({substring: true}'a')", "substring"),
        ("m contains sameElement(n > 3)", "sameElement"),
        ("{grammar: 'raw'}userInput('x')", "raw"),
        ("userInput('metadata:{key:a}')", "sameElement"),
        ("userInput('filename:*pdf')", "suffix"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(condition: str, named: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        where(condition)
    assert "does not support" in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("select * from sources *", "where"),
        ("select from sources * where true", "expected"),
        ("update x", "expected 'select'"),
        ("select * from sources * where", "the end"),
        ("select * from sources * where a contains", "the end"),
        ("select * from sources * where a contains 'x", "'x"),
        ("select * from sources * where n = 5000000000", "5000000000L"),
        ("select * from sources * where n = 'x'", "contains"),
        ("select * from sources * where n = @missing", "missing"),
        ("select * from sources * where (a contains 'x'", "expected ')'"),
        ("select * from sources * where true limit x", "value"),
        ("select * from sources * where true nonsense", "nonsense"),
        ("select * from sources * where userInput('-only')", "negative"),
    ],
)
def test_a_broken_statement_says_what_is_wrong(text: str, named: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        parse(text)
    assert named in str(caught.value)


@given(st.text())
def test_a_json_quoted_string_is_read_back_exactly(text: str) -> None:
    # json.dumps writes the escapes that YQL's grammar has; pairs of surrogates would be two of them.
    quoted = json.dumps(text, ensure_ascii=any(ord(c) > 0xFFFF for c in text) is False)
    assert where(f"a contains {quoted}") == Term("a", text)


@given(st.text(alphabet="selct*fromur whand()|{}[]:,@'\"<>=!-0L.", max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    for statement in (
        text,
        f"select * from sources * where {text}",
        f"select * from s where true | all({text})",
    ):
        with contextlib.suppress(QueryRefused):
            parse(statement)
