"""Logging: one line per fact to a rotating file, in text or JSON; warnings also to stderr for commands.

Tracebacks go to the file alone: a person gets one sentence, and the file's name.
"""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from ingestion import errors
from ingestion.redaction import Redactor, redact_text
from ingestion.settings import Settings

LOGGER = "procore_ingest"
LOG_BYTES = 5 * 2**20
LOG_FILES = 3
FILE_MODE = 0o600
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Text(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _time(record)

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info or record.exc_text:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return redact_text(json.dumps(line, default=str, ensure_ascii=False))


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]
    """stderr without tracebacks; internal errors are said by the command line itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.exc_text:
            return
        super().emit(record)


class _File(logging.handlers.RotatingFileHandler):
    """A rotating file that nobody else may read, from its first byte on."""

    def _open(self) -> io.TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        os.fchmod(handle, FILE_MODE)
        return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")


def start(settings: Settings, *, to_screen: bool, file_is_needed: bool = True) -> None:
    """Begin logging. With `to_screen` the screen belongs to the application: file only.

    Raises errors.StateError where the file cannot be written, unless it is not needed.
    """
    handlers: list[logging.Handler] = []
    try:
        handlers.append(_file(settings.state_root))
    except errors.StateError:
        if file_is_needed:
            raise
    if not to_screen and sys.stderr is not None:
        handlers.append(_Screen(sys.stderr))
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        if isinstance(old, _File):
            old.close()
    formatter = _Json() if settings.log_format == "json" else _Text(_LINE)
    redactor = Redactor(_secrets(settings))
    level = logging.getLevelName(settings.log_level.upper())
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(redactor)
        handler.setLevel(min(level, logging.INFO) if isinstance(handler, _File) else level)
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(min(level, logging.INFO))


def where() -> str:
    """The sentence that names the log file; empty where there is none."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _File):
            return f"The log has the details: {handler.baseFilename}"
    return ""


_LINE = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


def _file(folder: Path) -> _File:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _File(folder / "procore-ingest.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    except OSError as error:
        raise errors.StateError(
            f"the state folder {folder} cannot be written: {error.strerror or error}",
            hint="Make it writable, or choose another with --state-dir.",
        ) from error


def _secrets(settings: Settings) -> list[str]:
    """The secrets known by value, whatever form they take in a message."""
    from ingestion.postgres import connection_url

    found = [settings.vespa_token, os.environ.get("PGPASSWORD", "")]
    try:
        keywords = connection_url.parse(settings.database_url) if settings.database_url else {}
    except errors.SettingsError:
        keywords = {}  # whoever connects will say so
    return [*found, keywords.get("password", ""), keywords.get("sslpassword", "")]
