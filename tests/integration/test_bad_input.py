"""What goes wrong around a command: one sentence, a next step, the promised exit code, no secret."""

from __future__ import annotations

import http.server
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import command_world
import pytest
from command_world import ROOT, CommandLine
from conftest import PASSWORD

from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

Bare = Callable[[str], CommandLine]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server on TCP that asks for a password and knows no TLS, as many do."""
    server = EmbeddedPostgres.start(
        tmp_path_factory.mktemp("guarded") / "data", tcp_port=0, password=PASSWORD
    )
    server.create_database("shop")
    server.psql(
        "CREATE TABLE items (id int PRIMARY KEY, name text);"
        "INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 30) AS n;"
        "CREATE TABLE hidden (id int PRIMARY KEY); INSERT INTO hidden VALUES (1);"
        f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON items TO reader",
        database="shop",
    )
    yield server
    server.stop(remove=True)


def tcp(server: EmbeddedPostgres, *, database: str = "shop", user: str = "postgres", password: str = PASSWORD,
        query: str = "sslmode=disable") -> str:  # fmt: skip
    return f"{server.tcp_url(database, user, password)}?{query}"


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"mysql://u:{PASSWORD}@h/d", "begins with mysql://"),
        (f"postgresql://u:{PASSWORD}@h:port/d", "port"),
        (f"postgresql://u:{PASSWORD}@h/d?sslmode=perhaps", "sslmode"),
        (f"postgresql://u:{PASSWORD}@h/d?colour=red", "colour"),
        (f"postgresql://u:%zz{PASSWORD}@h/d", "percent-encoding"),
        ("a database", "database URL"),
    ],
    ids=["scheme", "port", "sslmode", "parameter", "encoding", "words"],
)
def test_a_wrong_url_is_named_without_its_password(bare: Bare, url: str, said: str) -> None:
    for command in (("discover",), ("ingest", "--full", "--json"), ("jobs", "list")):
        ran = bare(url)(*command).refused(64, said)
        assert PASSWORD not in ran.err + ran.out


def test_each_failure_to_reach_the_source_has_its_sentence(bare: Bare, guarded: EmbeddedPostgres) -> None:
    closed = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{unused_port()}/x?sslmode=disable&connect_timeout=1"
    for url, said in (
        (closed, "refuses connections"),
        (tcp(guarded, password="wr0ng-and-secret"), "refuses the password"),
        (tcp(guarded, database="no_such_db"), '"no_such_db" does not exist'),
        (tcp(guarded, user="nobody"), "refuses the password"),
        (tcp(guarded, query="sslmode=require"), "does not offer an encrypted connection"),
        (tcp(guarded, query=""), "add sslmode=disable"),
    ):
        run = bare(url)
        ran = run("ingest", "--full").refused(1, said)
        assert "wr0ng" not in ran.err
        assert PASSWORD not in ran.err
        code = run("discover", "--json").json["error"]["code"]
        assert code == 1


def test_psqls_own_habits_work(
    bare: Bare, guarded: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(guarded.port), "PGSSLMODE": "disable"}
    who = {"PGUSER": "reader", "PGDATABASE": "shop"}
    run = bare("")
    assert run("doctor", **place, **who, PGPASSWORD=PASSWORD).out.count("shop") == 1
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"127.0.0.1:{guarded.port}:shop:reader:{PASSWORD}\n")
    passfile.chmod(0o644)
    exposed = run("discover", **place, **who, PGPASSFILE=str(passfile)).refused(1, "password")
    assert PASSWORD not in exposed.err
    assert "chmod 600" in run("doctor", **place, **who, PGPASSFILE=str(passfile)).out
    passfile.chmod(0o600)
    assert run("discover", **place, **who, PGPASSFILE=str(passfile)).code == 0
    services = tmp_path / "services"
    services.write_text(
        f"[shop]\nhost=127.0.0.1\nport={guarded.port}\ndbname=shop\nuser=reader\nsslmode=disable\n"
    )
    named = {"PGSERVICEFILE": str(services), "PGPASSWORD": PASSWORD}
    assert run("discover", PGSERVICE="shop", **named).code == 0
    run("discover", PGSERVICE="shoop", **named).refused(64, "shoop", str(services))
    (run.folder / ".env").write_text(f"PROCORE_DATABASE_URL={tcp(guarded)}\n")
    del run.environment["PROCORE_DATABASE_URL"]
    assert run("discover").code == 0
    (run.folder / ".env").unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO(tcp(guarded) + "\n"))
    assert run("discover", "--database-url", "-").code == 0
    run("discover", "--database-url", "-").refused(64, "no database URL was given")
    run("discover", PGHOST="").refused(64, "no source database given", "--database-url")


def test_a_table_without_rights_is_listed_and_the_others_are_synced(
    bare: Bare, guarded: EmbeddedPostgres
) -> None:
    run = bare(tcp(guarded, user="reader"))
    discovered = run("discover", "--format", "json")
    assert discovered.code == 0
    assert {t["name"]: t["readable"] for t in discovered.json["tables"]} == {"hidden": False, "items": True}
    assert "hidden" in discovered.err
    ran = run("ingest", "--full", "--json")
    assert ran.code == 3
    assert {t["table"]: t["indexed"] for t in ran.json["tables"]} == {"hidden": 0, "items": 30}
    assert "hidden: failed" in ran.err
    assert "GRANT SELECT" in ran.err
    alone = run("ingest", "--full", "--tables", "hidden")
    assert alone.code == 4
    assert "Traceback" not in alone.err


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The URL of a server that gives the same answer to everything but its health."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            healthy = self.path.startswith("/state/v1/health") and status != 200
            said = b'{"status": {"code": "up"}}' if healthy else body
            self.send_response(200 if healthy else status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_vespa_that_is_down_foreign_or_without_our_schema(bare: Bare, guarded: EmbeddedPostgres) -> None:
    run = bare(tcp(guarded))
    down = f"http://127.0.0.1:{unused_port()}"
    for command in (
        ("ingest", "--full"),
        ("verify",),
        ("search", "x"),
        ("show", "a:1"),
        ("failures", "retry", "--id", "1"),
    ):
        run.environment["VESPA_URL"] = down
        if command[0] != "failures":
            run(*command).refused(2, down, "vespa serve")
    assert run("doctor").code == 2
    lacking = b'{"pathId": "/document/v1/", "message": "Document type procore_record does not exist"}'
    with answering(400, lacking) as url:
        run("ingest", "--full", VESPA_URL=url).refused(2, "procore_record", "vespa deploy")
        found = run("doctor", VESPA_URL=url)
        assert found.code == 2
        assert "procore_record" in found.out
    with answering(200, b"<html>hello</html>") as url:
        run("ingest", "--full", VESPA_URL=url).refused(2, url)
    run("discover", VESPA_URL="localhost:8080").refused(64, "localhost:8080", "--vespa-url")
    assert run("jobs", "list", "--json").json == {"items": []}


def test_words_that_name_nothing_are_refused_with_the_nearest(bare: Bare, guarded: EmbeddedPostgres) -> None:
    run = bare(tcp(guarded))
    for argv, said in (
        (("ingest", "--full", "--tables", "itms"), ("itms", "items")),
        (("ingest", "--full", "--exclude", "*s,nope*"), ("nope*", "discover")),
        (("ingest", "--full", "--exclude", "*"), ("leaves every table out",)),
        (("verify", "--tables", "Items"), ("Items", "items")),
        (("sync", "--once", "--tables", "x"), ("'x'",)),
        (("ingest", "--full", "--mask", "items.nme"), ("items.nme", "items.name")),
        (("ingest", "--full", "--dry-run", "--mask", "items.nme"), ("items.nme", "items.name")),
        (("discover", "--include-sample"), ("--include-sample", "--include-samples")),
        (("ingst", "--full"), ("ingst", "ingest")),
        (("ingest", "--full", "--batch-size", "many"), ("--batch-size", "'many'")),
        (("search", "x", "--limit", "401"), ("--limit", "400")),
        (("ingest", "--resume", "j", "--tables", "items"), ("--tables", "own plan")),
        (("ingest", "--resume", "20200101-000000-ffff"), ("20200101-000000-ffff", "jobs list")),
        (("jobs", "show", "j"), ("'j'", "jobs list")),
        (("show", "items:31"), ("items:31", "search")),
        (("show", ""), ("no document ''",)),
        (("search", "x", "--table", "nope"), ("'nope'", "ingest --full")),
        (("search", "caf\udcff"), ("not UTF-8",)),
        (("ingest", "--full", "--tables", ""), ("--tables", "names no table")),
        (("ingest", "--full", "--exclude", " ,"), ("--exclude", "names no table")),
        (("checkpoints", "clear", "itms"), ("itms", "checkpoints list")),
        (("checkpoints", "clear"), ("all tables", "--yes")),
        (("discover", "--format", "both"), ("both", "--output")),
        (("discover", "--source-timezone", "Mars/Base"), ("Mars/Base", "IANA")),
        (("discover", "--namespace", "a:b"), ("a:b", "letters")),
        (("discover", "--delete-share", "2"), ("--delete-share", "0 to 1")),
    ):
        run(*argv).refused(64, *said)
    plan = run.folder / "plan.toml"
    for text, said in (
        ("version = 1\nincldue = []\n", ("incldue", "include")),
        ("version = 2\n", ("version 2", "version = 1")),
        ("version = 1\nworkers = 'two'\n", ("workers", "wrong type")),
        ("include = [", ("not TOML",)),
    ):
        plan.write_text(text)
        run("ingest", "--full", "--plan", "plan.toml").refused(64, "plan.toml", *said)
    run("ingest", "--full", "--plan", "none.toml").refused(64, "none.toml", "--plan")
    config = run.folder / "config.toml"
    config.write_text("vespaurl = 'x'\n")
    run("discover", "--config", "config.toml").refused(64, "vespaurl", "vespa_url")
    config.write_text("batch_size = ")
    run("discover", "--config", "config.toml").refused(7, "config.toml", "not TOML")
    run("discover", "--config", "none.toml").refused(7, "none.toml", "--config")


def test_places_that_cannot_be_written_are_named(bare: Bare, guarded: EmbeddedPostgres) -> None:
    run = bare(tcp(guarded))
    blocked = run.folder / "a-file"
    blocked.write_text("")
    for folder in (str(blocked), f"{blocked}/below", "/proc/nowhere"):
        run("ingest", "--full", "--state-dir", folder).refused(7, folder, "--state-dir")
    told = run("doctor", "--state-dir", str(blocked))
    assert told.code == 7
    assert "FAIL" in told.out
    assert "source: connection" in told.out
    run("discover", "--output", f"{blocked}/schema.md").refused(7, f"{blocked}/schema.md", "--output")
    run("failures", "export", "--output", "/proc/x.csv").refused(7, "/proc/x.csv")
    run("vespa", "package", "--output", str(blocked)).refused(7, str(blocked), "--output")
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            left = subprocess.run(
                [sys.executable, "-m", "app", "discover", "--format", "json", "--progress", "none"],
                stdout=full, stderr=subprocess.PIPE, cwd=run.folder, timeout=60,
                env={**os.environ, **run.environment, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        assert left.returncode == 7, left.stderr
        assert b"No space left" in left.stderr
        assert b"Exception ignored" not in left.stderr


def test_nothing_to_do_is_done_and_said(bare: Bare, postgres: EmbeddedPostgres) -> None:
    postgres.create_database("nothing")
    try:
        run = bare(postgres.url("nothing"))
        for command in (("discover",), ("ingest", "--full"), ("sync", "--once")):
            ran = run(*command)
            assert ran.code == 0, ran.err
            assert "no tables" in ran.err
        assert run("verify", "--json").json["equal"] is True
        assert run("ingest", "--full", "--json").json["tables"] == []
        postgres.psql("CREATE TABLE void (id int PRIMARY KEY); CREATE TABLE bare ()", database="nothing")
        ran = run("ingest", "--full", "--json")
        assert ran.code == 0, ran.err
        assert {t["table"]: t["read"] for t in ran.json["tables"]} == {"bare": 0, "void": 0}
        assert run("verify").code == 0
        assert run("ingest", "--full", "--dry-run").code == 0
    finally:
        postgres.drop_database("nothing")


def test_broken_bytes_cost_their_cell_and_nothing_else(bare: Bare, postgres: EmbeddedPostgres) -> None:
    postgres.create_database(
        "bytes", options="ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        postgres.psql(
            "CREATE TABLE notes (id int PRIMARY KEY, said text);"
            r"INSERT INTO notes VALUES (1, 'fine'), (2, E'caf\351'), (3, E'\303\251t\303\251')",
            database="bytes",
        )
        run = bare(postgres.url("bytes"))
        ran = run("ingest", "--full", "--json")
        assert ran.code == 0, ran.err
        (counts,) = ran.json["tables"]
        assert counts == {"table": "notes", "read": 3, "indexed": 3, "failed": 0, "skipped": 0, "warned": 1}
        said = {
            f["source_id"]: f["metadata"]["said"]
            for f in command_world.visit(
                run.environment["VESPA_URL"], run.environment["PROCORE_NAMESPACE"], "procore_record"
            ).values()
        }
        assert said == {"1": "fine", "2": "caf\ufffd", "3": "été"}
        assert run("verify").code == 0
        assert run("discover", "--include-samples").code == 0
    finally:
        postgres.drop_database("bytes")


def test_another_sources_namespace_is_refused_until_adopted(
    bare: Bare, guarded: EmbeddedPostgres, postgres: EmbeddedPostgres
) -> None:
    assert bare(tcp(guarded))("ingest", "--full").code == 0
    postgres.create_database("stranger")
    try:
        postgres.psql("CREATE TABLE items (id int PRIMARY KEY)", database="stranger")
        run = bare(postgres.url("stranger"))
        run("ingest", "--full").refused(64, "another source", "--adopt-namespace")
        # Documents of the other source stay until the operator says so, and are said to be there.
        adopted = run("ingest", "--full", "--adopt-namespace")
        assert adopted.code == 3
        assert "the index holds 30 documents, 0 were acknowledged" in adopted.err
    finally:
        postgres.drop_database("stranger")


def test_plain_terminals_and_pipes_do_no_harm(bare: Bare, guarded: EmbeddedPostgres) -> None:
    guarded.psql("UPDATE items SET name = 'naïve → 日本' WHERE id = 1", database="shop")
    run = bare(tcp(guarded))
    plain = run.ended(run.start("ingest", "--full", "--progress", "bar", LC_ALL="C", TERM="dumb"))
    assert plain.code == 0, plain.err
    assert (plain.out + plain.err).isascii()
    shown = run.ended(run.start("show", "items:1", "--json", PYTHONIOENCODING="ascii", LANG="C"))
    assert shown.json["metadata"]["name"] == "naïve → 日本"
    shell = f"{sys.executable} -m app"
    environment = {**os.environ, **run.environment, "PYTHONPATH": str(ROOT)}
    for line in (
        f"{shell} --completion bash | head -c 10 >/dev/null",
        f"{shell} jobs list --json >&-",
        f"{shell} jobs list <&- >&- 2>&-",
        f"{shell} nonsense --json | true",
    ):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            capture_output=True, cwd=run.folder, env=environment, timeout=60,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, line
        assert b"Exception ignored" not in done.stderr, line
        assert done.returncode in (0, 64), (line, done.stderr)
