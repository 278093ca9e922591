"""The fault proxy itself, in front of PostgreSQL: connections pass, break, come late and end early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from faults import Answer, Cut, Delay, FaultProxy, Hang, Reset, always, first

from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)


@pytest.fixture
async def proxy(postgres: EmbeddedPostgres) -> AsyncIterator[FaultProxy]:
    folder = postgres.url("postgres").rpartition("host=")[2]
    async with FaultProxy(f"unix:{folder}/.s.PGSQL.5432") as started:
        yield started


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=proxy.port, user="postgres", password="x", database="postgres", ssl=False
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def test_bytes_pass_both_ways_and_a_plan_may_break_the_first_connection(proxy: FaultProxy) -> None:
    proxy.plan = first(Reset(), Delay(0.01))
    with pytest.raises(LOST):
        async with connected(proxy):
            pass
    async with connected(proxy) as connection:
        assert await connection.fetchval("SELECT length(repeat('x', 300000))") == 300_000
        assert len(await connection.fetchval("SELECT repeat('x', 300000)")) == 300_000
    assert proxy.exchanges == 2


async def test_an_answer_is_cut_in_its_midst(proxy: FaultProxy) -> None:
    proxy.plan = always(Cut(20_000))
    async with connected(proxy) as connection:
        with pytest.raises(LOST):
            await connection.fetchval("SELECT repeat('x', 300000)")


async def test_connections_are_dropped_and_the_port_goes_away_and_comes_back(proxy: FaultProxy) -> None:
    async with connected(proxy) as connection:
        proxy.drop()
        with pytest.raises(LOST):
            await connection.fetchval("SELECT 1")
    proxy.down()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.up()
    async with connected(proxy) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_client_may_wait_in_vain(proxy: FaultProxy) -> None:
    proxy.plan = always(Hang())
    with pytest.raises(TimeoutError):
        await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="postgres", ssl=False, timeout=0.05)


async def test_a_plan_that_makes_no_sense_is_told() -> None:
    proxy = FaultProxy("127.0.0.1:1", always(Answer(503)))
    await proxy.up()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(TypeError, match="http:// target"):
        await proxy.close()
