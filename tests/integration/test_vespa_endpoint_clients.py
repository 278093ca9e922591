"""The endpoint as a process, under Vespa's own clients: pyvespa and the `vespa` command line."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import math
import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import vespacli  # type: ignore[import-untyped]
from vespa.application import Vespa
from vespa.exceptions import VespaError
from vespa.io import VespaResponse

from ingestion import errors
from ingestion.sandbox.vespa_endpoint import process
from ingestion.sandbox.vespa_endpoint.process import EndpointProcess
from ingestion.sandbox.vespa_endpoint.server import check_host, reserve_port

RECORD = "procore_record"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("endpoint")


@pytest.fixture(scope="module")
def endpoint(folder: Path) -> Iterator[EndpointProcess]:
    """An endpoint of this module's own, empty at first."""
    started = process.start(folder)
    yield started
    started.stop()


@pytest.fixture
def app(vespa_url: str) -> Vespa:
    return Vespa(url=vespa_url)


def _documents(count: int, prefix: str = "r") -> list[dict[str, Any]]:
    return [
        {
            "id": f"{prefix}:{i}",
            # Above 1 KiB, so that pyvespa packs it.
            "fields": {
                "source_table": prefix,
                "read_seq": i,
                "content_text": f"text {i} " + "long " * (300 * (i % 2)),
            },
        }
        for i in range(count)
    ]


# ------------------------------------------------------------------- pyvespa


def test_pyvespas_synchronous_calls_work_unchanged(app: Vespa, namespace: str) -> None:
    with app.syncio(connections=1) as session:
        put = session.feed_data_point(
            schema=RECORD, namespace=namespace, data_id="a b/c?", fields={"project_id": 1}
        )
        assert put.is_successful()
        updated = session.update_data(
            schema=RECORD, namespace=namespace, data_id="a b/c?", fields={"project_id": 2}
        )
        assert updated.is_successful()
        found = session.get_data(schema=RECORD, namespace=namespace, data_id="a b/c?")
        assert found.json["fields"] == {"project_id": 2}
        answer = session.query(yql=f"select * from {RECORD} where project_id = 2 limit 1", ranking="unranked")
        assert answer.number_documents_retrieved >= 1
        assert session.delete_data(schema=RECORD, namespace=namespace, data_id="a b/c?").is_successful()
        assert session.get_data(schema=RECORD, namespace=namespace, data_id="a b/c?").status_code == 404
    status = app.get_application_status()  # what wait_for_application_up asks
    assert status is not None
    assert status.status_code == 200


def test_pyvespa_feeds_and_visits_in_bulk(app: Vespa, namespace: str) -> None:
    failed: list[Any] = []

    def check(response: VespaResponse, id: str) -> None:
        if not response.is_successful():
            failed.append((id, response.json))

    app.feed_iterable(_documents(60), schema=RECORD, namespace=namespace, callback=check, max_workers=4)
    app.feed_async_iterable(
        _documents(60, "s"), schema=RECORD, namespace=namespace, callback=check, max_workers=8
    )
    assert failed == []
    seen = [
        document["id"]
        for slice_ in app.visit(
            content_cluster_name="procore_content",
            schema=RECORD,
            namespace=namespace,
            selection=f'{RECORD}.source_table == "r" or {RECORD}.read_seq < 5',
            slices=2,
            wanted_document_count=7,
        )
        for answer in slice_
        for document in answer.documents
    ]
    assert len(seen) == len(set(seen)) == 65
    app.delete_all_docs(content_cluster_name="procore_content", schema=RECORD, namespace=namespace)
    assert _visit_ids(app.url, namespace) == []


async def test_pyvespas_asynchronous_calls_speak_http2_and_work_unchanged(app: Vespa, namespace: str) -> None:
    async with app.asyncio() as session:
        answers = await asyncio.gather(
            *(
                session.feed_data_point(
                    schema=RECORD, namespace=namespace, data_id=item["id"], fields=item["fields"]
                )
                for item in _documents(40)
            )
        )
        assert {answer.status_code for answer in answers} == {200}
        found = await session.get_data(schema=RECORD, namespace=namespace, data_id="r:7")
        assert found.json["fields"]["read_seq"] == 7
        answer = await session.query(
            yql=f"select * from {RECORD} where read_seq = 7 and source_table contains 'r'"
        )
        assert answer.is_successful()
        refused = await session.feed_data_point(
            schema=RECORD, namespace=namespace, data_id="x", fields={"nope": 1}
        )
        assert refused.status_code == 400


def test_pyvespas_calls_without_a_session_work_unchanged(app: Vespa, namespace: str) -> None:
    app.wait_for_application_up(max_wait=5)
    where = {"schema": RECORD, "namespace": namespace}
    fields = {"doc_id": "a:1", "source": namespace, "relationships": [{"target_id": "7"}]}
    assert app.feed_data_point(data_id="a:1", fields=fields, **where).is_successful()
    assert app.update_data(data_id="a:1", fields={"project_id": 3}, **where).is_successful()
    assert app.update_data(data_id="a:2", fields={"project_id": 4}, create=True, **where).is_successful()
    with app.syncio() as session:
        add = {"relationships": {"add": [{"target_id": "8"}]}, "project_id": {"increment": 2}}
        assert session.update_data(data_id="a:1", fields=add, auto_assign=False, **where).is_successful()
    stored = app.get_data(data_id="a:1", **where).json["fields"]
    assert (stored["project_id"], stored["relationships"]) == (5, [{"target_id": "7"}, {"target_id": "8"}])
    assert app.get_data(data_id="none", **where).status_code == 404
    with pytest.raises(VespaError):
        app.feed_data_point(data_id="x", fields={"nope": 1}, **where)
    answer = app.query(
        body={"yql": f"select doc_id from {RECORD} where source contains @mine", "mine": namespace, "hits": 1}
    )
    assert (answer.number_documents_retrieved, answer.hits[0]["fields"]) == (1, {"doc_id": "a:1"})
    assert answer.number_documents_indexed >= 2
    assert app.query(yql=f"select * from {RECORD} where true", profile=True, hits=0).is_successful()
    assert app.delete_data(data_id="a:1", **where).is_successful()
    assert _visit_ids(app.url, namespace) == ["a:2"]


@pytest.mark.parametrize("call", ["feed_iterable", "feed_async_iterable"])
def test_pyvespas_bulk_calls_update_and_delete_too(call: str, app: Vespa, namespace: str) -> None:
    told: dict[str, list[int]] = {}

    def heard(response: VespaResponse, id: str) -> None:
        told.setdefault(response.operation_type, []).append(response.status_code)

    feed = getattr(app, call)
    where = {"schema": RECORD, "namespace": namespace, "callback": heard}
    feed(_documents(30), **where)
    changes = [{"id": f"r:{i}", "fields": {"project_id": i}} for i in range(40)]
    feed(changes, operation_type="update", create=True, **where)
    feed([{"id": f"r:{i}"} for i in range(35)], operation_type="delete", **where)
    assert {name: (len(codes), set(codes)) for name, codes in told.items()} == {
        "feed": (30, {200}),
        "update": (40, {200}),
        "delete": (35, {200}),
    }
    assert sorted(_visit_ids(app.url, namespace)) == [f"r:{i}" for i in range(35, 40)]


async def test_pyvespa_asks_many_queries_at_once(app: Vespa, namespace: str) -> None:
    async with app.asyncio() as session:
        where = {"schema": RECORD, "namespace": namespace}
        for number in range(3):
            fields = {"source": namespace, "doc_id": f"q:{number}", "project_id": number}
            await session.feed_data_point(data_id=f"q:{number}", fields=fields, **where)
        assert (await session.update_data(data_id="q:0", fields={"project_id": 9}, **where)).is_successful()
        assert (await session.delete_data(data_id="q:2", **where)).is_successful()
    yql = f"select doc_id from {RECORD} where source contains '{namespace}' and project_id = "
    answers = await app.query_many_async([{"yql": f"{yql}{number}"} for number in (9, 1, 2, 5)])
    found = [[hit["fields"]["doc_id"] for hit in answer.hits] for answer in answers]
    assert found == [["q:0"], ["q:1"], [], []]


def test_http1_and_cleartext_http2_answer_on_one_port(vespa_url: str) -> None:
    with httpx.Client(http1=False, http2=True) as second, httpx.Client() as first:
        for client, version in ((first, "HTTP/1.1"), (second, "HTTP/2")):
            answer = client.get(f"{vespa_url}/state/v1/health")
            assert (answer.http_version, answer.status_code) == (version, 200)


# ---------------------------------------------------------- vespa command line


def _vespa(tmp_path: Path, url: str, *arguments: str) -> tuple[str, str]:
    """Standard output and error of the official client; its exit status says nothing."""
    system = {"Darwin": "darwin", "Linux": "linux"}[platform.system()]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    (binary,) = Path(vespacli.__file__).parent.glob(f"go-binaries/*_{system}_{machine}/bin/vespa")
    home = {"VESPA_CLI_HOME": str(tmp_path / "home"), "VESPA_CLI_CACHE_DIR": str(tmp_path / "cache")}
    ended = subprocess.run(
        [str(binary), *arguments, "--target", url],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **home, "VESPA_CLI_UPDATE_CHECK": "false"},
        check=False,
    )
    return ended.stdout, ended.stderr


def test_vespa_feed_puts_updates_and_removes_everything(
    vespa_url: str, namespace: str, tmp_path: Path
) -> None:
    lines: list[dict[str, Any]] = [
        {"put": f"id:{namespace}:{RECORD}::{item['id']}", "fields": item["fields"]}
        for item in _documents(400)
    ]
    lines.append({"update": f"id:{namespace}:{RECORD}::r:0", "fields": {"project_id": {"assign": 5}}})
    lines.append({"remove": f"id:{namespace}:{RECORD}::r:1"})
    lines.append(
        {"put": f"id:{namespace}:{RECORD}::a/b:1", "condition": "false", "create": True, "fields": {}}
    )
    lines.append({"put": f"id:{namespace}:{RECORD}::bad", "fields": {"nope": 1}})
    (tmp_path / "feed.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    out, _ = _vespa(tmp_path, vespa_url, "feed", str(tmp_path / "feed.jsonl"))
    told = json.loads(out)
    assert told["feeder.operation.count"] == 404
    assert told["http.response.code.counts"] == {"200": 403, "400": 1}
    assert len(_visit_ids(vespa_url, namespace)) == 400


def test_vespa_document_puts_updates_gets_and_removes(vespa_url: str, namespace: str, tmp_path: Path) -> None:
    id = f"id:{namespace}:{RECORD}::rfis:1"

    def document(*arguments: str) -> tuple[str, str]:
        return _vespa(tmp_path, vespa_url, "document", *arguments)

    def operation(**content: Any) -> str:
        path = tmp_path / "operation.json"
        path.write_text(json.dumps(content))
        return str(path)

    assert "Success" in document("put", operation(put=id, fields={"source_table": "rfis"}))[0]
    assert "Success" in document("update", operation(update=id, fields={"project_id": {"assign": 7}}))[0]
    assert json.loads(document("get", id)[0])["fields"] == {"source_table": "rfis", "project_id": 7}
    only = document("get", "--field-set", f"{RECORD}:project_id", id)[0]
    assert json.loads(only)["fields"] == {"project_id": 7}
    assert "Status 400" in document("put", operation(put=id, fields={"nope": 1}))[1]
    assert "Success" in document("remove", id)[0]
    assert "Status 404" in document("get", id)[1]


def test_vespa_query_visit_and_status_work(vespa_url: str, namespace: str, tmp_path: Path) -> None:
    def vespa(*arguments: str) -> tuple[str, str]:
        return _vespa(tmp_path, vespa_url, *arguments)

    for number in range(4):
        fields = {"source": namespace, "doc_id": f"rfis:{number}", "content_text": "pump"}
        httpx.put(_path(vespa_url, namespace, f"rfis:{number}"), params={"create": "true"},
                  json={"fields": {k: {"assign": v} for k, v in fields.items()}}).raise_for_status()  # fmt: skip
    yql = f"select doc_id from {RECORD} where userQuery() and source contains '{namespace}'"
    root = json.loads(vespa("query", yql, "query=pumps", "hits=3", "ranking=bm25")[0])["root"]
    assert (root["fields"]["totalCount"], len(root["children"])) == (4, 3)
    assert "Field 'nope' does not exist" in vespa("query", "select nope from sources * where true")[1]

    def visited(*arguments: str) -> list[str]:
        mine = ("visit", "--selection", f"id.namespace == '{namespace}'", "--field-set", "[id]")
        return [json.loads(line)["id"][-1] for line in vespa(*mine, *arguments)[0].splitlines()]

    assert sorted(visited()) == ["0", "1", "2", "3"]
    assert sorted(visited("--chunk-count", "2", "--stream")) == ["0", "1", "2", "3"]
    only = vespa("visit", "--selection", f"id.namespace == '{namespace}'", "--field-set", f"{RECORD}:doc_id")[
        0
    ]
    assert sorted(json.loads(line)["fields"]["doc_id"] for line in only.splitlines()) == [
        f"rfis:{number}" for number in range(4)
    ]
    assert "'fromTimestamp' is not supported" in "".join(vespa("visit", "--from", "1"))
    halves = (visited("--slices", "2", "--slice-id", str(half)) for half in range(2))
    assert sorted(user for half in halves for user in half) == ["0", "1", "2", "3"]
    assert "ready" in "".join(vespa("status"))


# ------------------------------------------------------------------- process


def _worked_s(pid: int) -> float:
    """Seconds that the process has computed; on an idle machine it is ready after hardly more."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells what a process computed")
def test_it_is_ready_within_700_ms_of_work(tmp_path: Path) -> None:
    endpoint = process.start(tmp_path)
    worked = _worked_s(endpoint.pid)
    endpoint.stop()
    assert worked < 0.7


def test_it_stops_when_asked_although_connections_are_open(tmp_path: Path) -> None:
    endpoint = process.start(tmp_path)
    with httpx.Client() as kept:
        kept.get(f"{endpoint.url}/state/v1/health")  # its connection stays open, and must not hold up the end
        endpoint.stop(timeout_s=60)
    assert not endpoint.running()
    assert not (tmp_path / "documents.sqlite-wal").exists()  # it ended by itself, and tidied up
    with pytest.raises(httpx.ConnectError):
        httpx.get(endpoint.url)


def test_no_acknowledged_put_is_lost_by_kill_9(tmp_path: Path) -> None:
    endpoint = process.start(tmp_path)
    acknowledged: list[str] = []

    def feed(worker: int) -> None:
        connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"))
        with contextlib.suppress(OSError, http.client.HTTPException):
            for i in range(100_000):
                path = f"/document/v1/n/{RECORD}/docid/{worker}-{i}"
                connection.request("POST", path, json.dumps({"fields": {"content_text": f"w{worker}"}}))
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    acknowledged.append(f"{worker}-{i}")

    threads = [threading.Thread(target=feed, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 300:
        time.sleep(0.001)
    endpoint.kill()
    for thread in threads:
        thread.join()
    again = process.start(tmp_path)
    try:
        kept = set(_visit_ids(again.url, "n"))
        assert set(acknowledged) <= kept
        # At most the four operations in flight are there without having been acknowledged.
        assert len(kept) - len(acknowledged) <= 4
        yql = "select * from procore_record where content_text contains 'w2' limit 0"
        found = httpx.get(f"{again.url}/search/", params={"yql": yql}).json()["root"]["fields"]["totalCount"]
        assert found == sum(id.startswith("2-") for id in kept)
    finally:
        again.kill()


def test_concurrent_writers_of_one_id_leave_the_newest_reading(vespa_url: str, namespace: str) -> None:
    def write(numbers: list[int]) -> None:
        with httpx.Client() as client:
            for number in numbers:
                answer = client.post(
                    _path(vespa_url, namespace, "one"),
                    params={"condition": f"procore_record.read_seq < {number}", "create": "true"},
                    json={"fields": {"read_seq": number}},
                )
                assert answer.status_code in (200, 412)

    threads = [
        threading.Thread(target=write, args=([n for n in range(60, 0, -1) if n % 3 == k],)) for k in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert httpx.get(_path(vespa_url, namespace, "one")).json()["fields"] == {"read_seq": 60}


def test_bm25_is_vespas_formula(endpoint: EndpointProcess) -> None:
    texts = ["pump pump valve", "pump beam", "beam beam beam beam"]
    for number, text in enumerate(texts):
        httpx.post(
            _path(endpoint.url, "n", str(number)), json={"fields": {"content_text": text}}
        ).raise_for_status()
    yql = "select * from procore_record where userInput('pump valve')"
    hits = httpx.get(f"{endpoint.url}/search/", params={"yql": yql, "ranking": "bm25"}).json()["root"][
        "children"
    ]

    def score(text: str) -> float:
        words, total = text.split(), 0.0
        for term in ("pump", "valve"):
            holding = sum(term in other.split() for other in texts)
            idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            count = words.count(term)
            total += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(words) / 3))
        return total

    assert [hit["relevance"] for hit in hits] == pytest.approx([score(texts[0]), score(texts[1])])


def test_one_folder_and_one_port_belong_to_one_endpoint(endpoint: EndpointProcess, folder: Path) -> None:
    with pytest.raises(errors.VespaUnavailable, match="another local Vespa endpoint"):
        process.start(folder)
    port = int(endpoint.url.rpartition(":")[2])
    with pytest.raises(errors.VespaUnavailable, match=f"port {port} is in use"):
        reserve_port("127.0.0.1", port)
    assert httpx.get(f"{endpoint.url}/state/v1/health").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_only_loopback_is_served(host: str) -> None:
    with pytest.raises(errors.SettingsError, match="loopback"):
        check_host(host)


def _path(url: str, namespace: str, user: str) -> str:
    return f"{url}/document/v1/{namespace}/{RECORD}/docid/{user}"


def _visit_ids(url: str, namespace: str) -> list[str]:
    answer = httpx.get(
        _path(url, namespace, ""),
        params={"cluster": "procore_content", "fieldSet": "[id]", "stream": "true"},
        timeout=20,
    ).json()
    return [document["id"].rpartition("::")[2] for document in answer["documents"]]
