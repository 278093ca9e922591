"""The view of a run: what is counted, how fast, how long yet."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion import progress
from ingestion.events import (
    Backoff,
    BatchCommitted,
    BytesArrived,
    Counts,
    Event,
    FileCounts,
    FilesCommitted,
    JobFinished,
    JobPaused,
    JobResumed,
    JobStarted,
    LoadMeasured,
    Noted,
    RecordFailed,
    TableFinished,
    TableStarted,
    TableTotal,
    from_dict,
    to_dict,
)
from ingestion.progress import RunView, at, reduce_all

JOB = "20260131-000000-0001"


def started(
    *tables: tuple[str, int], at_s: float = 0.0, exact: bool = True, resumed: bool = False
) -> JobStarted:
    totals = tuple(TableTotal(table=name, rows=rows, exact=exact) for name, rows in tables)
    return JobStarted(job_id=JOB, time=100 + at_s, kind="full", tables=totals, resumed=resumed)


def table_started(table: str, at_s: float, rows: int = 0, done: int = 0) -> TableStarted:
    return TableStarted(
        job_id=JOB, time=100 + at_s, table=table, rows=rows, done=Counts(read=done, indexed=done)
    )


def batch(table: str, rows: int, at_s: float) -> BatchCommitted:
    return BatchCommitted(job_id=JOB, time=100 + at_s, table=table, counts=Counts(read=rows, indexed=rows))


def view_of(*events: Event, at_s: float | None = None) -> RunView:
    now = events[-1].time if at_s is None else 100 + at_s
    return reduce_all(RunView(), events, now)


def steady(table: str, rows_per_s: int, begin_s: int, seconds: int) -> list[Event]:
    return [batch(table, rows_per_s, begin_s + second + 1) for second in range(seconds)]


COUNTS = st.builds(
    Counts,
    **{
        name: st.integers(0, 10_000)
        for name in ("read", "indexed", "failed", "skipped", "warned", "deleted", "size_bytes")
    },
)
FILES = st.builds(
    FileCounts,
    **{name: st.integers(0, 99) for name in ("found", "downloaded", "failed", "skipped", "size_bytes")},
)
TABLES = ["users", "photos", "rfis"]
FACTS = st.one_of(
    st.builds(BatchCommitted, job_id=st.just(JOB), table=st.sampled_from(TABLES), counts=COUNTS),
    st.builds(FilesCommitted, job_id=st.just(JOB), table=st.sampled_from(TABLES), files=FILES),
    st.builds(TableStarted, job_id=st.just(JOB), table=st.sampled_from(TABLES), rows=st.integers(0, 10**6)),
    st.builds(JobPaused, job_id=st.just(JOB)),
    st.builds(JobResumed, job_id=st.just(JOB)),
    st.builds(TableFinished, job_id=st.just(JOB), table=st.sampled_from(TABLES), status=st.just("completed")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FACTS, st.floats(-5, 60)), max_size=40))
def test_sums_of_the_run_are_the_sums_of_its_batches_whatever_the_order_and_the_clock(
    facts: list[tuple[Event, float]],
) -> None:
    moment = 1000.0
    many: list[Event] = []
    for seq, (fact, step) in enumerate(facts, 1):
        moment += step
        many.append(replace(fact, seq=seq, time=moment))
    view = reduce_all(RunView(), many, moment)

    # A table that starts tells what is settled of it already (here nothing): its batches count from there.
    expected: dict[str, Counts] = {}
    files: dict[str, FileCounts] = {}
    for fact in many:
        if isinstance(fact, TableStarted):
            expected[fact.table] = Counts()
        elif isinstance(fact, BatchCommitted):
            expected[fact.table] = expected.get(fact.table, Counts()) + fact.counts
        elif isinstance(fact, FilesCommitted):
            files[fact.table] = files.get(fact.table, FileCounts()) + fact.files
    assert {name: table.counts for name, table in view.tables.items() if table.counts != Counts()} == {
        name: counts for name, counts in expected.items() if counts != Counts()
    }
    assert view.counts == sum(expected.values(), Counts())
    assert view.files == sum(files.values(), FileCounts())
    assert view.remaining == sum(table.remaining for table in view.tables.values())
    assert view.rate_per_s >= 0
    assert view.eta_s is None or view.eta_s >= 0
    one_by_one = RunView()
    for fact in many:
        one_by_one = progress.reduce(one_by_one, fact, fact.time)
    assert (one_by_one.counts, one_by_one.status) == (view.counts, view.status)
    assert {n: (t.state, t.counts, t.pace) for n, t in one_by_one.tables.items()} == {
        n: (t.state, t.counts, t.pace) for n, t in view.tables.items()
    }


def test_replayed_events_give_the_same_screen() -> None:
    live: list[Event] = [
        started(("users", 100), ("photos", 5000)),
        table_started("users", 1),
        batch("users", 100, 2),
        TableFinished(
            job_id=JOB, time=103, table="users", status="completed", counts=Counts(read=100, indexed=100)
        ),
        table_started("photos", 3),
        batch("photos", 1000, 4),
        RecordFailed(
            job_id=JOB, time=104, table="photos", key="7", stage="index", cause="vespa_refused", message="no"
        ),
        Noted(job_id=JOB, time=104, level="warning", message="slow"),
    ]
    live = [replace(event, seq=seq) for seq, event in enumerate(live, 1)]
    seen = RunView()
    for event in live:
        seen = progress.reduce(seen, event, event.time)
    replayed = reduce_all(RunView(), [from_dict(to_dict(event)) for event in live], 104)
    assert replayed == seen


def test_events_told_twice_are_counted_once() -> None:
    told: list[Event] = [started(("users", 10)), batch("users", 4, 1)]
    events = [replace(e, seq=n) for n, e in enumerate(told, 1)]
    view = reduce_all(reduce_all(RunView(), events, 101), events, 101)
    assert view.counts.read == 4


def test_nothing_is_said_of_the_time_left_before_the_rate_has_settled() -> None:
    events: list[Event] = [
        started(("photos", 10_000)),
        table_started("photos", 0),
        *steady("photos", 100, 0, 3),
    ]
    assert view_of(*events).tables["photos"].eta_s is None
    view = view_of(*events, *steady("photos", 100, 3, 2))
    assert view.tables["photos"].eta_s == pytest.approx(95, rel=0.02)
    assert view.eta_s == pytest.approx(95, rel=0.02)


def test_time_in_the_queue_does_not_slow_a_table() -> None:
    events: list[Event] = [
        started(("photos", 10_000)),
        table_started("photos", 600),
        *steady("photos", 100, 600, 10),
    ]
    table = view_of(*events).tables["photos"]
    assert table.rate_per_s == pytest.approx(100, rel=0.02)
    assert table.eta_s == pytest.approx(90, rel=0.02)


def test_a_pause_does_not_slow_anything() -> None:
    before: list[Event] = [
        started(("photos", 10_000)),
        table_started("photos", 0),
        *steady("photos", 100, 0, 10),
    ]
    pause = [JobPaused(job_id=JOB, time=110), JobResumed(job_id=JOB, time=410)]
    after = steady("photos", 100, 310, 10)
    view = view_of(*before, *pause, *after)
    assert view.tables["photos"].eta_s == pytest.approx(80, rel=0.02)
    assert view.eta_s == pytest.approx(80, rel=0.02)
    assert view.worked_s == pytest.approx(20)
    held = view_of(*before, pause[0], at_s=300)
    assert (held.status, held.tables["photos"].state) == ("paused", "paused")
    assert held.tables["photos"].eta_s == pytest.approx(90, rel=0.02)


def test_a_resumed_run_counts_what_was_settled_but_not_as_speed() -> None:
    view = view_of(
        started(("photos", 10_000), resumed=True), table_started("photos", 0, rows=10_000, done=6000),
        *steady("photos", 10, 0, 10),
    )  # fmt: skip
    assert view.counts.read == 6100
    assert view.tables["photos"].eta_s == pytest.approx(390, rel=0.02)


def test_a_killed_run_that_is_resumed_later_keeps_its_counts_and_its_hours_off() -> None:
    first = [started(("users", 50), ("photos", 1000)), table_started("users", 0), batch("users", 50, 1)]
    done = TableFinished(job_id=JOB, time=101, table="users", status="completed")
    killed = [table_started("photos", 1), batch("photos", 400, 2)]
    second = [started(("users", 50), ("photos", 1000), at_s=5000, resumed=True)]
    view = view_of(*first, done, *killed, *second)
    assert (view.tables["users"].state, view.tables["photos"].state) == ("completed", "pending")
    assert view.counts.read == 450
    assert view.worked_s == pytest.approx(2)
    view = reduce_all(
        view, [table_started("photos", 5001, rows=1000, done=400), batch("photos", 600, 5002)], 5102
    )
    assert view.counts.read == 1050
    assert view.remaining == 0


def test_a_stalled_table_shows_a_sinking_rate() -> None:
    events: list[Event] = [
        started(("photos", 10_000)),
        table_started("photos", 0),
        *steady("photos", 100, 0, 10),
    ]
    view = view_of(*events)
    soon, late = at(view, 111), at(view, 170)
    assert soon.tables["photos"].rate_per_s == pytest.approx(100, rel=0.02)
    assert late.tables["photos"].rate_per_s < 20
    assert late.counts == view.counts


def test_batches_that_arrive_together_do_not_multiply_the_rate() -> None:
    events: list[Event] = [started(("photos", 10**6)), table_started("photos", 0)]
    events += [batch("photos", 50, second) for second in range(1, 31) for _ in range(4)]
    assert view_of(*events).tables["photos"].rate_per_s == pytest.approx(200, rel=0.02)


def test_a_guessed_total_grows_with_the_rows_and_is_marked() -> None:
    view = view_of(started(("photos", 100), exact=False), table_started("photos", 0), batch("photos", 150, 1))
    assert view.tables["photos"].total == 150
    assert not view.exact
    view = reduce_all(view, [TableFinished(job_id=JOB, time=102, table="photos", status="completed")], 102)
    assert view.exact
    assert view.tables["photos"].share == 1.0


def test_an_empty_table_that_is_done_is_full_and_one_of_unknown_size_has_no_share() -> None:
    view = view_of(started(("empty", 0), ("unknown", 0)), table_started("empty", 0))
    view = reduce_all(view, [TableFinished(job_id=JOB, time=100, table="empty", status="completed")], 100)
    assert view.tables["empty"].share == 1.0
    assert view.tables["unknown"].share is None
    assert RunView().share is None


def test_tables_that_need_attention_come_first() -> None:
    names = ("done", "waiting", "busy", "broken", "warned")
    view = view_of(
        started(*((name, 10) for name in names)),
        TableFinished(job_id=JOB, time=100, table="done", status="completed"),
        TableFinished(job_id=JOB, time=100, table="broken", status="failed", message="gone"),
        TableFinished(job_id=JOB, time=100, table="warned", status="partial"),
        table_started("busy", 0),
    )
    assert [table.table for table in view.sorted_tables()] == ["broken", "busy", "warned", "waiting", "done"]


def test_the_log_keeps_the_newest_lines_only() -> None:
    many = [Noted(job_id=JOB, time=100, level="info", message=str(n)) for n in range(progress.LOG_LINES + 10)]
    view = view_of(*many)
    assert len(view.log) == progress.LOG_LINES
    assert view.log[-1].message == str(progress.LOG_LINES + 9)


def test_a_backoff_is_shown_until_it_is_over() -> None:
    wait = Backoff(job_id=JOB, time=101, service="vespa", reason="429", wait_s=2)
    view = view_of(started(), wait)
    assert view.backoffs["vespa"].reason == "429"
    assert not view_of(started(), wait, replace(wait, wait_s=0)).backoffs


def test_the_load_is_the_last_measurement_and_nothing_while_nothing_runs() -> None:
    first = LoadMeasured(job_id=JOB, requests=3, limit=24, latency_p50_s=0.002, latency_p95_s=0.01)
    measured = replace(first, requests=9, latency_p95_s=0.02)
    view = reduce_all(RunView(), [started(), first, measured], 0.0)
    assert view.load == progress.LoadView(requests=9, limit=24, latency_p50_s=0.002, latency_p95_s=0.02)
    assert progress.reduce(view, JobPaused(job_id=JOB), 1.0).load is None
    assert progress.reduce(view, JobFinished(job_id=JOB, status="completed"), 1.0).load is None
    assert from_dict(to_dict(measured)) == measured


def test_files_on_their_way_are_shown_with_their_speed_until_none_is() -> None:
    first = BytesArrived(
        job_id=JOB, size_bytes=4000, seconds=2.0, under_way=3, filename="plan.pdf", received_bytes=9
    )
    second = replace(first, size_bytes=8000, under_way=2, received_bytes=90, expected_bytes=100)
    view = reduce_all(RunView(), [started(), first, second], 0.0)
    assert view.arriving == progress.ArrivalView(
        under_way=2, bytes_per_s=3000.0, filename="plan.pdf", received_bytes=90, expected_bytes=100
    )
    assert progress.reduce(view, replace(first, under_way=0), 1.0).arriving is None
    assert progress.reduce(view, JobPaused(job_id=JOB), 1.0).arriving is None
    assert progress.reduce(view, JobFinished(job_id=JOB, status="completed"), 1.0).arriving is None
    assert from_dict(to_dict(second)) == second


def test_a_job_that_ends_leaves_no_table_running() -> None:
    end = JobFinished(job_id=JOB, time=105, status="cancelled")
    view = view_of(started(("users", 10), ("photos", 10)), table_started("users", 0), end)
    assert (view.status, view.tables["users"].state, view.tables["photos"].state) == (
        "cancelled", "cancelled", "pending",
    )  # fmt: skip
    assert (view.eta_s, view.finished, at(view, 500).worked_s) == (None, True, 5)
    assert progress.settle(view_of(started(("users", 1))), "interrupted", 200).status == "interrupted"


def test_a_batch_costs_the_same_however_many_tables_there_are() -> None:
    def seconds(tables: int) -> float:
        view = view_of(started(*((f"t{n}", 10_000) for n in range(tables))))
        batches = [batch(f"t{n % tables}", 100, n / 100) for n in range(4000)]
        clock = time.process_time()
        view = reduce_all(view, batches, 200)
        assert view.counts.read == 400_000
        return time.process_time() - clock

    few, many = (min(seconds(tables) for _ in range(3)) for tables in (30, 3000))
    assert many < 6 * few  # a cost that grew with the tables would make it a hundred times as much
