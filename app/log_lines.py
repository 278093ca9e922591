"""A job's events as log lines: what a person wants to read later, one line each."""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import dataclass, replace

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
    kind: str = ""
    """Lines of the same table and kind that come close together are one problem."""
    times: int = 1

    @property
    def key(self) -> str:
        return str(self.seq)

    @property
    def shown(self) -> str:
        """The text, with how often where it stands for several."""
        return (
            self.text if self.times == 1 else f"{self.times:,} times {self.kind}; the last one: {self.text}"
        )


NEAR_S = 60.0
"""Failures of one kind that come within this time of each other share a line."""
LOOK_BACK = 8
"""Tables are read side by side: the line to join may be a few lines up."""


def line_of(event: events.Event) -> LogLine | None:
    """The line of an event; None for those that the board shows anyway."""
    told = _told(event)
    if told is None:
        return None
    level, text = told
    failed = isinstance(event, events.RecordFailed | events.FileFinished)
    kind = event.cause if failed else ""  # type: ignore[attr-defined]
    return LogLine(event.seq, event.time, level, getattr(event, "table", ""), text, kind)


def join(log: MutableSequence[LogLine], line: LogLine) -> None:
    """Add a line, or count it in the one it repeats: thousands of equal failures must not bury the rest."""
    if line.kind:
        for index in range(len(log) - 1, max(-1, len(log) - 1 - LOOK_BACK), -1):
            near = log[index]
            if (near.table, near.kind) == (line.table, line.kind) and line.time - near.time < NEAR_S:
                log[index] = replace(line, seq=near.seq, times=near.times + 1)
                return
    log.append(line)


def _told(event: events.Event) -> tuple[str, str] | None:
    match event:
        case events.JobStarted():
            verb = "resumed" if event.resumed else "started"
            return "info", f"{event.kind} job {verb}: {plural(len(event.tables), 'table')}"
        case events.TableStarted():
            how = f" by {event.method}" if event.method else ""
            return (
                "info",
                f"started{how}: {count(event.rows, exact=event.exact)} {'row' if event.rows == 1 else 'rows'}",
            )
        case events.RecordFailed():
            return "error", f"{event.key or '(no key)'}: {event.cause} at {event.stage}: {event.message}"
        case events.FileFinished() if event.status == "failed":
            return "error", f"{event.key}: {event.filename or 'a file'}: {event.cause or 'failed'}"
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
