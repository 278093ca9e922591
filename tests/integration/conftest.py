"""Commands on a small sample of their own: every kind of dirt, hundreds of rows."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import command_world
import pytest
from command_world import CommandLine

from ingestion.sandbox import sample
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

SEED = 11
SCALE = 0.01
PASSWORD = "pw-9dL7x-of-the-database"


@dataclass(frozen=True, slots=True)
class SmallSample:
    """A template database, what was planted in it, and how to copy it."""

    server: EmbeddedPostgres
    template: str
    manifest: list[sample.ManifestLine]

    def copy(self) -> str:
        """The name of a new database of the same content."""
        name = f"c_{uuid.uuid4().hex[:10]}"
        self.server.create_database(name, template=self.template)
        return name

    def url(self, database: str) -> str:
        """The server trusts its socket; the operator gives a password all the same, and it must not leak."""
        return self.server.url(database).replace("postgres:@", f"postgres:{PASSWORD}@")


@pytest.fixture(scope="session")
def small_sample(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallSample]:
    manifest = tmp_path_factory.mktemp("small-sample") / "manifest.jsonl"
    postgres.create_database("small_sample")
    asyncio.run(sample.load(postgres.url("small_sample"), scale=SCALE, seed=SEED, manifest_path=manifest))
    yield SmallSample(postgres, "small_sample", list(sample.read(manifest)))
    postgres.drop_database("small_sample")


@pytest.fixture
def commands(
    small_sample: SmallSample, vespa_url: str, namespace: str, tmp_path: Path
) -> Iterator[CommandLine]:
    """The command line on a copy of the small sample that the test may write to."""
    name = small_sample.copy()
    yield command_world.make(tmp_path / "run", small_sample.url(name), vespa_url, namespace)
    small_sample.server.drop_database(name)


@pytest.fixture
def bare(vespa_url: str, namespace: str, tmp_path: Path) -> Callable[[str], CommandLine]:
    """Makes a command line on any source."""
    return lambda url: command_world.make(tmp_path / "run", url, vespa_url, namespace)
