"""Files of whole jobs: from S3 by the usual settings, failed ones retried, a killed one resumed."""

from __future__ import annotations

import hashlib
import re
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import command_world
import pytest
from command_world import CommandLine
from s3_world import REGION, S3World, served

from ingestion.files import paths
from ingestion.sandbox.file_contents import content_of

_PICTURE = content_of("1/2/photos/3/a.jpg")
assert _PICTURE is not None
JPEG = _PICTURE.body + bytes(range(256)) * 4000
PAGE = b"<html>please log in</html>"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3World]:
    with served() as one:
        yield one


Start = Callable[..., CommandLine]


@pytest.fixture
def start(empty_database: str, bare: Callable[[str], CommandLine]) -> Start:
    """A command line on a table of photos with these URLs or keys."""

    def begin(column: str, values: list[str], **environment: str) -> CommandLine:
        sql = f"CREATE TABLE photos (id bigint PRIMARY KEY, {column} text)"
        command_world.query(empty_database, sql)
        rows = "INSERT INTO photos SELECT n, v FROM unnest($1::text[]) WITH ORDINALITY AS t(v, n)"
        command_world.query(empty_database, rows, values)
        run = bare(empty_database)
        run.environment.update(environment)
        return run

    return begin


def _keys(names: list[str]) -> list[str]:
    return [f"1/2/photos/{n}/{name}" for n, name in enumerate(names, 1)]


def _open_files(run: CommandLine) -> dict[str, str]:
    """Record → cause."""
    items = run("failures", "list", "--files", "--json").json["items"]
    return {item["key"]: item["cause"] for item in items}


def test_failed_files_are_retried_by_cluster_alone_or_all(s3: S3World, start: Start) -> None:
    keys = _keys(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"])
    run = start(
        "s3_key", keys, AWS_ENDPOINT_URL_S3=s3.url, AWS_REGION=REGION, PROCORE_S3_BUCKET="files",
        AWS_ACCESS_KEY_ID="reader", AWS_SECRET_ACCESS_KEY="5ecret-of-the-reader", PROCORE_S3_PATH_STYLE="yes",
    )  # fmt: skip
    s3.put(keys[0], JPEG)
    s3.put(keys[1], PAGE)
    s3.put(keys[2], PAGE)
    report = run("ingest", "--full", "--download-files", "--json")
    assert report.code == 3
    assert report.json["files"] == {"found": 5, "downloaded": 1, "failed": 4, "skipped": 0}
    assert _open_files(run) == {
        "2": "wrong_content", "3": "wrong_content", "4": "http_404", "5": "http_404"
    }  # fmt: skip
    assert "web page" in run("failures", "list", "--files").out

    for key in keys[1:]:
        s3.put(key, JPEG + key.encode())
    assert run("failures", "retry", "--files", "--cause", "wrong_content", "--json").json["resolved"] == 2
    assert _open_files(run) == {"4": "http_404", "5": "http_404"}
    one = next(i["id"] for i in run("failures", "list", "--json").json["items"] if i["key"] == "5")
    assert run("failures", "retry", "--id", str(one), "--json").json["resolved"] == 1
    assert _open_files(run) == {"4": "http_404"}
    assert run("failures", "retry", "--files", "--json").code == 0
    assert _open_files(run) == {}

    s3.asked.clear()
    again = run("ingest", "--full", "--download-files", "--json")
    assert (again.code, again.json["files"]["skipped"]) == (0, 5)
    assert {asked.status for asked in s3.asked} == {304}
    found = command_world.visit(
        run.environment["VESPA_URL"], run.environment["PROCORE_NAMESPACE"], "procore_file"
    )
    assert {fields["status"] for fields in found.values()} == {"downloaded"}
    printed = "".join(run.printed)
    assert "5ecret" not in printed


def test_without_room_or_rights_a_job_that_fetches_does_not_begin(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    run = start("url", ["http://127.0.0.1:9/a.jpg"], PROCORE_DOWNLOAD_DIR=str(tmp_path / "file" / "below"))
    run("ingest", "--full", "--download-files").refused(7, "cannot be written", "PROCORE_DOWNLOAD_DIR")
    problem = next(c for c in run("doctor", "--json").json["checks"] if c["name"] == "files: folder")
    assert problem["state"] == "problem"
    run.environment["PROCORE_DOWNLOAD_DIR"] = str(tmp_path / "elsewhere")
    monkeypatch.setattr(paths, "DISK_RESERVE_BYTES", 2**60)
    run("ingest", "--full", "--download-files").refused(7, "bytes are free", "Free space")
    assert run("jobs", "list", "--json").json["items"] == []
    assert run("ingest", "--full", "--json").code == 0


class Stalling(BaseHTTPRequestHandler):
    """Gives half of the file to whoever asks for all of it, and the rest to whoever asks for that."""

    protocol_version = "HTTP/1.1"
    asked: list[int]
    over: threading.Event

    def do_GET(self) -> None:
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0")) or 0)
        self.asked.append(start)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(JPEG) - 1}/{len(JPEG)}")
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(JPEG) - start))
        self.end_headers()
        self.wfile.write(JPEG[start:] if start else JPEG[: len(JPEG) // 2])
        if not start:
            self.wfile.flush()
            self.over.wait(60)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def stalling() -> Iterator[tuple[str, list[int]]]:
    """The URL of a store that stalls, and at which bytes it was asked to begin."""
    over, asked = threading.Event(), list[int]()
    handler = type("Handler", (Stalling,), {"asked": asked, "over": over})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    over.set()
    server.shutdown()
    server.server_close()


def test_a_job_killed_in_the_middle_of_a_file_goes_on_with_the_rest_of_it(
    stalling: tuple[str, list[int]], start: Start
) -> None:
    url, asked = stalling
    run = start("url", [f"{url}/plan.jpg?sig=5ecret"], PROCORE_ALLOW_PRIVATE_ADDRESSES="yes")
    process = run.start("ingest", "--full", "--download-files", "--json", "--progress", "jsonl")
    assert process.stderr is not None
    # Told once a second while bytes arrive, and stored before it is told.
    for line in process.stderr:
        if '"bytes_arrived"' in line:
            break
    process.send_signal(signal.SIGKILL)
    assert run.ended(process).code == -signal.SIGKILL
    (part,) = Path(run.environment["PROCORE_STATE_DIR"]).rglob("*.part")
    held = part.stat().st_size
    assert 0 < held <= len(JPEG) // 2

    job = run("jobs", "list", "--json").json["items"][0]
    ran = run("ingest", "--resume", job["id"], "--json")
    assert ran.code == 0, ran.err
    assert ran.json["files"] == {"found": 1, "downloaded": 1, "failed": 0, "skipped": 0}
    assert asked == [0, held]
    whole = part.parent / "plan.jpg"
    assert hashlib.sha256(whole.read_bytes()).digest() == hashlib.sha256(JPEG).digest()
    assert [p.name for p in part.parent.iterdir()] == ["plan.jpg"]
    assert "5ecret" not in "".join(run.printed)
