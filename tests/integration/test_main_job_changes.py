"""What changes in the source or in the index is found, said and mended through the command line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import command_world
from command_world import CommandLine, Ran

from ingestion.sandbox.vespa_endpoint import process

TABLES = ("--tables", "rfis,vendors")
INDEXABLE = """count(*) FROM (
    SELECT id FROM photos WHERE id IS NOT NULL GROUP BY id HAVING count(DISTINCT photos::text) = 1) AS keys"""


def documents(run: CommandLine) -> dict[str, dict[str, Any]]:
    """doc_id → fields of every record."""
    found = command_world.visit(
        run.environment["VESPA_URL"], run.environment["PROCORE_NAMESPACE"], "procore_record"
    )
    return {fields["doc_id"]: fields for fields in found.values()}


def damage(run: CommandLine, method: str, user_id: str, fields: Any = None) -> None:
    command_world.change(
        run.environment["VESPA_URL"], run.environment["PROCORE_NAMESPACE"], method, user_id, fields
    )


def sql(run: CommandLine, statement: str) -> list[Any]:
    return command_world.query(run.environment["PROCORE_DATABASE_URL"], statement)


def totals(ran: Ran) -> tuple[int, int, int, int]:
    counted = ran.json["totals"]
    return counted["read"], counted["indexed"], counted["failed"], counted["skipped"]


def difference(ran: Ran, table: str) -> tuple[list[str], list[str], list[str]]:
    found = next(t for t in ran.json["tables"] if t["table"] == table)
    return found["missing_ids"], found["extra_ids"], found["different_ids"]


def test_an_incremental_run_follows_inserts_updates_and_deletes(commands: CommandLine) -> None:
    assert commands("ingest", "--full", *TABLES).code == 0
    ids = [row[0] for row in sql(commands, "SELECT id FROM vendors ORDER BY id LIMIT 3")]
    sql(commands, f"UPDATE vendors SET name = 'Renamed & Sons' WHERE id = {ids[0]}")
    sql(commands, f"DELETE FROM vendors WHERE id = {ids[1]}")
    columns = ", ".join(
        row[0]
        for row in sql(
            commands,
            "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'vendors'::regclass"
            " AND attnum > 0 AND attname <> 'id' ORDER BY attnum",
        )
    )
    sql(
        commands, f"INSERT INTO vendors (id, {columns}) SELECT 42, {columns} FROM vendors WHERE id = {ids[2]}"
    )
    ran = commands("sync", "--once", "--json", *TABLES)
    assert ran.code == 0, ran.err
    assert ran.json["kind"] == "incremental"
    jobs = commands("jobs", "list", "--json").json["items"]
    report = next(job["report"] for job in jobs if job["id"] == ran.json["job_id"])
    told = next(t for t in report["tables"] if t["table"] == "vendors")
    assert (told["inserted"], told["updated"], told["deleted"]) == (1, 1, 1)
    after = documents(commands)
    assert after[f"vendors:{ids[0]}"]["metadata"]["name"] == "Renamed & Sons"
    assert f"vendors:{ids[1]}" not in after
    assert after["vendors:42"]["metadata"]["id"] == "42"
    rows = sql(commands, "SELECT (SELECT count(*) FROM vendors) + (SELECT count(*) FROM rfis) AS n")[0][0]
    assert len(after) == rows
    idle = commands("ingest", "--incremental", "--json", *TABLES)
    assert totals(idle)[1:3] == (0, 0)
    said = commands("sync", "--once", *TABLES).out.splitlines()
    assert said[0].split() == [
        "table", "status", "read", "indexed", "failed", "skipped", "warned", "inserted", "updated", "deleted"
    ]  # fmt: skip
    assert commands("verify", *TABLES).code == 0
    cleared = commands("checkpoints", "clear", "vendors", "--json")
    assert cleared.json == {"cleared": "vendors"}
    listed = commands("checkpoints", "list", "--json").json["items"]
    assert [c["table_name"] for c in listed] == ["rfis"]
    assert commands("checkpoints", "clear").code == 64
    assert commands("checkpoints", "clear", "--yes").code == 0
    assert commands("checkpoints", "list", "--json").json == {"items": []}
    assert documents(commands).keys() == after.keys()


def test_an_index_that_nothing_was_fed_to_is_not_equal_to_a_full_source(commands: CommandLine) -> None:
    ran = commands("verify", "--json")
    assert ran.code == 3
    rows = sql(commands, "SELECT (SELECT count(*) FROM vendors) AS n")[0][0]
    assert next(t for t in ran.json["tables"] if t["table"] == "vendors")["missing"] == rows


def test_verify_names_exactly_what_was_damaged_and_repairs_it(commands: CommandLine) -> None:
    assert commands("ingest", "--full", *TABLES).code == 0
    before = documents(commands)
    lost, changed = sorted(before)[0], sorted(before)[1]
    damage(commands, "DELETE", lost)
    damage(commands, "PUT", changed, {"row_digest": {"assign": before[changed]["row_digest"] + 1}})
    table = lost.partition(":")[0]
    stranger = {**before[changed], "doc_id": f"{table}:99999999", "source_id": "99999999"}
    damage(commands, "POST", f"{table}:99999999", stranger)
    ran = commands("verify", "--json", *TABLES)
    assert ran.code == 3
    assert ran.json["equal"] is False
    found = [[f"{table}:{key}" for key in keys] for keys in difference(ran, table)]
    assert found == [[lost], [f"{table}:99999999"], [changed]]
    assert all(
        c == ([], [], [])
        for c in [difference(ran, t["table"]) for t in ran.json["tables"] if t["table"] != table]
    )
    repaired = commands("verify", "--repair", "--json", *TABLES)
    assert repaired.code == 0, repaired.out
    assert repaired.json["repaired"] == 3
    assert commands("verify", "--json", *TABLES).code == 0
    passing = ("read_seq", "ingested_at")
    mended = {d: {k: v for k, v in f.items() if k not in passing} for d, f in documents(commands).items()}
    assert mended == {d: {k: v for k, v in f.items() if k not in passing} for d, f in before.items()}


def test_verify_deep_finds_a_document_whose_digest_lies(commands: CommandLine) -> None:
    assert commands("ingest", "--full", "--tables", "vendors").code == 0
    changed = sorted(documents(commands))[0]
    damage(commands, "PUT", changed, {"metadata": {"assign": {"name": "not what the source says"}}})
    assert commands("verify", "--tables", "vendors").code == 0
    ran = commands("verify", "--deep", "--json", "--tables", "vendors")
    assert ran.code == 3
    assert difference(ran, "vendors") == ([], [], [changed.partition(":")[2]])
    assert commands("verify", "--deep", "--repair", "--tables", "vendors").code == 0


def test_a_retry_settles_what_was_mended_in_the_source(commands: CommandLine) -> None:
    assert commands("ingest", "--full", "--tables", "photos").code == 3
    listed = commands("failures", "list", "--json", "--table", "photos").json["items"]
    causes = {item["cause"] for item in listed}
    assert causes == {"null_key", "duplicate_key"}
    untouched = commands("failures", "retry", "--json")
    assert untouched.code == 3
    assert untouched.json == {"tried": len(listed), "resolved": 0, "failed": len(listed), "untried": []}
    retried = commands("jobs", "list", "--json").json["items"][0]
    assert (retried["kind"], retried["status"]) == ("retry", "partial")
    assert [c["sync_status"] for c in commands("checkpoints", "list", "--json").json["items"]] == ["partial"]
    # Three first; where they fail again the rest is left alone.
    canary = commands("failures", "retry", "--canary", "--json")
    assert (canary.code, canary.json) == (3, {"tried": 3, "resolved": 0, "failed": 3, "untried": []})
    assert "the rest was not tried" in canary.err
    cluster = commands("failures", "retry", "--cause", "null_key", "--json").json
    nameless = sum(item["cause"] == "null_key" for item in listed)
    assert cluster == {"tried": nameless, "resolved": 0, "failed": nameless, "untried": []}
    doubled = next(item["key"] for item in listed if item["cause"] == "duplicate_key")
    one = next(item["id"] for item in listed if item["key"] == doubled)
    assert commands("failures", "retry", "--id", str(one), "--json").json["tried"] == 1
    assert commands("failures", "show", str(one)).json["attempts"] > 2
    sql(commands, f"DELETE FROM photos WHERE ctid IN (SELECT max(ctid) FROM photos WHERE id = {doubled})")
    sql(commands, "UPDATE photos SET id = 77 WHERE id IS NULL")
    tried = commands("failures", "retry", "--canary", "--json", "--table", "ph*")
    assert tried.code == 0, tried.out
    assert tried.json["failed"] == 0
    assert commands("failures", "list", "--json").json["total"] == 0
    after = documents(commands)
    assert {f"photos:{doubled}", "photos:77"} <= set(after)
    assert len(after) == sql(commands, "SELECT count(DISTINCT id) FROM photos")[0][0]
    assert commands("verify", "--tables", "photos").code == 0
    settled = commands("failures", "list", "--all", "--json").json["items"]
    assert {item["status"] for item in settled} == {"resolved"}


def test_failures_are_shown_exported_and_set_aside(commands: CommandLine) -> None:
    assert commands("ingest", "--full", "--tables", "photos").code == 3
    items = commands("failures", "list", "--json").json["items"]
    first = next(item for item in items if item["cause"] == "duplicate_key")
    shown = commands("failures", "show", str(first["id"])).json
    assert shown["row"]["id"] == first["key"]
    assert shown["advice"]
    text = commands("failures", "list").out
    assert "duplicate_key" in text
    assert first["key"] in text
    lines = commands("failures", "export").out.splitlines()
    assert [json.loads(line) for line in lines] == items
    assert commands("failures", "export", "--cause", "null_key", "--output", "f.csv").code == 0
    assert (commands.folder / "f.csv").read_text().count("\n") == 1 + sum(
        i["cause"] == "null_key" for i in items
    )
    aside = commands("failures", "dismiss", "--id", str(first["id"]), "--note", "known", "--json")
    assert aside.json == {"dismissed": 1}
    assert commands("failures", "list", "--json").json["total"] == len(items) - 1
    commands("failures", "show", "4711").refused(64, "4711", "failures list")
    commands("failures", "retry", "--id", str(first["id"])).refused(64, "none of these failures is open")


def test_a_plan_file_chooses_and_flags_beat_it(commands: CommandLine) -> None:
    plan = 'version = 1\ninclude = ["rfi*", "vendors"]\nexclude = ["vendors"]\nmask = ["rfis.subject"]\n'
    plan += "batch_size = 7\n"
    (commands.folder / "p.toml").write_text(plan)
    ran = commands("ingest", "--full", "--plan", "p.toml", "--json")
    assert [t["table"] for t in ran.json["tables"]] == ["rfis"]
    assert {f["metadata"]["subject"] for f in documents(commands).values()} == {"[masked]"}
    job = commands("jobs", "list", "--json").json["items"][0]
    assert job["plan"]["config"]["batch_size"] == 7
    ran = commands("ingest", "--full", "--plan", "p.toml", "--tables", "*", "--exclude", "photos", "--json")
    assert {t["table"] for t in ran.json["tables"]} == {"rfis", "vendors"}


def test_what_was_masked_once_stays_masked(commands: CommandLine) -> None:
    (commands.folder / "p.toml").write_text('version = 1\ninclude = ["rfis"]\nmask = ["rfis.subject"]\n')
    assert commands("ingest", "--full", "--plan", "p.toml").code == 0
    key = sorted(documents(commands))[0].partition(":")[2]
    sql(commands, f"UPDATE rfis SET subject = 'a name that was masked', status = 'reopened' WHERE id = {key}")
    ran = commands("sync", "--once", "--tables", "rfis", "--json")
    assert totals(ran)[1] == 1
    assert commands("verify", "--deep", "--tables", "rfis").code == 0
    assert commands("verify", "--repair", "--tables", "rfis").code == 0
    assert {f["metadata"]["subject"] for f in documents(commands).values()} == {"[masked]"}
    rich = ("discover", "--include-samples", "--include-stats", "--format", "json")
    (rfis,) = [t for t in commands(*rich).json["tables"] if t["name"] == "rfis"]
    assert {row["subject"] for row in rfis["samples"]} == {"[masked]"}
    (subject,) = [c for c in rfis["columns"] if c["name"] == "subject"]
    assert (subject["minimum"], subject["maximum"], subject["top_values"]) == (None, None, [])


def test_an_implausible_share_of_deletes_waits_for_the_operator(commands: CommandLine) -> None:
    photos = ("--tables", "photos")
    commands("ingest", "--full", *photos)
    before = len(documents(commands))
    sql(commands, "DELETE FROM photos WHERE id IN (SELECT id FROM photos WHERE id > 0 LIMIT 40)")
    for command in (("sync", "--once"), ("ingest", "--full"), ("verify", "--repair")):
        ran = commands(*command, *photos)
        assert ran.code == 3, ran.err
        assert "--allow-mass-delete" in ran.out + ran.err
        assert len(documents(commands)) == before
    ran = commands("sync", "--once", "--allow-mass-delete", "--json", *photos)
    assert len(documents(commands)) == sql(commands, f"SELECT {INDEXABLE}")[0][0] < before - 30
    assert commands("verify", *photos).code == 0


def test_a_daemon_outlives_an_outage_and_ends_well_when_told_to(
    commands: CommandLine, tmp_path: Path
) -> None:
    vespa = process.start(tmp_path / "index")
    commands.environment["VESPA_URL"] = vespa.url
    daemon = commands.start("sync", "--daemon", "--interval", "0.1", "--tables", "vendors")
    told = iter(daemon.stderr or ())
    assert any("completed: " in line for line in told)
    vespa.stop()
    assert any("this cycle failed: Vespa at" in line for line in told)
    sql(commands, "UPDATE vendors SET name = 'after the outage' WHERE id = (SELECT max(id) FROM vendors)")
    vespa = process.start(tmp_path / "index", port=int(vespa.url.rpartition(":")[2]))
    try:
        assert any("completed: " in line and " 1 indexed" in line for line in told)
        daemon.send_signal(signal.SIGTERM)
        ran = commands.ended(daemon)
        assert ran.code == 0, ran.err
        assert "Traceback" not in ran.err
        statuses = {job["status"] for job in commands("jobs", "list", "--json").json["items"]}
        assert statuses <= {"completed", "cancelled", "failed"}
        assert commands("verify", "--tables", "vendors").code == 0
        names = {fields["metadata"].get("name") for fields in documents(commands).values()}
        assert "after the outage" in names
    finally:
        vespa.stop()


def test_every_job_counts_what_the_index_holds(commands: CommandLine) -> None:
    assert commands("ingest", "--full", *TABLES).code == 0
    lost = next(d for d in sorted(documents(commands)) if d.startswith("vendors:"))
    held = sum(d.startswith("vendors:") for d in documents(commands))
    damage(commands, "DELETE", lost)
    ran = commands("sync", "--once", *TABLES)
    assert ran.code == 3
    assert f"the index holds {held - 1:,} documents, {held:,} were acknowledged" in ran.out
    assert commands("verify", "--repair", "--tables", "vendors").code == 0
    last = commands("sync", "--once", "--json", "--log-format", "json", *TABLES)
    assert last.code == 0
    log = (commands.folder / "state" / "procore-ingest.log").read_text().splitlines()
    told = [json.loads(line) for line in log if line.startswith("{")]
    mine = {(line["event"], line.get("table")) for line in told if line.get("job") == last.json["job_id"]}
    ended = {("table_finished", "rfis"), ("table_finished", "vendors")}
    assert {("job_started", None), *ended, ("job_finished", None)} <= mine
    status = commands("sync", "--status").out
    fresh = {line.split()[0]: line.split()[1:] for line in status.splitlines() if line}
    assert fresh["rfis"][0] == "completed"
    assert fresh["rfis"][-1].endswith("Z")
    assert fresh["photos"] == ["pending", "never"]
    assert f"newest job: {last.json['job_id']}, incremental, completed" in status


def test_documents_of_tables_left_out_renamed_or_dropped_stay_until_the_operator_says_so(
    commands: CommandLine,
) -> None:
    sql(
        commands, "CREATE TABLE trades AS SELECT i AS id, 'Trade ' || i AS name FROM generate_series(1, 12) i"
    )
    assert commands("ingest", "--full").code == 3
    before = documents(commands)
    # A plan of other tables leaves nothing out; one that excludes a table does.
    assert commands("sync", "--once", "--tables", "vendors").code == 0
    assert commands("verify", "--json").json["equal"] is True
    sql(commands, "ALTER TABLE rfis RENAME TO requests")
    sql(commands, "DROP TABLE trades")
    ran = commands("sync", "--once", "--tables", "vendors,photos", "--exclude", "photos")
    assert "rfis: was renamed to requests in the source" in ran.err
    verified = commands("verify", "--json")
    assert verified.code == 3
    extra = {t["table"]: (t["extra"], t["message"].partition(";")[0]) for t in verified.json["tables"]}
    held = {name: sum(d.startswith(f"{name}:") for d in before) for name in ("rfis", "photos", "trades")}
    job = commands("jobs", "list", "--json").json["items"][0]["id"]
    assert extra == {
        "vendors": (0, ""),
        "photos": (held["photos"], f"left out by the plan of job {job}"),
        "rfis": (held["rfis"], "renamed to requests in the source"),
        "trades": (held["trades"], "no longer in the source, or not readable"),
    }
    assert commands("verify", "--repair").code == 3
    assert documents(commands) == before
    mended = commands("verify", "--repair", "--allow-mass-delete", "--json")
    assert mended.code == 0, mended.out
    after = documents(commands)
    moved = {d.replace("rfis:", "requests:") for d in before if d.startswith(("rfis:", "vendors:"))}
    assert set(after) == moved
    assert commands("verify", "--json").json["equal"] is True


def test_failures_of_a_dropped_table_are_over_and_those_of_others_are_tried(commands: CommandLine) -> None:
    sql(commands, "CREATE TABLE trades AS SELECT NULL::bigint AS id, i FROM generate_series(1, 3) i")
    sql(commands, "INSERT INTO trades SELECT i, i FROM generate_series(1, 60) i")
    assert commands("ingest", "--full", "--tables", "photos,trades").code == 3
    listed = commands("failures", "list", "--json", "--limit", "200").json["items"]
    gone = sum(item["table"] == "trades" for item in listed)
    assert 0 < gone < len(listed)
    sql(commands, "DROP TABLE trades")
    tried = commands("failures", "retry", "--json").json
    assert tried == {"tried": len(listed), "resolved": gone, "failed": len(listed) - gone, "untried": []}
    over = commands("failures", "list", "--all", "--json", "--table", "trades").json["items"]
    assert {(item["status"]) for item in over} == {"resolved"}


def test_a_table_that_cannot_be_read_keeps_its_failures_and_those_of_others_are_tried(
    commands: CommandLine,
) -> None:
    sql(commands, "CREATE TABLE abc AS SELECT NULL::bigint AS id, i FROM generate_series(1, 3) i")
    sql(commands, "INSERT INTO abc SELECT i, i FROM generate_series(1, 60) i")
    reader = commands.environment["PROCORE_NAMESPACE"] + "_reader"
    sql(commands, f"CREATE ROLE {reader} LOGIN")
    sql(commands, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
    url = urlsplit(commands.environment["PROCORE_DATABASE_URL"])
    as_reader = urlunsplit(url._replace(netloc=f"{reader}@{url.netloc.rpartition('@')[2]}"))
    try:
        assert commands("ingest", "--full", "--tables", "abc,photos").code == 3
        listed = commands("failures", "list", "--json", "--limit", "200").json["items"]
        barred = sum(item["table"] == "abc" for item in listed)
        sql(commands, f"REVOKE SELECT ON abc FROM {reader}")
        sql(commands, "DELETE FROM photos WHERE id IS NULL")
        nameless = sum(item["cause"] == "null_key" and item["table"] == "photos" for item in listed)
        ran = commands("failures", "retry", "--json", "--database-url", as_reader)
        assert ran.code == 3, ran.err
        assert (ran.json["tried"], ran.json["resolved"]) == (len(listed) - barred, nameless)
        (left,) = ran.json["untried"]
        assert (left["table"], left["failures"]) == ("abc", barred)
        assert "GRANT SELECT ON public.abc" in left["message"]
        assert "abc: 3 not tried" in ran.err
        job = commands("jobs", "list", "--json").json["items"][0]
        assert (job["kind"], job["status"]) == ("retry", "partial")
        # Its canaries are those that could be tried; alone it leaves nothing that succeeded.
        canary = commands("failures", "retry", "--canary", "--json", "--database-url", as_reader)
        others = min(3, len(listed) - barred - nameless)
        assert (canary.code, canary.json["tried"], canary.json["failed"]) == (3, others, others)
        alone = commands("failures", "retry", "--table", "abc", "--database-url", as_reader)
        assert alone.code == 4
        assert "0 tried, 0 resolved, 0 failed again, 3 not tried" in alone.out
        assert commands("jobs", "list", "--json").json["items"][0]["status"] == "failed"
        sync = next(
            c for c in commands("checkpoints", "list", "--json").json["items"] if c["table_name"] == "abc"
        )
        assert sync["sync_status"] == "partial"
    finally:
        sql(commands, f"DROP OWNED BY {reader}")
        sql(commands, f"DROP ROLE {reader}")
