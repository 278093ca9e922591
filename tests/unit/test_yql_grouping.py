"""The grouping language: what is understood, and what is refused by name."""

from __future__ import annotations

import pytest

from ingestion.sandbox.vespa_endpoint.group_expressions import (
    Attribute,
    Bucket,
    Call,
    Constant,
    FixedWidth,
    Predefined,
)
from ingestion.sandbox.vespa_endpoint.grouping import (
    Aggregate,
    Grouping,
    GroupOrder,
    HitList,
    parse_grouping,
)
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused
from ingestion.sandbox.vespa_endpoint.query_tree import UserText
from ingestion.sandbox.vespa_endpoint.yql import parse_yql

COUNT = Aggregate("count", None, "count()")
XOR = Aggregate("xor", Attribute("row_digest"), "xor(row_digest)")
A, B = Attribute("a"), Attribute("b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all(group(a) each(output(count())))", Grouping((COUNT,), A, "a")),
        (
            "all( group(a) max(1024) order(-count(), max(b)) each( output(count(), xor(row_digest)) ) )",
            Grouping(
                (COUNT, XOR),
                A,
                "a",
                1024,
                (GroupOrder(COUNT, True), GroupOrder(Aggregate("max", B, "max(b)"), False)),
            ),
        ),
        ("all(output(max(read_seq)))", Grouping((Aggregate("max", Attribute("read_seq"), "max(read_seq)"),))),
        (
            "all(group(a) output(count()))",
            Grouping((), A, "a", totals=(COUNT,), each=False),
        ),
        *(
            (
                f"all(group(a) output(count()) each({inside}))",
                Grouping((COUNT,), A, "a", None, (), (COUNT,), (Grouping((XOR,), B, "b", 3),)),
            )
            for inside in (
                "output(count()) all(group(b) max(3) each(output(xor(row_digest))))",
                "all(group(b) max(3) each(output(xor(row_digest)))) output(count())",
            )
        ),
        (
            "all(group(a) each(group(b) max(3) each(output(xor(row_digest)))))",
            Grouping((), A, "a", children=(Grouping((XOR,), B, "b", 3),)),
        ),
        (
            "all(group(a) each(output(count()) group(b) output(count()) each(output(count()))))",
            Grouping((), A, "a", children=(Grouping((COUNT,), B, "b", totals=(COUNT, COUNT)),)),
        ),
        (
            "all(group(fixedwidth(a, 10)) max(2) each(max(3) output(count()) each(output(summary(ids)))))",
            Grouping((COUNT,), FixedWidth(A, 10), "fixedwidth(a, 10)", 2, hits=(HitList("hits", 3, "ids"),)),
        ),
        (
            "all(each(output(summary())) as(best))",
            Grouping((), hits=(HitList("best"),)),
        ),
        (
            "all(group((a + 1) * -b % 3) each(output(stddev(b / 2))))",
            Grouping(
                (Aggregate("stddev", Call("div", (B, Constant(2))), "stddev(div(b, 2))"),),
                Call(
                    "mod",
                    (Call("mul", (Call("add", (A, Constant(1))), Call("neg", (B,)))), Constant(3)),
                ),
                "mod(mul(add(a, 1), neg(b)), 3)",
            ),
        ),
        (
            "all(group(predefined(a, bucket(-inf, -1), bucket<0,9], bucket(12))) each(output(count())))",
            Grouping(
                (COUNT,),
                Predefined(A, (Bucket(None, -1), Bucket(1, 10), Bucket(12, 13))),
                "predefined(a, bucket[-inf, -1>, bucket[1, 10>, bucket[12, 13>)",
            ),
        ),
        (
            """all(group(m{"a \\"b\\""}) each(output(count())))""",
            Grouping((COUNT,), Attribute("m", 'a "b"'), """m{"a \\"b\\""}"""),
        ),
        (
            "all(group(a) max(inf) each(output(count() as(n))) as(groups))",
            Grouping((Aggregate("count", None, "n"),), A, "groups", -1),
        ),
    ],
)
def test_a_grouping_is_read(text: str, expected: Grouping) -> None:
    assert parse_grouping(text) == (expected,)


def test_each_each_of_a_group_is_a_list_of_its_own() -> None:
    found = parse_grouping(
        "all(group(a) output(count()) each(output(count())) as(x) each(output(xor(row_digest))))"
    )
    assert found == (Grouping((COUNT,), A, "x", totals=(COUNT,)), Grouping((XOR,), A, "a"))


def test_several_groupings_of_one_statement_keep_their_order() -> None:
    both = "all(all(group(a) each(output(count()))) all(output(count())))"
    expected = (Grouping((COUNT,), A, "a"), Grouping((COUNT,)))
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
        ("all(group(a) each(all(group(b))))", "outputs nothing"),
        ("all(group(a) output(sum(b)) each(output(count())))", "list of groups"),
        ("all(group(a) each(output(summary())))", "summary"),
        ("all(group(fixedwidth(a, 0)) each(output(count())))", "fixedwidth"),
        ("all(group(predefined(a, bucket(1, 2), bucket('a', 'b'))) each(output(count())))", "predefined"),
        ("all(group(md5(a, 64)) each(output(count())))", "md5"),
        ("all(group(strlen(a, b)) each(output(count())))", "strlen"),
        ("all(group(a) each(output(quantiles([0.5], b))))", "quantiles"),
        ("all(max(5) all(group(a) each(output(count()))))", "max"),
        ("all(each(output(count())))", "about hits"),
        ("each(output(count()))", "expected 'all'"),
        ("all(group(a)", "the end"),
        ("all()", "outputs nothing"),
        ("all(output(count())) where(true)", "where"),
        ("all(group(a) max(x) each(output(count())))", "x"),
        ("{'continuations':['B']}all(output(count()))", "continuations"),
    ],
)
def test_what_goes_beyond_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        parse_grouping(text)
    assert named in str(caught.value)
