"""Loads the sample into a database, once: a sample that is there already is left as it is."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ingestion import errors
from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.dirt import DirtOptions
from ingestion.sandbox.sample.generator import Sample
from ingestion.sandbox.sample.manifest import ManifestLine

if TYPE_CHECKING:
    import asyncpg

_MARK: Final = "procore-ingest sample "
"""Begins the comment of a database that holds a sample; the sample's description follows as JSON."""


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What was loaded. `copy_sha256` is, per table, the SHA-256 of what `COPY table TO STDOUT` prints."""

    rows: dict[str, int]
    copy_sha256: dict[str, str]
    planted: dict[str, int]
    seconds: float
    reused: bool

    @property
    def sha256(self) -> str:
        """One SHA-256 for the whole sample, over the tables' own."""
        text = "".join(f"{self.copy_sha256[name]}  {name}\n" for name in sorted(self.copy_sha256))
        return hashlib.sha256(text.encode()).hexdigest()


async def load(
    url: str,
    *,
    scale: float = 1.0,
    seed: int = 1,
    manifest_path: Path,
    dirt: bool | DirtOptions = True,
    empty_rows: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> SampleReport:
    """Load the sample into the database and write its manifest, one JSON line per planted value.

    Everything is loaded in one transaction: a load that is killed or cancelled leaves nothing behind.
    An equal sample of the same generator is not loaded again; a different sample is replaced; any other
    content is refused. `empty_rows` fills the tables that are empty at scale 1.
    Raises errors.SettingsError (scale, foreign content), errors.SourceUnavailable.
    """
    import asyncpg

    began = time.monotonic()
    sample = Sample(scale=scale, seed=seed, dirt=DirtOptions.of(dirt), empty_rows=empty_rows)
    tell = on_progress or (lambda text: None)
    try:
        connection = await asyncpg.connect(
            url, server_settings={"application_name": "procore-ingest sandbox"}
        )
    except (OSError, asyncpg.PostgresError) as problem:
        raise errors.SourceUnavailable(
            f"the sandbox's database cannot be reached: {problem}", hint="Run: procore-ingest sandbox up"
        ) from problem
    try:
        kept = await _kept(connection)
        wanted = _identity(sample, empty_rows)
        if kept is not None and kept["identity"] == wanted and _sha256(manifest_path) == kept["manifest"]:
            tell(f"sample kept from before: {sum(kept['rows'].values()):,} rows")
            return SampleReport(
                kept["rows"], kept["copy_sha256"], kept["planted"], time.monotonic() - began, reused=True
            )
        async with connection.transaction():
            return await _Loading(connection, sample, wanted, manifest_path, tell).run(
                kept is not None, began
            )
    except asyncpg.PostgresError as problem:
        raise errors.SourceUnavailable(f"the sample cannot be loaded: {problem}") from problem
    except asyncpg.InternalClientError:
        # Cancelled in the middle of a COPY asyncpg cannot roll back any more; closing the connection does.
        running = asyncio.current_task()
        if running is not None and running.cancelling():
            raise asyncio.CancelledError from None
        raise
    finally:
        await connection.close(timeout=10)


class _Loading:
    """One load, inside its transaction."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        sample: Sample,
        identity: str,
        manifest_path: Path,
        tell: Callable[[str], None],
    ) -> None:
        self._connection, self._sample, self._identity = connection, sample, identity
        self._manifest_path, self._tell = manifest_path, tell
        self._planted: Counter[str] = Counter()

    async def run(self, replace: bool, began: float) -> SampleReport:
        connection = self._connection
        await connection.execute("SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, MDY'")
        await self._clear(replace)
        for statement in self._sample.create_statements():
            await connection.execute(statement)
        digests = {}
        half = self._manifest_path.with_name(self._manifest_path.name + ".part")
        try:
            self._manifest_path.parent.mkdir(parents=True, exist_ok=True)
            with half.open("w", encoding="utf-8", newline="\n") as manifest:
                for name in facts.tables():
                    await self._copy(name, manifest)
                    digests[name] = await _copy_sha256(connection, name)
        except OSError as problem:
            raise errors.SettingsError(
                f"the manifest {self._manifest_path} cannot be written: {problem.strerror or problem}"
            ) from problem
        self._tell("sample: making indexes and statistics")
        for statement in facts.index_statements():
            await connection.execute(statement)
        await connection.execute("SELECT setval('api_credentials_id_seq', 1)")
        await connection.execute("ANALYZE")
        rows = dict(self._sample.rows)
        await self._describe(
            {
                "identity": self._identity,
                "rows": rows,
                "copy_sha256": digests,
                "planted": dict(sorted(self._planted.items())),
                "manifest": _sha256(half),
            }
        )
        half.replace(self._manifest_path)
        seconds = time.monotonic() - began
        self._tell(f"sample loaded: {sum(rows.values()):,} rows in {seconds:.1f} s")
        return SampleReport(rows, digests, dict(sorted(self._planted.items())), seconds, reused=False)

    async def _clear(self, replace: bool) -> None:
        if replace:
            names = ", ".join(f'"{name}"' for name in facts.tables())
            await self._connection.execute(f"DROP TABLE IF EXISTS {names} CASCADE")
        found = await self._connection.fetchval(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace LIMIT 1"
        )
        if found is not None:
            raise errors.SettingsError(
                f"the database already holds other content (such as {found}); the sample was not loaded",
                hint="Name an empty database.",
            )

    async def _copy(self, name: str, manifest: IO[str]) -> None:
        async def stream() -> AsyncIterator[bytes]:
            for piece in self._sample.pieces(name):
                manifest.writelines(line.to_json() + "\n" for line in piece.planted)
                self._planted.update(_label(line) for line in piece.planted)
                yield piece.text.encode()
                await asyncio.sleep(0)  # a piece is some milliseconds of work: let others run

        rows = self._sample.rows[name]
        if rows:
            await self._connection.copy_to_table(name, source=stream())
            self._tell(f"sample: {name}, {rows:,} rows")

    async def _describe(self, description: dict[str, Any]) -> None:
        text = (_MARK + json.dumps(description)).replace("'", "''")
        name = await self._connection.fetchval("SELECT quote_ident(current_database())")
        await self._connection.execute(f"COMMENT ON DATABASE {name} IS '{text}'")


async def _kept(connection: asyncpg.Connection) -> dict[str, Any] | None:
    """The description of the sample that the database holds."""
    comment = await connection.fetchval(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    )
    if not comment or not comment.startswith(_MARK):
        return None
    description: dict[str, Any] = json.loads(comment.removeprefix(_MARK))
    return description


async def _copy_sha256(connection: asyncpg.Connection, table: str) -> str:
    digest = hashlib.sha256()

    async def take(data: bytes) -> None:
        digest.update(data)

    await connection.copy_from_table(table, output=take)
    return digest.hexdigest()


def _identity(sample: Sample, empty_rows: int) -> str:
    kinds = ",".join(sorted(sample.dirt.kinds))
    text = f"{_generator_version()} seed={sample.seed} scale={sample.scale!r} empty={empty_rows} {kinds}"
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _generator_version() -> str:
    """Changes with every change of the generator, so that a kept sample is never an older one."""
    digest = hashlib.sha256()
    for entry in sorted(resources.files(__package__).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith((".py", ".json")):
            digest.update(entry.read_bytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _label(line: ManifestLine) -> str:
    return f"{line.kind} {line.expect}"
