"""The command line as its users meet it: commands, what they printed, both sides counted by hand."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from app import cli

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 180.0
TYPES = ("procore_record", "procore_file", "procore_schema")


@dataclass(frozen=True, slots=True)
class Ran:
    """One command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int, *said: str) -> Ran:
        """Assert that it ended with one clear sentence and a next step, and nothing else."""
        assert self.code == code, (self.code, self.err)
        assert "Traceback" not in self.err + self.out
        assert "internal error" not in self.err
        lines = [line for line in self.err.splitlines() if line.strip()]
        (at,) = [n for n, line in enumerate(lines) if line.startswith("error: ")]
        assert len(lines) > at + 1, f"no next step: {self.err}"
        for part in said:
            assert part in self.err, (part, self.err)
        return self


@dataclass(slots=True)
class CommandLine:
    """Runs commands under one environment; `printed` is all that any of them wrote."""

    environment: dict[str, str]
    folder: Path
    printed: list[str] = field(default_factory=list)
    watchdogs: dict[int, threading.Timer] = field(default_factory=dict)

    def __call__(self, *argv: str, **environment: str) -> Ran:
        """Run in this process, as the console script would."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with (
            _environment({**self.environment, **environment}),
            _logging_kept(),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = cli.run(argv)
        ran = Ran(code, _text(out), _text(err))
        self.printed += [ran.out, ran.err]
        return ran

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[str]:
        """Start a process of its own; its output is the caller's to read, and ends by a deadline."""
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
            env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT), **environment},
        )
        # Whoever waits for a line that never comes would wait for ever.
        self.watchdogs[process.pid] = threading.Timer(DEADLINE_S, process.kill)
        self.watchdogs[process.pid].start()
        return process

    def ended(self, process: subprocess.Popen[str]) -> Ran:
        """Wait for it."""
        out, err = process.communicate(timeout=DEADLINE_S)
        self.watchdogs.pop(process.pid).cancel()
        self.printed += [out, err]
        return Ran(process.returncode, out, err)


def make(folder: Path, database_url: str, vespa_url: str, namespace: str, **more: str) -> CommandLine:
    """A command line on this source and index, with a state of its own below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return CommandLine(
        {
            "PROCORE_DATABASE_URL": database_url,
            "VESPA_URL": vespa_url,
            "PROCORE_NAMESPACE": namespace,
            "PROCORE_STATE_DIR": str(folder / "state"),
            **more,
        },
        folder,
    )


def with_files(files_url: str) -> dict[str, str]:
    """The environment that names a local file store."""
    return {
        "PROCORE_URL_REWRITES": f"https://storage.procore.example={files_url}",
        "AWS_ENDPOINT_URL_S3": files_url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local-store-key",
        "PROCORE_S3_BUCKET": "procore-files",
        "PROCORE_S3_PATH_STYLE": "yes",
    }


def query(url: str, sql: str, *args: Any) -> list[asyncpg.Record]:
    """Ask or change the source, past the product."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *args))
        finally:
            await connection.close()

    return asyncio.run(ask())


def row_counts(url: str) -> dict[str, int]:
    """Rows of every table of the source's public schema."""
    names = [row[0] for row in query(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    counted = query(url, " UNION ALL ".join(f"SELECT '{n}' AS t, count(*) AS n FROM \"{n}\"" for n in names))
    return {row["t"]: row["n"] for row in counted}


def all_text(url: str) -> str:
    """Every row of the source, as text."""
    names = list(row_counts(url))
    return "\n".join(
        row[0]
        for row in query(url, " UNION ALL ".join(f'SELECT t::text FROM "{name}" AS t' for name in names))
    )


def visit(vespa_url: str, namespace: str, doc_type: str) -> dict[str, dict[str, Any]]:
    """Every document of a type: full id → fields."""
    found: dict[str, dict[str, Any]] = {}
    parameters = {"cluster": "procore_content", "wantedDocumentCount": "1000"}
    while True:
        asked = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(
            f"{vespa_url}/document/v1/{namespace}/{doc_type}/docid?{asked}"
        ) as answer:
            page = json.load(answer)
        for document in page["documents"]:
            assert document["id"] not in found, "visited twice"
            found[document["id"]] = document["fields"]
        if "continuation" not in page:
            return found
        parameters["continuation"] = page["continuation"]


def change(vespa_url: str, namespace: str, method: str, user_id: str, fields: Any = None) -> None:
    """PUT, POST or DELETE one record of the index, past the product."""
    path = f"/document/v1/{namespace}/procore_record/docid/{urllib.parse.quote(user_id, safe='')}"
    body = None if fields is None else json.dumps({"fields": fields}).encode()
    request = urllib.request.Request(
        vespa_url + path, body, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    kept = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
