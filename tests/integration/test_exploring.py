"""What the screens ask of a known schema: rights, sampled pairs, statistics, previews of any row, files a row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ingestion import errors, estimating
from ingestion.plan import Plan
from ingestion.sandbox import sandbox
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.schema_discovery import ImplicitRelationship
from ingestion.service import IngestService
from ingestion.settings import Settings

DATABASE = "exploring"
TABLES = """
CREATE TABLE vendors (id bigint PRIMARY KEY, name text, email_address text);
INSERT INTO vendors SELECT n, 'Vendor ' || n, 'v' || n || '@x.example' FROM generate_series(1, 40) n;
CREATE TABLE photos (id bigint PRIMARY KEY, vendor_id bigint, s3_key text, access_token text, note text);
INSERT INTO photos SELECT n, CASE WHEN n <= 180 THEN 1 + n % 40 ELSE 1000 + n END,
    CASE WHEN n % 2 = 0 THEN '8089/1/photos/' || n || '/a.jpg' END, 'tok' || n,
    CASE WHEN n % 4 = 0 THEN NULL WHEN n = 1 THEN E'bad \\u0001 char' ELSE 'same' END
    FROM generate_series(1, 200) n;
CREATE TABLE lines (word text, amount numeric(8,2));
INSERT INTO lines VALUES ('twice', 1.50), ('twice', 1.50), ('once', 2), (NULL, NULL);
CREATE TABLE teams (id bigint PRIMARY KEY, vendor_ids bigint[], lead jsonb);
INSERT INTO teams SELECT n, ARRAY[n, n + 1, 900 + n], jsonb_build_object('id', n, 'name', 'x')
    FROM generate_series(1, 20) n;
CREATE TABLE hidden (id bigint);
CREATE ROLE exploring_reader LOGIN;
GRANT USAGE ON SCHEMA public TO exploring_reader;
GRANT SELECT ON vendors, photos, lines, teams TO exploring_reader;
"""


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    postgres.create_database(DATABASE)
    postgres.psql(TABLES, database=DATABASE)
    yield postgres.url(DATABASE)
    postgres.drop_database(DATABASE)
    postgres.psql("DROP ROLE exploring_reader", database="postgres")


@pytest.fixture
async def service(database: str, tmp_path: Path) -> AsyncIterator[IngestService]:
    settings = Settings(database_url=database, state_dir=str(tmp_path), statement_timeout_s=120)
    async with IngestService(settings) as one:
        yield one


def relation(schema_column: str = "vendor_id") -> ImplicitRelationship:
    return ImplicitRelationship("photos", schema_column, "vendors")


async def test_sampled_pairs_say_what_the_values_lead_to_and_which_lead_nowhere(
    service: IngestService,
) -> None:
    found = await service.relation_sample(relation())
    assert (found.values, found.found, found.rows, found.rows_found) == (60, 40, 200, 180)
    assert found.label == "name"
    there = [pair for pair in found.pairs if pair.found]
    assert all(pair.label == f"Vendor {pair.value}" and pair.rows in (4, 5) for pair in there)
    assert {pair.value for pair in found.pairs if not pair.found} <= {str(1000 + n) for n in range(181, 201)}


@pytest.mark.parametrize(("column", "values", "found"), [("vendor_ids", 41, 21), ("lead", 20, 20)])
async def test_ids_inside_arrays_and_json_are_sampled_one_by_one(
    service: IngestService, column: str, values: int, found: int
) -> None:
    sample = await service.relation_sample(ImplicitRelationship("teams", column, "vendors"))
    assert (sample.values, sample.found) == (values, found)
    assert all(pair.label == f"Vendor {pair.value}" for pair in sample.pairs if pair.found)


async def test_a_masked_reference_shows_no_values(database: str, tmp_path: Path) -> None:
    settings = Settings(
        database_url=database, state_dir=str(tmp_path), mask=("photos.vendor_id", "vendors.name")
    )
    async with IngestService(settings) as service:
        found = await service.relation_sample(relation())
        assert found.pairs == ()
        assert "masked" in found.problem


async def test_statistics_are_there_for_all_but_secrets(service: IngestService) -> None:
    table = await service.statistics("photos")
    assert table.column("note").null_share == pytest.approx(0.25)
    assert table.column("note").top_values == ["same"]
    assert (table.column("id").minimum, table.column("id").maximum) == ("1", "200")
    secret = table.column("access_token")
    assert (secret.null_share, secret.top_values, secret.minimum) == (None, [], None)


async def test_previews_hold_any_row_beside_its_document_with_masks_and_warnings(
    service: IngestService,
) -> None:
    found = await service.previews("photos", plan=Plan(mask=("photos.note",)), limit=5)
    assert [one.key for one in found] == ["1", "2", "3", "4", "5"]
    assert found[0].document["metadata"]["access_token"] == "[masked]"
    assert found[0].row["note"] == "[masked]"
    (one,) = await service.previews("photos", column="id", value="137")
    assert one.document["source_id"] == "137"
    (odd,) = await service.previews("photos", column="id", value="1")
    assert odd.warnings
    with pytest.raises(errors.SchemaError):
        await service.previews("photos", column="nope", value="1")


async def test_rows_of_a_table_without_a_key_are_previewed_under_the_ids_a_job_gives_them(
    service: IngestService,
) -> None:
    found = await service.previews("lines")
    keys = [one.key or "" for one in found]
    assert len(set(keys)) == 4
    assert keys[1] == f"{keys[0]}-1"
    assert [one.row["word"] for one in found] == ["twice", "twice", "once", None]
    (once,) = await service.previews("lines", column="word", value="once")
    assert once.key == keys[2]


async def test_files_are_estimated_from_what_rows_refer_to(service: IngestService) -> None:
    shares = await service.files_per_row()
    assert shares == {"photos": pytest.approx(0.5)}
    assert estimating.files(await service.estimate(Plan()), shares) == 100
    assert estimating.files(await service.estimate(Plan(exclude=("photos",))), shares) == 0


async def test_the_source_says_what_the_role_may_do(service: IngestService, database: str) -> None:
    owner = await service.source_info()
    assert (owner.superuser, owner.can_write, owner.tables, owner.unreadable) == (True, True, 5, 0)
    assert owner.timeout_s == 120
    reader = await service.probe_source(database.replace("postgres:@", "exploring_reader:@"))
    assert (reader.user, reader.superuser, reader.can_write) == ("exploring_reader", False, False)
    assert (reader.tables, reader.unreadable) == (5, 1)
    assert (await service.source_info()).user == owner.user, "a probe changes nothing"


async def test_a_verdict_is_taken_back(service: IngestService) -> None:
    await service.decide_relation(relation(), accepted=False)
    assert [r.source_column for r in (await service.discover()).rejected] == ["vendor_id"]
    await service.withdraw_verdict(relation())
    schema = await service.discover()
    assert schema.rejected == []


async def test_nothing_of_the_sandbox_goes_on_to_another_source(tmp_path: Path) -> None:
    own = Settings(state_dir=str(tmp_path / "own"), vespa_url="http://vespa.example:8080")
    info = sandbox.SandboxInfo(
        database_url="postgresql://r@127.0.0.1:1/x", vespa_url="http://127.0.0.1:2", files_url="http://127.0.0.1:3",
        state_dir=str(tmp_path / "sandbox"), manifest="", pids={}, copy_sha256={},
    )  # fmt: skip
    async with IngestService(sandbox.settings_on(own, info), sandbox=True, own=own) as service:
        await service.reconnect(database_url="postgresql://r@db.example/real", vespa_url="", namespace="")
        now = service.settings
        assert (now.vespa_url, now.state_dir) == (own.vespa_url, own.state_dir)
        assert (now.s3_endpoint_url, now.url_rewrites) == ("", ())
        assert not service.where().sandbox
        await service.reconnect_to_start()
        assert service.where().sandbox
