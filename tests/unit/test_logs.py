"""A log line says one fact, whatever it holds, with its job and table, for people and for programs."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ingestion import events, logs
from ingestion.events import Counts, Event, FileCounts

JOB: dict[str, Any] = {"job_id": "20261123-101500-a1b2"}
TABLE: dict[str, Any] = {**JOB, "table": 'odd "na\nme'}
EVENTS: list[Event] = [
    events.JobStarted(**JOB, kind="full"),
    events.TableStarted(**TABLE, rows=3, method="key pages"),
    events.BatchCommitted(**TABLE, counts=Counts(read=3, indexed=2, failed=1)),
    events.RecordFailed(**TABLE, key="7", stage="index", cause="vespa_refused", message="no\nfield `v`"),
    events.FilesCommitted(**TABLE, files=FileCounts(found=2, downloaded=2)),
    events.FileFinished(**TABLE, key="7", filename="a b.pdf", status="failed", cause="http_404"),
    events.BytesArrived(**JOB, size_bytes=5, seconds=1.0, under_way=2, filename="a b.pdf"),
    events.TableFinished(**TABLE, status="partial", counts=Counts(read=3, indexed=2, failed=1), message="m"),
    events.Backoff(**JOB, service="vespa", reason="429", wait_s=1.5),
    events.Backoff(**JOB, service="vespa", reason="", wait_s=0),
    events.LoadMeasured(**JOB, requests=5, limit=24, latency_p50_s=0.004, latency_p95_s=0.02),
    events.JobPaused(**JOB),
    events.JobResumed(**JOB),
    events.Noted(**TABLE, level="warning", message="comparing every row"),
    events.JobFinished(**JOB, status="completed", counts=Counts(read=3), seconds=1.25),
]


def record_of(event: Event) -> logging.LogRecord:
    caught: list[logging.LogRecord] = []
    log = logging.Logger("procore_ingest")
    log.handle = caught.append  # type: ignore[method-assign]
    logs.write(log, event)
    return caught[0]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_is_one_line_with_its_job_and_table(event: Event) -> None:
    record = record_of(event)
    line = logs.formatter("json").format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert said["job"] == event.job_id
    assert said["event"] == events.event_name(event)
    assert said.get("table") == getattr(event, "table", None)
    assert {"time", "level", "logger", "message"} <= set(said)
    text = logs.formatter("text").format(record)
    assert "\n" not in text
    assert f"job={event.job_id}" in text


def test_every_event_type_has_its_line() -> None:
    assert {type(event) for event in EVENTS} == set(events._TYPES.values())


def test_counts_and_failures_stand_in_members_of_their_own() -> None:
    batch = json.loads(logs.formatter("json").format(record_of(EVENTS[2])))
    assert (batch["read"], batch["indexed"], batch["failed"]) == (3, 2, 1)
    failed = logs.formatter("text").format(record_of(EVENTS[3]))
    assert "WARNING procore_ingest record failed: no\\nfield `v`" in failed
    assert 'table="odd \\"na\\nme" key=7 stage=index cause=vespa_refused' in failed
