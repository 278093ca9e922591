"""Progress of a job on stderr: a line that moves, whole lines, JSON lines, or nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from app.formatting import duration, size
from app.output import Output, is_unicode
from ingestion import events, progress

if TYPE_CHECKING:
    from ingestion.events import Event

PLAIN_EVERY_S = 5.0
BAR_EVERY_S = 0.1
BAR_CELLS = 20


class Narrator:
    """Renders the events of one job; `publish` is what a job is given."""

    def __init__(self, out: Output, how: str, clock: Callable[[], float] = time.time) -> None:
        self._out, self._clock = out, clock
        self._how = _resolve(out, how)
        self._view = progress.RunView()
        self._told_at = 0.0

    def publish(self, event: Event) -> None:
        """Take one event, as it happens."""
        if self._how == "none":
            return
        if self._how == "jsonl":
            self._jsonl(event)
            return
        self._view = progress.reduce(self._view, event, event.time or self._clock())
        self._whole_lines(event)
        now = self._clock()
        every = BAR_EVERY_S if self._how == "bar" else PLAIN_EVERY_S
        if now - self._told_at >= every and not isinstance(event, events.JobFinished):
            self._told_at = now
            line = self._status()
            if self._how == "bar":
                self._out.moving(line)
            elif isinstance(event, events.BatchCommitted):
                self._out.say(line)

    def close(self) -> None:
        """Take a line that moves away."""
        self._out.close_line()

    def _whole_lines(self, event: Event) -> None:
        text = ""
        match event:
            case events.TableFinished() if self._how == "plain" or event.status not in (
                "completed",
                "skipped",
            ):
                c = event.counts
                text = (
                    f"{event.table}: {event.status}, {c.read:,} read, {c.indexed:,} indexed, "
                    f"{c.failed:,} failed, {c.skipped:,} skipped"
                )
                text += f" ({event.message})" if event.message else ""
            case events.Noted() if event.level in ("warning", "error"):
                text = f"{event.level}: {event.table + ': ' if event.table else ''}{event.message}"
            case events.Backoff() if event.wait_s > 1:
                text = f"{event.service} asks us to wait {event.wait_s:.1f} s: {event.reason}"
        if text:
            self._out.say(text)

    def _status(self) -> str:
        view = self._view
        done = sum(1 for table in view.tables.values() if table.state in ("completed", "partial", "skipped"))
        total = max(view.expected, view.counts.read)
        share = view.counts.read / total if total else 0.0
        full, empty = ("█", "░") if is_unicode(self._out.stderr) else ("#", ".")
        bar = full * int(share * BAR_CELLS) + empty * (BAR_CELLS - int(share * BAR_CELLS))
        parts = [
            f"{bar} {share:4.0%}",
            f"{done}/{len(view.tables)} tables",
            f"{view.counts.read:,}/{total:,} rows",
            f"{view.rate_per_s or 0:,.0f}/s",
        ]
        if view.eta_s is not None:
            parts.append(f"{duration(view.eta_s)} left")
        if view.counts.failed:
            parts.append(f"{view.counts.failed:,} failed")
        if view.files.found:
            settled = view.files.downloaded + view.files.failed + view.files.skipped
            parts.append(f"{settled:,} files")
        if view.arriving is not None:
            parts.append(f"{size(int(view.arriving.bytes_per_s))}/s")
        return "  ".join(parts)

    def _jsonl(self, event: Event) -> None:
        members = events.to_dict(event)
        members["time"] = (
            datetime.fromtimestamp(event.time or self._clock(), UTC).isoformat().replace("+00:00", "Z")
        )
        line = orjson.dumps(members).decode() + "\n"
        if self._out.as_json:
            self._out.raw(line)
            return
        try:
            self._out.document(line)
        except OSError:
            # The job is what was asked for; it goes on when nobody listens any more.
            self._how = "none"


class Steps:
    """Renders the steps of work that is no job, such as a discovery: called with a name, done and total."""

    def __init__(self, out: Output, how: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._how = _resolve(out, how)
        self._phase, self._told_at = "", 0.0

    def __call__(self, name: str, done: int, total: int) -> None:
        if self._how == "jsonl":
            # On stderr whatever was asked for: the work's own result is what stdout carries.
            self._out.raw(orjson.dumps(_step(name, done, total)).decode() + "\n")
            return
        text = f"{name} ({done}/{total})" if total else name
        if self._how == "bar":
            self._out.moving(text)
            return
        phase = name.partition(" ")[0]
        if self._how == "plain" and (phase != self._phase or self._clock() - self._told_at >= PLAIN_EVERY_S):
            self._phase, self._told_at = phase, self._clock()
            self._out.say(text)


def _step(name: str, done: int, total: int) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"event": "step", "time": now, "name": name, "done": done, "total": total}


def _resolve(out: Output, how: str) -> str:
    if how != "auto":
        return how
    lively = out.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")
    return "bar" if lively else "plain"
