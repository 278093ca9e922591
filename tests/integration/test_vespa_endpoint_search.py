"""/search/ of the local endpoint: matching, ranking, order, groups, summaries, errors.

Result shapes are those of https://docs.vespa.ai/en/reference/querying/default-result-format.html.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

import pytest

TEXTS = {
    "rfis:1": "Concrete pump failed during the foundation pour. Pump replaced.",
    "rfis:2": "Foundation inspection passed; concrete samples taken.",
    "rfis:3": "Steel beam delivery delayed.",
    "photos:1": "Façade panel photographed",
}


def _request(url: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


class Index:
    """The sample documents under a source of their own, and queries limited to it."""

    def __init__(self, url: str) -> None:
        self.url, self.source = url, f"s{uuid.uuid4().hex[:8]}"

    def put(self, type_name: str, user: str, fields: dict[str, Any]) -> None:
        status, body = _request(
            self.url,
            f"/document/v1/{self.source}/{type_name}/docid/{user}",
            {"fields": fields | {"source": self.source}},
        )
        assert status == 200, body

    def query(self, yql: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
        status, body = _request(self.url, "/search/", {"yql": yql, **parameters})
        root: dict[str, Any] = body["root"]
        return status, root

    def ids(self, where: str, tail: str = "", **parameters: Any) -> list[str]:
        """User parts of the hits, in order."""
        yql = f"select * from procore_record where source contains '{self.source}' and ({where}) {tail}"
        status, root = self.query(yql, **parameters)
        assert status == 200, root
        return [hit["id"].rpartition("::")[2] for hit in root.get("children", [])]

    def groups(self, grouping: str, where: str = "true", **parameters: Any) -> dict[str, Any]:
        """`group:root:0` of a query without hits."""
        yql = f"select * from procore_record where source contains '{self.source}' and {where} limit 0 | {grouping}"
        status, root = self.query(yql, **parameters)
        assert status == 200, root
        found: dict[str, Any] = root["children"][0]
        return found

    def refused(self, yql: str, **parameters: Any) -> str:
        status, root = self.query(yql, **parameters)
        assert status == 400, root
        message: str = root["errors"][0]["message"]
        return message


@pytest.fixture(scope="module")
def index(vespa_url: str) -> Index:
    index = Index(vespa_url)
    for number, (doc_id, text) in enumerate(TEXTS.items()):
        table, _, key = doc_id.partition(":")
        index.put(
            "procore_record",
            doc_id,
            {
                "doc_id": doc_id,
                "source_table": table,
                "source_id": key,
                "project_id": 10 + number % 2,
                "updated_at": 5_000_000_000 + number,
                "read_seq": number,
                "row_digest": (-1) ** number * (2**62 + number),
                "key_bucket": number % 2,
                "metadata": {
                    "status": "Open" if number % 2 else "closed",
                    "place": 'level "3"',
                    "naïve": "É",
                },
                "relationships": [
                    {"relation": "project", "target_table": "projects", "target_id": str(10 + number % 2)},
                    {"relation": "created_by", "target_table": "users", "target_id": "10"},
                ],
                "content_text": text,
            },
        )
    index.put("procore_record", "bare:1", {"doc_id": "bare:1", "source_table": "bare"})
    index.put(
        "procore_file",
        "f1",
        {"filename": "Plan.PDF", "record_doc_ids": ["rfis:1", "rfis:3"], "extracted_text": "pump"},
    )
    return index


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("source_table contains 'rfis'", "rfis:1 rfis:2 rfis:3"),
        ("source_table contains 'RFIS'", ""),
        ("source_table contains ({prefix:true}'RF')", ""),
        ("source_table contains ({prefix:true}'r*')", ""),
        ("source_table in ('RFIS', 'bare')", "bare:1"),
        ("source_table contains 'rfi'", ""),
        ("source_table contains ({prefix:true}'rf')", "rfis:1 rfis:2 rfis:3"),
        ("source_table in ('photos', 'bare')", "bare:1 photos:1"),
        ("doc_id contains 'rfis:2'", "rfis:2"),
        ("!(source_table contains 'rfis')", "bare:1 photos:1"),
        ("project_id = 10", "rfis:1 rfis:3"),
        ("project_id contains '10'", "rfis:1 rfis:3"),
        ("project_id in (11, 12)", "photos:1 rfis:2"),
        ("updated_at >= 5000000001L and updated_at < 5000000003L", "rfis:2 rfis:3"),
        ("range(read_seq, 1, 2)", "rfis:2 rfis:3"),
        ("content_text contains 'pumps'", "rfis:1"),
        ("content_text contains 'FACADE'", "photos:1"),
        ("content_text contains 'pum'", ""),
        ("content_text contains phrase('foundation', 'pour')", "rfis:1"),
        ("content_text contains 'concrete samples'", "rfis:2"),
        ("content_text contains phrase('pour', 'foundation')", ""),
        ("content_text contains '!!'", ""),
        ("metadata contains sameElement(key contains 'status', value contains 'open')", "photos:1 rfis:2"),
        ("metadata contains sameElement(key contains 'place', value contains 'open')", ""),
        (
            "metadata contains sameElement(key contains 'place', value contains 'level \"3\"')",
            "photos:1 rfis:1 rfis:2 rfis:3",
        ),
        (
            "metadata contains sameElement(key contains 'NAÏVE', value contains 'é')",
            "photos:1 rfis:1 rfis:2 rfis:3",
        ),
        ("metadata.value contains 'closed'", "rfis:1 rfis:3"),
        (
            "relationships contains sameElement(target_table contains 'projects', target_id contains '10')",
            "rfis:1 rfis:3",
        ),
        (
            "relationships contains sameElement(relation contains 'project', target_table contains 'users')",
            "",
        ),
        ("relationships.target_id contains '11'", "photos:1 rfis:2"),
        ("weakAnd(content_text contains 'steel', content_text contains 'panel')", "photos:1 rfis:3"),
        (
            "source_table contains 'rfis' and (project_id = 11 or content_text contains 'steel')",
            "rfis:2 rfis:3",
        ),
        ("source_table contains @table and project_id = @project", "rfis:1 rfis:3"),
        ("userInput(@text)", "rfis:1 rfis:2"),
        ("filename contains 'plan.pdf'", ""),
        ("false", ""),
    ],
)
def test_a_condition_matches_as_in_vespa(index: Index, where: str, expected: str) -> None:
    found = index.ids(where, "order by doc_id", table="rfis", project=10, text="concrete -steel")
    assert found == expected.split()


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("record_doc_ids contains 'rfis:3'", 1),
        ("record_doc_ids contains 'RFIS:3'", 0),
        ("record_doc_ids in ('x', 'rfis:1')", 1),
        ("filename contains 'plan.pdf'", 1),
        ("filename contains ({prefix:true}'PLAN')", 1),
    ],
)
def test_a_record_finds_its_files_by_exact_ids_and_names_in_any_case(
    index: Index, where: str, count: int
) -> None:
    yql = f"select * from procore_file where source contains '{index.source}' and {where}"
    _, root = index.query(yql)
    assert [hit["fields"]["filename"] for hit in root.get("children", [])] == ["Plan.PDF"] * count


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        ("weakAnd", "concrete steel", {"rfis:1", "rfis:2", "rfis:3"}),
        ("any", "concrete steel", {"rfis:1", "rfis:2", "rfis:3"}),
        ("all", "concrete foundation pump", {"rfis:1"}),
        ("all", "concrete -pump", {"rfis:2"}),
        ("phrase", "foundation inspection", {"rfis:2"}),
        ("all", '"concrete pump" project_id:10', {"rfis:1"}),
    ],
)
def test_a_users_text_is_read_by_its_type(index: Index, type_: str, text: str, expected: set[str]) -> None:
    assert set(index.ids("userQuery()", query=text, type=type_)) == expected


def test_bm25_ranks_the_rarer_and_denser_words_first(index: Index) -> None:
    yql = f"select * from procore_record where source contains '{index.source}' and userQuery()"
    _, root = index.query(yql, query="pump concrete", ranking="bm25")
    first, second = root["children"]
    assert first["id"].endswith("::rfis:1")
    assert first["relevance"] > second["relevance"] > 0
    features = first["fields"]["matchfeatures"]
    assert features["bm25(content_text)"] == pytest.approx(first["relevance"])
    assert features["attribute(updated_at)"] == 5_000_000_000


def test_order_by_sorts_and_the_newest_profile_ranks_by_time(index: Index) -> None:
    assert index.ids("true", "order by updated_at desc limit 2") == ["photos:1", "rfis:3"]
    assert index.ids("project_id > 0", "order by project_id desc, read_seq asc") == [
        "rfis:2",
        "photos:1",
        "rfis:1",
        "rfis:3",
    ]
    assert index.ids("updated_at > 0", ranking="newest", hits=2) == ["photos:1", "rfis:3"]


def test_limit_counts_from_the_first_hit_and_offset_is_taken_off(index: Index) -> None:
    assert index.ids("true", "order by doc_id limit 4 offset 3") == ["rfis:2"]
    assert index.ids("true", "order by doc_id", hits=2, offset=3) == ["rfis:2", "rfis:3"]
    _, root = index.query(f"select * from procore_record where source contains '{index.source}' limit 0")
    assert root["fields"]["totalCount"] == 5
    assert "children" not in root


def test_groups_count_and_xor_per_value(index: Index) -> None:
    root = index.groups(
        "all(group(key_bucket) max(1024) each(output(count(), xor(row_digest))))", "read_seq >= 0"
    )
    assert (root["id"], root["continuation"]) == ("group:root:0", {"this": ""})
    (groups,) = root["children"]
    assert (groups["id"], groups["label"]) == ("grouplist:key_bucket", "key_bucket")
    assert [(group["id"], group["value"], group["fields"]) for group in groups["children"]] == [
        ("group:long:0", "0", {"count()": 2, "xor(row_digest)": 2**62 ^ (2**62 + 2)}),
        ("group:long:1", "1", {"count()": 2, "xor(row_digest)": -(2**62 + 1) ^ -(2**62 + 3)}),
    ]


def test_groups_follow_their_order_and_limit(index: Index) -> None:
    root = index.groups(
        "all(group(source_table) max(2) order(-count()) each(output(count() as(n), max(read_seq))))"
    )
    assert [
        (group["value"], group["relevance"], group["fields"]) for group in root["children"][0]["children"]
    ] == [
        ("rfis", 1.0, {"n": 3, "max(read_seq)": 2}),
        ("bare", 0.5, {"n": 1, "max(read_seq)": 0}),
    ]
    root = index.groups("all(group(relationships.target_table) each(output(count())))")
    counted = {group["value"]: group["fields"]["count()"] for group in root["children"][0]["children"]}
    assert counted == {"projects": 4, "users": 4}


def test_totals_without_groups_are_in_the_root_group(index: Index) -> None:
    root = index.groups("all(output(count(), max(read_seq), min(read_seq), sum(read_seq), avg(read_seq)))")
    assert root["fields"] == {
        "count()": 5,
        "max(read_seq)": 3,
        "min(read_seq)": 0,
        "sum(read_seq)": 6,
        "avg(read_seq)": 1,  # of whole numbers, a whole number
    }


def test_only_ten_groups_come_back_unless_more_are_asked_for(index: Index) -> None:
    other = Index(index.url)
    for i in range(12):
        other.put("procore_record", f"r:{i}", {"key_bucket": i})
    each = "all(group(key_bucket) {} each(output(count())))"
    assert len(other.groups(each.format(""))["children"][0]["children"]) == 10
    assert len(other.groups(each.format("max(12)"))["children"][0]["children"]) == 12
    more: dict[str, Any] = {"grouping.defaultMaxGroups": 11}
    assert len(other.groups(each.format(""), **more)["children"][0]["children"]) == 11
    assert "unbounded" in other.refused(
        f"select * from procore_record where true | {each.format('max(inf)')}"
    )
    assert "20000" in other.refused(f"select * from procore_record where true | {each.format('max(20000)')}")


def test_an_acknowledged_write_is_found_at_once_and_a_removed_one_no_more(vespa_url: str) -> None:
    index = Index(vespa_url)
    for round in range(5):
        index.put("procore_record", "1", {"content_text": f"zebra{round}"})
        assert index.ids(f"content_text contains 'zebra{round}'") == ["1"]
        assert index.ids(f"content_text contains 'zebra{round - 1}'") == []
    request = urllib.request.Request(
        f"{vespa_url}/document/v1/{index.source}/procore_record/docid/1", method="DELETE"
    )
    urllib.request.urlopen(request).close()
    assert index.ids("content_text contains 'zebra4'") == []


def test_summaries_and_selected_fields_shape_the_hit(index: Index) -> None:
    where = f"where source contains '{index.source}' and doc_id contains 'rfis:1'"
    _, root = index.query(f"select * from procore_record {where}")
    fields = root["children"][0]["fields"]
    assert (fields["sddocname"], fields["documentid"]) == (
        "procore_record",
        f"id:{index.source}:procore_record::rfis:1",
    )
    assert fields["metadata"]["status"] == "closed"
    _, root = index.query(f"select doc_id, nothing_here from procore_record {where}")
    assert "nothing_here" in root["errors"][0]["message"]
    _, root = index.query(f"select doc_id, documentid from procore_record {where}")
    assert set(root["children"][0]["fields"]) == {"doc_id", "documentid"}
    _, root = index.query(f"select * from procore_record {where}", **{"presentation.summary": "ids"})
    hit = root["children"][0]
    assert set(hit["fields"]) == {"sddocname", "doc_id", "updated_at"}
    assert hit["id"].startswith("index:procore_content/0/")


def test_all_types_are_searched_and_merged_unless_restricted(index: Index) -> None:
    yql = f"select * from sources * where source contains '{index.source}' and default contains 'pump'"
    _, root = index.query(yql)
    assert {hit["fields"]["sddocname"] for hit in root["children"]} == {"procore_record", "procore_file"}
    relevances = [hit["relevance"] for hit in root["children"]]
    assert relevances == sorted(relevances, reverse=True)
    _, root = index.query(yql, **{"model.restrict": "procore_file"})
    assert [hit["fields"]["sddocname"] for hit in root["children"]] == ["procore_file"]
    _, root = index.query(f"{yql} order by read_seq desc limit 0 | all(group(source) each(output(count())))")
    assert root["children"][0]["children"][0]["children"][0]["fields"] == {"count()": 2}


def test_get_and_plain_query_parameters_work_too(index: Index) -> None:
    text = urllib.parse.urlencode({"query": f"source:{index.source} pump", "type": "all", "hits": 1})
    status, body = _request(index.url, f"/search/?{text}")
    assert (status, body["root"]["fields"]["totalCount"]) == (200, 2)
    assert body["root"]["coverage"]["full"] is True


@pytest.mark.parametrize(
    ("yql", "parameters", "said"),
    [
        ("select * from sources * where nope contains 'x'", {}, "Field 'nope' does not exist"),
        ("select * from nope where true", {}, "nope"),
        ("select * from sources * where url contains 'x'", {}, "url"),
        ("select * from sources * where relationships.source_column contains 'x'", {}, "source_column"),
        ("select * from sources * where metadata contains 'x'", {}, "metadata"),
        ("select * from sources * where source_id > 3", {}, "source_id"),
        ("select * from sources * where project_id contains 'abc'", {}, "abc"),
        ("select * from sources * where content_text contains ({prefix:true}'a')", {}, "prefix"),
        ("select * from sources * where true order by content_text", {}, "content_text"),
        ("select * from sources * where true order by nope", {}, "nope"),
        ("select * from sources * where true | all(group(metadata) each(output(count())))", {}, "metadata"),
        ("select * from sources * where true | all(group(source) each(output(sum(doc_id))))", {}, "doc_id"),
        ("select * from sources * where true", {"ranking": "nope"}, "nope"),
        ("select * from sources * where true", {"presentation.summary": "nope"}, "nope"),
        ("select * from sources * where true", {"hits": 401}, "401"),
        ("select * from sources * where true", {"offset": 1001}, "1001"),
        ("select * from sources * where true limit 500", {}, "500"),
        ("select * from sources * where true", {"model.restrict": "nope"}, "nope"),
        ("select * from sources * where true", {"select": {"where": {}}, "select.where": "x"}, "select"),
        ("select * from sources * where true", {"filter": "+x"}, "filter"),
        ("select * from sources * where true", {"format": "xml"}, "xml"),
        ("select * from sources * where true", {"timeout": "soon"}, "soon"),
        ("select * from sources * where true", {"grouping.globalMaxGroups": -1}, "query profile"),
        ("select * from sources * where true", {"timezone": "Europe/Berlin"}, "time zone"),
        ("select * from sources * where true", {"sorting": "+uca(doc_id)"}, "sorting"),
        ("", {}, "Null query"),
    ],
)
def test_an_error_names_its_cause_and_answers_400(
    index: Index, yql: str, parameters: dict[str, Any], said: str
) -> None:
    assert said in index.refused(yql, **parameters)
