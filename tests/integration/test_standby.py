"""A hot standby as the source: followed like any server, its conflicts retried, its promotion noticed."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ingestion.sandbox import postgres_store
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from tests.chaos import oracle
from tests.chaos.services import Services
from tests.chaos.stage import Ended, Stage
from tests.integration.test_upheavals import meanwhile

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(3_000_000)
_PRIMARY = {
    "wal_level": "replica",
    "max_wal_senders": "4",
    "autovacuum": "off",
    "synchronous_commit": "local",
}
_STANDBY = {
    "max_standby_streaming_delay": "50ms",
    "hot_standby_feedback": "off",
    "wal_retrieve_retry_interval": "100ms",
}
PATIENCE_S = 60.0


@dataclass(slots=True)
class Pair:
    """A primary that is written to, and the standby that is synced."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres
    services: Services

    async def replayed(self) -> None:
        """Wait until the standby shows what the primary has committed."""
        lsn = await asked(self.primary, "postgres", "SELECT pg_current_wal_flush_lsn()::text")
        query = f"SELECT coalesce(pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn, false)"
        async with asyncio.timeout(PATIENCE_S):
            while not await asked(self.standby, "postgres", query):
                await asyncio.sleep(0.01)


async def asked(server: EmbeddedPostgres, database: str, query: str) -> Any:
    connection = await asyncpg.connect(server.url(database))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def started(folder: Path) -> tuple[EmbeddedPostgres, EmbeddedPostgres]:
    """A primary and its standby, which is a copy of its files that follows it from there."""
    first, second = (postgres_store.open_store(folder / name) for name in ("primary", "standby"))
    access = first.root / "replication.conf"
    access.write_text("local all all trust\nlocal replication all trust\n")
    settings = {**_PRIMARY, "hba_file": str(access)}
    primary = EmbeddedPostgres.start(folder / "primary", settings=settings)
    primary.stop()
    shutil.rmtree(second.cluster)
    subprocess.run(["cp", "-a", str(first.cluster), str(second.cluster)], check=True)
    subprocess.run(
        ["cp", "-a", str(first.cluster / "PG_VERSION"), str(second.cluster / "standby.signal")], check=True
    )
    primary = EmbeddedPostgres.start(folder / "primary", settings=settings)
    conninfo = f"host={primary.socket_dir} port={primary.port} user=postgres"
    follows = {**settings, **_STANDBY, "primary_conninfo": conninfo}
    return primary, EmbeddedPostgres.start(folder / "standby", settings=follows)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(vespa_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    primary, standby = await asyncio.to_thread(started, folder)
    services = Services(primary, vespa_url, folder)
    await services.start()
    yield Pair(primary, standby, services)
    await services.stop()
    for server in (standby, primary):
        await asyncio.to_thread(server.stop, remove=True)


@pytest_asyncio.fixture(loop_scope="module")
async def stage(pair: Pair) -> AsyncIterator[Stage]:
    made = Stage(pair.services, next(_numbers), ("blocks", "heap", "pages"), batch_size=7, workers=1)
    await made.set_up()
    await pair.replayed()
    yield made
    pair.services.calm()
    await made.clear()


async def synced(pair: Pair, stage: Stage, kind: str = "incremental") -> Ended:
    """Sync from the standby, once it shows what the primary has."""
    await pair.replayed()
    ended = await stage.job(kind, database_url=pair.standby.url(stage.database))
    assert "job_id" in (ended["answer"] or {}), ended
    return ended


async def test_a_standby_is_followed_and_late_commits_are_not_missed(pair: Pair, stage: Stage) -> None:
    late = await asyncpg.connect(stage.url)
    try:
        await late.execute("BEGIN")
        await late.execute("UPDATE blocks SET v = 'late', updated_at = '2020-01-01' WHERE id < 9")
        await synced(pair, stage, "full")
        await stage.sql(
            "UPDATE blocks SET v = 'now' WHERE id = 30",
            "DELETE FROM pages WHERE id < 50",
            "DELETE FROM heap WHERE n = 0",
        )
        await synced(pair, stage)
        await late.execute("COMMIT")
    finally:
        await late.close()
    await synced(pair, stage)
    assert (await stage.judge()).lines() == []


async def test_a_recovery_conflict_in_the_middle_only_costs_time(pair: Pair, stage: Stage) -> None:
    counted = (
        "SELECT sum(confl_snapshot + confl_lock) FROM pg_stat_database_conflicts "
        f"WHERE datname = '{stage.database}'"
    )
    canceled = 0

    async def conflict() -> None:
        nonlocal canceled
        # Rows that the standby's reader may still see are taken away for good, and their pages too.
        async with asyncio.timeout(PATIENCE_S):
            while not canceled:
                for table in stage.tables:
                    await stage.sql(f"UPDATE {table} SET n = n", f"VACUUM FULL {table}")
                await asyncio.sleep(0.05)
                canceled = await asked(pair.standby, "postgres", counted)

    ended = await meanwhile(stage, conflict, database_url=pair.standby.url(stage.database))
    assert canceled
    assert ended["answer"]["status"] in ("completed", "partial"), ended
    pair.services.calm()
    await synced(pair, stage)
    assert (await stage.judge()).lines() == []


async def test_a_promoted_standby_means_comparing_every_row(pair: Pair, stage: Stage) -> None:
    """The last test of this pair: afterwards there are two servers that know nothing of each other."""
    await synced(pair, stage, "full")
    await synced(pair, stage)
    assert "comparing every row: another" not in (stage.folder / "log").read_text()
    assert await asked(pair.standby, "postgres", "SELECT pg_promote()")
    promoted = pair.standby.url(stage.database)
    connection = await asyncpg.connect(promoted)
    try:
        await connection.execute("UPDATE blocks SET v = 'on the new primary' WHERE id = 3")
        await connection.execute("DELETE FROM pages WHERE id = 40")
    finally:
        await connection.close()
    ended = await stage.job("incremental", database_url=promoted)
    assert "job_id" in (ended["answer"] or {}), ended
    log = (stage.folder / "log").read_text()
    assert "comparing every row: another server, timeline or database answers than last time" in log
    verdict = await oracle.judge(
        promoted, pair.services.vespa_url, stage.namespace, stage.state_path, stage.tables
    )
    assert verdict.lines() == []
