"""The sample in a real PostgreSQL: exact schema, quick, repeatable, every planted value found again."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from ingestion import errors
from ingestion.sandbox import postgres_store, sample
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.sandbox.sample import facts

SEED = 11


@dataclass(frozen=True)
class Loaded:
    url: str
    database: str
    manifest: Path
    report: sample.SampleReport
    lines: list[sample.ManifestLine]


@pytest.fixture(scope="module")
def loaded(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """The sample at scale 1."""
    postgres.create_database("sample_full")
    manifest = tmp_path_factory.mktemp("full") / "manifest.jsonl"
    url = postgres.url("sample_full")
    report = asyncio.run(sample.load(url, scale=1.0, seed=SEED, manifest_path=manifest))
    yield Loaded(url, "sample_full", manifest, report, list(sample.read(manifest)))
    postgres.drop_database("sample_full")


@pytest.fixture
async def database(loaded: Loaded) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(loaded.url)
    yield connection
    await connection.close()


async def test_every_generated_row_is_loaded(loaded: Loaded, database: asyncpg.Connection) -> None:
    for table, rows in loaded.report.rows.items():
        assert await database.fetchval(f'SELECT count(*) FROM "{table}"') == rows
    assert sum(loaded.report.rows.values()) == 48_389


async def test_columns_have_the_real_types_defaults_and_nullability(
    loaded: Loaded, database: asyncpg.Connection
) -> None:
    found = await database.fetch(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, "
        "pg_get_expr(d.adbin, d.adrelid) AS default_value FROM pg_attribute a JOIN pg_class c ON "
        "c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 "
        "ORDER BY c.relname, a.attnum"
    )
    expected = [
        (table.name, column.name, column.type, column.default)
        for table in sorted(facts.tables().values(), key=lambda table: table.name)
        for column in table.columns
    ]
    assert [(r["relname"], r["attname"], r["type"], r["default_value"]) for r in found] == expected
    not_null = {(r["relname"], r["attname"]) for r in found if r["attnotnull"]}
    declared = {(t.name, c.name) for t in facts.tables().values() for c in t.columns if not c.nullable}
    assert not_null <= declared
    assert {column for _, column in declared - not_null} == {"id", "updated_at"}
    indexes = await database.fetchval(
        "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
        "WHERE c.relnamespace = 'public'::regnamespace"
    )
    assert indexes == sum(len(table.indexes) for table in facts.tables().values())


def test_the_printed_sha256_is_that_of_the_servers_copy_stream(
    loaded: Loaded, postgres: EmbeddedPostgres
) -> None:
    programs = postgres_store.binaries(postgres.store.account)
    for table in ("photos", "audit_records", "_prisma_migrations", "inspections"):
        command = [str(programs / "psql"), "-X", "-q", "-d", loaded.url, "-c", f'COPY "{table}" TO STDOUT']
        printed = subprocess.run(command, capture_output=True, check=True).stdout
        assert hashlib.sha256(printed).hexdigest() == loaded.report.copy_sha256[table]


async def test_equal_seed_and_scale_load_equal_streams(
    empty_database: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    first = await sample.load(empty_database, scale=0.02, seed=4, manifest_path=tmp_path / "one")
    kept = await sample.load(empty_database, scale=0.02, seed=4, manifest_path=tmp_path / "one")
    assert (first.reused, kept.reused) == (False, True)
    assert kept.copy_sha256 == first.copy_sha256
    other = await sample.load(empty_database, scale=0.02, seed=5, manifest_path=tmp_path / "two")
    assert other.copy_sha256 != first.copy_sha256
    again = await sample.load(empty_database, scale=0.02, seed=4, manifest_path=tmp_path / "three")
    assert not again.reused
    assert again.copy_sha256 == first.copy_sha256
    assert (tmp_path / "three").read_bytes() == (tmp_path / "one").read_bytes()


async def test_a_database_with_other_content_is_refused_and_left_alone(
    empty_database: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE photos AS SELECT 1 AS mine")
    with pytest.raises(errors.SettingsError, match="photos"):
        await sample.load(empty_database, scale=0.02, manifest_path=tmp_path / "manifest.jsonl")
    assert await connection.fetchval("SELECT mine FROM photos") == 1
    await connection.close()
    assert not (tmp_path / "manifest.jsonl").exists()


async def test_a_cancelled_load_leaves_nothing_behind(empty_database: str, tmp_path: Path) -> None:
    started = asyncio.Event()

    def on_progress(text: str) -> None:
        if "drawings" in text:
            started.set()

    manifest = tmp_path / "manifest.jsonl"
    load = asyncio.ensure_future(
        sample.load(empty_database, scale=0.3, manifest_path=manifest, on_progress=on_progress)
    )
    await started.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert not manifest.exists()
    report = await sample.load(empty_database, scale=0.02, manifest_path=manifest)
    assert not report.reused


# How a test finds a planted cell again: a condition on the cell `v`, cast to text.
_CONDITIONS = {
    "control_characters": r"v ~ '[\x01-\x08\x0B\x0C\x0E-\x1F]'",
    "noncharacters": "v ~ U&'[\\FDD0-\\FDDF\\FFFE\\FFFF\\+01FFFE\\+10FFFF]'",
    "emoji": "v ~ '[🏗👷🚧✅]'",
    "combining_marks": "v ~ U&'[\\0301\\0303\\0351]'",
    "bidi_marks": "v ~ U&'[\\202E\\200F\\2067]'",
    "zero_width": "v ~ U&'[\\200B\\200C\\200D\\2060\\FEFF]'",
    "replacement_character": "v ~ U&'\\FFFD'",
    "lone_cr": "v ~ '\\r' AND v !~ '\\n'",
    "html_script": "v LIKE '%<script>%'",
    "html_entities": "v LIKE '%&amp;amp;%'",
    "html_base64_image": "v LIKE '%data:image/png;base64%'",
    "csv_formula": "v LIKE '=%'",
    "markup": "v LIKE '[bold red]%'",
    "long_text": "length(v) = 100000",
    "empty_string": "v = ''",
    "null_text": "v = 'null'",
    "json_under_limit": "octet_length(v) BETWEEN 1048000 AND 1048576",
    "json_over_limit": "octet_length(v) BETWEEN 1048577 AND 1049000",
    "json_deep": "length(v) - length(replace(v, '{', '')) = 200",
    "json_lookalike_keys": "v::jsonb ? 'Id' AND v::jsonb ? 'ID'",
    "json_big_numbers": "(v::jsonb ->> 'id')::numeric > 9007199254740992",
    "json_escaped_nul": "strpos(v, '\\\\u0000') > 0",
    "json_escaped_control": "strpos(v, '\\u0001') > 0",
    "numeric_nan": "v = 'NaN'",
    "time_1970": "v = '1970-01-01 00:00:00'",
    "time_after_2100": "v LIKE '2125-%'",
    "time_year_1": "v LIKE '0001-%'",
    "time_9999": "v LIKE '9999-%'",
    "time_infinity": "v = 'infinity'",
    "null_updated_at": "v IS NULL",
    "map_empty_list": "v = '[]'",
    "map_list_of_keys": "v LIKE '[\"%'",
    "map_list_of_objects": "v LIKE '[{%url%'",
    "map_of_objects": "v LIKE '{%: {%s3_key%'",
    "map_nested": "v LIKE '{\"attachments\": {%'",
    "map_odd_values": "v LIKE '%: null%' AND v LIKE '%: 0%' AND v LIKE '%: \"\"%'",
    "map_in_string": "v LIKE '\"{%'",
    "map_foreign_key": "v LIKE '{%'",
    "map_leading_slash": "v LIKE '%\"/562949%'",
    "secret_in_json": "v LIKE '%sandbox-secret-%'",
    "secret_column": "v LIKE '%sandbox-secret-%'",
    "file_missing": "v IS NOT NULL",
    "file_expired_url": "v LIKE '%sig=%'",
    "orphan_reference": "v IS NOT NULL",
    "foreign_project_reference": "v IS NOT NULL",
    "hierarchy_cycle": "v IS NOT NULL",
}


async def test_every_planted_value_is_found_again(loaded: Loaded, database: asyncpg.Connection) -> None:
    cells: dict[tuple[str, str, str], set[str]] = {}
    for line in loaded.lines:
        if line.id is not None and line.column != "id":
            cells.setdefault((line.table, line.column, line.kind), set()).add(line.id)
    assert {kind for _, _, kind in cells} == set(_CONDITIONS)
    for (table, column, kind), ids in cells.items():
        found = await database.fetchval(
            f'SELECT count(DISTINCT id) FROM (SELECT id, "{column}"::text AS v FROM "{table}") t '
            f"WHERE id::text = ANY($1) AND ({_CONDITIONS[kind]})",
            list(ids),
        )
        assert found == len(ids), f"{table}.{column}: {kind}"


async def test_no_other_value_is_refused_by_the_index(loaded: Loaded, database: asyncpg.Connection) -> None:
    warned = {(line.table, line.id) for line in loaded.lines if line.expect == "warned"}
    refused = r"t::text ~ U&'[\0001-\0008\000B\000C\000E-\001F\FDD0-\FDDF\FFFE\FFFF\+01FFFE\+10FFFF]'"
    found = set()
    for table, rows in loaded.report.rows.items():
        if rows:
            query = f'SELECT id::text FROM "{table}" t WHERE {refused}'
            found |= {(table, row["id"]) for row in await database.fetch(query)}
    cut = {(line.table, line.id) for line in loaded.lines if line.kind == "json_over_limit"}
    assert found == warned - cut


async def test_ids_are_spoilt_exactly_as_listed(loaded: Loaded, database: asyncpg.Connection) -> None:
    listed = Counter((line.table, line.kind) for line in loaded.lines if line.column == "id")
    for table, rows in loaded.report.rows.items():
        if not rows:
            continue
        groups = await database.fetch(
            f'SELECT id, count(*) AS copies, count(DISTINCT t::text) AS shapes FROM "{table}" t '
            "GROUP BY id HAVING count(*) > 1 OR id IS NULL OR id::text IN ('0', '-1', '-2')"
        )
        found: Counter[tuple[str, str]] = Counter()
        for group in groups:
            if group["id"] is None:
                found[table, "null_id"] += group["copies"]
            elif group["copies"] > 1:
                found[table, "differing_copy" if group["shapes"] > 1 else "identical_copy"] += group["copies"]
            else:
                found[table, "zero_id" if group["id"] == 0 else "negative_id"] += 1
        assert found == Counter({key: count for key, count in listed.items() if key[0] == table}), table


async def test_orphans_are_exactly_the_listed_ones(loaded: Loaded, database: asyncpg.Connection) -> None:
    listed = Counter(
        f"{line.table}.{line.column}" for line in loaded.lines if line.kind == "orphan_reference"
    )
    found: Counter[str] = Counter()
    for name, target in sample.references().items():
        table, _, column = name.partition(".")
        if loaded.report.rows[table] and column != "project_id":
            found[name] = await database.fetchval(
                f'SELECT count(DISTINCT c.id) FROM "{table}" c WHERE "{column}" IS NOT NULL AND NOT EXISTS '
                f'(SELECT FROM "{target}" p WHERE p.id = c."{column}")'
            )
    assert +found == Counter({name: n for name, n in listed.items() if not name.endswith(".project_id")})


async def test_bulk_syncs_leave_ties_across_batches(loaded: Loaded, database: asyncpg.Connection) -> None:
    tied = await database.fetchval(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM photos WHERE updated_at IS NOT NULL GROUP BY updated_at) t"
    )
    assert 2_000 < tied <= 3_000
    instants = await database.fetchval(
        "SELECT count(*) FROM (SELECT 1 FROM specification_sections GROUP BY updated_at HAVING count(*) > 5) t"
    )
    assert instants == 3
    unsynced = await database.fetchval("SELECT avg((last_synced_at IS NULL)::int) FROM direct_costs")
    assert 0.03 < float(unsynced) < 0.2
