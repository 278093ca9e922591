"""What a job leaves in the state: counts, ledger, failures, files, events, commands."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import ingestion.state
from ingestion import errors
from ingestion.events import BatchCommitted, Counts, FileCounts, JobStarted, RecordFailed, TableTotal
from ingestion.state import failures, files, ledger, schema
from ingestion.state.store import StateStore
from ingestion.state.types import (
    BatchCommit,
    BucketSum,
    Failure,
    FailureFilter,
    FileLink,
    FileRow,
    Job,
    JobTable,
    LedgerEntry,
)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(tmp_path / "s" / "state.db") as opened:
        yield opened


@pytest.fixture
async def job(state: StateStore) -> Job:
    created = await state.create_job("full", {"include": ["*"]})
    return await state.start_job(created.id)


def entry(key: str, epoch: int = 1, digest: int = 7, bucket: int = 0) -> LedgerEntry:
    return LedgerEntry(key, digest, 1, bucket, epoch)


def failure(key: str, cause: str = "vespa_refused", **more: object) -> Failure:
    members = {"table": "photos", "stage": "index", "message": f"{key} refused", **more}
    return Failure(key=key, cause=cause, **members)  # type: ignore[arg-type]


async def open_failures(state: StateStore, **filter: object) -> list[tuple[str, str, int]]:
    page = await state.failure_page(FailureFilter(**filter))  # type: ignore[arg-type]
    return [(item.key, item.cause, item.attempts) for item in page.items]


# ── jobs ──


async def test_a_job_walks_through_its_states_and_its_history_stays(state: StateStore, job: Job) -> None:
    assert job.id[8] == "-"
    assert len(job.id) == 20
    assert (job.status, job.ordinal) == ("running", 1)
    await state.set_job_status(job.id, "paused")
    await state.set_job_status(job.id, "running")
    await state.finish_job(job.id, "cancelled", {"seconds": 3}, "stopped by SIGINT")
    await state.start_job(job.id)  # resumed
    await state.finish_job(job.id, "completed", {"seconds": 9})
    with pytest.raises(errors.StateError, match="cannot become running"):
        await state.start_job(job.id)
    done = await state.get_job(job.id)
    assert (done.status, done.report, done.message) == ("completed", {"seconds": 9}, "")
    second = await state.create_job("incremental", {})
    assert [j.id for j in await state.list_jobs()] == [second.id, job.id]
    assert [j.id for j in await state.list_jobs(before=second.ordinal)] == [job.id]
    for attempt in (state.get_job("nope"), state.start_job("nope"), state.append_events("nope", [])):
        with pytest.raises(errors.StateError, match="no job nope"):
            await attempt


async def test_a_command_is_taken_once_and_a_wrong_one_refused(state: StateStore, job: Job) -> None:
    await state.request_command(job.id, "pause")
    await state.request_command(job.id, "skip", "my table")
    await state.request_command(job.id, "skip photos")
    taken = await state.take_commands(job.id)
    assert [(c.command, c.argument) for c in taken] == [
        ("pause", ""),
        ("skip", "my table"),
        ("skip", "photos"),
    ]
    assert await state.take_commands(job.id) == []
    for wrong in ("explode", "skip", "pause photos"):
        with pytest.raises(errors.StateError, match="cannot be told"):
            await state.request_command(job.id, wrong)


async def test_counts_are_added_per_table_and_survive_a_new_plan(state: StateStore, job: Job) -> None:
    tables = [JobTable(job_id=job.id, table=name, expected=10) for name in ("users", "photos")]
    await state.set_job_tables(job.id, tables)
    batch = BatchCommit(
        job_id=job.id, table="photos", counts=Counts(read=5, indexed=3, failed=1, skipped=1, warned=1),
        files=FileCounts(found=2, failed=1),
    )  # fmt: skip
    await state.set_job_table(job.id, "photos", "running", method="ctid")
    await state.commit_batch(batch)
    await state.commit_batch(batch)
    await state.set_job_tables(job.id, list(reversed(tables)))
    photos, users = await state.job_tables(job.id)
    assert (photos.table, photos.status, photos.method, photos.expected) == ("photos", "running", "ctid", 10)
    assert photos.counts == Counts(read=10, indexed=6, failed=2, skipped=2, warned=2)
    assert (users.status, users.counts) == ("pending", Counts())
    assert await state.job_totals(job.id) == (photos.counts, FileCounts(found=4, failed=2))
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", table_status="partial"))
    assert (await state.job_tables(job.id))[0].finished_at is not None
    await state.restart_job_table(job.id, "photos")
    assert (await state.job_totals(job.id))[0] == Counts()


async def test_old_jobs_go_and_their_failures_stay(state: StateStore, job: Job) -> None:
    event = BatchCommitted(job_id=job.id, table="photos", counts=Counts())
    await state.commit_batch(
        BatchCommit(job_id=job.id, table="photos", failures=[failure("1")], events=[event])
    )
    await state.finish_job(job.id, "partial")
    newer = await state.create_job("incremental", {})
    assert await state.prune_jobs(keep=0) == 1
    assert [j.id for j in await state.list_jobs()] == [newer.id]
    assert await open_failures(state) == [("1", "vespa_refused", 1)]
    assert (await state.create_job("full", {})).ordinal == 3


# ── events ──


async def test_events_come_back_equal_and_numbered_without_gaps(state: StateStore, job: Job) -> None:
    told = [
        JobStarted(job_id="", kind="full", tables=(TableTotal(table="t", rows=3),)),
        RecordFailed(job_id="", table="t", key="ü", stage="index", cause="x", message="\U0001f600"),
    ]
    stored = await state.append_events(job.id, told[:1])
    batch = BatchCommit(
        job_id=job.id,
        table="t",
        events=[told[1], BatchCommitted(job_id="", table="t", counts=Counts(read=3))],
    )
    stored += await state.commit_batch(batch)
    assert [event.seq for event in stored] == [1, 2, 3]
    assert all(event.job_id == job.id and event.time > 0 for event in stored)
    assert await state.events_since(job.id, 0) == stored
    assert await state.events_since(job.id, 1, limit=1) == stored[1:2]
    assert await state.last_seq(job.id) == 3


# ── ledger ──


async def test_the_ledger_knows_what_the_index_holds(state: StateStore, job: Job) -> None:
    rng = random.Random(3)
    digests = {f"{n}~2F": rng.randrange(-(2**63), 2**63) for n in range(3000)}
    entries = [LedgerEntry(key, digest, 5, n % 7, 1) for n, (key, digest) in enumerate(digests.items())]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", ledger=entries))
    await state.commit_batch(BatchCommit(job_id=job.id, table="users", ledger=[entry("only")]))

    found = await state.lookup("photos", ["0~2F", "2999~2F", "missing", "only"])
    assert found == {"0~2F": entries[0], "2999~2F": entries[2999]}
    assert await state.lookup("never", ["0"]) == {}
    assert await state.ledger_counts() == {"photos": 3000, "users": 1}
    pages = [page async for page in state.ledger_entries("photos", page_size=700)]
    assert [len(page) for page in pages] == [700] * 4 + [200]
    assert [e.key for page in pages for e in page] == sorted(digests, key=str.encode)
    sums: dict[int, BucketSum] = {}
    for e in entries:
        old = sums.get(e.bucket, BucketSum())
        sums[e.bucket] = BucketSum(old.count + 1, old.xor ^ e.digest)
    assert await state.bucket_sums("photos") == sums
    some = [e async for page in state.entries_of_buckets("photos", [2, 5], page_size=100) for e in page]
    assert {e.key for e in some} == {e.key for e in entries if e.bucket in {2, 5}}


async def test_rows_that_no_job_since_has_met_are_found(state: StateStore, job: Job) -> None:
    keys = [str(n) for n in range(10)]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", ledger=[entry(key) for key in keys]))
    later = await state.create_job("full", {})
    await state.commit_batch(
        BatchCommit(
            job_id=later.id, table="photos", ledger=[entry("0", epoch=later.ordinal)], seen=keys[1:6],
            # Read, and refused: not gone.
            failures=[failure("6")], removed=["9"],
        )
    )  # fmt: skip
    await state.mark_seen("photos", ["7"], later.ordinal)
    assert await state.not_seen_count("photos", later.ordinal) == 1
    assert [e.key async for page in state.not_seen_since("photos", later.ordinal) for e in page] == ["8"]
    assert await state.ledger_count("photos") == 9


async def test_duplicates_and_copies_are_counted_per_job_and_table(state: StateStore, job: Job) -> None:
    await state.add_duplicates(job.id, "photos", ["1", "2", "1"])
    assert await state.duplicates_among(job.id, "photos", ["1", "3"]) == {"1"}
    assert await state.duplicates_among(job.id, "users", ["1"]) == set()
    for copies in (1, 2):
        await state.commit_batch(BatchCommit(job_id=job.id, table="log", row_hashes={"aa": copies}))
    assert await state.row_hash_counts(job.id, "log", ["aa", "bb"]) == {"aa": 3}
    await state.clear_partitions(job.id, "log")
    assert await state.row_hash_counts(job.id, "log", ["aa"]) == {}


# ── failures ──


async def test_a_failure_that_happens_again_is_one_failure_with_more_attempts(
    state: StateStore, job: Job
) -> None:
    for _ in range(3):
        await state.commit_batch(
            BatchCommit(job_id=job.id, table="photos", failures=[failure("1"), failure("2")])
        )
    assert await open_failures(state) == [("1", "vespa_refused", 3), ("2", "vespa_refused", 3)]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", failures=[failure("1", "vespa_413")]))
    assert await open_failures(state) == [("2", "vespa_refused", 3), ("1", "vespa_413", 1)]


async def test_rows_without_a_key_are_kept_apart(state: StateStore, job: Job) -> None:
    many = [failure("", "null_key", locator=f"(0,{n})") for n in range(3)]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", failures=many))
    assert len(await open_failures(state)) == 3


async def test_a_row_that_is_indexed_ends_its_failure_and_the_warnings_it_no_longer_has(
    state: StateStore, job: Job
) -> None:
    def cut(column: str) -> Failure:
        return failure("1", "cell_cut", kind="warning", locator=column, stage="transform")

    many = [failure("1"), failure("2"), failure("3"), cut("a"), cut("b")]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", failures=many))
    await state.commit_batch(
        BatchCommit(job_id=job.id, table="photos", ledger=[entry("1")], seen=["2"], failures=[cut("b")])
    )
    assert await open_failures(state) == [("3", "vespa_refused", 1)]
    warnings = await state.failure_page(FailureFilter(kinds=("warning",)))
    assert [(w.locator, w.attempts) for w in warnings.items] == [("b", 2)]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", seen=["1"]))
    assert await state.failure_count(FailureFilter(kinds=("warning",))) == 1
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", removed=["1"], resolved=["3"]))
    assert await state.failure_count(FailureFilter(kinds=None)) == 0


async def test_a_dismissed_failure_stays_dismissed_until_its_row_is_indexed(
    state: StateStore, job: Job
) -> None:
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", failures=[failure("1")]))
    ((first,),) = [(await state.failure_page(FailureFilter())).items]
    assert await state.dismiss_failures([first.id], "known") == 1
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", failures=[failure("1")]))
    again = await state.failure(first.id)
    assert (again.status, again.note, again.attempts) == ("dismissed", "known", 2)
    assert [key async for page in state.failed_keys("photos") for key in page] == ["1"]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", ledger=[entry("1")]))
    assert (await state.failure(first.id)).status == "resolved"
    assert [page async for page in state.failed_keys("photos")] == []
    with pytest.raises(errors.StateError, match="no failure 999"):
        await state.failure(999)


async def test_thousands_of_failures_are_a_few_clusters_and_page_without_gaps(
    state: StateStore, job: Job
) -> None:
    causes = ("vespa_refused", "vespa_413", "transform_error")
    many = [failure(f"{n:05}", causes[n % 3], table=f"t{n % 4}") for n in range(6000)]
    await state.save_failures(job.id, many)
    clusters = await state.failure_clusters(FailureFilter())
    assert [(c.cause, c.count, c.tables) for c in clusters] == [
        (cause, 2000, ("t0", "t1", "t2", "t3")) for cause in sorted(causes)
    ]
    assert clusters[0].sample.cause == clusters[0].cause
    assert len(await state.failure_clusters(FailureFilter(), by_table=True)) == 12
    only = FailureFilter(tables=("t[13]",), causes=("vespa_*",), job_id=job.id, stages=("index",))
    total = sum(1 for n in range(6000) if n % 4 in {1, 3} and n % 3 < 2)
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = await state.failure_page(only, after=after, limit=300)
        assert page.total == total
        seen += [item.key for item in page.items]
        after = page.next
    assert (len(seen), sorted(set(seen))) == (total, seen)
    assert [f.key async for f in state.failures(only, page_size=77)] == seen
    assert await state.failure_counts(FailureFilter(causes=("vespa_413",))) == {
        f"t{n}": {"record": 500} for n in range(4)
    }
    assert (await state.failure_page(FailureFilter(tables=("T*",)))).total == 0
    ids = tuple(item.id for item in page.items)
    assert await state.resolve_failures(ids, "gone") == len(ids)
    assert await state.failure_count(only) == total - len(ids)


# ── files ──


async def test_a_file_is_one_row_however_many_cells_refer_to_it(state: StateStore, job: Job) -> None:
    links = [FileLink("f1", "photos", "1", "url"), FileLink("f1", "rfis", "9", "attachments")]
    refused = failure("1", "http_403", kind="file", locator="f1", stage="file")
    row = FileRow(file_id="f1", status="failed", filename="a.jpg", cause="http_403", detail={"host": "x"})
    await state.commit_batch(
        BatchCommit(job_id=job.id, table="photos", file_rows=[row], file_links=links, failures=[refused])
    )
    assert (await state.file_row("f1")) == FileRow(
        **{name: getattr(row, name) for name in FileRow.__slots__ if name != "updated_at"},
        updated_at=(await state.file_rows(["f1"]))["f1"].updated_at,
    )
    assert await state.links_of_files(["f1"]) == {"f1": links}
    assert await state.links_of_records("photos", ["1", "2"]) == links[:1]
    await state.save_files([FileRow(file_id="f1", status="downloaded", size_bytes=9, checksum="c")])
    assert await state.failure_count(FailureFilter(kinds=("file",))) == 0
    assert await state.file_counts() == {"downloaded": 1}
    assert [r.file_id async for page in state.files_with_status("downloaded") for r in page] == ["f1"]
    await state.commit_batch(BatchCommit(job_id=job.id, table="photos", relinked=["1"]))
    assert [page async for page in state.orphaned_files()] == []
    await state.commit_batch(BatchCommit(job_id=job.id, table="rfis", removed=["9"]))
    assert [r.file_id async for page in state.orphaned_files() for r in page] == ["f1"]
    await state.remove_files(["f1"])
    assert await state.file_row("f1") is None


# ── statements ──


def statements() -> list[str]:
    """Every SQL text of the state package, with its filters filled in."""
    found = []
    for info in pkgutil.iter_modules(ingestion.state.__path__, "ingestion.state."):
        for name, value in vars(importlib.import_module(info.name)).items():
            texts = value if isinstance(value, tuple) else (value,)
            if name.isupper():
                found += [text.replace("{where}", "true") for text in texts if isinstance(text, str)]
    return [text for text in found if re.match(r"(SELECT|INSERT|UPDATE|DELETE)\b", text)]


def test_every_statement_fits_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    schema.prepare(path)
    with sqlite3.connect(path) as db:
        for text in statements():
            named = dict.fromkeys(re.findall(r":(\w+)", text))
            db.execute(f"EXPLAIN {text}", named or [None] * text.count("?"))
    assert len(statements()) > 60


def test_questions_about_keys_are_answered_from_an_index(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    schema.prepare(path)
    with sqlite3.connect(path) as db:
        for text in (
            ledger.LOOKUP, ledger.SEE, ledger.PAGE, failures.FAILED_KEYS, failures.RESOLVE_RECORDS,
            failures.RESOLVE_WARNINGS, failures.RESOLVE_FILES, files.LINKS_OF_FILES, files.GET,
        ):  # fmt: skip
            named = dict.fromkeys(re.findall(r":(\w+)", text))
            plan = db.execute(f"EXPLAIN QUERY PLAN {text}", named).fetchall()
            scans = [row[3] for row in plan if row[3].startswith("SCAN") and "json_each" not in row[3]]
            assert not scans, f"{text}: {scans}"
