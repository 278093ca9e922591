"""What all runs share: one PostgreSQL server, one Vespa endpoint, a proxy before each, and a warm ingester."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from aiohttp import web

from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from tests.chaos.tables import KINDS
from tests.faults import FaultProxy, never

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def content_of(name: str) -> bytes:
    """A file's content, of which half is never the whole."""
    return f"GIF89a {name}\n".encode() + b"line\n" * 50 + f"end of {name}\n".encode()


class Ingester:
    """The process that forks ingesting processes, one at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.ingester", cwd=ROOT, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, limit=2**24,
        )  # fmt: skip

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 5)
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def run(
        self, request: dict[str, Any], *, after_s: float = 0.0, with_signal: int = signal.SIGKILL
    ) -> dict[str, Any]:
        """How one forked process ended: `signal`, `exit` and its `answer`, None where it gave none.

        After `after_s` seconds, if any, it is sent `with_signal`.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        pid = int((await self._line())["pid"])
        timers = [asyncio.get_running_loop().call_later(PATIENCE_S, _kill, pid, signal.SIGABRT)]
        if after_s:
            timers.append(asyncio.get_running_loop().call_later(after_s, _kill, pid, with_signal))
        try:
            return await self._line()
        finally:
            for timer in timers:
                timer.cancel()

    async def _line(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the ingester is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Services:
    """Running services and their addresses."""

    def __init__(self, postgres: EmbeddedPostgres, vespa_url: str, folder: Path) -> None:
        self.postgres, self.vespa_url, self.folder = postgres, vespa_url, folder
        self.postgres_proxy = FaultProxy(f"unix:{postgres.socket_dir / f'.s.PGSQL.{postgres.port}'}")
        self.vespa_proxy = FaultProxy(vespa_url)
        self.ingester = Ingester()
        self._templates: set[str] = set()
        self._admin: Any = None
        self._files = web.AppRunner(web.Application(), access_log=None)

    async def start(self) -> None:
        await self.postgres_proxy.up()
        await self.vespa_proxy.up()
        await self.ingester.start()
        await self._serve_files()
        self._admin = await asyncpg.connect(self.postgres.url("postgres"))

    async def readmit(self) -> None:
        """Connect anew to a server that was restarted."""
        self._admin.terminate()
        self._admin = await asyncpg.connect(self.postgres.url("postgres"))

    async def stop(self) -> None:
        await self.ingester.stop()
        await self.postgres_proxy.close()
        await self.vespa_proxy.close()
        await self._files.cleanup()
        for name in self._templates:
            await self.drop(name)
        await self._admin.close()

    @property
    def files_url(self) -> str:
        """Where files are, each with the content that its name says."""
        return f"http://127.0.0.1:{self._files.addresses[0][1]}/f"

    async def _serve_files(self) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=content_of(request.match_info["name"]), content_type="image/gif")

        self._files.app.router.add_get("/f/{name}", answer)
        await self._files.setup()
        await web.TCPSite(self._files, "127.0.0.1", 0).start()

    def direct_url(self, database: str) -> str:
        return self.postgres.url(database)

    def proxied_url(self, database: str) -> str:
        return f"postgresql://postgres:@127.0.0.1:{self.postgres_proxy.port}/{database}?sslmode=disable"

    @property
    def proxied_vespa_url(self) -> str:
        return self.vespa_proxy.url

    def calm(self) -> None:
        """Let everything pass, and end the connections whose fate is sealed already."""
        for proxy in (self.postgres_proxy, self.vespa_proxy):
            proxy.plan = never
            proxy.drop()

    async def clone(self, tables: tuple[str, ...], database: str) -> None:
        """A database of its own with these tables."""
        template = f"chaos_{os.getpid()}_of_{'_'.join(tables)}"
        if template not in self._templates:
            await self._admin.execute(f'CREATE DATABASE "{template}"')
            self._templates.add(template)
            connection = await asyncpg.connect(self.postgres.url(template))
            try:
                for name in tables:
                    for statement in (*KINDS[name].ddl, *KINDS[name].fill):
                        await connection.execute(statement.replace("{files}", self.files_url))
                await connection.execute("ANALYZE")
            finally:
                await connection.close()
        await self._admin.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY wal_log')

    async def drop(self, database: str) -> None:
        await self._admin.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Services]:
    """Services of their own in `folder`, gone with everything they hold afterwards."""
    from ingestion.sandbox.vespa_endpoint import process

    postgres = await asyncio.to_thread(EmbeddedPostgres.start, folder / "postgres")
    endpoint = await asyncio.to_thread(process.start, folder / "vespa")
    services = Services(postgres, endpoint.url, folder)
    try:
        await services.start()
        yield services
    finally:
        with suppress(Exception):
            await services.stop()
        await asyncio.to_thread(endpoint.stop)
        await asyncio.to_thread(postgres.stop, remove=True)
