"""The grouping language: what is understood, and what is refused by name."""

from __future__ import annotations

import pytest

from ingestion.sandbox.vespa_endpoint.grouping import Aggregate, Grouping, GroupOrder, parse_grouping
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused
from ingestion.sandbox.vespa_endpoint.query_tree import UserText
from ingestion.sandbox.vespa_endpoint.yql import parse_yql

COUNT = Aggregate("count", "", "count()")
XOR = Aggregate("xor", "row_digest", "xor(row_digest)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all(group(a) each(output(count())))", Grouping((COUNT,), "a", "a")),
        (
            "all( group(a) max(1024) order(-count(), max(b)) each( output(count(), xor(row_digest)) ) )",
            Grouping(
                (COUNT, XOR),
                "a",
                "a",
                1024,
                (GroupOrder(COUNT, True), GroupOrder(Aggregate("max", "b", "max(b)"), False)),
            ),
        ),
        ("all(output(max(read_seq)))", Grouping((Aggregate("max", "read_seq", "max(read_seq)"),))),
        (
            "all(group(a) output(count()))",
            Grouping((), "a", "a", totals=(COUNT,), each=False),
        ),
        *(
            (
                f"all(group(a) output(count()) each({inside}))",
                Grouping((COUNT,), "a", "a", None, (), (COUNT,), (Grouping((XOR,), "b", "b", 3),)),
            )
            for inside in (
                "output(count()) all(group(b) max(3) each(output(xor(row_digest))))",
                "all(group(b) max(3) each(output(xor(row_digest)))) output(count())",
            )
        ),
        (
            "all(group(a) each(group(b) max(3) each(output(xor(row_digest)))))",
            Grouping((), "a", "a", children=(Grouping((XOR,), "b", "b", 3),)),
        ),
        (
            "all(group(a) max(inf) each(output(count() as(n))) as(groups))",
            Grouping((Aggregate("count", "", "n"),), "a", "groups", -1),
        ),
    ],
)
def test_a_grouping_is_read(text: str, expected: Grouping) -> None:
    assert parse_grouping(text) == (expected,)


def test_several_groupings_of_one_statement_keep_their_order() -> None:
    both = "all(all(group(a) each(output(count()))) all(output(count())))"
    expected = (Grouping((COUNT,), "a", "a"), Grouping((COUNT,)))
    assert parse_grouping(both) == expected
    found = parse_yql(
        "select * from x where t contains '|' | all(group(a) each(output(count()))) | all(output(count()));",
        {},
        UserText(),
    )
    assert found.groupings == ((expected[0],), (expected[1],))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("all(group(a) each(max(1) each(output(summary()))))", "summary"),
        ("all(group(a) each(all(group(b))))", "outputs nothing"),
        ("all(group(a) each(output(count()) group(b) each(output(count()))))", "beside group"),
        ("all(group(a) each(output(count())) each(output(count())))", "several each"),
        ("all(group(a) each(output(summary())))", "summary"),
        ("all(group(fixedwidth(a, 10)) each(output(count())))", "fixedwidth"),
        ("all(group(a) each(output(stddev(b))))", "stddev"),
        ("all(each(output(count())))", "without group"),
        ("each(output(count()))", "expected 'all'"),
        ("all(group(a)", "the end"),
        ("all()", "outputs nothing"),
        ("all(output(count())) where(true)", "where"),
        ("all(group(a) max(x) each(output(count())))", "x"),
        ("{'continuations':['B']}all(output(count()))", "{"),
    ],
)
def test_what_goes_beyond_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        parse_grouping(text)
    assert named in str(caught.value)
