"""What Vespa's documentation promises of queries; see `test_vespa_conformance.py` for how to ask a real Vespa."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from conformance import (
    CLUSTER,
    GROUPING,
    QUERY,
    REAL_VESPA,
    RECORD,
    RESULT,
    SCHEMAS,
    SIMPLE,
    YQL,
    Body,
    Vespa,
    page,
    removed_after,
)

LINK = {"relation": "project", "target_table": "projects", "target_id": "7", "source_column": "project_id"}


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> str:
    url: str = REAL_VESPA or request.getfixturevalue("vespa_url")
    return url


@pytest.fixture(scope="module")
def index(server: str) -> Iterator[Vespa]:
    """Four RFIs, a photo and a file; `source` keeps them apart from all else in the index."""
    vespa = Vespa(server, f"s{uuid.uuid4().hex[:10]}")
    texts = (
        "Concrete pump for the foundation pour",
        "Foundation inspection, concrete samples",
        "Steel beam",
        "Façade panels were late",
    )
    for number, text in enumerate(texts, 1):
        vespa.put(
            f"rfis:{number}",
            {
                "source": vespa.namespace,
                "doc_id": f"rfis:{number}",
                "source_table": "rfis",
                "source_id": str(number),
                "project_id": 10 + number % 2,
                "updated_at": 5_000_000_000 + number,
                "row_digest": (-1) ** number * (2**62 + number),
                "key_bucket": number % 2,
                "metadata": {"status": "Open" if number % 2 else "Closed", "place": 'level "3"'},
                "relationships": [{**LINK, "target_id": str(number % 2)}, {**LINK, "target_table": "users"}],
                "content_text": text,
            },
        )
    vespa.put("photos:1", {"source": vespa.namespace, "doc_id": "photos:1", "source_table": "photos"})
    vespa.put(
        "f",
        {"source": vespa.namespace, "doc_id": "f", "record_doc_ids": ["rfis:1"], "filename": "Plan.PDF"},
        "procore_file",
    )
    yield from removed_after(vespa)


SEARCHES: list[tuple[str, str, str, Body]] = [
    (f"{YQL}#contains", "source_table contains 'rfis'", "1 2 3 4", {}),
    (f"{YQL}#contains", "content_text contains 'pumps'", "1", {}),
    (f"{YQL}#contains", "content_text contains 'FACADE'", "4", {}),
    (f"{YQL}#contains", "content_text contains 'pum'", "", {}),
    (f"{YQL}#contains", "relationships.target_id contains '0'", "2 4", {}),
    (f"{SCHEMAS}#match", "source_table contains 'RFIS'", "", {}),
    (f"{SCHEMAS}#match", "doc_id in ('RFIS:1', 'rfis:2')", "2", {}),
    (f"{YQL}#and", "project_id = 10 and content_text contains 'foundation'", "2", {}),
    (f"{YQL}#or", "content_text contains 'steel' or content_text contains 'pump'", "1 3", {}),
    (f"{YQL}#not", "source_table contains 'rfis' and !(project_id = 10)", "1 3", {}),
    (f"{YQL}#phrase", "content_text contains phrase('foundation', 'pour')", "1", {}),
    (f"{YQL}#phrase", "content_text contains phrase('pour', 'foundation')", "", {}),
    (f"{YQL}#numeric", "updated_at >= 5000000002L and updated_at < 5000000004L", "2 3", {}),
    (f"{YQL}#numeric", "5000000003L < updated_at", "4", {}),
    (f"{YQL}#numeric", "range(updated_at, 5000000002L, 5000000003L)", "2 3", {}),
    (f"{YQL}#numeric", "range(updated_at, 5000000003L, Infinity)", "3 4", {}),
    (f"{YQL}#numeric", "range(updated_at, -Infinity, Infinity)", "1 2 3 4", {}),
    (f"{YQL}#numeric", "({bounds: 'leftOpen'}range(updated_at, 5000000002L, 5000000003L))", "3", {}),
    (f"{YQL}#numeric", "({bounds: 'rightOpen'}range(updated_at, 5000000002L, 5000000003L))", "2", {}),
    (f"{YQL}#numeric", "({bounds: 'open'}range(updated_at, 5000000001L, 5000000004L))", "2 3", {}),
    (f"{YQL}#in", "project_id in (11, 12)", "1 3", {}),
    (f"{YQL}#in", "source_id in ('1', '4')", "1 4", {}),
    (f"{YQL}#in", "project_id in (@numbers)", "2 4", {"numbers": "10,99"}),
    (f"{YQL}#sameelement", "metadata contains sameElement(key contains 'status', value contains 'open')", "1 3",
     {}),
    (f"{YQL}#sameelement", "metadata contains sameElement(key contains 'place', value contains 'open')", "", {}),
    (f"{YQL}#sameelement",
     "relationships contains sameElement(target_table contains 'projects', target_id contains '7')", "", {}),
    (f"{YQL}#sameelement",
     "relationships contains sameElement(target_table contains 'projects', target_id contains '1')", "1 3", {}),
    (f"{YQL}#prefix", "source_table contains ({prefix: true}'rf')", "1 2 3 4", {}),
    (f"{YQL}#weakand", "weakAnd(content_text contains 'steel', content_text contains 'pump')", "1 3", {}),
    (f"{YQL}#userinput", "userInput(@text)", "1 2 3", {"text": "concrete steel"}),
    (f"{YQL}#userinput", "({grammar: 'all'}userInput(@text))", "2", {"text": "concrete inspection"}),
    (f"{YQL}#userquery", "userQuery()", "2", {"query": "concrete -pump", "type": "all"}),
    (f"{YQL}#parameter-substitution", "source_table contains @table and project_id = 10", "2 4",
     {"table": "rfis"}),
    (f"{YQL}#sameelement",
     "relationships contains sameElement(target_table contains 'users', !(target_id contains '7'))", "", {}),
    (f"{YQL}#sameelement", "relationships contains sameElement(target_table contains 'projects', "
     "(target_id contains '1' or target_id contains '5'))", "1 3", {}),
    (f"{YQL}#near", "content_text contains near('pump', 'foundation')", "", {}),
    (f"{YQL}#near", "content_text contains ({distance: 3}near('foundation', 'pump'))", "1", {}),
    (f"{YQL}#onear", "content_text contains ({distance: 1}onear('foundation', 'pour'))", "1", {}),
    (f"{YQL}#equiv", "content_text contains equiv('steel', 'pump')", "1 3", {}),
    (f"{YQL}#equiv", "content_text contains equiv('steel', phrase('concrete', 'samples'))", "2 3", {}),
    (f"{YQL}#alternatives", "content_text contains alternatives({'steel': 1.0, 'pump': 0.7})", "1 3", {}),
    (f"{YQL}#text", "content_text contains text('steel pump')", "1 3", {}),
    (f"{YQL}#rank", "rank(content_text contains 'steel', content_text contains 'pump')", "3", {}),
    (f"{YQL}#nonempty", "nonEmpty(content_text contains 'steel')", "3", {}),
    (f"{YQL}#matches", "doc_id matches '^rfis:[12]$'", "1 2", {}),
    (f"{YQL}#matches", "source_id matches '[^34]'", "1 2", {}),
    (f"{YQL}#fuzzy", "source_table contains ({maxEditDistance: 1}fuzzy('rfas'))", "1 2 3 4", {}),
    (f"{YQL}#fuzzy", "source_table contains ({maxEditDistance: 1, prefixLength: 3}fuzzy('rfas'))", "", {}),
    (f"{YQL}#weightedset", "weightedSet(source_id, {'1': 1, '4': 2})", "1 4", {}),
    (f"{YQL}#dotproduct", "dotProduct(source_id, {'1': 1, '4': 2})", "1 4", {}),
    (f"{YQL}#wand", "({targetHits: 10}wand(source_id, {'1': 1, '4': 2}))", "1 4", {}),
    (f"{YQL}#wand", "wand(project_id, [[11, 1], [37, 2]])", "1 3", {}),
    (f"{YQL}#wand", "wand(project_id, @tokens)", "1 3", {"tokens": "{11:1,37:2}"}),
    (f"{YQL}#stem", "source_table contains ({stem: false}'rfis')", "1 2 3 4", {}),
    (f"{YQL}#ranked", "content_text contains ({ranked: false}'steel')", "3", {}),
    (f"{YQL}#where", "true", "1 2 3 4 photos:1", {}),
    (f"{YQL}#where", "false", "", {}),
    (f"{QUERY}#model.type", "userQuery()", "1 2 3", {"query": "concrete steel", "type": "any"}),
    (f"{QUERY}#model.type", "userQuery()", "1", {"query": "foundation pour", "type": "phrase"}),
    (SIMPLE, "userQuery()", "1", {"query": '"concrete pump" +foundation', "type": "all"}),
    (SIMPLE, "userQuery()", "2 4", {"query": "source_table:rfis project_id:10", "type": "all"}),
    (SIMPLE, "userQuery()", "3", {"query": "steel:beam", "type": "all"}),
    (SIMPLE, "userQuery()", "1 2", {"query": "concrete (pump inspection)", "type": "all"}),
    (SIMPLE, "userQuery()", "1", {"query": "concrete -(inspection samples)", "type": "all"}),
    (SIMPLE, "userQuery()", "1 2", {"query": "concrete! foundation!200", "type": "all"}),
    (SIMPLE, "userQuery()", "1 2 3 4", {"query": "source_table:rf*", "type": "all"}),
    (SIMPLE, "userQuery()", "1 3", {"query": "project_id:>10", "type": "all"}),
    (SIMPLE, "userQuery()", "2 4", {"query": "project_id:<11", "type": "all"}),
    (SIMPLE, "userQuery()", "2 3", {"query": "updated_at:[5000000002;5000000003]", "type": "all"}),
    (SIMPLE, "userQuery()", "3 4", {"query": "updated_at:[5000000003;]", "type": "all"}),
    (SIMPLE, "userQuery()", "", {"query": "project_id:-10", "type": "all"}),
]  # fmt: skip


@pytest.mark.parametrize(("page", "where", "expected", "parameters"), SEARCHES)
def test_a_query_finds_what_the_page_says(
    index: Vespa, page: str, where: str, expected: str, parameters: Body
) -> None:
    yql = f"select doc_id from {RECORD} where source contains '{index.namespace}' and ({where})"
    status, root = index.search(yql, **parameters)
    assert status == 200, root
    found = {hit["fields"]["doc_id"].removeprefix("rfis:") for hit in root.get("children", [])}
    assert found == set(expected.split())


def ids(root: Body) -> list[str]:
    return [hit["fields"]["doc_id"].removeprefix("rfis:") for hit in root.get("children", [])]


@pytest.mark.parametrize(
    ("page", "after", "parameters", "expected"),
    [
        (f"{YQL}#order-by", "order by updated_at desc", {}, "4 3 2 1"),
        (f"{YQL}#order-by", "order by project_id asc, updated_at desc", {}, "4 2 3 1"),
        (f"{YQL}#function", 'order by {function: "raw"}doc_id desc', {}, "4 3 2 1"),
        (f"{YQL}#function", 'order by [{"function": "lowercase"}]doc_id', {}, "1 2 3 4"),
        ("reference/querying/sorting-language.html", "", {"sorting": "+project_id -updated_at"}, "4 2 3 1"),
        (f"{YQL}#limit-offset", "order by updated_at limit 2", {}, "1 2"),
        (f"{YQL}#limit-offset", "order by updated_at limit 3 offset 1", {}, "2 3"),
        (f"{QUERY}#hits", "order by updated_at", {"hits": 2, "offset": 1}, "2 3"),
        (f"{QUERY}#hits", "order by updated_at", {"hits": 0}, ""),
        (f"{QUERY}#ranking.profile", "", {"ranking.profile": "newest"}, "4 3 2 1"),
    ],
)
def test_hits_come_in_the_order_and_window_asked_for(
    index: Vespa, page: str, after: str, parameters: Body, expected: str
) -> None:
    where = f"source contains '{index.namespace}' and source_table contains 'rfis'"
    status, root = index.search(f"select doc_id from {RECORD} where {where} {after}", **parameters)
    assert status == 200, root
    assert (ids(root), root["fields"]["totalCount"]) == (expected.split(), 4)


@page("ranking/bm25.html")
def test_bm25_ranks_the_document_with_more_and_rarer_words_first(index: Vespa, page: str) -> None:
    yql = f"select doc_id from {RECORD} where source contains '{index.namespace}' and userQuery()"
    _, root = index.search(yql, query="concrete pump", ranking="bm25")
    assert ids(root)[:2] == ["1", "2"]
    first, second = (hit["relevance"] for hit in root["children"][:2])
    assert first > second > 0


@page(f"{QUERY}#presentation.format")
def test_an_answer_is_json_or_cbor_as_asked(index: Vespa, page: str) -> None:
    where = f"select doc_id from {RECORD} where source contains '{index.namespace}'"
    for accept, asked, expected in (
        ("*/*", {}, "application/json"),
        ("application/json", {}, "application/json"),
        ("application/cbor", {}, "application/cbor"),
        ("application/cbor, application/json;q=0.9", {}, "application/cbor"),
        ("*/*", {"format": "cbor"}, "application/cbor"),
        ("application/cbor", {"format": "json"}, "application/json"),
    ):
        kind, _ = index.read("/search/", accept, yql=where, **asked)
        assert kind.partition(";")[0] == expected


@page(f"{YQL}#rank")
def test_what_follows_in_rank_only_ranks_and_what_is_not_ranked_does_not(index: Vespa, page: str) -> None:
    def relevance(where: str) -> dict[str, float]:
        yql = f"select doc_id from {RECORD} where source contains '{index.namespace}' and {where}"
        root = index.search(yql, ranking="bm25")[1]
        return dict(zip(ids(root), [hit["relevance"] for hit in root["children"]], strict=True))

    rfis = "source_table contains 'rfis'"
    found = relevance(f"rank({rfis}, content_text contains 'steel')")
    assert [doc for doc, score in found.items() if score > 0] == ["3"]
    assert len(found) > 1
    two = "content_text contains 'pump' or content_text contains 'samples' or "
    assert relevance(f"({two} content_text contains 'steel')")["3"] > 0
    assert relevance(f"({two} content_text contains ({{ranked: false}}'steel'))")["3"] == 0


@page(RESULT)
def test_a_result_has_the_shape_of_the_page(index: Vespa, page: str) -> None:
    yql = f"select * from sources * where source contains '{index.namespace}' and doc_id contains 'rfis:1'"
    status, root = index.search(yql, ranking="bm25")
    assert status == 200
    assert (root["id"], root["fields"]["totalCount"]) == ("toplevel", 1)
    assert (root["coverage"]["full"], root["coverage"]["coverage"]) == (True, 100)
    (hit,) = root["children"]
    assert hit["id"] == hit["fields"]["documentid"] == f"id:{index.namespace}:{RECORD}::rfis:1"
    assert (hit["source"], hit["fields"]["sddocname"]) == (CLUSTER, RECORD)
    assert isinstance(hit["relevance"], float)
    assert hit["fields"]["metadata"] == {"status": "Open", "place": 'level "3"'}
    assert hit["fields"]["updated_at"] == 5_000_000_001
    assert set(hit["fields"]["matchfeatures"]) == {"bm25(content_text)", "attribute(updated_at)"}


@page(f"{YQL}#select")
def test_select_names_the_fields_of_a_hit(index: Vespa, page: str) -> None:
    where = f"source contains '{index.namespace}' and doc_id contains 'rfis:1'"
    _, root = index.search(f"select doc_id, project_id from {RECORD} where {where}")
    assert root["children"][0]["fields"] == {"doc_id": "rfis:1", "project_id": 11}


@page(f"{QUERY}#presentation.summary")
def test_a_summary_holds_its_fields_only(index: Vespa, page: str) -> None:
    where = f"source contains '{index.namespace}' and doc_id contains 'rfis:1'"
    _, root = index.search(f"select * from {RECORD} where {where}", **{"presentation.summary": "ids"})
    fields = root["children"][0]["fields"]
    assert (fields["doc_id"], fields["updated_at"]) == ("rfis:1", 5_000_000_001)
    assert not {"content_text", "metadata", "documentid"} & set(fields)


@page(f"{QUERY}#model.restrict")
def test_restrict_and_from_choose_the_document_type(index: Vespa, page: str) -> None:
    where = f"source contains '{index.namespace}'"
    for yql, parameters in (
        (f"select * from sources * where {where}", {"model.restrict": "procore_file"}),
        (f"select * from procore_file where {where}", {}),
    ):
        _, root = index.search(yql, **parameters)
        assert [hit["fields"]["sddocname"] for hit in root["children"]] == ["procore_file"]
    _, root = index.search(f"select * from sources * where {where}")
    assert root["fields"]["totalCount"] == 6


@page(f"{SCHEMAS}#match")
def test_other_strings_match_in_any_case_and_ids_in_arrays_exactly(index: Vespa, page: str) -> None:
    def count(where: str) -> int:
        yql = f"select * from procore_file where source contains '{index.namespace}' and {where} limit 0"
        return int(index.search(yql)[1]["fields"]["totalCount"])

    assert count("filename contains 'PLAN.pdf'") == 1
    assert count("record_doc_ids contains 'rfis:1'") == 1
    assert count("record_doc_ids contains 'Rfis:1'") == 0


# ------------------------------------------------------------------- grouping

XOR = (2**62 + 2) ^ (2**62 + 4)

Groups = dict[str, Body]


@pytest.mark.parametrize(
    ("page", "grouping", "expected"),
    [
        (GROUPING, "all(group(source_table) each(output(count())))",
         {"rfis": {"count()": 4}, "photos": {"count()": 1}}),
        (GROUPING, "all(group(key_bucket) max(10) each(output(count(), xor(row_digest))))",
         {"0": {"count()": 2, "xor(row_digest)": XOR}}),
        (f"{GROUPING}#labels", "all(group(source_table) each(output(count() as(n), max(updated_at) as(last))))",
         {"rfis": {"n": 4, "last": 5_000_000_004}}),
        (f"{GROUPING}#order", "all(group(source_table) max(1) order(-count()) each(output(count())))",
         {"rfis": {"count()": 4}}),
        (f"{GROUPING}#order", "all(group(source_table) max(1) order(count()) each(output(count())))",
         {"photos": {"count()": 1}}),
        (f"{GROUPING}#aggregators",
         "all(group(source_table) each(output(sum(key_bucket), min(updated_at), avg(project_id))))",
         {"rfis": {"sum(key_bucket)": 2, "min(updated_at)": 5_000_000_001, "avg(project_id)": 10}}),
        (f"{GROUPING}#aggregators", "all(group(source_table) each(output(stddev(project_id))))",
         {"rfis": {"stddev(project_id)": 0.5}}),
        (f"{GROUPING}#aggregators", "all(group(source_table) each(output(max(project_id * 2 + key_bucket))))",
         {"rfis": {"max(add(mul(project_id, 2), key_bucket))": 23}}),
        (f"{GROUPING}#arithmetic-expressions", "all(group(mod(updated_at, 3)) max(5) each(output(count())))",
         {"0": {"count()": 2}, "1": {"count()": 1}, "2": {"count()": 1}}),
        (f"{GROUPING}#string-expressions", "all(group(strlen(source_table)) each(output(count())))",
         {"4": {"count()": 4}, "6": {"count()": 1}}),
        (f"{GROUPING}#time-expressions", "all(group(time.year(updated_at)) each(output(count())))",
         {"2128": {"count()": 4}}),
        (f"{GROUPING}#group", 'all(group("all") each(output(count())))', {"all": {"count()": 5}}),
        (f"{GROUPING}#multivalue-attributes", 'all(group(metadata{"status"}) each(output(count())))',
         {"Open": {"count()": 2}, "Closed": {"count()": 2}}),
        (f"{GROUPING}#multivalue-attributes", "all(group(metadata.key) each(output(count())))",
         {"status": {"count()": 4}, "place": {"count()": 4}}),
        (f"{GROUPING}#multivalue-attributes", "all(group(relationships.target_table) each(output(count())))",
         {"projects": {"count()": 4}, "users": {"count()": 4}}),
        # Beside a group(…), count() counts its groups: RequestBuilder, ExpressionCountAggregationResult.
        (f"{GROUPING}#group-list-aggregators",
         "all(group(source_table) each(output(count()) group(project_id) each(output(count()))))",
         {"rfis": {"count()": 2}, "photos": {"count()": 1}}),
    ],
)  # fmt: skip
def test_groups_hold_the_sums_that_the_page_describes(
    index: Vespa, page: str, grouping: str, expected: Groups
) -> None:
    yql = f"select * from {RECORD} where source contains '{index.namespace}' limit 0 | {grouping}"
    status, root = index.search(yql)
    assert status == 200, root
    (listing,) = root["children"][0]["children"]
    groups = {str(group["value"]): group["fields"] for group in listing["children"]}
    assert {name: groups[name] for name in expected} == expected
    if "max(1)" in grouping:
        assert len(groups) == 1


@page(f"{GROUPING}#aggregators")
def test_sums_over_all_matches_are_in_the_root_group(index: Vespa, page: str) -> None:
    where = f"source contains '{index.namespace}' and source_table contains 'rfis'"
    _, root = index.search(
        f"select * from {RECORD} where {where} limit 0 | all(output(count(), max(updated_at)))"
    )
    assert root["children"][0]["fields"] == {"count()": 4, "max(updated_at)": 5_000_000_004}


@page(GROUPING)
def test_groups_stand_inside_groups(index: Vespa, page: str) -> None:
    yql = f"select * from {RECORD} where source contains '{index.namespace}' limit 0"
    inner = "all(group(project_id) max(10) order(-count()) each(output(count())))"
    _, root = index.search(f"{yql} | all(group(source_table) each(output(count()) {inner}))")
    (listing,) = root["children"][0]["children"]
    (rfis,) = (group for group in listing["children"] if group["value"] == "rfis")
    assert rfis["fields"] == {"count()": 4}
    (projects,) = rfis["children"]
    assert (projects["id"], projects["label"]) == ("grouplist:project_id", "project_id")
    assert {g["value"]: g["fields"]["count()"] for g in projects["children"]} == {"10": 2, "11": 2}


@page("querying/grouping.html#count-unique-groups")
def test_the_count_of_a_list_of_groups_is_that_of_the_groups(index: Vespa, page: str) -> None:
    yql = f"select * from {RECORD} where source contains '{index.namespace}' limit 0"
    _, root = index.search(f"{yql} | all(group(source_table) output(count()))")
    assert root["children"][0]["fields"] == {"count()": 2}
    assert "children" not in root["children"][0]


@page(f"{GROUPING}#bucket-expressions")
def test_buckets_have_limits_and_no_value(index: Vespa, page: str) -> None:
    where = f"source contains '{index.namespace}' and source_table contains 'rfis'"
    yql = f"select * from {RECORD} where {where} limit 0"
    for buckets, expected in (
        ("fixedwidth(project_id, 5)", {("10", "15"): 4}),
        (
            "predefined(project_id, bucket(0, 11), bucket[11, inf))",
            {("0", "11"): 2, ("11", str(2**63 - 1)): 2},
        ),
        ("predefined(project_id, bucket(11))", {("11", "12"): 2}),
        ("predefined(doc_id, bucket('rfis:2', 'rfis:4'))", {("rfis:2", "rfis:4"): 2}),
    ):
        _, root = index.search(f"{yql} | all(group({buckets}) each(output(count())))")
        groups = root["children"][0]["children"][0]["children"]
        found = {
            (group["limits"]["from"], group["limits"]["to"]): group["fields"]["count()"]
            for group in groups
            if "limits" in group
        }
        assert found == expected
        assert not any("value" in group for group in groups if "limits" in group)


@page("querying/grouping.html#hits-per-group")
def test_groups_list_their_best_hits(index: Vespa, page: str) -> None:
    where = f"source contains '{index.namespace}' and source_table contains 'rfis'"
    yql = f"select * from {RECORD} where {where} limit 0"
    _, root = index.search(
        f"{yql} | all(group(project_id) order(max(project_id)) each(max(1) each(output(summary(ids)))))",
        ranking="newest",
    )
    groups = root["children"][0]["children"][0]["children"]
    assert [group["value"] for group in groups] == ["10", "11"]
    lists = [group["children"][0] for group in groups]
    assert {(found["id"], found["label"]) for found in lists} == {("hitlist:hits", "hits")}
    assert [[hit["fields"]["doc_id"] for hit in found["children"]] for found in lists] == [
        ["rfis:4"],
        ["rfis:3"],
    ]
    assert not any("content_text" in hit["fields"] for found in lists for hit in found["children"])
    _, root = index.search(f"{yql} | all(each(output(summary())) as(best))", ranking="newest")
    (best,) = root["children"][0]["children"]
    assert (best["id"], [hit["fields"]["doc_id"] for hit in best["children"]][:2]) == (
        "hitlist:best",
        ["rfis:4", "rfis:3"],
    )


@page(GROUPING)
def test_several_groupings_of_one_request_share_their_root(index: Vespa, page: str) -> None:
    yql = f"select * from {RECORD} where source contains '{index.namespace}' limit 0"
    parts = " ".join(f"all(group({name}) each(output(count())))" for name in ("source_table", "key_bucket"))
    _, root = index.search(f"{yql} | all({parts})")
    (group,) = root["children"]
    assert (group["id"], [item["label"] for item in group["children"]]) == (
        "group:root:0",
        ["source_table", "key_bucket"],
    )


# ------------------------------------------------------------------ summaries


@page(f"{SCHEMAS}#summary")
def test_a_dynamic_summary_marks_what_matched(index: Vespa, page: str) -> None:
    yql = f"select * from {RECORD} where source contains '{index.namespace}' and userQuery()"
    _, root = index.search(yql, query="beam", **{"presentation.summary": "lean"})
    (hit,) = root["children"]
    assert "Steel <hi>beam</hi>" in hit["fields"]["snippet"]
    assert "content_text" not in hit["fields"]


# --------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("page", "yql", "parameters"),
    [
        (YQL, "select * frm procore_record where true", {}),
        (YQL, "select * from no_such_source where true", {}),
        (f"{YQL}#contains", "select * from procore_record where no_such_field contains 'a'", {}),
        (f"{YQL}#numeric", "select * from procore_record where project_id > 'a'", {}),
        (f"{QUERY}#hits", "select * from procore_record where true", {"hits": 401}),
        (f"{QUERY}#hits", "select * from procore_record where true", {"hits": "many"}),
        (f"{QUERY}#offset", "select * from procore_record where true", {"offset": 1001}),
        (f"{QUERY}#ranking.profile", "select * from procore_record where true", {"ranking": "no_such"}),
        (GROUPING, "select * from procore_record where true | all(group(source_table)", {}),
    ],
)
def test_a_query_that_cannot_be_run_is_400_with_its_errors(
    server: str, page: str, yql: str, parameters: Body
) -> None:
    status, root = Vespa(server, "x").search(yql, **parameters)
    assert status == 400, root
    assert {"code", "summary", "message"} <= set(root["errors"][0])
