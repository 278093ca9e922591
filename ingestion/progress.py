"""What a run looks like: events in, one frozen `RunView` out, the only thing that screens and reports render.

    view = progress.RunView(job_id=job_id)
    view = progress.reduce_all(view, await state.events_since(job_id, view.last_seq), now)
    view = progress.at(view, now)      # several times a second: rates and times left as of this moment

Pure: no clock but the given one, so the same events give the same counts and states whenever they are replayed.
Rates count seconds of work: a table's begin when it starts (not when it is queued) and stop while the job is
paused or between a killed run and its resume. A time left is None until the rate has settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ingestion import events
from ingestion.events import Counts, Event, FileCounts
from ingestion.pace import Pace
from ingestion.run_view import (
    FINISHED,
    REACHED_END,
    ArrivalView,
    BackoffView,
    LoadView,
    LogLine,
    RunView,
    TableView,
)

__all__ = [
    "ArrivalView",
    "BackoffView",
    "LoadView",
    "LogLine",
    "RunView",
    "TableView",
    "at",
    "reduce",
    "reduce_all",
    "settle",
]

LOG_LINES: Final = 500


def reduce(view: RunView, event: Event, now: float) -> RunView:
    """The view after one more event; for many at once `reduce_all` costs far less."""
    return reduce_all(view, (event,), now)


def reduce_all(view: RunView, many: Iterable[Event], now: float) -> RunView:
    """The view after these events, in order, as of `now` (epoch seconds).

    Stored events that the view has met already (by `seq`) change nothing. An event without a time happened now.
    """
    draft = _Draft(view)
    for event in many:
        if event.seq == 0 or event.seq > draft.last_seq:
            draft.apply(event, event.time or now)
    return at(draft.result(), now)


def at(view: RunView, now: float) -> RunView:
    """The same view as of a later moment: rates, times left and seconds worked move, counts and states do not."""
    now = max(now, view.last_at)
    if view.finished or view.started_at is None:
        return replace(view, as_of=now)
    clock = view.clock(now)
    moved = {
        name: replace(table, rate_per_s=table.pace.rate(clock), eta_s=table.pace.eta(table.remaining, clock))
        for name, table in view.tables.items()
        if table.state in {"running", "paused"}
    }
    return replace(
        view,
        as_of=now,
        tables={**view.tables, **moved} if moved else view.tables,
        rate_per_s=view.pace.rate(clock),
        eta_s=view.pace.eta(view.remaining, clock),
    )


def settle(view: RunView, status: str, now: float, message: str = "") -> RunView:
    """The view of a job that ended without saying so, such as one whose process was killed."""
    if view.finished:
        return view
    end = events.JobFinished(job_id=view.job_id, status=status, message=message, time=now)
    return reduce(view, end, now)


class _Draft:
    """A view under construction: tables and log are copied once, not per event, and what every batch moves is
    kept beside the view until the end."""

    def __init__(self, view: RunView):
        self.view = view
        self.tables = dict(view.tables)
        self.log = deque(view.log, maxlen=LOG_LINES)
        self.counts, self.files, self.pace = view.counts, view.files, view.pace
        self.expected, self.remaining, self.guesses = view.expected, view.remaining, view.guesses
        self.last_seq, self.last_at = view.last_seq, view.last_at

    def result(self) -> RunView:
        return replace(
            self.view,
            tables=self.tables,
            log=tuple(self.log),
            counts=self.counts,
            files=self.files,
            pace=self.pace,
            expected=self.expected,
            remaining=self.remaining,
            guesses=self.guesses,
            last_seq=self.last_seq,
            last_at=self.last_at,
        )

    def apply(self, event: Event, time: float) -> None:
        match event:
            case events.BatchCommitted():
                self._batch(event, time)
            case events.RecordFailed():
                self._say(event, time, "error", f"{event.key}: {event.message}", event.table)
            case events.FilesCommitted():
                self._files(event)
            case events.FileFinished():
                if event.status == "failed":
                    text = f"{event.key}: file {event.filename}: {event.cause}"
                    self._say(event, time, "error", text, event.table)
            case events.TableStarted():
                self._table_started(event, time)
            case events.TableFinished():
                self._table_finished(event, time)
            case events.JobStarted():
                self._job_started(event, time)
            case events.JobPaused():
                self._pause(event, time)
            case events.JobResumed():
                self._end_rest(time)
                self._move_tables("paused", "running")
                self._set(status="running")
                self._say(event, time, "info", "resumed")
            case events.Backoff():
                self._backoff(event, time)
            case events.LoadMeasured():
                self._set(
                    load=LoadView(
                        requests=event.requests,
                        limit=event.limit,
                        latency_p50_s=event.latency_p50_s,
                        latency_p95_s=event.latency_p95_s,
                    )
                )
            case events.BytesArrived():
                self._arrived(event)
            case events.Noted():
                self._say(event, time, event.level, event.message, event.table)
            case events.JobFinished():
                self._job_finished(event, time)
            case _:
                pass  # a fact of a later version
        self.last_seq = max(self.last_seq, event.seq)
        self.last_at = max(self.last_at, time)

    def _set(self, **members: object) -> None:
        self.view = replace(self.view, **members)  # type: ignore[arg-type]

    def _put(self, new: TableView) -> None:
        """Replace a table and carry the difference into the sums of the run."""
        old = self.tables.get(new.table)
        self.tables[new.table] = new
        self.counts = _moved(self.counts, old.counts if old else Counts(), new.counts)
        if old is None or old.files is not new.files:
            self.files = _files_moved(self.files, old, new)
        self.expected += _expected(new) - (_expected(old) if old else 0)
        self.remaining += new.remaining - (old.remaining if old else 0)
        self.guesses += _guess(new) - (_guess(old) if old else 0)

    def _table(self, table: str) -> TableView:
        return self.tables.get(table) or TableView(table=table, order=len(self.tables))

    def _batch(self, event: events.BatchCommitted, time: float) -> None:
        table, clock = self._table(event.table), self.view.clock(time)
        counts = table.counts + event.counts
        self._put(
            replace(
                table,
                state="running" if table.state == "pending" else table.state,
                counts=counts,
                total=max(table.total, counts.read),
                started_at=table.started_at or time,
                pace=table.pace.after(event.counts.read, clock),
            )
        )
        self.pace = self.pace.after(event.counts.read, clock)

    def _files(self, event: events.FilesCommitted) -> None:
        table = self._table(event.table)
        self._put(replace(table, files=table.files + event.files))

    def _arrived(self, event: events.BytesArrived) -> None:
        if not event.under_way:
            self._set(arriving=None)
            return
        rate = event.size_bytes / event.seconds if event.seconds > 0 else 0.0
        before = self.view.arriving
        self._set(
            arriving=ArrivalView(
                under_way=event.under_way,
                bytes_per_s=rate if before is None else (before.bytes_per_s + rate) / 2,
                filename=event.filename,
                received_bytes=event.received_bytes,
                expected_bytes=event.expected_bytes,
            )
        )

    def _table_started(self, event: events.TableStarted, time: float) -> None:
        table = self._table(event.table)
        counts = event.done if event.done != Counts() or not self.view.resumed else table.counts
        self._put(
            replace(
                table,
                state="running",
                method=event.method or table.method,
                counts=counts,
                total=max(event.rows or table.total, counts.read),
                exact=event.exact if event.rows else table.exact,
                started_at=table.started_at or time,
                finished_at=None,
                message="",
                pace=Pace(mark_s=self.view.clock(time)),
            )
        )

    def _table_finished(self, event: events.TableFinished, time: float) -> None:
        table = self._table(event.table)
        counts = event.counts if event.counts != Counts() else table.counts
        reached_end = event.status in {"completed", "partial"}
        self._put(
            replace(
                table,
                state=event.status,
                counts=counts,
                total=counts.read if reached_end else max(table.total, counts.read),
                exact=True if reached_end else table.exact,
                finished_at=time,
                rate_per_s=table.pace.run_rows / table.pace.worked_s if table.pace.worked_s > 0 else 0.0,
                eta_s=None,
                message=event.message,
            )
        )
        text = f"{event.status}: {counts.read:,} read, {counts.indexed:,} indexed, {counts.failed:,} failed"
        level = {"failed": "error", "completed": "info", "skipped": "info"}.get(event.status, "warning")
        self._say(event, time, level, f"{text}. {event.message}" if event.message else text, event.table)

    def _job_started(self, event: events.JobStarted, time: float) -> None:
        if self.view.started_at is not None:
            # A killed run did not work between its last word and now.
            self._end_rest(time)
            gap = max(0.0, time - self.last_at) if self.view.paused_at is None else 0.0
            self._set(rest_s=self.view.rest_s + gap)
        for order, total in enumerate(event.tables):
            table = self._table(total.table)
            resting = table.state in {"running", "paused", "interrupted", "cancelled", "failed"}
            self._put(
                replace(
                    table,
                    order=order,
                    state="pending" if resting else table.state,
                    total=table.total if table.state in REACHED_END else max(total.rows, table.counts.read),
                    exact=table.exact if table.state in REACHED_END else total.exact,
                    message="" if resting else table.message,
                )
            )
        self.pace = Pace(mark_s=self.view.clock(time))
        self._set(
            job_id=self.view.job_id or event.job_id,
            kind=event.kind,
            status="running",
            resumed=event.resumed,
            started_at=self.view.started_at or time,
            finished_at=None,
            message="",
        )
        verb = "resumed" if event.resumed else "started"
        self._say(event, time, "info", f"{event.kind} {verb}: {len(event.tables):,} tables")

    def _pause(self, event: Event, time: float) -> None:
        if self.view.paused_at is None:
            self._set(paused_at=time, status="paused", load=None, arriving=None)
            self._move_tables("running", "paused")
            self._say(event, time, "info", "paused")

    def _end_rest(self, time: float) -> None:
        if self.view.paused_at is not None:
            rest = max(0.0, time - self.view.paused_at)
            self._set(rest_s=self.view.rest_s + rest, paused_at=None)
            self.last_at = max(self.last_at, time)

    def _move_tables(self, old: str, new: str) -> None:
        for table in [table for table in self.tables.values() if table.state == old]:
            self._put(replace(table, state=new))

    def _backoff(self, event: events.Backoff, time: float) -> None:
        others = {name: backoff for name, backoff in self.view.backoffs.items() if name != event.service}
        if event.wait_s > 0:
            wait = BackoffView(service=event.service, reason=event.reason, wait_s=event.wait_s, since=time)
            others[event.service] = wait
            text = f"{event.service} asks to wait {event.wait_s:.1f} s: {event.reason}"
            self._say(event, time, "warning", text)
        elif len(others) < len(self.view.backoffs):
            self._say(event, time, "info", f"{event.service} accepts again")
        self._set(backoffs=others)

    def _job_finished(self, event: events.JobFinished, time: float) -> None:
        self._end_rest(time)
        stopped = event.status if event.status in {"failed", "cancelled"} else "interrupted"
        for table in [table for table in self.tables.values() if table.state in {"running", "paused"}]:
            self._put(replace(table, state=stopped, finished_at=time, eta_s=None))
        self.counts = event.counts if event.counts != Counts() else self.counts
        self.files = event.files if event.files != FileCounts() else self.files
        self._set(
            status=event.status,
            finished_at=time,
            message=event.message,
            rate_per_s=self.pace.run_rows / self.pace.worked_s if self.pace.worked_s else 0.0,
            eta_s=None,
            backoffs={},
            load=None,
            arriving=None,
        )
        level = {"completed": "info", "failed": "error"}.get(event.status, "warning")
        self._say(event, time, level, f"job {event.status}" + (f": {event.message}" if event.message else ""))

    def _say(self, event: Event, time: float, level: str, message: str, table: str = "") -> None:
        self.log.append(LogLine(seq=event.seq, time=time, level=level, message=message, table=table))


def _expected(table: TableView) -> int:
    """What a table adds to the expected rows: what it has read once it stopped, else its total."""
    return table.counts.read if table.state in FINISHED else table.total


def _guess(table: TableView) -> int:
    return int(not table.exact and table.state not in FINISHED)


def _moved(sum_: Counts, old: Counts, new: Counts) -> Counts:
    if old is new:
        return sum_
    return Counts(
        read=sum_.read + new.read - old.read,
        indexed=sum_.indexed + new.indexed - old.indexed,
        failed=sum_.failed + new.failed - old.failed,
        skipped=sum_.skipped + new.skipped - old.skipped,
        warned=sum_.warned + new.warned - old.warned,
        deleted=sum_.deleted + new.deleted - old.deleted,
        size_bytes=sum_.size_bytes + new.size_bytes - old.size_bytes,
        inserted=sum_.inserted + new.inserted - old.inserted,
        updated=sum_.updated + new.updated - old.updated,
    )


def _files_moved(sum_: FileCounts, old: TableView | None, new: TableView) -> FileCounts:
    was = old.files if old else FileCounts()
    return FileCounts(
        found=sum_.found + new.files.found - was.found,
        downloaded=sum_.downloaded + new.files.downloaded - was.downloaded,
        failed=sum_.failed + new.files.failed - was.failed,
        skipped=sum_.skipped + new.files.skipped - was.skipped,
        size_bytes=sum_.size_bytes + new.files.size_bytes - was.size_bytes,
    )
