"""A job's events as log lines: what a person wants to read later, one line each."""

from __future__ import annotations

from dataclasses import dataclass

from app.formatting import count, duration, plural
from ingestion import events


@dataclass(frozen=True, slots=True)
class LogLine:
    """`level` is info, warning or error; `text` is one plain sentence without a secret."""

    seq: int
    time: float
    level: str
    table: str
    text: str

    @property
    def key(self) -> str:
        return str(self.seq)


def line_of(event: events.Event) -> LogLine | None:
    """The line of an event; None for those that the board shows anyway."""
    told = _told(event)
    if told is None:
        return None
    level, text = told
    return LogLine(event.seq, event.time, level, getattr(event, "table", ""), text)


def _told(event: events.Event) -> tuple[str, str] | None:
    match event:
        case events.JobStarted():
            verb = "resumed" if event.resumed else "started"
            return "info", f"{event.kind} job {verb}: {plural(len(event.tables), 'table')}"
        case events.TableStarted():
            how = f" by {event.method}" if event.method else ""
            return "info", f"started{how}: {count(event.rows, exact=event.exact)} rows"
        case events.RecordFailed():
            return "error", f"{event.key or '(no key)'}: {event.cause} at {event.stage}: {event.message}"
        case events.FileFinished() if event.status == "failed":
            return "error", f"{event.key}: file {event.filename}: {event.cause or 'failed'}"
        case events.TableFinished():
            c = event.counts
            level = {"completed": "info", "skipped": "info", "partial": "warning"}.get(event.status, "error")
            text = f"{event.status}: {count(c.indexed)} indexed, {count(c.failed)} failed"
            text += f", {count(c.skipped)} skipped" if c.skipped else ""
            return level, f"{text}. {event.message}" if event.message else text
        case events.Backoff():
            if event.wait_s <= 0:
                return "info", f"{event.service} answers again"
            return "warning", f"{event.service} asks us to wait {duration(event.wait_s)}: {event.reason}"
        case events.JobPaused():
            return "warning", "paused"
        case events.JobResumed():
            return "info", "goes on"
        case events.Noted():
            return event.level if event.level in {"warning", "error"} else "info", event.message
        case events.JobFinished():
            level = "info" if event.status == "completed" else "warning"
            text = f"{event.status} in {duration(event.seconds)}: {count(event.counts.indexed)} indexed"
            return level, f"{text}, {count(event.counts.failed)} failed. {event.message}".rstrip(". ") + "."
    return None
