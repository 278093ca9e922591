"""The main job through the command line, its outcome counted on both sides by the test itself."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import command_world
import pytest
from command_world import TYPES, CommandLine
from conftest import PASSWORD, SEED, SmallSample

from app.application import IngestApp
from ingestion import settings
from ingestion.sandbox import file_store, sample
from ingestion.schema_discovery import SchemaMap
from ingestion.service import IngestService
from tests.tui.driving import Driver, drive

COUNTS = {"read", "indexed", "failed", "skipped", "warned"}
JOB_KEYS = {"job_id", "status", "kind", "seconds", "tables", "totals", "files"}
FAILURE_KEYS = {
    "id", "job_id", "table", "key", "stage", "cause", "message", "attempts", "first_at", "last_at", "status",
}  # fmt: skip
VERIFY_KEYS = {
    "table", "source", "indexed", "failed", "skipped", "pending", "missing", "extra", "different",
    "missing_ids", "extra_ids", "different_ids", "truncated", "message",
}  # fmt: skip
CHECKPOINT_KEYS = {
    "table_name", "last_sync_timestamp", "last_record_id", "records_processed", "records_failed",
    "sync_status", "error_message", "updated_at",
}  # fmt: skip
SIGNATURE = re.compile(r"[?&]sig=([^&\"\\\s<>]+)")
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(slots=True)
class World:
    """A small sample, ingested in full with its files; shared, so nothing in it is changed for good."""

    run: CommandLine
    url: str
    vespa_url: str
    namespace: str
    manifest: list[sample.ManifestLine]
    report: Any

    def documents(self, doc_type: str = "procore_record") -> dict[str, dict[str, Any]]:
        return command_world.visit(self.vespa_url, self.namespace, doc_type)

    def planted(self, verdict: str) -> list[sample.ManifestLine]:
        """What rows owe; files have their own lines."""
        return [
            line
            for line in self.manifest
            if line.expect.partition(":")[0] == verdict and not line.kind.startswith("file_")
        ]

    def failures(self, *flags: str) -> list[dict[str, Any]]:
        listed = self.run("failures", "list", "--json", "--limit", "10000", *flags).json
        assert listed["total"] == len(listed["items"])
        found: list[dict[str, Any]] = listed["items"]
        return found


@pytest.fixture(scope="module")
def world(
    small_sample: SmallSample, vespa_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    database, namespace = small_sample.copy(), "mainjob"
    files = file_store.start()
    url = small_sample.url(database)
    try:
        run = command_world.make(
            tmp_path_factory.mktemp("commands"), url, vespa_url, namespace,
            **command_world.with_files(files.url),
        )  # fmt: skip
        first = run("ingest", "--full", "--download-files", "--json")
        assert first.code == 3, first.err
        yield World(run, url, vespa_url, namespace, small_sample.manifest, first.json)
    finally:
        files.stop()
        small_sample.server.drop_database(database)


def test_every_row_of_every_table_is_indexed_failed_or_skipped(world: World) -> None:
    rows = command_world.row_counts(world.url)
    indexed = Counter(fields["source_table"] for fields in world.documents().values())
    assert len(rows) == 49
    assert {table["table"]: table["read"] for table in world.report["tables"]} == rows
    for table in world.report["tables"]:
        assert table["read"] == table["indexed"] + table["failed"] + table["skipped"], table
        assert table["indexed"] == indexed[table["table"]], table
    assert world.report["totals"] == {
        name: sum(t[name] for t in world.report["tables"]) for name in sorted(COUNTS)
    }
    assert world.report["status"] == "partial"


def test_what_failed_or_was_skipped_is_exactly_what_the_sample_plants(world: World) -> None:
    failed = Counter((f["table"], f["key"] or None, f["cause"]) for f in world.failures("--records"))
    assert failed == Counter(
        (line.table, line.id, line.expect.partition(":")[2]) for line in world.planted("failed")
    )
    skipped = {t["table"]: t["skipped"] for t in world.report["tables"] if t["skipped"]}
    assert skipped == Counter(line.table for line in world.planted("skipped"))
    warned = {(f["table"], f["key"]) for f in world.failures("--warnings") if f["cause"] != "identical_copy"}
    assert warned == {(line.table, line.id) for line in world.planted("warned")}
    assert Counter(f["cause"] for f in world.failures("--files")) == sample.predicted_files(world.manifest)


def test_every_file_is_settled_and_its_document_says_how(world: World) -> None:
    counts = world.report["files"]
    assert counts["found"] == counts["downloaded"] + counts["failed"] + counts["skipped"]
    documents = world.documents("procore_file").values()
    statuses = Counter(fields["status"] for fields in documents)
    assert statuses["downloaded"] == counts["downloaded"] > 50
    assert statuses["failed"] == counts["failed"] == len(world.failures("--files"))
    assert all(
        fields["checksum"] and fields["size"] for fields in documents if fields["status"] == "downloaded"
    )
    records = world.documents()
    for fields in documents:
        for doc_id in fields["record_doc_ids"]:
            assert f"id:{world.namespace}:procore_record::{doc_id}" in records


def test_a_second_full_run_loses_nothing_and_doubles_nothing(world: World) -> None:
    def content() -> dict[str, Any]:
        passing = ("read_seq", "ingested_at")
        return {
            doc_id: {name: value for name, value in fields.items() if name not in passing}
            for doc_type in TYPES[:2]
            for doc_id, fields in world.documents(doc_type).items()
        }

    before, failures = content(), len(world.failures())
    again = world.run("ingest", "--full", "--json").json
    assert again["tables"] == world.report["tables"]
    assert content() == before
    assert len(world.failures()) == failures


def test_json_has_the_promised_keys(world: World) -> None:
    run = world.run
    assert set(world.report) == JOB_KEYS
    assert {frozenset(t) for t in world.report["tables"]} == {frozenset(COUNTS | {"table"})}
    assert set(world.report["files"]) == {"found", "downloaded", "failed", "skipped"}
    page = run("failures", "list", "--json", "--limit", "3").json
    assert set(page) == {"total", "items", "next"}
    assert {frozenset(item) for item in page["items"]} == {frozenset(FAILURE_KEYS)}
    assert all(ISO.fullmatch(item["first_at"]) for item in page["items"])
    following = run("failures", "list", "--json", "--limit", "3", "--after", str(page["next"])).json
    assert min(i["id"] for i in following["items"]) > max(i["id"] for i in page["items"])
    for listing in (run("checkpoints", "list", "--json"), run("sync", "--status", "--json")):
        assert set(listing.json) == {"items"}
        assert {frozenset(item) for item in listing.json["items"]} == {frozenset(CHECKPOINT_KEYS)}
        assert all(ISO.fullmatch(item["last_sync_timestamp"]) for item in listing.json["items"])
    jobs = run("jobs", "list", "--json").json["items"]
    mine = next(job for job in jobs if job["id"] == world.report["job_id"])
    assert {"id", "kind", "plan", "status", "created_at", "started_at", "finished_at", "message"} <= set(mine)
    assert all(ISO.fullmatch(mine[name]) for name in ("created_at", "started_at", "finished_at"))
    shown = run("jobs", "show", world.report["job_id"], "--json").json
    metrics = shown.pop("metrics")
    assert metrics["rows_per_s"] > 0
    assert metrics["operations"] >= world.report["totals"]["indexed"]
    assert 0 < metrics["latency_p50_ms"] <= metrics["latency_p95_ms"] <= metrics["latency_p99_ms"]
    assert {k: v for k, v in shown.items() if k != "seconds"} == {
        k: v for k, v in world.report.items() if k != "seconds"
    }
    error = run("show", "rfis:0", "--json").json
    assert set(error) == {"error"}
    assert set(error["error"]) == {"code", "message", "hint"}


def test_search_finds_and_show_follows_relations(world: World) -> None:
    document = next(
        fields for fields in world.documents().values() if len(fields.get("relationships", ())) > 1
    )
    text = world.run("show", document["doc_id"]).out
    for relation in document["relationships"]:
        assert f"{relation['target_table']}:{relation['target_id']}" in text
    shown = world.run("show", document["doc_id"], "--json").json
    assert shown["doc_id"] == document["doc_id"]
    assert shown["metadata"] == document["metadata"]
    word = next(w for w in re.findall(r"[A-Za-z]{5,}", document["content_text"]))
    page = world.run("search", word, "--table", document["source_table"], "--limit", "400", "--json").json
    assert set(page) == {"total", "hits"}
    assert {frozenset(h) for h in page["hits"]} == {
        frozenset({"doc_id", "source_table", "source_id", "relevance", "snippet"})
    }
    assert document["doc_id"] in {hit["doc_id"] for hit in page["hits"]}
    assert {hit["source_table"] for hit in page["hits"]} == {document["source_table"]}
    assert world.run("show", f"schema:{document['source_table']}", "--json").json["columns"]


def test_verify_finds_both_sides_equal(world: World) -> None:
    counted = {
        t["table"]: (t["read"], t["indexed"], t["failed"], t["skipped"]) for t in world.report["tables"]
    }
    for flags, names in (((), set(counted)), (("--deep", "--tables", "dr*,photos"), {"photos"})):
        ran = world.run("verify", "--json", *flags)
        assert ran.code == 0, ran.out
        report = ran.json
        assert set(report) == {"equal", "deep", "repaired", "tables"}
        assert report["equal"] is True
        assert {frozenset(table) for table in report["tables"]} == {frozenset(VERIFY_KEYS)}
        compared = {
            t["table"]: (t["source"], t["indexed"], t["failed"], t["skipped"]) for t in report["tables"]
        }
        assert names <= set(compared)
        assert compared.items() <= counted.items()


@pytest.fixture(scope="module")
def explained(world: World) -> SchemaMap:
    """The schema with all that discovery can say, as its files in both formats hold it."""
    flags = ("--include-samples", "--include-stats", "--format", "both", "--output", "schema")
    assert world.run("discover", *flags).code == 0
    return SchemaMap.from_json((world.run.folder / "schema.json").read_text())


def test_discover_writes_every_format_and_json_reads_back(world: World, explained: SchemaMap) -> None:
    assert "## " in (world.run.folder / "schema.md").read_text()
    assert len(explained.tables) == 49
    assert any(table.samples for table in explained.tables)
    assert world.run("discover", "--format", "mermaid").out.startswith("erDiagram")
    assert [t["name"] for t in world.run("discover", "--json").json["tables"]] == [
        t.name for t in explained.tables
    ]


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(world: World) -> None:
    before = world.documents()
    asked = world.run("ingest", "--full", "--dry-run", "--tables", "rfis,api_*", "--json").json
    assert {t["table"] for t in asked["estimate"]["tables"]} == {"rfis", "api_credentials"}
    assert "[masked]" in json.dumps(asked["documents"]["api_credentials"])
    text = world.run("ingest", "--full", "--dry-run", "--tables", "rfis,inspections").out
    (row,) = [line.split() for line in text.splitlines() if line.startswith("rfis ")]
    rows = next(t["rows"] for t in asked["estimate"]["tables"] if t["table"] == "rfis")
    assert row[1] == row[3] == f"{rows:,}"
    assert "nothing was written" in text
    assert json.loads(text.partition("its first row as a document\n")[2]) == asked["documents"]["rfis"]
    assert "inspections: no row that could be shown as a document" in text
    assert world.documents() == before


def test_doctor_finds_all_in_order(world: World) -> None:
    ran = world.run("doctor", "--json")
    assert ran.code == 0, ran.out
    checks = {check["name"]: check["state"] for check in ran.json["checks"]}
    assert "problem" not in checks.values()
    assert {"state: folder", "source: connection", "source: rights", "source: clock", "vespa: schema"} <= set(
        checks
    )


async def test_no_screen_shows_a_secret(world: World) -> None:
    rows = await asyncio.to_thread(command_world.all_text, world.url)
    secrets = {*sample.planted_secrets(SEED), sample.SECRET_PREFIX, *SIGNATURE.findall(rows)}
    service = IngestService(settings.load(environment=world.run.environment, folder=world.run.folder))
    async with drive(IngestApp(service, screen="schema"), service, (240, 60)) as driver:
        seen = [shown async for shown in _walk(driver)]
    await service.aclose()
    assert any("api_credentials" in text for text in seen)
    assert any("REDACTED" in text for text in seen)
    assert any("[masked]" in text for text in seen)
    for text in seen:
        assert not [secret for secret in secrets if secret in text]
        assert not _signatures(text)


async def _walk(driver: Driver) -> AsyncIterator[str]:
    """What is painted: samples and previews of rows with secrets, failures of files, hits."""
    await driver.schema_loaded()
    for table in ("api_credentials", "photos", "webhook_hooks"):
        driver.app.open_table(table)
        for _ in range(4):
            await driver.press("right_square_bracket")
            await driver.settle()
            yield driver.text()
        await driver.press("v")
        await driver.settle()
        yield driver.text()
        await driver.press("escape")
    await driver.press("7")
    await driver.settle()
    for keys in (("down", "enter"), ("tab", "enter")):
        await driver.press(*keys)
        await driver.settle()
        yield driver.text()
    await driver.press("8", *"token", "enter")
    await driver.settle()
    yield driver.text()


def test_no_picture_shows_a_secret() -> None:
    pictures = sorted((command_world.ROOT / "screenshots").glob("*.svg"))
    assert pictures
    for picture in pictures:
        text = html.unescape(picture.read_text(encoding="utf-8"))
        assert sample.SECRET_PREFIX not in text, picture.name
        assert not _signatures(text), picture.name


def _signatures(text: str) -> list[str]:
    """Those that a screen shows, be it only their beginning."""
    return [found for found in SIGNATURE.findall(text) if not "REDACTED".startswith(found.rstrip("…."))]


def test_no_secret_reaches_any_output(world: World, explained: SchemaMap) -> None:
    run, exports = world.run, world.run.folder / "exports"
    exports.mkdir(exist_ok=True)
    assert explained.table("api_credentials").samples
    expired = next(f for f in world.failures("--files") if f["cause"] == "expired_url")
    run("failures", "export", "--output", str(exports / "all.jsonl"))
    run("failures", "export", "--output", str(exports / "all.csv"))
    run("failures", "export", "--files")
    run("failures", "show", str(expired["id"]))
    run("failures", "retry", "--id", str(expired["id"]), "--log-level", "debug")
    run(
        "show",
        next(f["doc_id"] for f in world.documents().values() if f["source_table"] == "api_credentials"),
    )
    run("search", "token", "--json")
    run("ingest", "--incremental", "--tables", "photos", "--progress", "jsonl", "--log-level", "debug")
    run("vespa", "package", "--output", str(exports / "package"))
    run("jobs", "list")
    run("doctor")
    run("discover", DATABASE_URL="", PROCORE_DATABASE_URL=f"postgresql://u:{PASSWORD}@127.0.0.1:1/x")
    rows = command_world.all_text(world.url)
    signatures = set(SIGNATURE.findall(rows))
    assert len(signatures) > 50
    secrets = {*sample.planted_secrets(SEED), sample.SECRET_PREFIX, PASSWORD, *signatures}
    assert any(secret in rows for secret in sample.planted_secrets(SEED))
    places = {f"printed {n}": text.encode() for n, text in enumerate(run.printed)}
    places |= {t: json.dumps(list(world.documents(t).items())).encode() for t in TYPES}
    places |= {
        str(p): p.read_bytes() for p in run.folder.rglob("*") if p.is_file() and "files" not in p.parts
    }
    assert any(name.endswith("state.db") for name in places)
    assert any(name.endswith(".log") for name in places)
    for where, text in places.items():
        for secret in secrets:
            assert secret.encode() not in text, (where, secret)
