"""The state file: where it lies, who may open it, what it refuses, and what a process that is killed leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ingestion import errors
from ingestion.events import BatchCommitted, Counts
from ingestion.state import schema
from ingestion.state.runner import Runner, is_gone, this_process
from ingestion.state.store import StateStore, state_path
from ingestion.state.types import (
    BatchCommit,
    CheckpointUpdate,
    Decision,
    LedgerEntry,
    Partition,
    PartitionProgress,
    SourceIdentity,
    TableState,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "procore-00000000" / "state.db"


def child(code: str, *args: object) -> subprocess.Popen[str]:
    """A process of its own that runs `code`; it speaks on stdout."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ── where it lies ──


def test_folder_and_files_are_private_and_one_per_source_index_and_namespace(tmp_path: Path) -> None:
    one = state_path(tmp_path, "db.example", 5432, "procore", "http://localhost:8080", "procore")
    assert one.parent.parent == tmp_path
    assert one.parent.name.startswith("procore-")
    assert one.name == "state.db"
    others = {
        state_path(tmp_path, "other", 5432, "procore", "http://localhost:8080", "procore"),
        state_path(tmp_path, "db.example", 5433, "procore", "http://localhost:8080", "procore"),
        state_path(tmp_path, "db.example", 5432, "other", "http://localhost:8080", "procore"),
        state_path(tmp_path, "db.example", 5432, "procore", "http://localhost:8081", "procore"),
        state_path(tmp_path, "db.example", 5432, "procore", "http://localhost:8080", "other"),
    }
    assert len({one, *others}) == 6
    assert (
        state_path(tmp_path, "db.example", 5432, "procore", "http://me:pw@localhost:8080/", "procore") == one
    )
    odd = state_path(tmp_path, "h", 1, "../../a b/ü", "http://v", "n")
    assert odd.parent.parent == tmp_path


async def test_nobody_else_may_read_folder_or_files(path: Path) -> None:
    async with await StateStore.open(path) as state:
        await state.set_meta("x", 1)
        files = list(path.parent.iterdir())
        assert {file.name for file in files} == {"state.db", "state.db-wal", "state.db-shm"}
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
        assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    async with await StateStore.open(tmp_path / "state.db"):
        assert tmp_path.stat().st_mode & 0o777 == 0o755


# ── what it refuses ──


async def test_a_newer_file_is_refused_in_one_sentence(path: Path) -> None:
    async with await StateStore.open(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    for read_only in (False, True):
        with pytest.raises(errors.StateError, match="newer procore-ingest") as caught:
            await StateStore.open(path, read_only=read_only)
        assert "Upgrade" in caught.value.hint


async def test_what_is_no_state_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be taken for one " * 40)
    with pytest.raises(errors.StateError, match="not a state file"):
        await StateStore.open(text)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE mine (x)")
    with pytest.raises(errors.StateError, match="not a state file of procore-ingest"):
        await StateStore.open(foreign)
    with sqlite3.connect(foreign) as db:
        assert [row[0] for row in db.execute("SELECT name FROM sqlite_schema")] == ["mine"]


async def test_a_folder_that_cannot_be_made_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StateError, match="is a file") as caught:
        await StateStore.open(tmp_path / "file" / "sub" / "state.db")
    assert "--state-dir" in caught.value.hint
    with pytest.raises(errors.StateError, match="no state file"):
        await StateStore.open(tmp_path / "nothing" / "state.db", read_only=True)
    assert not (tmp_path / "nothing").exists()


def test_an_unwritable_folder_is_named_with_the_next_step(tmp_path: Path) -> None:
    code = """
        import asyncio, concurrent.futures.thread, os, sys
        from pathlib import Path
        from ingestion import errors
        from ingestion.state.store import StateStore
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write everywhere
        for read_only in (False, True):
            try:
                asyncio.run(StateStore.open(Path(sys.argv[1]), read_only=read_only))
            except errors.StateError as error:
                print(f"{error} {error.hint}")
    """
    tmp_path.chmod(0o500)
    said = child(code, tmp_path / "x" / "state.db").communicate(timeout=30)[0]
    assert said.count("--state-dir") == 2
    assert "you may not" in said


def test_a_state_in_a_folder_that_cannot_be_written_can_still_be_read() -> None:
    code = """
        import asyncio, concurrent.futures.thread, os, shutil, sys, tempfile
        from pathlib import Path
        from ingestion.state.store import StateStore
        folder = Path(tempfile.mkdtemp())
        async def write():
            async with await StateStore.open(folder / "state.db") as state:
                await state.set_meta("x", 1)
        async def read():
            async with await StateStore.open(folder / "state.db", read_only=True) as state:
                print(await state.get_meta("x"))
        asyncio.run(write())
        (folder / "state.db").chmod(0o444)
        folder.chmod(0o555)
        if os.fork() == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            asyncio.run(read())
            sys.exit()
        os.wait()
        folder.chmod(0o700)
        shutil.rmtree(folder)
    """
    assert child(code).communicate(timeout=30)[0].strip() == "1"


async def test_a_full_disk_stores_nothing_of_the_batch_and_the_store_goes_on(path: Path) -> None:
    async with await StateStore.open(path) as state:
        job = await state.create_job("full", {})
        entries = [LedgerEntry(f"{n:08}" * 20, n, n, 0, 1) for n in range(2000)]
        batch = BatchCommit(job_id=job.id, table="photos", counts=Counts(read=2000), ledger=entries)
        writer = state._writer
        assert writer is not None
        await writer.execute_fetchall("PRAGMA max_page_count = 60")
        with pytest.raises(errors.StateError, match="disk is full") as caught:
            await state.commit_batch(batch)
        assert caught.value.hint
        assert await state.ledger_count("photos") == 0
        assert (await state.job_totals(job.id))[0] == Counts()
        await writer.execute_fetchall("PRAGMA max_page_count = 100000")
        await state.commit_batch(batch)
        assert await state.ledger_count("photos") == 2000


# ── migrations ──


async def test_an_older_file_is_copied_and_then_migrated(path: Path) -> None:
    async with await StateStore.open(path) as state:
        await state.set_meta("kept", "yes")
    later = (*schema.MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN colour TEXT", "CREATE TABLE more (x)"))
    schema.prepare(path, migrations=later)
    backup = schema.backup_path(path, len(schema.MIGRATIONS))
    assert backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(path) as db, sqlite3.connect(backup) as old:
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(later)
        assert db.execute("SELECT value FROM meta WHERE name = 'kept'").fetchone()[0] == '"yes"'
        assert db.execute("SELECT colour FROM jobs").fetchall() == []
        assert old.execute("PRAGMA user_version").fetchone()[0] == len(schema.MIGRATIONS)
        assert old.execute("SELECT count(*) FROM meta").fetchone()[0] == 1


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    async with await StateStore.open(path):
        pass
    broken = (*schema.MIGRATIONS, ("CREATE TABLE more (x)", "CREATE TABLE more (x)"))
    with pytest.raises(errors.StateError):
        schema.prepare(path, migrations=broken)
    async with await StateStore.open(path) as state:
        assert await state._read("SELECT 1 FROM sqlite_schema WHERE name = 'more'") == []


async def test_a_file_that_a_living_job_writes_to_is_not_migrated(path: Path) -> None:
    async with await StateStore.open(path) as state, state.writer(None, "test"):
        with pytest.raises(errors.WriterLocked, match=str(os.getpid())):
            schema.prepare(path, migrations=(*schema.MIGRATIONS, ("CREATE TABLE more (x)",)))


# ── two processes ──

HOLD = """
    import asyncio, sys
    from pathlib import Path
    from ingestion.state.store import StateStore
    async def main():
        async with await StateStore.open(Path(sys.argv[1])) as state:
            job = await state.create_job("full", {})
            await state.start_job(job.id)
            await state.acquire_writer(job.id, "full sync")
            print(job.id, flush=True)
            sys.stdin.read()
    asyncio.run(main())
"""


async def test_the_second_writer_is_told_who_the_first_is_and_takes_over_from_a_dead_one(path: Path) -> None:
    with child(HOLD, path) as holder:
        assert holder.stdout is not None
        job_id = holder.stdout.readline().strip()
        async with await StateStore.open(path) as state:
            with pytest.raises(errors.WriterLocked) as caught:
                await state.acquire_writer(None, "retry")
            assert all(word in str(caught.value) for word in (str(holder.pid), job_id, "full sync", "since"))
            async with await StateStore.open(path, read_only=True) as beside:
                held = await beside.lock_holder()
                assert held is not None
                assert (held.pid, held.job_id) == (holder.pid, job_id)
                assert (await beside.get_job(job_id)).status == "running"
            with pytest.raises(errors.StateError, match=f"process {holder.pid}"):
                await state.start_job(job_id)
            assert await state.settle_interrupted() == []

            holder.send_signal(signal.SIGKILL)
            holder.wait()
            # Shown before it is stored, and stored by the one who settles.
            assert (await state.get_job(job_id)).status == "interrupted"
            assert await state.lock_holder() is None
            assert [job.id for job in await state.settle_interrupted()] == [job_id]
            (finish,) = await state.events_since(job_id, 0)
            assert getattr(finish, "status", "") == "interrupted"
            async with state.writer(job_id, "resume"):
                assert (await state.start_job(job_id)).pid == os.getpid()


async def test_a_writer_that_lost_its_lock_stores_nothing_more(path: Path) -> None:
    async with await StateStore.open(path) as old, await StateStore.open(path) as new:
        job = await old.create_job("full", {})
        await old.acquire_writer(job.id, "full sync")
        with pytest.raises(errors.WriterLocked):
            await new.acquire_writer(None, "other")
        await new._write(lambda tx: tx.run("UPDATE writer_lock SET host = 'another', token = 'other'"))
        with pytest.raises(errors.WriterLocked, match="taken over"):
            await old.commit_batch(BatchCommit(job_id=job.id, table="t", counts=Counts(read=1)))
        await old.release_writer()
        assert (await new.lock_holder()) is not None


def test_a_process_id_given_out_again_is_another_process() -> None:
    me = this_process()
    assert not is_gone(me)
    assert is_gone(Runner(me.pid, me.host, "earlier")) == bool(me.start)
    assert not is_gone(Runner(me.pid, "another-host", "earlier"))
    with subprocess.Popen(["true"]) as ended:
        gone = Runner(ended.pid, me.host, "")
        ended.wait()
    assert is_gone(gone)


async def test_processes_that_create_the_file_together_all_succeed(path: Path) -> None:
    code = """
        import asyncio, sys
        from pathlib import Path
        from ingestion.state.store import StateStore
        async def main():
            async with await StateStore.open(Path(sys.argv[1])) as state:
                print(await state.reserve_read_seq(0, 10))
        asyncio.run(main())
    """
    processes = [child(code, path) for _ in range(3)]
    firsts = sorted(int(process.communicate(timeout=30)[0]) for process in processes)
    assert firsts == [1, 11, 21]


# ── killed in the middle of a commit ──

COMMIT = """
    import asyncio, sys
    from pathlib import Path
    from ingestion.events import BatchCommitted, Counts
    from ingestion.state.store import StateStore
    from ingestion.state.types import *
    async def main():
        async with await StateStore.open(Path(sys.argv[1])) as state:
            job = await state.create_job("full", {})
            await state.start_job(job.id)
            await state.save_partitions(job.id, "photos", [Partition(table="photos", ordinal=0, kind="keyset")])
            print(job.id, flush=True)
            for n in range(100_000):
                entries = [LedgerEntry(f"{n}:{i}", i, n, i % 1024, job.ordinal) for i in range(100)]
                failure = Failure(table="photos", key=f"f{n}", stage="index", cause="refused", message="no")
                counts = Counts(read=101, indexed=100, failed=1)
                await state.commit_batch(BatchCommit(
                    job_id=job.id, table="photos", counts=counts, ledger=entries, failures=[failure],
                    partition=PartitionProgress(ordinal=0, position={"n": n}),
                    checkpoint=CheckpointUpdate(status="running", last_record_id=f"{n}:99"),
                    events=[BatchCommitted(job_id=job.id, table="photos", counts=counts)]))
                print(n, flush=True)
    asyncio.run(main())
"""


@pytest.mark.parametrize("after_batches", [1, 7, 20])
async def test_a_commit_killed_half_way_is_there_in_full_or_not_at_all(
    path: Path, after_batches: int
) -> None:
    process = child(COMMIT, path)
    with process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        told = -1
        for _ in range(after_batches):
            told = int(process.stdout.readline())
        process.kill()
        told = max([told, *map(int, process.stdout.read().split())])
    async with await StateStore.open(path) as state:
        counts, _ = await state.job_totals(job_id)
        (partition,) = await state.partitions(job_id, "photos")
        assert partition.position is not None
        done = partition.position["n"] + 1
        assert done >= told + 1  # durable before told
        assert counts == Counts(read=101 * done, indexed=100 * done, failed=done)
        assert await state.ledger_count("photos") == 100 * done
        assert sum([len(page) async for page in state.failed_keys("photos")]) == done
        assert await state.last_seq(job_id) == done
        row = await state.checkpoint_row("photos")
        assert row is not None
        assert (row["last_record_id"], row["records_processed"]) == (f"{done - 1}:99", 101 * done)


async def test_a_cancelled_caller_leaves_a_whole_commit(path: Path) -> None:
    async with await StateStore.open(path) as state:
        job = await state.create_job("full", {})
        batch = BatchCommit(
            job_id=job.id, table="photos", counts=Counts(read=500, indexed=500),
            ledger=[LedgerEntry(str(n), n, 1, 0, 1) for n in range(500)],
        )  # fmt: skip
        task = asyncio.create_task(state.commit_batch(batch))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await state.ledger_count("photos") == 500
        assert (await state.job_totals(job.id))[0].read == 500
        await state.commit_batch(BatchCommit(job_id=job.id, table="photos", counts=Counts(read=1)))
        assert (await state.job_totals(job.id))[0].read == 501


async def test_a_lock_whose_taker_was_cancelled_is_free(path: Path) -> None:
    async with await StateStore.open(path) as state:
        task = asyncio.create_task(state.acquire_writer(None, "test"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await state.lock_holder() is None
        await state.acquire_writer(None, "test")
    with pytest.raises(errors.StateError, match="closed"):
        await state.get_meta("x")


async def test_a_reader_beside_a_writer_sees_what_is_committed_and_cannot_write(path: Path) -> None:
    async with await StateStore.open(path) as state, await StateStore.open(path, read_only=True) as reader:
        job = await state.create_job("full", {"include": ["*"]})
        event = BatchCommitted(job_id=job.id, table="t", counts=Counts(read=1))
        await state.commit_batch(BatchCommit(job_id=job.id, table="t", counts=Counts(read=1), events=[event]))
        assert [e.seq for e in await reader.events_since(job.id, 0)] == [1]
        assert (await reader.get_job(job.id)).plan == {"include": ["*"]}
        with pytest.raises(errors.StateError, match="reading only"):
            await reader.set_meta("x", 1)


async def test_a_second_look_in_this_process_does_not_take_the_log_away_from_the_first(path: Path) -> None:
    """What a screen does while a job runs elsewhere: both must go on reading and writing the same file."""
    async with await StateStore.open(path) as state:
        await state.set_meta("x", "1")
        async with await StateStore.open(path):  # as a look at the checkpoints opens it, and closes it again
            pass
        job = child(
            """
            import asyncio, sys
            from pathlib import Path
            from ingestion.state.store import StateStore
            async def main():
                async with await StateStore.open(Path(sys.argv[1])) as state:
                    print(await state.get_meta("x"))
                async with await StateStore.open(Path(sys.argv[1])) as state:
                    await state.set_meta("y", "2")
            asyncio.run(main())
            """,
            path,
        )
        seen, _ = await asyncio.to_thread(job.communicate, timeout=30)
        assert seen == "1\n"
        assert await state.get_meta("y") == "2"
        await state.set_meta("z", "3")
    async with await StateStore.open(path) as state:
        assert [await state.get_meta(name) for name in "xyz"] == ["1", "2", "3"]


# ── small things ──


async def test_identity_table_state_numbers_and_decisions_outlive_the_process(path: Path) -> None:
    identity = SourceIdentity(system_identifier="7412", timeline=1, xid=2**40, database="procore")
    table = TableState(
        table='odd "name"',
        oid=5,
        relfilenode=6,
        key_columns=("a", "b"),
        key_basis="primary_key",
        horizon=9,
        epoch=2,
    )
    async with await StateStore.open(path) as state:
        await state.set_source_identity(identity)
        await state.set_table_state(table)
        await state.decide(Decision(kind="relationship", subject="a.b>c.id", verdict="rejected", note="no"))
        assert await state.reserve_read_seq(100, 5) == 101
        assert await state.reserve_read_seq(0) == 106
    async with await StateStore.open(path) as state:
        assert await state.source_identity() == identity
        assert await state.table_state('odd "name"') == table
        assert await state.table_states() == {'odd "name"': table}
        assert (await state.decisions("relationship"))["a.b>c.id"].verdict == "rejected"
        assert await state.reserve_read_seq(10) == 107
        await state.withdraw("relationship", "a.b>c.id")
        assert await state.decisions("relationship") == {}
        await state.rename_table('odd "name"', "renamed")
        assert list(await state.table_states()) == ["renamed"]
        await state.forget_table("renamed")
        assert await state.table_states() == {}


async def test_partitions_come_back_where_they_were_left(path: Path) -> None:
    parts = [Partition(table="photos", ordinal=n, kind="ctid", bounds={"from": n * 10}) for n in range(3)]
    async with await StateStore.open(path) as state:
        job = await state.create_job("full", {})
        await state.save_partitions(job.id, "photos", parts)
        progress = PartitionProgress(ordinal=1, position={"block": 17})
        await state.commit_batch(BatchCommit(job_id=job.id, table="photos", partition=progress))
        await state.move_partition(job.id, "photos", 0, status="done")
        with pytest.raises(errors.StateError, match="no partition 9"):
            await state.commit_batch(
                BatchCommit(
                    job_id=job.id,
                    table="photos",
                    counts=Counts(read=5),
                    partition=PartitionProgress(ordinal=9),
                )
            )
    async with await StateStore.open(path) as state:
        left = await state.open_partitions(job.id, "photos")
        assert [(p.ordinal, p.status, p.position) for p in left] == [
            (1, "running", {"block": 17}), (2, "pending", None),
        ]  # fmt: skip
        assert (await state.job_totals(job.id))[0].read == 0
        await state.start_job(job.id)
        await state.commit_batch(
            BatchCommit(job_id=job.id, table="photos", checkpoint=CheckpointUpdate(status="completed"))
        )
        await state.finish_job(job.id, "completed")
        assert await state.partitions(job.id) == []
