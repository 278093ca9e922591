"""Logging: one line per fact to a rotating file, in text or JSON; warnings also to stderr for commands.

Tracebacks go to the file alone: a person gets one sentence, and the file's name.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
from pathlib import Path

from ingestion import errors, logs
from ingestion.redaction import Redactor
from ingestion.settings import Settings

LOGGER = logs.LOGGER
LOG_BYTES = 5 * 2**20
LOG_FILES = 3
FILE_MODE = 0o600


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]
    """stderr without tracebacks, which are said apart, and without a job's events, which are told as progress."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.exc_text or hasattr(record, "event"):
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
    formatter = logs.formatter(settings.log_format)
    redactor = Redactor(logs.secrets(settings))
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


def _file(folder: Path) -> _File:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _File(folder / "procore-ingest.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    except OSError as error:
        raise errors.StateError(
            f"the state folder {folder} cannot be written: {error.strerror or error}",
            hint="Make it writable, or choose another with --state-dir.",
        ) from error
