"""What commands write, where, and what becomes of it when a terminal or a pipe takes less than we have."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import cli, logs
from app.commands import jobs as jobs_command
from app.commands.ingest import exit_code_of
from app.exit_codes import ExitCode
from app.output import Output, is_unicode
from app.progress_output import Narrator, Steps
from ingestion.events import (
    Backoff,
    BatchCommitted,
    Counts,
    FileCounts,
    JobStarted,
    TableFinished,
    TableTotal,
)
from ingestion.reports import JobReport, TableReport
from ingestion.settings import Settings

PASSWORD = "pw-5uper-geheim"


class Pipe(io.TextIOWrapper):
    """A stream of the given encoding that remembers its bytes."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    @property
    def said(self) -> bytes:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(
    ("environment", "unicode"),
    [
        ({}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "de_DE.UTF-8"}, True),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, False),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "C"}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_ascii_where_the_locale_or_the_terminal_asks_for_it(
    environment: dict[str, str], unicode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_unicode(Pipe()) is unicode
    assert not is_unicode(Pipe("latin-1"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_the_same_bytes_in_every_pipe(encoding: str) -> None:
    pipe = Pipe(encoding)
    Output(stdout=pipe).json({"name": "naïve → 日本 😀 …", "at": datetime(2026, 1, 31, 8, 5, tzinfo=UTC)})
    assert json.loads(pipe.said.decode("utf-8")) == {
        "name": "naïve → 日本 😀 …",
        "at": "2026-01-31T08:05:00Z",
    }


def test_narration_that_nobody_can_read_ends_nothing() -> None:
    out = Output(stdout=Pipe(), stderr=Gone())
    out.say("unheard")
    out.moving("unseen")
    out.error("a reason", "a next step", 7)


def test_an_error_is_one_line_without_secret_whatever_its_text_holds() -> None:
    pipe = Pipe()
    out = Output(as_json=True, stdout=pipe, stderr=(err := Pipe()))
    out.error(f"two\nlines \udcff of postgresql://u:{PASSWORD}@h/d\x1b[31m", "do\tthis", ExitCode.SOURCE)
    assert err.said.count(b"\n") == 2
    assert b"\x1b" not in err.said
    assert PASSWORD.encode() not in err.said + pipe.said
    assert json.loads(pipe.said)["error"]["code"] == 1


def test_a_line_that_moves_is_gone_before_anything_else_is_written() -> None:
    out = Output(stdout=Pipe(), stderr=(err := Pipe()))
    out.moving("x" * 500)
    out.moving("second")
    out.say("said")
    parts = err.said.decode().split("\r\x1b[K")
    assert parts == ["", "x" * 79, "second", "said\n"]


@pytest.fixture
def logging_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_internal_error_is_a_sentence_and_its_traceback_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], logging_kept: None
) -> None:
    async def broken(inv: cli.Invocation) -> ExitCode:
        raise RuntimeError(f"boom at postgresql://u:{PASSWORD}@h/d")

    monkeypatch.setattr(jobs_command, "run", broken)
    monkeypatch.setenv("PROCORE_DATABASE_URL", f"postgresql://u:{PASSWORD}@h/d")
    log = tmp_path / "state" / "procore-ingest.log"
    assert cli.run(["jobs", "list", "--state-dir", str(tmp_path / "state")]) == ExitCode.INTERNAL
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "internal error: RuntimeError: boom" in shown
    assert str(log) in shown
    text = log.read_text()
    assert "Traceback" in text
    assert PASSWORD not in text + shown
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700


def test_the_log_rotates_privately_and_speaks_json(tmp_path: Path, logging_kept: None) -> None:
    made = Settings(state_dir=str(tmp_path), log_format="json", vespa_token="token-of-the-cloud")
    logs.start(made, to_screen=True)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.handlers.RotatingFileHandler)
    handler.maxBytes = 300
    old = os.umask(0)
    try:
        for number in range(10):
            logging.getLogger(logs.LOGGER).warning("line %s with token-of-the-cloud", number)
    finally:
        os.umask(old)
    files = list(tmp_path.iterdir())
    assert len(files) == 4
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        for line in file.read_text().splitlines():
            assert set(json.loads(line)) == {"time", "level", "logger", "message"}
            assert "token-of-the-cloud" not in line


def report(
    status: str, *, read: int = 0, indexed: int = 0, failed: int = 0, skipped: int = 0, files: int = 0
) -> JobReport:
    counts = Counts(read=read, indexed=indexed, failed=failed, skipped=skipped)
    return JobReport("j", "full", status, 1.0, (TableReport("t", status, counts),), FileCounts(failed=files))


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (report("completed", read=2, indexed=2), 0),
        (report("completed"), 0),
        (report("completed", read=2, skipped=2), 0),
        (report("partial", read=2, indexed=1, failed=1), 3),
        (report("completed", read=1, indexed=1, files=1), 3),
        (report("partial", read=2, skipped=1, failed=1), 3),
        (report("partial", read=2, failed=2), 4),
        (report("failed"), 4),
        (report("failed", read=2, indexed=2), 3),
        (report("cancelled", read=2, indexed=2), 5),
    ],
)
def test_how_a_job_ended_decides_the_exit_code(made: JobReport, code: int) -> None:
    assert exit_code_of(made) == code


def events() -> list[object]:
    counts = Counts(read=40, indexed=39, failed=1)
    return [
        JobStarted(job_id="j", kind="full", tables=(TableTotal(table="rfis", rows=100),)),
        BatchCommitted(job_id="j", table="rfis", counts=counts),
        Backoff(job_id="j", service="vespa", reason="429", wait_s=2.0),
        TableFinished(job_id="j", table="rfis", status="partial", counts=counts, message="stopped"),
    ]


def told(how: str, *, as_json: bool = False) -> tuple[str, str]:
    out = Output(as_json=as_json, stdout=(data := Pipe()), stderr=(err := Pipe()))
    narrator = Narrator(out, how, clock=lambda: 100.0)
    for event in events():
        narrator.publish(event)  # type: ignore[arg-type]
    narrator.close()
    return data.said.decode(), err.said.decode()


def test_progress_is_told_as_asked() -> None:
    assert told("none") == ("", "")
    data, plain = told("plain")
    assert data == ""
    assert "\r" not in plain
    assert "rfis: partial, 40 read, 39 indexed, 1 failed, 0 skipped (stopped)" in plain
    assert "vespa asks us to wait 2.0 s: 429" in plain
    data, bar = told("bar")
    assert bar.endswith("\r\x1b[K") or bar.endswith("(stopped)\n")
    lines, nothing = told("jsonl")
    assert nothing == ""
    assert [json.loads(line)["event"] for line in lines.splitlines()] == [
        "job_started", "batch_committed", "backoff", "table_finished",
    ]  # fmt: skip
    assert told("jsonl", as_json=True) == ("", lines)


def test_a_reader_of_events_that_goes_away_does_not_end_the_job() -> None:
    narrator = Narrator(Output(stdout=Gone(), stderr=Pipe()), "jsonl")
    for event in events():
        narrator.publish(event)  # type: ignore[arg-type]


def test_steps_are_told_by_phase_and_not_each() -> None:
    err = Pipe()
    steps = Steps(Output(stderr=err), "plain", clock=lambda: 0.0)
    for number in range(1, 50):
        steps(f"rows {number}", number, 49)
    steps("references", 0, 0)
    assert err.said.decode() == "rows 1 (1/49)\nreferences\n"
