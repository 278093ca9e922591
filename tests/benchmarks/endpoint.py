"""The local Vespa endpoint: acknowledged puts a second, what they cost, and whether all of them are there.

    python -m tests.benchmarks.endpoint [--seconds 60] [--clients 1] [--in-flight 48] [--bytes 700] [--protocols]

An endpoint on an empty folder is fed by our own feeder with conditional puts, from as many processes as asked for,
on the same machine. Then every acknowledged document is counted by a query, the endpoint is killed with SIGKILL,
started again on its folder, and counted once more. `--protocols` feeds a few thousand documents besides by each
way that clients have: our transport, pyvespa over HTTP/1.1 and HTTP/2, `vespa feed`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from vespa.application import Vespa

from ingestion.sandbox.vespa_endpoint import process
from ingestion.transform import document_ids
from ingestion.vespa import client, queries
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation
from tests.benchmarks.feed import _vespa

BATCH = 1000
PROTOCOL_DOCUMENTS = 5000
_WORDS = (
    *("concrete", "steel", "beam", "pump", "valve", "damper", "wall", "gate"),
    *("crane", "footing", "slab", "drain", "duct", "panel", "survey", "level"),
)


@dataclass(frozen=True, slots=True)
class Fed:
    """What one client saw."""

    acknowledged: int
    seconds: float
    cpu_s: float
    p50_s: float
    p95_s: float


def fields(number: int, size: int) -> dict[str, Any]:
    """A document of some `size` bytes as JSON, its words and keys spread over tables and buckets."""
    key = str(number)
    content: dict[str, Any] = {
        "doc_id": f"t{number % 50}:{key}",
        "source_table": f"t{number % 50}",
        "source_id": key,
        "project_id": number % 97,
        "updated_at": 1_700_000_000_000 + number,
        "row_digest": number * 7919,
        "key_bucket": document_ids.key_bucket(key),
        "metadata": {"status": _WORDS[number % 16], "number": key},
        "relationships": [{"relation": "project", "target_table": "projects", "target_id": str(number % 97),
                           "source_column": "project_id"}],
    }  # fmt: skip
    missing = max(0, size - len(json.dumps(content)) - 40)
    words = [_WORDS[(number * 31 + i * i) % 16] for i in range(missing // 5)]
    return {**content, "content_text": " ".join(words)[:missing]}


def feed(url: str, first: int, step: int, seconds: float, in_flight: int, size: int) -> Fed:
    """Feed for so long, numbers `first`, `first + step`, …"""
    return asyncio.run(_feed(url, first, step, seconds, in_flight, size))


async def _feed(url: str, first: int, step: int, seconds: float, in_flight: int, size: int) -> Fed:
    number, acknowledged = first, 0
    async with client.VespaSession(
        client.build(url), namespace="bench", max_connections=in_flight
    ) as session:
        feeder = Feeder(session, max_in_flight=in_flight)
        started, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            batch = []
            for _ in range(BATCH):
                user = f"t{number % 50}:{number}"
                batch.append(Operation("put", client.RECORD, user, 1, fields(number, size)))
                number += step
            outcomes = await feeder.feed(batch)
            acknowledged += sum(outcome.verdict is Verdict.ACCEPTED for outcome in outcomes)
        elapsed = time.perf_counter() - started
        stats = feeder.stats
    return Fed(acknowledged, elapsed, time.process_time() - cpu, stats.latency_p50_s, stats.latency_p95_s)


async def count(url: str) -> int:
    """How many documents of the benchmark a query finds."""
    async with client.VespaSession(client.build(url), namespace="bench") as session:
        return await queries.count(session, client.RECORD)


def ask(url: str) -> Iterator[tuple[str, float]]:
    """Median seconds of the queries that screens and verification make."""
    asked = {
        "one record by id": {"yql": "select * from procore_record where doc_id contains 't7:7'"},
        "referring records": {
            "yql": "select * from procore_record where relationships contains sameElement("
            "target_table contains 'projects', target_id contains '7')",
            "presentation.summary": "links",
        },
        "a search in a table": {
            "yql": "select * from procore_record where userQuery() and source_table contains 't7'",
            "query": "damper", "ranking": "bm25", "presentation.summary": "lean",
        },
        "sums per bucket of a table": {
            "yql": "select * from procore_record where source_table contains 't7' limit 0 | "
            "all(group(key_bucket) max(5000) each(output(count(), xor(row_digest))))"
        },
        "counts per table": {
            "yql": "select * from procore_record where true limit 0 | "
            "all(group(source_table) max(5000) each(output(count())))"
        },
    }  # fmt: skip
    with httpx.Client(timeout=60) as http:
        for name, parameters in asked.items():
            took = []
            for _ in range(5):
                started = time.perf_counter()
                http.post(f"{url}/search/", json={"timeout": "50s", **parameters}).raise_for_status()
                took.append(time.perf_counter() - started)
            yield name, statistics.median(took)


def protocols(url: str, folder: Path, size: int) -> Iterator[tuple[str, float]]:
    """Documents a second by each way of feeding, new ids each time."""
    documents = [{"id": f"p:{n}", "fields": fields(n, size)} for n in range(PROTOCOL_DOCUMENTS)]
    lines = folder / "lines.jsonl"
    lines.write_text(
        "\n".join(
            json.dumps({"put": f"id:h2cli:{client.RECORD}::{d['id']}", "fields": d["fields"]})
            for d in documents
        )
    )
    app = Vespa(url)

    def timed(name: str, work: Any) -> tuple[str, float]:
        started = time.perf_counter()
        work()
        return name, PROTOCOL_DOCUMENTS / (time.perf_counter() - started)

    where = {"schema": client.RECORD}
    yield timed("ours", lambda: asyncio.run(_feed_once(url, documents)))
    yield timed(
        "pyvespa feed_iterable, HTTP/1.1, 16 workers",
        lambda: app.feed_iterable(documents, namespace="h1", max_workers=16, **where),
    )
    yield timed(
        "pyvespa feed_async_iterable, HTTP/2, one connection",
        lambda: app.feed_async_iterable(documents, namespace="h2", max_workers=48, **where),
    )
    yield timed(
        "vespa feed, HTTP/2, eight connections",
        lambda: subprocess.run([_vespa(), "feed", str(lines), "-t", url], check=True, capture_output=True),
    )


async def _feed_once(url: str, documents: list[dict[str, Any]]) -> None:
    async with client.VespaSession(client.build(url), namespace="ours") as session:
        operations = [Operation("put", client.RECORD, d["id"], 1, d["fields"]) for d in documents]
        await Feeder(session, max_in_flight=48).feed(operations)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=48)
    parser.add_argument("--bytes", type=int, default=700)
    parser.add_argument("--protocols", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        endpoint = process.start(Path(home) / "index")
        try:
            server = psutil.Process(endpoint.pid)
            ready = server.cpu_times()
            print(f"ready after {ready.user + ready.system:.2f} s of work; {os.cpu_count()} cores")
            with ProcessPoolExecutor(arguments.clients) as pool:
                running = [
                    pool.submit(feed, endpoint.url, number, arguments.clients, arguments.seconds,
                                arguments.in_flight // arguments.clients, arguments.bytes)
                    for number in range(arguments.clients)
                ]  # fmt: skip
                done = [future.result() for future in running]
            acknowledged, took = sum(fed.acknowledged for fed in done), max(fed.seconds for fed in done)
            spent, memory = server.cpu_times(), server.memory_info().rss / 2**20
            size = sum(path.stat().st_size for path in Path(home, "index").iterdir()) / 2**20
            print(
                f"{acknowledged:,} acknowledged in {took:.1f} s: {acknowledged / took:,.0f} a second; per 10,000 "
                f"client {sum(f.cpu_s for f in done) / acknowledged * 1e4:.2f} s, "
                f"endpoint {(spent.user + spent.system) / acknowledged * 1e4:.2f} s of work; "
                f"latency {done[0].p50_s * 1000:.1f} ms, 95 % {done[0].p95_s * 1000:.1f} ms; "
                f"{memory:.0f} MiB of memory, {size:.0f} MiB on disk"
            )
            found = asyncio.run(count(endpoint.url))
            print(f"found by a query at once: {found:,}")
            for name, seconds in ask(endpoint.url):
                print(f"  {name}: {seconds * 1000:.1f} ms")
            endpoint.kill()
            endpoint = process.start(Path(home) / "index")
            kept = asyncio.run(count(endpoint.url))
            print(f"found after kill -9 and a new start: {kept:,}")
            if found != acknowledged or kept != acknowledged:
                sys.exit("acknowledged documents are missing")
            if arguments.protocols:
                for name, rate in protocols(endpoint.url, Path(home), arguments.bytes):
                    print(f"  {name}: {rate:,.0f} a second")
        finally:
            endpoint.stop()


if __name__ == "__main__":
    main()
