"""What Vespa's documentation promises, asked of the local endpoint or, unchanged, of a real Vespa.

    VESPA_URL=http://localhost:8080 python -m pytest tests/integration/test_vespa_conf*

needs our application package deployed there (`procore-ingest vespa deploy`). Every case names the page of
https://docs.vespa.ai/en/ or the test in vespa-engine/vespa that it comes from; only what that says is asserted,
and no wording of messages but where Vespa's own test asserts it.
Documents go to a namespace of their own and are removed at the end.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from conformance import (
    CLUSTER,
    FORMAT,
    GUIDE,
    READER_TEST,
    REAL_VESPA,
    RECORD,
    SELECTOR,
    V1,
    V1_TEST,
    Body,
    Vespa,
    page,
    removed_after,
)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> str:
    url: str = REAL_VESPA or request.getfixturevalue("vespa_url")
    return url


@pytest.fixture
def vespa(server: str) -> Iterator[Vespa]:
    yield from removed_after(Vespa(server, f"c{uuid.uuid4().hex[:10]}"))


# ------------------------------------------------------------------ documents


@dataclass(frozen=True, slots=True)
class Step:
    """A request and what must come back: the status, and these members of the body."""

    method: str
    user: str
    body: Any = None
    parameters: Body = field(default_factory=dict)
    status: int = 200
    answer: Body = field(default_factory=dict)
    absent: tuple[str, ...] = ()


def put(user: str, fields: Body, status: int = 200, **parameters: Any) -> Step:
    return Step("POST", user, {"fields": fields}, parameters, status)


def update(user: str, fields: Body, status: int = 200, **parameters: Any) -> Step:
    return Step("PUT", user, {"fields": fields}, parameters, status)


def remove(user: str, status: int = 200, **parameters: Any) -> Step:
    return Step("DELETE", user, None, parameters, status)


def holds(user: str, fields: Body, **parameters: Any) -> Step:
    return Step("GET", user, None, parameters, 200, {"fields": fields})


def missing(user: str) -> Step:
    return Step("GET", user, status=404, absent=("fields",))


LINK = {"relation": "project", "target_table": "projects", "target_id": "7", "source_column": "project_id"}
OTHER = {**LINK, "target_id": "8"}

DOCUMENTS: list[tuple[str, str, list[Step]]] = [
    (V1, "put, get, remove", [put("1", {"source_table": "a"}), holds("1", {"source_table": "a"}), remove("1"),
                              missing("1")]),
    (V1, "a put replaces the document", [put("1", {"source_table": "a", "project_id": 7}),
                                         put("1", {"source_id": "b"}), holds("1", {"source_id": "b"})]),
    (V1, "an id in the body is dropped", [
        Step("POST", "1", {"put": "id:other:other::2", "fields": {"source_table": "a"}}),
        holds("1", {"source_table": "a"})]),
    (V1, "removing what is not there is 200", [remove("none")]),
    (V1, "updating what is not there is 200 and creates nothing", [
        update("none", {"source_table": {"assign": "a"}}), missing("none")]),
    (V1, "fieldSet", [put("1", {"source_table": "a", "project_id": 7}),
                      holds("1", {"project_id": 7}, fieldSet=f"{RECORD}:project_id"),
                      holds("1", {"source_table": "a", "project_id": 7}, fieldSet="[document]")]),
    (V1, "timeout with a unit", [put("1", {}, timeout="5000ms"), put("1", {}, timeout="5s")]),
    (V1, "an unknown field is 400", [put("1", {"no_such_field": 1}, 400), missing("1")]),
    (V1, "a wrong value is 400", [put("1", {"project_id": "seven"}, 400), missing("1")]),
    (V1, "a body that is no JSON object is 400", [Step("POST", "1", [1], status=400)]),
    (V1, "another method is 405", [Step("PATCH", "1", {}, status=405)]),
    (V1, "a condition that does not hold is 412", [
        put("1", {"read_seq": 5}), put("1", {"read_seq": 6}, 412, condition=f"{RECORD}.read_seq < 5"),
        holds("1", {"read_seq": 5}), put("1", {"read_seq": 6}, condition=f"{RECORD}.read_seq < 6"),
        remove("1", 412, condition=f"{RECORD}.read_seq < 6"), holds("1", {"read_seq": 6}),
        remove("1", condition=f"{RECORD}.read_seq == 6"), missing("1")]),
    (V1, "a condition on what is not there is 412", [
        put("1", {}, 412, condition="true"), update("1", {}, 412, condition="true"),
        remove("1", 412, condition="true"), missing("1")]),
    (V1, "a condition that cannot be read is 400", [put("1", {}, 400, condition="read_seq <"), missing("1")]),
    (GUIDE, "create with a condition applies where the document is missing", [
        put("1", {"read_seq": 5}, condition=f"{RECORD}.read_seq < 5", create="true"),
        holds("1", {"read_seq": 5}),
        put("1", {"read_seq": 4}, 412, condition=f"{RECORD}.read_seq < 4", create="true"),
        holds("1", {"read_seq": 5})]),
    (GUIDE, "an update may create", [update("1", {"source_table": {"assign": "a"}}, create="true"),
                                     holds("1", {"source_table": "a"})]),
    (FORMAT, "condition and create in the body", [
        Step("POST", "1", {"condition": f"{RECORD}.read_seq < 5", "create": True, "fields": {"read_seq": 5}}),
        Step("POST", "1", {"condition": f"{RECORD}.read_seq < 5", "fields": {"read_seq": 9}}, status=412),
        holds("1", {"read_seq": 5})]),
    (FORMAT, "string, int, long, array, map and struct are read back", [
        put("1", fields := {"source_table": "ü \U0001f600", "key_bucket": -7, "project_id": 2**62,
                            "metadata": {"a": "b", "c": "d"}, "relationships": [LINK, OTHER]}),
        holds("1", fields)]),
    (FORMAT, "empty values are as no value", [
        put("1", {"source_table": "", "metadata": {}, "relationships": [], "source_id": "x"}),
        holds("1", {"source_id": "x"})]),
    (FORMAT, "assign replaces, and clears with null", [
        put("1", {"source_table": "a", "project_id": 7, "metadata": {"a": "b"}}),
        update("1", {"source_table": {"assign": "b"}, "project_id": {"assign": None},
                     "metadata": {"assign": {"c": "d"}}}),
        holds("1", {"source_table": "b", "metadata": {"c": "d"}})]),
    (FORMAT, "assign, and remove, one entry of a map", [
        put("1", {"metadata": {"a": "b", "c": "d"}}),
        update("1", {"metadata{a}": {"assign": "B"}, "metadata{e}": {"assign": "f"},
                     "metadata{c}": {"remove": 0}}),
        holds("1", {"metadata": {"a": "B", "e": "f"}})]),
    (FORMAT, "assign one element of an array, or one member of it", [
        put("1", {"relationships": [LINK, OTHER]}),
        update("1", {"relationships[0]": {"assign": OTHER}, "relationships[1].target_id": {"assign": "9"}}),
        holds("1", {"relationships": [OTHER, {**OTHER, "target_id": "9"}]})]),
    (FORMAT, "match addresses an element", [
        put("1", {"relationships": [LINK]}),
        update("1", {"relationships": {"match": {"element": 0, "assign": OTHER}}}),
        holds("1", {"relationships": [OTHER]})]),
    (FORMAT, "add appends to an array", [
        put("1", {"relationships": [LINK]}), update("1", {"relationships": {"add": [OTHER]}}),
        holds("1", {"relationships": [LINK, OTHER]})]),
    (FORMAT, "arithmetic", [
        put("1", {"project_id": 10}), update("1", {"project_id": {"increment": 5}}),
        update("1", {"project_id": {"decrement": 3}}), update("1", {"project_id": {"multiply": 4}}),
        update("1", {"project_id": {"divide": 8}}), holds("1", {"project_id": 6})]),
    (f"{FORMAT}#remove", "an element of an array, or a member of it, is removed by its path", [
        put("1", {"relationships": [LINK, OTHER]}),
        update("1", {"relationships[0]": {"remove": 0}}), holds("1", {"relationships": [OTHER]}),
        update("1", {"relationships[0].source_column": {"remove": 0}}),
        holds("1", {"relationships": [{k: v for k, v in OTHER.items() if k != "source_column"}]})]),
    (f"{FORMAT}#remove", "remove takes equal elements out of an array", [
        put("1", {"relationships": [LINK, OTHER, LINK]}), update("1", {"relationships": {"remove": [LINK]}}),
        holds("1", {"relationships": [OTHER]})]),
    (READER_TEST, "a null field is as if it were not there", [
        put("1", {"source_table": None, "project_id": None, "metadata": None, "source_id": "x"}),
        holds("1", {"source_id": "x"})]),
    (READER_TEST, "a null in an array is 400", [put("1", {"relationships": [None]}, 400), missing("1")]),
    (READER_TEST, "a map may be a list of keys and values", [
        put("1", {"metadata": [{"key": "a", "value": "b"}, {"key": "c", "value": "d"}]}),
        holds("1", {"metadata": {"a": "b", "c": "d"}})]),
    (READER_TEST, "numbers and booleans are text in a string field, digits in quotes a number", [
        put("1", {"source_table": 5, "source_id": True, "project_id": "-7"}),
        holds("1", {"source_table": "5", "source_id": "true", "project_id": -7})]),
    (READER_TEST, "a number out of range, a fraction and an empty text are no long", [
        put("1", {"project_id": 2**63}, 400), put("1", {"key_bucket": 2**31}, 400),
        put("1", {"project_id": 1.5}, 400), put("1", {"project_id": ""}, 400), missing("1")]),
    (READER_TEST, "members that mean nothing are skipped", [
        Step("POST", "1", {"nope": [{"deep": {"er": 1}}], "fields": {"source_id": "x"}, "other": None}),
        holds("1", {"source_id": "x"})]),
    (READER_TEST, "a body without fields is 400", [Step("POST", "1", {}, status=400),
                                                  Step("PUT", "1", {"nope": 1}, status=400), missing("1")]),
    (READER_TEST, "create in a body is a boolean", [
        Step("POST", "1", {"create": "true", "fields": {}}, status=400), missing("1")]),
    (V1_TEST, "slashes in an id need no encoding", [
        put("one/two/three", {"source_id": "x"}), Step("GET", "one%2Ftwo/three", answer={"id": "one/two/three"})]),
    (V1_TEST, "an empty parameter is 400", [Step("DELETE", "1", None, {"route": ""}, 400)]),
    (V1_TEST, "another content cluster is 400", [Step("GET", "1", None, {"cluster": "throw-me"}, 400)]),
    (V1_TEST, "a timeout may have an exponent", [put("1", {}, timeout="1e1s")]),
    (FORMAT, "an unknown update operation is 400", [update("1", {"project_id": {"replace": 5}}, 400)]),
    (GUIDE, "reserved characters of an id are percent-encoded", [
        put("a%2Fb%20c%3Fd%23%25", {"source_id": "x"}), holds("a%2Fb%20c%3Fd%23%25", {"source_id": "x"}),
        Step("GET", "a%2Fb%20c%3Fd%23%25", answer={"id": "a/b c?d#%"})]),
    ("schemas/documents.html", "an id may hold colons and any letter", [
        put("rfis:1:%C3%A9", {"source_id": "x"}), Step("GET", "rfis:1:%C3%A9", answer={"id": "rfis:1:é"})]),
    ("reference/schemas/schemas.html", "text with a character that is none is 400", [
        put("1", {"source_table": "a\u0001b"}, 400), put("1", {"source_table": "a\ufdd0b"}, 400),
        put("1", {"source_table": "tab\tnew\nline"}), holds("1", {"source_table": "tab\tnew\nline"})]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("page", "steps"), [pytest.param(p, s, id=f"{p}: {name}") for p, name, s in DOCUMENTS]
)
def test_document_operations_do_what_the_page_says(vespa: Vespa, page: str, steps: list[Step]) -> None:
    for step in steps:
        path = vespa.path(step.user)
        status, answer = vespa.send(step.method, path, step.body, **step.parameters)
        assert status == step.status, (step, answer)
        assert answer["pathId"] == path
        assert ("message" in answer) == (status >= 400 and status != 404), answer
        for name, value in step.answer.items():
            expected = f"id:{vespa.namespace}:{RECORD}::{value}" if name == "id" else value
            assert answer[name] == expected
        assert not set(step.absent) & set(answer)


@page(V1_TEST)
def test_messages_that_vespas_own_test_asserts(vespa: Vespa, page: str) -> None:
    root, documents, one = "/document/v1/", vespa.path(""), vespa.path("1")
    everything: Body = {"selection": "true"}
    for method, path, parameters, status, message in (
        ("DELETE", root, {}, 400, f"Must specify 'selection' at '{root}'"),
        ("DELETE", root, everything, 400, f"Must specify 'cluster' at '{root}'"),
        ("PUT", documents, everything, 400, f"Must specify 'cluster' at '{documents}'"),
        ("PUT", documents, {"cluster": CLUSTER}, 400, f"Must specify 'selection' at '{documents}'"),
        ("POST", documents, {}, 400, f"Must specify 'destinationCluster' at '{documents}'"),
        ("DELETE", one, {"route": ""}, 400, "Expected non-empty value for request property 'route'"),
        (
            "PATCH",
            one,
            {},
            405,
            f"'PATCH' not allowed at '{one}'. Allowed methods are: GET, POST, PUT, DELETE",
        ),
    ):
        assert vespa.send(method, path, None, **parameters) == (status, {"pathId": path, "message": message})
    status, answer = vespa.send("GET", "/document/v1/not-found")
    assert (status, answer["pathId"]) == (404, "/document/v1/not-found")
    assert answer["message"].startswith(
        "Nothing at '/document/v1/not-found'. Available paths are:\n/document/v1/\n"
    )
    assert vespa.send("OPTIONS", one) == (204, {})
    status, answer = vespa.send("POST", vespa.path("1", "house"), {"fields": {}})
    assert (status, answer["message"]) == (400, "Document type house does not exist")


@page("HttpURLTest")
@pytest.mark.parametrize("path", ["a//b", "a/../b", "%2E", "..", "a/%2e%2e/b"])
def test_a_path_with_an_empty_or_a_dotted_segment_is_400(vespa: Vespa, path: str, page: str) -> None:
    assert vespa.send("GET", vespa.path(path))[0] == 400


@page(f"{V1}#http-status-codes")
def test_a_document_type_that_is_not_there_is_400(vespa: Vespa, page: str) -> None:
    for method, body in (("GET", None), ("POST", {"fields": {}}), ("DELETE", None)):
        status, answer = vespa.send(method, vespa.path("1", "no_such_type"), body)
        assert (status, "message" in answer) == (400, True)


# --------------------------------------------------------------------- visits


@pytest.fixture
def filled(vespa: Vespa) -> Vespa:
    for number in range(12):
        table = "rfis" if number % 3 else "photos"
        vespa.put(
            f"{table}:{number}",
            {
                "source_table": table,
                "project_id": number,
                "metadata": {"state": "open" if number % 2 else "closed"},
            },
        )
    return vespa


@page(f"{V1}#continuation")
def test_a_visit_finds_every_document_once_over_its_continuations(filled: Vespa, page: str) -> None:
    everything = filled.users()
    assert len(everything) == len(set(everything)) == 12
    assert filled.users(wantedDocumentCount=3) == everything
    assert filled.users(stream="true") == everything
    assert filled.users(concurrency=4) == everything


@page(f"{V1}#json-lines")
def test_a_stream_may_come_as_lines_of_json(filled: Vespa, page: str) -> None:
    for accept in ("application/jsonl", "application/json, application/jsonl"):
        kind, body = filled.read(filled.path(""), accept, cluster=CLUSTER, stream="true")
        assert kind.partition(";")[0] == "application/jsonl"
        lines = [json.loads(line) for line in body.splitlines()]
        puts = [line["put"].rpartition("::")[2] for line in lines if "put" in line]
        assert sorted(puts) == filled.users()
        assert all("fields" in line for line in lines if "put" in line)
        assert {"sessionStats": {"documentCount": 12}} in lines
        assert lines[-1] == {"continuation": {"percentFinished": 100.0}}
    for accept, parameters in (
        ("application/json", {"stream": "true"}),
        ("application/json, application/jsonl;q=0.5", {"stream": "true"}),
        ("application/jsonl", {}),
    ):
        kind, body = filled.read(filled.path(""), accept, cluster=CLUSTER, **parameters)
        assert kind.partition(";")[0] == "application/json"
        assert "documents" in json.loads(body)


@page(f"{V1}#json-lines")
def test_lines_of_json_continue_where_they_ended(filled: Vespa, page: str) -> None:
    found: list[str] = []
    more: Body = {}
    while True:
        _, body = filled.read(
            filled.path(""),
            "application/jsonl",
            cluster=CLUSTER,
            stream="true",
            wantedDocumentCount=5,
            **more,
        )
        lines = [json.loads(line) for line in body.splitlines()]
        found += [line["put"].rpartition("::")[2] for line in lines if "put" in line]
        if "token" not in lines[-1]["continuation"]:
            break
        more = {"continuation": lines[-1]["continuation"]["token"]}
    assert sorted(found) == filled.users()


@page("reference/api/state-v1.html")
def test_a_node_tells_its_state(vespa: Vespa, page: str) -> None:
    _, health = vespa.send("GET", "/state/v1/health")
    assert health["status"]["code"] == "up"
    _, metrics = vespa.send("GET", "/state/v1/metrics")
    assert metrics["status"]["code"] == "up"
    assert isinstance(metrics["metrics"]["values"], list)
    assert "version" in vespa.send("GET", "/state/v1/version")[1]
    assert vespa.send("GET", "/state/v1/config")[0] == 200
    urls = [resource["url"] for resource in vespa.send("GET", "/state/v1/")[1]["resources"]]
    assert {url.rpartition("/")[2] for url in urls} >= {"config", "health", "metrics", "version"}


@page("reference/api/metrics-v2.html")
def test_metrics_are_listed_by_node_and_service(vespa: Vespa, page: str) -> None:
    status, answer = vespa.send("GET", "/metrics/v2/values")
    assert status == 200
    assert all({"hostname", "services"} <= set(node) for node in answer["nodes"])


@page(f"{V1}#slices")
def test_slices_share_the_documents_among_them(filled: Vespa, page: str) -> None:
    slices = [filled.users(slices=3, sliceId=number) for number in range(3)]
    assert sorted(user for found in slices for user in found) == filled.users()


@page(f"{V1}#fieldset")
def test_a_visit_fetches_the_fields_it_names(filled: Vespa, page: str) -> None:
    assert all(not document.get("fields") for document in filled.visit(fieldSet="[id]"))
    documents = filled.visit(fieldSet=f"{RECORD}:project_id")
    assert sorted(document["fields"]["project_id"] for document in documents) == list(range(12))
    assert all(set(document["fields"]) == {"project_id"} for document in documents)


@pytest.mark.parametrize(
    ("page", "selection", "expected"),
    [
        (SELECTOR, f"{RECORD}", 12),
        (SELECTOR, "true", 12),
        (SELECTOR, f'{RECORD}.source_table == "photos"', 4),
        (SELECTOR, f'{RECORD}.source_table == "PHOTOS"', 0),
        (SELECTOR, f'{RECORD}.source_table != "photos" and {RECORD}.project_id > 8', 2),
        (SELECTOR, f"{RECORD}.project_id < 2 or not ({RECORD}.project_id <= 9)", 4),
        (SELECTOR, f'{RECORD}.source_table = "ph*s"', 4),
        (SELECTOR, f'{RECORD}.source_table =~ "^r.i"', 8),
        (SELECTOR, f'{RECORD}.metadata{{state}} == "open"', 6),
        (SELECTOR, f"{RECORD}.updated_at == null", 12),
        (SELECTOR, f"{RECORD}.project_id % 3 == 0", 4),
        (SELECTOR, f"{RECORD}.project_id * 2 + 1 > 20", 2),
        (SELECTOR, f"{RECORD}.project_id < now() - 3600", 12),
        (SELECTOR, 'id.specific == "rfis:1"', 1),
        (SELECTOR, 'id = "id:*:*::photos:*"', 4),
    ],
)
def test_a_selection_chooses_documents(filled: Vespa, page: str, selection: str, expected: int) -> None:
    assert len(filled.users(selection=selection)) == expected


@page(f"{V1}#delete-where")
def test_documents_of_a_selection_are_removed_and_updated(filled: Vespa, page: str) -> None:
    where = {"cluster": CLUSTER, "selection": f'{RECORD}.source_table == "photos"'}
    body = {"fields": {"source_id": {"assign": "seen"}}}
    assert filled.send("PUT", filled.path(""), body, **where)[0] == 200
    assert len(filled.users(selection=f'{RECORD}.source_id == "seen"')) == 4
    assert filled.send("DELETE", filled.path(""), **where)[0] == 200
    assert len(filled.users()) == 8


@pytest.mark.parametrize(
    ("page", "method", "parameters"),
    [
        (f"{V1}#cluster", "GET", {"cluster": "no_such_cluster"}),
        ("schemas/documents.html#fieldsets", "GET", {"fieldSet": "project_id"}),
        ("schemas/documents.html#fieldsets", "GET", {"fieldSet": f"{RECORD}:no_such_field"}),
        ("schemas/documents.html#fieldsets", "GET", {"fieldSet": "no_such_type:project_id"}),
        ("schemas/documents.html#fieldsets", "GET", {"fieldSet": "[everything]"}),
        (f"{V1}#selection", "GET", {"selection": f"{RECORD}.source_table =="}),
        (f"{V1}#sliceid", "GET", {"slices": 3, "sliceId": 3}),
        (f"{V1}#sliceid", "GET", {"slices": 3}),
        (f"{V1}#continuation", "GET", {"continuation": "nonsense"}),
        (f"{V1}#delete-where", "DELETE", {"cluster": CLUSTER}),
        (f"{V1}#delete-where", "DELETE", {"selection": "true"}),
    ],
)
def test_a_visit_with_a_wrong_parameter_is_400(
    vespa: Vespa, page: str, method: str, parameters: Body
) -> None:
    status, answer = vespa.send(method, vespa.path(""), **parameters)
    assert (status, "message" in answer) == (400, True)


@page(f"{V1}#visit")
def test_a_visit_of_everything_needs_a_cluster(vespa: Vespa, page: str) -> None:
    assert vespa.send("GET", "/document/v1/")[0] == 400
    assert vespa.send("GET", "/document/v1/", cluster=CLUSTER, wantedDocumentCount=1)[0] == 200
