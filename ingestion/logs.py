"""Log lines: one per fact, as text or JSON, each with the job and the table that it is about."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ingestion import errors, events
from ingestion.events import Counts, Event
from ingestion.redaction import redact_text
from ingestion.settings import Settings

LOGGER = "procore_ingest"
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LINE = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


class TextLines(logging.Formatter):
    """`2026-11-23T10:15:00.123Z INFO    procore_ingest message job=… table=… read=1000`."""

    def __init__(self) -> None:
        super().__init__(_LINE)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        members = [f"{name}={_shown(value)}" for name, value in members_of(record).items()]
        said = super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")
        return " ".join([said, *members])

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


class JsonLines(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`, and the fact's own members."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **members_of(record),
        }
        if record.exc_info or record.exc_text:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return redact_text(json.dumps(line, default=str, ensure_ascii=False))


def formatter(log_format: str) -> logging.Formatter:
    """Of the setting `log_format`."""
    return JsonLines() if log_format == "json" else TextLines()


def members_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its message."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def secrets(settings: Settings) -> list[str]:
    """The secrets known by value, whatever form they take in a message."""
    from ingestion.postgres import connection_url

    found = [settings.vespa_token, os.environ.get("PGPASSWORD", "")]
    try:
        keywords = connection_url.parse(settings.database_url) if settings.database_url else {}
    except errors.SettingsError:
        keywords = {}  # whoever connects will say so
    return [*found, keywords.get("password", ""), keywords.get("sslpassword", "")]


def write(log: logging.Logger, event: Event) -> None:
    """One line about a stored event."""
    level, message, members = line_of(event)
    if log.isEnabledFor(level):
        table = getattr(event, "table", "")
        about = {
            "event": events.event_name(event),
            "job": event.job_id,
            **({"table": table} if table else {}),
        }
        log.log(level, "%s", message, extra={**about, **members})


def line_of(event: Event) -> tuple[int, str, Mapping[str, Any]]:
    """Level, sentence, and the figures that a machine wants apart."""
    members: dict[str, Any]
    match event:
        case events.JobStarted():
            verb = "resumed" if event.resumed else "started"
            return logging.INFO, f"{event.kind} job {verb}", {"tables": len(event.tables)}
        case events.TableStarted():
            return logging.INFO, f"table started by {event.method or 'reading it'}", {"rows": event.rows}
        case events.BatchCommitted():
            return logging.INFO, "batch committed", _figures(event.counts)
        case events.RecordFailed():
            members = {"key": event.key, "stage": event.stage, "cause": event.cause}
            return logging.WARNING, f"record failed: {event.message}", members
        case events.FilesCommitted():
            f = event.files
            members = {"found": f.found, "downloaded": f.downloaded, "failed": f.failed, "skipped": f.skipped}
            return logging.INFO, "files committed", members
        case events.FileFinished():
            level = logging.WARNING if event.status == "failed" else logging.INFO
            members = {
                "key": event.key,
                "file": event.filename,
                "cause": event.cause,
                "bytes": event.size_bytes,
            }
            return level, f"file {event.status}", members
        case events.BytesArrived():
            members = {"bytes": event.size_bytes, "seconds": event.seconds, "files": event.under_way}
            return logging.DEBUG, "bytes of files arrived", members
        case events.TableFinished():
            level = logging.INFO if event.status in ("completed", "skipped") else logging.WARNING
            text = f"table {event.status}" + (f": {event.message}" if event.message else "")
            return level, text, _figures(event.counts)
        case events.Backoff():
            if event.wait_s <= 0:
                return logging.INFO, f"{event.service} answers again", {}
            return (
                logging.WARNING,
                f"{event.service} asks for patience: {event.reason}",
                {"wait_s": event.wait_s},
            )
        case events.Noted():
            return _LEVELS.get(event.level, logging.INFO), event.message, {}
        case events.JobFinished():
            level = logging.INFO if event.status == "completed" else logging.WARNING
            text = f"job {event.status}" + (f": {event.message}" if event.message else "")
            return level, text, {**_figures(event.counts), "seconds": round(event.seconds, 3)}
    return logging.INFO, events.event_name(event).replace("_", " "), {}


def _figures(counts: Counts) -> dict[str, int]:
    names = ("read", "indexed", "failed", "skipped", "warned", "deleted")
    return {name: getattr(counts, name) for name in names}


def _shown(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n') else text


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
