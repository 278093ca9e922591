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
FEW = ("photos", "rfis", "vendors")
PASSWORD = "pw-9dL7x-of-the-database"


@dataclass(frozen=True, slots=True)
class SmallSample:
    """A template database, what was planted in it, and how to copy it."""

    server: EmbeddedPostgres
    template: str
    manifest: list[sample.ManifestLine]
    few_tables: str
    """A second template, with the tables of `FEW` alone: what is asked of a command costs less there."""

    def copy(self, *, few: bool = False) -> str:
        """The name of a new database of the same content."""
        name = f"c_{uuid.uuid4().hex[:10]}"
        self.server.create_database(name, template=self.few_tables if few else self.template)
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
    postgres.create_database("few_tables", template="small_sample")
    others = [name for name in command_world.row_counts(postgres.url("few_tables")) if name not in FEW]
    postgres.psql(f"DROP TABLE {', '.join(others)}", database="few_tables")
    yield SmallSample(postgres, "small_sample", list(sample.read(manifest)), "few_tables")
    for name in ("few_tables", "small_sample"):
        postgres.drop_database(name)


@pytest.fixture
def commands(
    small_sample: SmallSample, vespa_url: str, namespace: str, tmp_path: Path
) -> Iterator[CommandLine]:
    """The command line on a few tables of the small sample that the test may write to."""
    name = small_sample.copy(few=True)
    yield command_world.make(tmp_path / "run", small_sample.url(name), vespa_url, namespace)
    small_sample.server.drop_database(name)


@pytest.fixture
def bare(vespa_url: str, namespace: str, tmp_path: Path) -> Callable[[str], CommandLine]:
    """Makes a command line on any source."""
    return lambda url: command_world.make(tmp_path / "run", url, vespa_url, namespace)
