"""Logging: one line per fact to a rotating file, in text or JSON; warnings also to stderr for commands."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from datetime import UTC, datetime
from pathlib import Path

from ingestion import errors
from ingestion.redaction import redact_text
from ingestion.settings import Settings

LOGGER = "procore_ingest"
LOG_BYTES = 5 * 2**20
LOG_FILES = 3
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact_text(json.dumps(line, default=str, ensure_ascii=False))


def start(settings: Settings, *, to_screen: bool) -> Path:
    """Begin logging; the log's path. With `to_screen` the screen belongs to the application: file only."""
    path = settings.state_root / "procore-ingest.log"
    handlers: list[logging.Handler] = []
    if settings.log_format == "json":
        formatter: logging.Formatter = _Json()
    else:
        formatter = _Text("%(asctime)s %(levelname)-7s %(name)s %(message)s")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", delay=False
            )
        )
    except OSError as error:
        raise errors.StateError(
            f"the state folder {path.parent} cannot be written: {error.strerror or error}",
            hint="Make it writable, or choose another with --state-dir.",
        ) from error
    path.chmod(0o600)
    if not to_screen:
        handlers.append(logging.StreamHandler(sys.stderr))
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    level = settings.log_level.upper()
    handlers[0].setLevel(min(logging.getLevelName(level), logging.INFO))
    for handler in handlers[1:]:
        handler.setLevel(level)
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(min(logging.getLevelName(level), logging.INFO))
    return path
