"""One database, one namespace and one state folder to act on, and processes that ingest from one to the other."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from ingestion.plan import Plan
from ingestion.settings import Settings
from tests.chaos import oracle
from tests.chaos.services import Services

Ended = dict[str, Any]
"""How a process ended: `signal`, `exit`, `cpu_s`, and its `answer`, None where it gave none."""


class Stage:
    """`set_up` before anything else, `clear` at the end. Numbers name stages; each gets its own everything."""

    def __init__(self, services: Services, number: int, tables: tuple[str, ...], **plan: Any) -> None:
        self.services, self.number, self.tables = services, number, tables
        self.plan = Plan(**plan, download_files="papers" in tables, file_workers=2)
        self.database = f"chaos_{os.getpid()}_{number}"
        self.namespace = f"c{number}.{os.getpid()}"
        self.folder = services.folder / self.database

    async def set_up(self) -> None:
        await self.services.clone(self.tables, self.database)
        self.folder.mkdir(parents=True)

    async def clear(self, *, keep: bool = False) -> None:
        await self.services.drop(self.database)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Of the database, past the proxy."""
        return self.services.direct_url(self.database)

    @property
    def settings(self) -> Settings:
        return Settings(
            database_url=self.services.proxied_url(self.database),
            vespa_url=self.services.proxied_vespa_url,
            namespace=self.namespace,
            state_dir=str(self.folder / "state"),
            allow_private_addresses=True,
        )

    async def sql(self, *statements: str) -> None:
        """Write to the source."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def job(
        self,
        kind: str = "incremental",
        *,
        resume: str = "",
        kills: Iterable[tuple[str, int]] = (),
        after_s: float = 0.0,
        with_signal: int = signal.SIGKILL,
        **more: Any,
    ) -> Ended:
        """Run a job in a process of its own, which may be killed at a named point or after some seconds.

        `more` may hold `clock_s`, by how much its clock is wrong, `largest_file` in bytes, `processes` that make
        and feed documents, and settings.
        """
        asked = {
            "kind": kind,
            # Not what a writer stages for later.
            "plan": replace(self.plan, include=self.tables).to_dict(),
            "resume": resume or None,
            "allow_mass_delete": True,
        }
        whims: dict[str, Any] = {
            name: more.pop(name) for name in ("clock_s", "largest_file", "processes") if name in more
        }
        return await self._process(
            {"job": asked, "kills": list(kills), **whims}, after_s, with_signal, **more
        )

    async def verify(self, how: str = "quick", kills: Iterable[tuple[str, int]] = ()) -> Ended:
        """Let the product compare, `quick` or `deep`, or `repair`."""
        return await self._process({"verify": how, "kills": list(kills)})

    async def retry(self, kills: Iterable[tuple[str, int]] = ()) -> Ended:
        """Let the product try all failures again."""
        return await self._process({"retry": True, "kills": list(kills)})

    async def judge(self) -> oracle.Verdict:
        """Compare independently."""
        return await oracle.judge(
            self.url, self.services.vespa_url, self.namespace, self.state_path, self.tables
        )

    @property
    def state_path(self) -> Path:
        (path,) = (self.folder / "state").glob("*/state.db")
        return path

    def newest_job(self) -> tuple[str, str, str] | None:
        """Id, kind and stored status of the last job; None before the first."""
        found = list((self.folder / "state").glob("*/state.db"))
        if not found:
            return None
        with (
            suppress(sqlite3.OperationalError),
            sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True) as facts,
        ):
            row = facts.execute("SELECT id, kind, status FROM jobs ORDER BY ordinal DESC LIMIT 1").fetchone()
            return (row[0], row[1], row[2]) if row else None
        return None

    async def _process(
        self,
        request: dict[str, Any],
        after_s: float = 0.0,
        with_signal: int = signal.SIGKILL,
        **settings: Any,
    ) -> Ended:
        request |= {
            "settings": {**self.settings.to_dict(), **settings},
            "seed": self.number,
            "log": str(self.folder / "log"),
        }
        return await self.services.ingester.run(request, after_s=after_s, with_signal=with_signal)
