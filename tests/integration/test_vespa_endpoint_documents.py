"""/document/v1 of the local endpoint: bodies, status codes, ids, values, conditions, visits.

Each promise is one of Vespa's (https://docs.vespa.ai/en/reference/api/document-v1.html and
…/schemas/document-json-format.html).
"""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

Answer = tuple[int, dict[str, Any]]


class Client:
    """One HTTP/1.1 connection that sends paths exactly as given."""

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = namespace
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)

    def send(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **parameters: Any
    ) -> Answer:
        headers = {"Content-Type": "application/json"}
        content = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        if content is not None and content[:2] == b"\x1f\x8b":
            headers["Content-Encoding"] = "gzip"
        target = path + ("?" + urlencode(parameters) if parameters else "")
        self._http.request(method, target, content, headers)
        response = self._http.getresponse()
        return response.status, json.loads(response.read() or b"{}")

    def path(self, user: str, type_name: str = "procore_record") -> str:
        return f"/document/v1/{self.namespace}/{type_name}/docid/{user}"

    def put(self, user: str, fields: dict[str, Any], **parameters: Any) -> Answer:
        return self.send("POST", self.path(user), {"fields": fields}, **parameters)

    def fields(self, user: str) -> dict[str, Any] | None:
        status, body = self.send("GET", self.path(user))
        assert status in (200, 404)
        found: dict[str, Any] | None = body.get("fields")
        return found

    def update(self, user: str, operations: dict[str, Any], **parameters: Any) -> Answer:
        return self.send("PUT", self.path(user), {"fields": operations}, **parameters)

    def visit(self, **parameters: Any) -> Answer:
        return self.send("GET", self.path(""), cluster="procore_content", **parameters)


@pytest.fixture
def client(vespa_url: str, namespace: str) -> Client:
    return Client(vespa_url, namespace)


def test_a_put_is_read_back_with_path_and_id(client: Client) -> None:
    fields = {"source_table": "rfis", "project_id": 7, "metadata": {"a": "", "b": "ü"}}
    path, id = client.path("rfis%3A1"), f"id:{client.namespace}:procore_record::rfis:1"
    assert client.put("rfis%3A1", fields) == (200, {"pathId": path, "id": id})
    assert client.send("GET", path) == (200, {"pathId": path, "id": id, "fields": fields})
    assert client.send("DELETE", path) == (200, {"pathId": path, "id": id})
    assert client.send("GET", path) == (404, {"pathId": path, "id": id})
    assert client.send("DELETE", path)[0] == 200


def test_a_get_with_a_field_set_holds_only_those_fields(client: Client) -> None:
    client.put("1", {"source_table": "rfis", "project_id": 7})
    path = client.path("1")
    assert client.send("GET", path, fieldSet="procore_record:project_id")[1]["fields"] == {"project_id": 7}
    assert client.send("GET", path, fieldSet="[id]")[1]["fields"] == {}
    assert client.send("GET", path, fieldSet="nope")[0] == 400


@pytest.mark.parametrize(
    ("sent", "user"),
    [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%2fb/", "a/b"),
        ("a+b%20c%2B", "a b c+"),
        ("%C3%A9%23%3F%25", "é#?%"),
        ("a:b::c", "a:b::c"),
        ("~~x._-", "~~x._-"),
    ],
)
def test_ids_are_decoded_part_by_part_from_the_raw_path(client: Client, sent: str, user: str) -> None:
    status, body = client.put(sent, {"source_id": user})
    assert (status, body["id"]) == (200, f"id:{client.namespace}:procore_record::{user}")
    assert body["pathId"] == client.path(sent)
    assert client.fields(quote(user, safe="")) == {"source_id": user}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/document/v1/n/procore_record/docid/a/../b", 400, ".."),
        ("/document/v1/n/procore_record/docid/a//b", 400, 'cannot be ""'),
        ("/document/v1//procore_record/docid/b", 400, 'cannot be ""'),
        ("/document/v1/n/procore_record/docid/%2E", 400, "path segments"),
        ("/document/v1/n/procore_record/docid/%zz", 400, "%"),
        ("/document/v1/n/procore_record/docid/%01", 400, "illegal code point 0x1"),
        ("/document/v1/n:x/procore_record/docid/1", 400, "namespace"),
        ("/document/v1/n/music/docid/1", 400, "Document type music does not exist"),
        ("/document/v1/n/music/docid/", 400, "no document type 'music' in cluster 'procore_content'"),
        ("/document/v1/n/procore_record/group/g/1", 400, "group"),
        ("/document/v1/n/procore_record", 404, "Available paths"),
        ("/document/v1/n/procore_record/nope/1", 404, "Available paths"),
        ("/nope", 404, "Nothing at"),
    ],
)
def test_a_path_that_names_no_document_is_refused(client: Client, path: str, status: int, said: str) -> None:
    answer, body = client.send("GET", path)
    assert answer == status
    assert said in body["message"]


def test_an_unknown_method_names_the_allowed_ones(client: Client) -> None:
    status, body = client.send("PATCH", client.path("1"))
    assert status == 405
    assert "Allowed methods are: GET, POST, PUT, DELETE" in body["message"]
    assert client.send("OPTIONS", client.path("1"))[0] == 204


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        ("source_id", "5", "5"),
        ("source_id", "1.50", "1.50"),
        ("source_id", "123456789012345678901234567890", "123456789012345678901234567890"),
        ("source_id", "true", "true"),
        ("project_id", '"5"', 5),
        ("project_id", '"-9223372036854775808"', -(2**63)),
        ("key_bucket", "2147483647", 2**31 - 1),
        ("source_id", "null", None),
        ("source_id", '""', None),
        ("metadata", "{}", None),
        ("relationships", "[]", None),
        (
            "metadata",
            '{"a": null, "b": 1, "c": 1.10, "d": ""}',
            {"a": "null", "b": "1", "c": "1.10", "d": ""},
        ),
        ("relationships", '[{"target_id": 5, "relation": null}]', [{"target_id": "5"}]),
        ("source_id", '"tab\\t nl\\n \\u007f \\ufde0 \\ud83d\\ude00"', "tab\t nl\n \x7f \ufde0 😀"),
    ],
)
def test_a_value_is_parsed_by_the_type_of_its_field(
    client: Client, field: str, sent: str, stored: Any
) -> None:
    raw = b'{"fields": {"read_seq": 1, "%s": %s}}' % (field.encode(), sent.encode())
    assert client.send("POST", client.path("v"), raw=raw)[0] == 200
    assert (client.fields("v") or {}).get(field) == stored


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"fields": {"nope": 1}}', "No field 'nope'"),
        ('{"fields": {"project_id": "abc"}}', "abc"),
        ('{"fields": {"project_id": 1.5}}', "1.5"),
        ('{"fields": {"project_id": true}}', "true"),
        ('{"fields": {"project_id": ""}}', "could not parse field 'project_id' of type 'long'"),
        ('{"fields": {"project_id": 9223372036854775808}}', "9223372036854775808"),
        ('{"fields": {"key_bucket": 2147483648}}', "2147483648"),
        ('{"fields": {"project_id": [1]}}', "array"),
        ('{"fields": {"source_id": {}}}', "object"),
        ('{"fields": {"metadata": ["a"]}}', "Expected start of JSON object, got VALUE_STRING"),
        ('{"fields": {"metadata": [{"key": "a"}]}}', "Missing key or value"),
        ('{"fields": {"metadata": {"a": {}}}}', "metadata"),
        ('{"fields": {"relationships": {"relation": "x"}}}', "array"),
        ('{"fields": {"relationships": [null]}}', "null"),
        ('{"fields": {"relationships": [{"nope": 1}]}}', "No field 'nope'"),
        ('{"fields": {"source_id": "a\\u0000"}}', "illegal code point 0x0"),
        ('{"fields": {"source_id": "\ufdd0"}}', "illegal code point 0xFDD0"),
        ('{"fields": {"source_id": "\U0001fffe"}}', "illegal code point 0x1FFFE"),
        ('{"fields": {"metadata": {"a\\u0001": "b"}}}', "illegal code point 0x1"),
        ('{"fields": {"relationships": [{"relation": "\\ufffe"}]}}', "illegal code point 0xFFFE"),
        ('{"fields": {"source_id": "\\ud800"}}', "failed parsing document"),
        ('{"fields": {"project_id": NaN}}', "failed parsing document"),
        ('{"fields": 1}', "VALUE_NUMBER_INT"),
        ('{"fields": null}', "VALUE_NULL"),
        ("{}", 'missing the required "fields" field'),
        ("[]", "expected start of root object, got START_ARRAY"),
        ("{", "failed parsing document"),
        ("", "expected start of root object, got null"),
        ('{"fields": {}}{"fields": {}}', "failed parsing document"),
        ('{"fields": {}, "condition": 1}', "expected string value for condition, got VALUE_NUMBER_INT"),
        ('{"fields": {}, "create": "true"}', "(VALUE_STRING) not of boolean type"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused_and_not_stored(client: Client, body: str, said: str) -> None:
    status, answer = client.send("POST", client.path("r"), raw=body.encode())
    assert status == 400
    assert said in answer["message"]
    assert answer["pathId"] == client.path("r")
    assert client.fields("r") is None


def test_members_of_a_body_that_mean_nothing_are_not_looked_at(client: Client) -> None:
    """JsonReader.readSingleDocumentStreaming skips what it does not know, at any depth."""
    body = {"put": "id:x:y::z", "nope": [{"deep": 1}], "fields": {"source_id": "a"}, "create": True}
    assert client.send("POST", client.path("1"), body)[0] == 200
    assert client.fields("1") == {"source_id": "a"}


def test_a_map_may_be_a_list_of_keys_and_values(client: Client) -> None:
    """MapReader.fillMapFromArray: the older form."""
    client.put("1", {"metadata": [{"key": "a", "value": 1}, {"value": "y", "key": "b"}]})
    assert client.fields("1") == {"metadata": {"a": "1", "b": "y"}}


def test_a_put_replaces_the_whole_document(client: Client) -> None:
    client.put("1", {"source_table": "rfis", "content_text": "old"})
    client.put("1", {"source_table": "photos"})
    assert client.fields("1") == {"source_table": "photos"}


def test_a_condition_decides_over_the_stored_document(client: Client) -> None:
    newer: dict[str, Any] = {"condition": "procore_record.read_seq < 5"}
    status, body = client.put("1", {"read_seq": 5}, **newer)
    assert (status, body["message"].count("Document does not exist")) == (412, 1)
    assert client.put("1", {"read_seq": 5}, create="true", **newer)[0] == 200
    status, body = client.put("1", {"read_seq": 4}, create="true", **newer)
    assert (status, body["id"]) == (412, f"id:{client.namespace}:procore_record::1")
    assert "Condition did not match" in body["message"]
    assert client.fields("1") == {"read_seq": 5}
    assert client.send("DELETE", client.path("1"), **newer)[0] == 412
    assert client.put("1", {"read_seq": 6}, condition="procore_record.read_seq < 6")[0] == 200
    assert client.send("DELETE", client.path("1"), condition="procore_record.read_seq < 7")[0] == 200
    assert client.put("1", {}, condition="nonsense")[0] == 400
    assert client.put("1", {}, condition=" ")[0] == 400
    body_guard = {"fields": {"read_seq": 1}, "condition": "false"}
    assert client.send("POST", client.path("1"), body_guard)[0] == 412


def test_updates_change_fields_elements_and_entries(client: Client) -> None:
    relations = [{"relation": "project", "target_id": "1"}, {"relation": "owner", "target_id": "2"}]
    client.put(
        "1", {"project_id": 1, "source_id": "x", "metadata": {"a": "1", "b": "2"}, "relationships": relations}
    )
    operations = {
        "project_id": {"increment": 4},
        "source_id": {"assign": None},
        "source_table": {"assign": 12.50},
        "metadata{c}": {"assign": "3"},
        "metadata{b}": {"remove": 0},
        "relationships": {"add": [{"relation": "late"}]},
        "relationships[1].target_id": {"assign": "9"},
        "relationships[7]": {"assign": {"relation": "beyond"}},
    }
    assert client.update("1", operations)[0] == 200
    assert client.fields("1") == {
        "project_id": 5,
        "source_table": "12.5",
        "metadata": {"a": "1", "c": "3"},
        "relationships": [relations[0], {"relation": "owner", "target_id": "9"}, {"relation": "late"}],
    }
    assert client.update("1", {"metadata": {"match": {"element": "a", "assign": "7"}}})[0] == 200
    operations = {
        "relationships[2]": {"remove": 0},
        "relationships[1].target_id": {"remove": 0},
        "relationships[9]": {"remove": 0},
    }
    assert client.update("1", operations)[0] == 200
    assert (client.fields("1") or {})["relationships"] == [relations[0], {"relation": "owner"}]
    assert client.update("1", {"relationships": {"remove": [{"relation": "owner"}]}})[0] == 200
    assert (client.fields("1") or {})["relationships"] == [relations[0]]
    assert client.update("1", {"metadata{c}": {"remove": 0}, "relationships": {"assign": []}})[0] == 200
    assert client.fields("1") == {"project_id": 5, "source_table": "12.5", "metadata": {"a": "7"}}


def test_an_update_of_a_missing_document_changes_nothing_unless_it_may_create(client: Client) -> None:
    assert client.update("1", {"project_id": {"assign": 3}})[0] == 200
    assert client.fields("1") is None
    assert client.update("1", {"project_id": {"assign": 3}}, create="true")[0] == 200
    assert client.fields("1") == {"project_id": 3}


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ({"project_id": 3}, "Expected start of JSON object, got VALUE_NUMBER_INT"),
        ({"project_id": {"frobnicate": 3}}, "Operation 'frobnicate' not implemented."),
        ({"project_id": {"increment": "x"}}, 'For input string: "x"'),
        ({"project_id": {"increment": True}}, "For input string"),
        ({"project_id": {"increment": "NaN"}}, "NaN"),
        ({"metadata": {"remove": {"a": 0}}}, "Trying to add or remove"),
        ({"metadata": {"add": {"a": "b"}}}, "Trying to add or remove"),
        ({"metadata": {"match": 5}}, "Expected object for match update"),
        ({"relationships": {"add": {"relation": "x"}}}, "START_OBJECT"),
        ({"relationships": {"match": {"element": "x", "assign": {}}}}, 'For input string: "x"'),
        ({"relationships[0]": {"remove": {}}}, "START_OBJECT"),
        ({"metadata{a}": {"assign": None}}, "null"),
        ({"project_id": {"assign": "x"}}, "x"),
        ({"project_id": {"add": [1]}}, "add"),
        ({"source_id": {"increment": 1}}, "increment"),
        ({"nope": {"assign": 1}}, "nope"),
        ({"relationships[0].nope": {"assign": "x"}}, "nope"),
        ({"metadata[0]": {"assign": "x"}}, "metadata"),
        ({"metadata{a}": {"increment": 1}}, "Field path update type 'increment' not supported."),
        ({"source_id": {"assign": "\x00"}}, "illegal code point"),
    ],
)
def test_an_update_that_does_not_fit_is_refused(
    client: Client, operations: dict[str, Any], said: str
) -> None:
    client.put("1", {"project_id": 1})
    status, body = client.update("1", operations)
    assert status == 400
    assert said in body["message"]
    assert client.fields("1") == {"project_id": 1}


def test_gzip_is_unpacked_and_a_bomb_is_413(client: Client) -> None:
    raw = gzip.compress(b'{"fields": {"project_id": 1}}')
    assert client.send("POST", client.path("1"), raw=raw)[0] == 200
    assert client.send("POST", client.path("1"), raw=raw[:-4])[0] == 400
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    head = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = head + 100 * block  # every block unpacks by itself
    status, body = client.send("POST", client.path("1"), raw=bomb)
    assert (status, "104857600" in body["message"]) == (413, True)


def test_a_refused_body_is_read_to_its_end_so_that_the_connection_lasts(client: Client) -> None:
    for _ in range(5):
        assert client.send("POST", client.path("1", "music"), raw=b" " * 300_000)[0] == 400
        assert client.send("PATCH", client.path("1"), raw=b" " * 300_000)[0] == 405
        assert client.put("1", {"source_id": "x"})[0] == 200


def test_a_dry_run_answers_and_changes_nothing(client: Client) -> None:
    assert client.put("1", {"project_id": 1}, dryRun="true")[0] == 200
    assert client.fields("1") is None


def _fill(client: Client) -> None:
    for i in range(12):
        client.put(f"t:{i}", {"source_table": "a" if i % 3 else "b", "key_bucket": i % 2, "row_digest": i})


def _pages(client: Client, **parameters: Any) -> list[str]:
    found: list[str] = []
    while True:
        status, body = client.visit(**parameters)
        assert status == 200, body
        assert body["documentCount"] == len(body["documents"])
        found += [item["id"].rpartition("::")[2] for item in body["documents"]]
        if "continuation" not in body:
            return found
        parameters["continuation"] = body["continuation"]


def test_a_visit_follows_its_continuation_to_every_document(client: Client) -> None:
    _fill(client)
    everything = {f"t:{i}" for i in range(12)}
    assert sorted(_pages(client)) == sorted(everything)
    assert sorted(_pages(client, wantedDocumentCount=5, fieldSet="[id]")) == sorted(everything)
    sliced = [_pages(client, slices=3, sliceId=i, wantedDocumentCount=2) for i in range(3)]
    assert sorted(user for part in sliced for user in part) == sorted(everything)
    assert all(len(part) < 12 for part in sliced)
    assert sorted(_pages(client, stream="true")) == sorted(everything)


def test_a_visit_selects_by_table_bucket_and_whatever_else(client: Client) -> None:
    _fill(client)
    select = 'procore_record.source_table == "a"'
    assert len(_pages(client, selection=select, wantedDocumentCount=100)) == 8
    assert _pages(client, selection=f"{select} and procore_record.key_bucket == 0") == [
        "t:2",
        "t:4",
        "t:8",
        "t:10",
    ]
    assert _pages(client, selection=f'{select} and id.specific == "t:4"') == ["t:4"]
    assert _pages(client, selection='procore_record.source_table == "A"') == []
    _, body = client.visit(
        selection="procore_record.row_digest == 5", fieldSet="procore_record:row_digest,key_bucket"
    )
    assert [item["fields"] for item in body["documents"]] == [{"key_bucket": 1, "row_digest": 5}]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"selection": "nonsense"}, "nonsense"),
        ({"wantedDocumentCount": "0"}, "wantedDocumentCount must be positive"),
        ({"wantedDocumentCount": "x"}, "wantedDocumentCount"),
        ({"slices": "2"}, "sliceId"),
        ({"slices": "2", "sliceId": "2"}, "sliceId"),
        ({"continuation": "rubbish"}, "continuation"),
        ({"fieldSet": "[nope]"}, "[nope]"),
        ({"bucketSpace": "nope"}, "nope"),
        ({"timeout": "soon"}, "soon"),
        ({"includeRemoves": "true"}, "includeRemoves"),
    ],
)
def test_a_visit_with_a_bad_parameter_is_refused_by_name(
    client: Client, parameters: dict[str, str], said: str
) -> None:
    status, body = client.visit(**parameters)
    assert status == 400
    assert said in body["message"]


def test_an_unknown_cluster_is_refused_with_the_name_of_ours(client: Client) -> None:
    status, body = client.send("GET", "/document/v1/", cluster="*")
    assert status == 400
    assert "no content cluster '*', only 'procore_content'" in body["message"]
    assert client.send("GET", "/document/v1/")[0] == 400
    status, body = client.send("GET", "/document/v1/", cluster="procore_content", bucketSpace="global")
    assert (status, body["documentCount"]) == (200, 0)


def test_documents_are_copied_to_the_only_cluster_as_they_are(client: Client) -> None:
    _fill(client)
    only: dict[str, Any] = {"selection": 'procore_record.source_table == "b"', "cluster": "procore_content"}
    for parameters, said in (
        (only, "Must specify 'destinationCluster'"),
        ({**only, "destinationCluster": "x"}, "no content cluster 'x'"),
        ({"destinationCluster": "procore_content"}, "Must specify 'selection'"),
    ):
        status, body = client.send("POST", client.path(""), **parameters)
        assert status == 400
        assert said in body["message"]
    status, body = client.send("POST", client.path(""), **only, destinationCluster="procore_content")
    assert (status, body["documentCount"], len(_pages(client))) == (200, 4, 12)


def test_documents_of_a_selection_are_updated_and_removed(client: Client) -> None:
    _fill(client)
    only: dict[str, Any] = {"selection": 'procore_record.source_table == "b"', "cluster": "procore_content"}
    status, body = client.send("PUT", client.path(""), {"fields": {"project_id": {"assign": 5}}}, **only)
    assert (status, body["documentCount"]) == (200, 4)
    assert len(_pages(client, selection="procore_record.project_id == 5")) == 4
    assert client.send("DELETE", client.path(""), **only)[1]["documentCount"] == 4
    assert len(_pages(client)) == 8
    assert client.send("DELETE", client.path(""), selection="true")[0] == 400
    assert client.send("DELETE", client.path(""), cluster="procore_content")[0] == 400
    assert client.send("DELETE", client.path(""), wantedDocumentCount=3, **only)[0] == 400


def test_namespaces_and_types_are_kept_apart(client: Client) -> None:
    client.put("1", {"source_table": "a"})
    client.send("POST", client.path("1", "procore_file"), {"fields": {"filename": "a.pdf"}})
    client.send(
        "POST", f"/document/v1/{client.namespace}x/procore_record/docid/1", {"fields": {"project_id": 1}}
    )
    assert client.fields("1") == {"source_table": "a"}
    assert _pages(client) == ["1"]


def test_health_status_and_handlers_answer_as_the_clients_expect(client: Client) -> None:
    assert client.send("GET", "/state/v1/health")[1]["status"]["code"] == "up"
    assert client.send("GET", "/ApplicationStatus")[0] == 200
    handlers = client.send("GET", "/")[1]["handlers"]
    assert any("/document/v1/" in binding for item in handlers for binding in item["serverBindings"])
