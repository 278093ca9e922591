"""Where text goes: stdout carries data, stderr carries narration.

Everything written passes here, so that a pipe with another encoding, a closed stdout or a dumb terminal does
no harm, and so that `--json` prints exactly one object.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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


def _or_nothing(name: str) -> TextIO:
    """A standard stream; one that was closed before we came leads nowhere."""
    return getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")


@dataclass(slots=True)
class Output:
    """`as_json` turns stdout into one JSON object; narration stays on stderr either way.

    Writing data raises OSError where stdout cannot take it; narration that nobody can read is dropped.
    """

    as_json: bool = False
    stdout: TextIO = field(default_factory=lambda: _or_nothing("stdout"))
    stderr: TextIO = field(default_factory=lambda: _or_nothing("stderr"))
    line_is_open: bool = False
    """Whether a line that moves stands on stderr, to be overwritten."""
    code_if_unread: int = 0
    """The exit code when whoever read stdout has gone."""

    def data(self, text: str) -> None:
        """Write text for people, with a line end if it has none."""
        self.close_line()
        self._emit(lambda: _write(self.stdout, _ended(text)))

    def document(self, text: str) -> None:
        """Write text for programs: UTF-8 whatever the locale says, not a character changed."""
        self.close_line()
        self._emit(lambda: _write_utf8(self.stdout, _ended(text)))

    def json(self, value: Any) -> None:
        """Write one JSON object; times become ISO with `Z`."""
        self.document(to_json(value))

    def say(self, text: str) -> None:
        """Narrate: one line on stderr, secrets redacted."""
        self.close_line()
        self.raw(redact_text(text) + "\n")

    def moving(self, text: str) -> None:
        """Show one line on stderr in place of the one before; cut, as one that wraps cannot be overwritten."""
        try:
            width = max(20, os.get_terminal_size(self.stderr.fileno()).columns - 1)
        except (OSError, ValueError):
            width = 79
        self.raw("\r\x1b[K" + redact_text(text)[:width])
        self.line_is_open = True

    def close_line(self) -> None:
        """Take the line that moves away."""
        if self.line_is_open:
            self.line_is_open = False
            self.raw("\r\x1b[K")

    def raw(self, text: str) -> None:
        """Write to stderr as it stands, control characters too."""
        # Narration must not end the work that it tells of.
        with suppress(OSError, ValueError):
            _write(self.stderr, text)

    def error(self, message: str, hint: str, code: int) -> None:
        """The one clear sentence of a failed command, and its next step."""
        if self.as_json:
            with suppress(OSError):
                self.json({"error": {"code": int(code), "message": _clean(message), "hint": _clean(hint)}})
        self.say(f"error: {_one_line(message)}")
        if hint:
            self.say(f"       {_one_line(hint)}")

    def abandon(self) -> None:
        """Let stdout lead nowhere from now on: Python flushes it at its end, and would complain once more."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())

    def _emit(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError:
            self.abandon()
            raise


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
    """Whether the stream, and the terminal behind it, show more than ASCII."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return encoding.startswith("utf") and os.environ.get("TERM") != "dumb" and not _is_c_locale(os.environ)


def _is_c_locale(environment: Mapping[str, str]) -> bool:
    """Whether the user asked for the C locale; Python writes UTF-8 there all the same."""
    plain = ("C", "POSIX")
    if environment.get("LC_ALL"):
        return environment["LC_ALL"] in plain
    # Python itself sets this one when it finds the C locale (PEP 538).
    if environment.get("LC_CTYPE", "") not in ("", "C.UTF-8", *plain):
        return False
    return environment.get("LANG") in plain


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _clean(text: str) -> str:
    """Redacted, and without what is no text: arguments may hold any bytes."""
    return redact_text(text).encode("utf-8", "backslashreplace").decode()


def _write(stream: TextIO, text: str) -> None:
    if not is_unicode(stream):
        text = text.translate(_ASCII)
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _write_utf8(stream: TextIO, text: str) -> None:
    binary = getattr(stream, "buffer", None)
    if binary is None:
        stream.write(text)
    else:
        stream.flush()
        binary.write(text.encode("utf-8", "backslashreplace"))
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
