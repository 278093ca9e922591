"""Shared services of the tests: one PostgreSQL and one local Vespa endpoint per test worker.

Databases are cloned from templates, so that a test gets its own in milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

# A busy machine makes generation slow, not wrong: how long something takes is never a test here.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("suite")

# What runs in the background of a script has SIGINT ignored, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLE_SCALE = 0.05
SAMPLE_SEED = 7


@pytest.fixture(scope="session", autouse=True)
def _isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the machine's own settings, state or credentials reaches a test."""
    kept = dict(os.environ)
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("PG", "PROCORE_", "VESPA_", "AWS_", "LOG_")):
            del os.environ[name]
    os.environ.update(
        HOME=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        XDG_STATE_HOME=str(home / "state"),
        XDG_CONFIG_HOME=str(home / "config"),
        AWS_EC2_METADATA_DISABLED="true",
    )
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """This worker's own embedded server."""
    server = EmbeddedPostgres.start(tmp_path_factory.mktemp("postgres") / "data")
    yield server
    server.stop(remove=True)


async def _admin(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """URL of a new database with nothing in it."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    await _admin(postgres, f'CREATE DATABASE "{name}"')
    yield postgres.url(name)
    await _admin(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def _sample(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name of the sample's template database and the path of its manifest."""
    import asyncio

    from ingestion.sandbox import sample

    manifest = tmp_path_factory.mktemp("sample") / "manifest.jsonl"

    async def load() -> None:
        await _admin(postgres, 'CREATE DATABASE "sample_template"')
        await sample.load(
            postgres.url("sample_template"), scale=SAMPLE_SCALE, seed=SAMPLE_SEED, manifest_path=manifest
        )

    asyncio.run(load())
    return "sample_template", manifest


@pytest.fixture(scope="session")
def sample_manifest(_sample: tuple[str, Path]) -> list[dict[str, Any]]:
    """Every dirty value planted in the sample."""
    return [json.loads(line) for line in _sample[1].read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def sample_manifest_path(_sample: tuple[str, Path]) -> Path:
    return _sample[1]


@pytest.fixture(scope="session")
def sample_database(postgres: EmbeddedPostgres, _sample: tuple[str, Path]) -> str:
    """URL of a small Procore sample, dirt included; shared, so only ever read."""
    import asyncio

    asyncio.run(_admin(postgres, 'CREATE DATABASE "sample_shared" TEMPLATE "sample_template"'))
    return postgres.url("sample_shared")


@pytest.fixture
async def sample_copy(postgres: EmbeddedPostgres, _sample: tuple[str, Path]) -> AsyncIterator[str]:
    """URL of this test's own copy of the sample, to write to."""
    name = f"s_{uuid.uuid4().hex[:12]}"
    await _admin(postgres, f'CREATE DATABASE "{name}" TEMPLATE "sample_template"')
    yield postgres.url(name)
    await _admin(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def vespa_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """This worker's own local Vespa endpoint; give each test its own `namespace`."""
    from ingestion.sandbox.vespa_endpoint import process

    endpoint = process.start(tmp_path_factory.mktemp("vespa"))
    yield endpoint.url
    endpoint.stop()


@pytest.fixture
def namespace() -> str:
    """A document namespace that no other test uses."""
    return f"t{uuid.uuid4().hex[:10]}"
