"""`procore-ingest vespa deploy` and `serve`: a package sent and waited for, an endpoint in the foreground."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from app import cli
from app.exit_codes import ExitCode
from ingestion import errors
from ingestion.inspecting import needed_fields
from ingestion.vespa import client, deploying, package

# The example of https://docs.vespa.ai/en/reference/api/deploy-v2.html, with one action.
ACTIVATED = {
    "log": [
        {"time": 1619448107299, "level": "WARNING", "message": "Host named 'x' may not\nreceive any config."},
        {"time": 1619448107300, "level": "INFO", "message": "not told"},
    ],
    "tenant": "default",
    "session-id": "3",
    "url": "http://localhost:19071/application/v2/tenant/default/application/default/environment/prod",
    "message": "Session 3 for tenant 'default' prepared and activated.",
    "configChangeActions": {
        "restart": [],
        "refeed": [{"name": "x", "messages": ["Document type 'procore_record': Field 'doc_id' changed"]}],
        "reindex": [],
    },
}
REFUSED = {"error-code": "INVALID_APPLICATION_PACKAGE", "message": "Invalid application:\n no field 'x'"}


class ConfigServer:
    """Takes packages as a config server does, and may refuse them."""

    def __init__(self) -> None:
        self.status, self.body = 200, ACTIVATED
        self.packages: list[bytes] = []
        self.type = ""

    async def activate(self, request: web.Request) -> web.Response:
        self.packages.append(await request.read())
        self.type = request.content_type
        return web.json_response(self.body, status=self.status)


class DataPlane:
    """An application that comes up: each status is answered once, the last one for ever.

    `versions` are those of the package that it serves, one for each time it is asked for its own.
    """

    def __init__(self, *, status: list[int], visit: list[int], versions: list[int] | None = None) -> None:
        self.left, self.asked = {"status": status, "visit": visit}, 0
        self.versions = versions or [package.PACKAGE_VERSION]

    async def query(self, request: web.Request) -> web.Response:
        asked = int((await request.json())["ranking"].removeprefix("package_v"))
        if asked <= self.versions[0]:
            return web.json_response({"root": {"id": "toplevel"}})
        if asked == package.PACKAGE_VERSION and len(self.versions) > 1:
            self.versions.pop(0)
        return web.json_response({"root": {"errors": [{"code": 4, "message": "no such"}]}}, status=400)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        left = self.left["visit" if request.path.startswith("/document/") else "status"]
        body: dict[str, Any] = {"application": {"vespa": {"version": "8.299.11"}}}
        if request.path.startswith("/document/"):
            body = {"pathId": request.path, "documents": []}
        return web.json_response(body, status=left.pop(0) if len(left) > 1 else left[0])


@pytest.fixture
async def config_server() -> AsyncIterator[tuple[ConfigServer, str]]:
    state = ConfigServer()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/application/v2/tenant/default/prepareandactivate", state.activate)
    async with TestServer(app) as server:
        yield state, str(server.make_url("")).rstrip("/")


async def run(*argv: str) -> int:
    """The command line in a thread, so that our servers can answer it."""
    return await asyncio.to_thread(cli.run, list(argv))


async def test_deploy_sends_the_package_and_returns_once_it_serves(
    config_server: tuple[ConfigServer, str], vespa_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = config_server
    code = await run("vespa", "deploy", "--config-server", url, "--vespa-url", vespa_url, "--json")
    shown = capsys.readouterr()
    assert code == ExitCode.DONE, shown.err
    assert state.type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(state.packages[0])) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == package.files()
    told = json.loads(shown.out)
    assert told["package_version"] == package.PACKAGE_VERSION
    assert told["warnings"] == ["Host named 'x' may not receive any config."]
    assert told["actions"] == ["refeed: Document type 'procore_record': Field 'doc_id' changed"]
    assert "prepared and activated" in shown.err
    assert f"serves at {vespa_url}" in shown.err


async def test_deploying_over_an_older_package_says_what_to_feed_again(
    config_server: tuple[ConfigServer, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, url = config_server
    plane = DataPlane(status=[200], visit=[200], versions=[1, package.PACKAGE_VERSION])
    app = web.Application()
    app.router.add_get("/{rest:.*}", plane.answer)
    app.router.add_post("/search/", plane.query)
    async with TestServer(app) as server:
        plane.versions = [1]
        deploying_now = asyncio.create_task(
            run("vespa", "deploy", "--config-server", url, "--vespa-url", str(server.make_url("")), "--json")
        )
        while not config_server[0].packages:
            await asyncio.sleep(0.001)
        plane.versions = [package.PACKAGE_VERSION]
        assert await deploying_now == ExitCode.DONE
    shown = capsys.readouterr()
    assert json.loads(shown.out)["feed_again"] == ["procore_record", "procore_file", "procore_schema"]
    assert "over version 1" in shown.err
    assert "feed again: procore_record, procore_file, procore_schema" in shown.err


async def test_deploy_names_what_the_config_server_refuses(
    config_server: tuple[ConfigServer, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = config_server
    state.status, state.body = 400, dict[str, Any](REFUSED)
    assert await run("vespa", "deploy", "--config-server", url) == ExitCode.VESPA
    shown = capsys.readouterr().err
    assert "refused the application package (400): Invalid application: no field 'x'" in shown
    assert "vespa package --output" in shown


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (409, "ACTIVATION_CONFLICT", "Deploy again"),
        (500, "INTERNAL_SERVER_ERROR", "config server's log"),
        (504, "REQUEST_TIMEOUT", "config server's log"),
    ],
)
async def test_deploy_says_what_to_do_about_a_conflict_and_a_failing_config_server(
    status: int,
    error: str,
    said: str,
    config_server: tuple[ConfigServer, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    state, url = config_server
    state.status, state.body = status, {"error-code": error, "message": "No, not now"}
    assert await run("vespa", "deploy", "--config-server", url) == ExitCode.VESPA
    shown = capsys.readouterr().err
    assert f"({status}): No, not now" in shown
    assert said in shown


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--config-server", "http://127.0.0.1:1"], ExitCode.VESPA, "no Vespa config server answers"),
        (["--config-server", "localhost:19071"], ExitCode.USAGE, "is not an http or https address"),
        (
            ["--vespa-url", "https://a.z.vespa-app.cloud"],
            ExitCode.USAGE,
            "its own command line only; nothing is",
        ),
    ],
)
async def test_deploy_says_where_it_cannot_and_what_to_do(
    argv: list[str], code: ExitCode, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("vespa", "deploy", *argv) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
async def test_for_vespa_cloud_the_commands_are_printed_and_nothing_counts_as_deployed(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["vespa", "deploy", "--vespa-url", "https://a.z.vespa-app.cloud", *(["--json"] if as_json else [])]
    assert await run(*argv) == ExitCode.USAGE
    shown = capsys.readouterr()
    if as_json:
        assert "vespa auth cert app" in json.loads(shown.out)["error"]["hint"]
        return
    assert [line.split()[0] for line in shown.out.splitlines()] == ["procore-ingest", *["vespa"] * 5]
    assert shown.out.splitlines()[-1] == "vespa deploy --wait 600 app"


async def wait_for(plane: DataPlane, **options: Any) -> list[float]:
    waits: list[float] = []
    app = web.Application()
    app.router.add_get("/{rest:.*}", plane.answer)
    app.router.add_post("/search/", plane.query)
    async with (
        TestServer(app) as server,
        client.VespaSession(client.build(str(server.make_url("")))) as session,
    ):
        await deploying.wait_until_serving(
            session, needed=needed_fields(), poll_s=0.001, on_wait=waits.append, **options
        )
    return waits


async def test_an_older_application_that_answers_is_not_taken_for_the_new_one() -> None:
    plane = DataPlane(status=[503, 200], visit=[503, 400, 200], versions=[1, package.PACKAGE_VERSION])
    assert len(await wait_for(plane)) == 1  # told once, and then every ten seconds
    assert plane.asked > 6
    assert plane.versions == [package.PACKAGE_VERSION]


@pytest.mark.parametrize(
    ("status", "visit", "version", "said"),
    [
        (503, 503, 2, r"is not up \(503\)"),
        (200, 400, 2, "lacks procore_record, procore_file, procore_schema"),
        (200, 200, 1, "does not serve package version 2 yet"),
        (403, 200, 2, "refuses the login"),
    ],
)
async def test_an_application_that_does_not_come_up_is_named_with_what_it_lacks(
    status: int, visit: int, version: int, said: str
) -> None:
    with pytest.raises(errors.VespaUnavailable, match=said):
        await wait_for(DataPlane(status=[status], visit=[visit], versions=[version]), timeout_s=0.01)


@pytest.mark.parametrize("command", [("ingest", "--full"), ("sync", "--once")])
async def test_a_job_asks_the_index_first_and_names_the_fields_that_it_lacks(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing else is asked: the source of this test is not even there."""

    async def answer(request: web.Request) -> web.Response:
        fields = request.query.get("fieldSet", "")
        lacking = any(name in fields for name in ("row_digest", "procore_file:"))
        body = {"pathId": request.path, "documents": [], "status": {"code": "up"}}
        return web.json_response(body, status=400 if lacking else 200)

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        source = "postgresql://nobody@127.0.0.1:1/none"
        code = await run(*command, "--vespa-url", url, "--database-url", source)
    said = capsys.readouterr().err
    assert code == ExitCode.VESPA, said
    assert f"the application at {url} lacks procore_record.row_digest, procore_file.doc_id, " in said
    assert "procore-ingest vespa deploy" in said


@pytest.mark.parametrize("deployed", [0, 1, package.PACKAGE_VERSION])
async def test_doctor_compares_the_deployed_package_with_the_needed_one(
    deployed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = DataPlane(status=[200], visit=[400], versions=[deployed])
    app = web.Application()
    app.router.add_get("/{rest:.*}", plane.answer)
    app.router.add_post("/search/", plane.query)
    async with TestServer(app) as server:
        await run("doctor", "--vespa-url", str(server.make_url("")).rstrip("/"), "--json")
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert "procore_record" in checks["vespa: schema"]["message"]
    assert "vespa deploy" in checks["vespa: schema"]["hint"]
    assert (checks["vespa: version"]["state"], checks["vespa: version"]["hint"]) == (
        "problem",
        "Upgrade Vespa.",
    )
    assert "8.299.11 is older than" in checks["vespa: version"]["message"]
    said = checks["vespa: package"]
    if deployed == package.PACKAGE_VERSION:
        assert (said["state"], said["message"]) == ("ok", f"version {deployed}")
    else:
        assert said["message"].endswith(f"version {package.PACKAGE_VERSION} is needed")
        assert "vespa deploy" in said["hint"]


# ----------------------------------------------------------------------- serve


def test_serve_runs_in_the_foreground_until_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "vespa", "serve", "--port", str(unused_port())]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path / "index"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
            assert told["pid"] == process.pid
            path = "/document/v1/n/procore_record/docid/1"
            put = httpx.post(told["vespa_url"] + path, json={"fields": {"source_table": "rfis"}})
            assert put.status_code == 200
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == ExitCode.DONE
    assert said.splitlines()[-1] == "stopped"
    assert (tmp_path / "index" / "documents.sqlite").exists()


@pytest.mark.parametrize("what", ["port", "folder"])
def test_serve_says_in_one_sentence_what_is_taken(
    what: str, vespa_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = vespa_url.rpartition(":")[2]
    if what == "folder":
        (tmp_path / "data").write_text("")
        port = str(unused_port())
    assert cli.run(["vespa", "serve", "--port", port, "--data", str(tmp_path / "data")]) != ExitCode.DONE
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2, said
    assert (f"port {port} is in use" if what == "port" else str(tmp_path / "data")) in said[0]
