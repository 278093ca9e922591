"""Where text goes: stdout carries data, stderr carries narration.

Everything written passes here, so that a pipe with another encoding, a closed stdout or a dumb terminal does
no harm, and so that `--json` prints exactly one object.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

import orjson

from ingestion.redaction import redact_text

_ASCII = str.maketrans(
    {"…": "...", "→": "->", "←": "<-", "·": "-", "—": "-", "–": "-", "’": "'", "“": '"', "”": '"', "≈": "~",
     "✓": "ok", "✗": "x", "●": "*", "○": "o", "×": "x", "│": "|", "─": "-"}
)  # fmt: skip


@dataclass(slots=True)
class Output:
    """`as_json` turns stdout into one JSON object; narration stays on stderr either way."""

    as_json: bool = False
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    def data(self, text: str) -> None:
        """Write data, with a line end if it has none."""
        _write(self.stdout, text if text.endswith("\n") else text + "\n")

    def json(self, value: Any) -> None:
        """Write one JSON object; times become ISO with `Z`."""
        self.data(to_json(value))

    def say(self, text: str) -> None:
        """Narrate: one line on stderr, secrets redacted."""
        _write(self.stderr, redact_text(text) + "\n")

    def error(self, message: str, hint: str, code: int) -> None:
        """The one clear sentence of a failed command, and its next step."""
        if self.as_json:
            self.json({"error": {"code": code, "message": redact_text(message), "hint": redact_text(hint)}})
        self.say(f"error: {message}")
        if hint:
            self.say(f"       {hint}")


def to_json(value: Any) -> str:
    """Pretty JSON in UTF-8 with times in ISO and enums by value."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    return orjson.dumps(value, default=_plain, option=options).decode()


def iso(seconds: float | None) -> str | None:
    """Epoch seconds as ISO in UTC with `Z`; None stays None."""
    if seconds is None:
        return None
    return _iso(datetime.fromtimestamp(seconds, UTC))


def table(
    headers: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: frozenset[int] = frozenset()
) -> str:
    """Aligned columns of text; the columns in `numbers` are aligned right with thousands separated."""
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [
        max([_width(headers[i])] + [_width(row[i]) for row in texts]) for i in range(len(headers))
    ]  # fmt: skip
    lines = []
    for row in [list(headers), *texts]:
        cells = [_pad(text, widths[i], i in numbers) for i, text in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def is_unicode(stream: TextIO) -> bool:
    """Whether the stream can carry more than ASCII."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return encoding.startswith("utf") and os.environ.get("TERM") != "dumb"


def _write(stream: TextIO, text: str) -> None:
    if not is_unicode(stream):
        text = text.translate(_ASCII)
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    # Data may hold anything, terminal escapes and bidi marks included: what cannot be printed becomes a dot.
    return "".join(c if c.isprintable() else "·" for c in " ".join(str(value).split()))


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _pad(text: str, width: int, right: bool) -> str:
    fill = " " * (width - _width(text))
    return fill + text if right else text + fill


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return _iso(value)
        case Enum():
            return value.value
        case Path():
            return str(value)
        case set() | frozenset():
            return sorted(value)
        case Mapping():
            return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
