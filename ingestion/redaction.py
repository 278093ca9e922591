"""Text without its secrets: URL signatures, passwords and bearer tokens become `REDACTED`.

`redact_text` runs on every text cell that is indexed, so a text that cannot hold a secret comes back at
once and unchanged. `Redactor` is the net under all logging: it removes secrets known by value.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import quote, quote_plus

REDACTED = "REDACTED"

MIN_SECRET_CHARS = 4
"""Shorter strings are not removed by value: replacing every "a" would ruin the log and tell the secret."""

_REMEMBERED = 1024
"""Characters of a text whose redacted form is remembered for a moment."""

_NAME = (
    r"(?:sig|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|x(?:-|%2[dD])(?:amz|goog)(?:(?:-|%2[dD])[a-z0-9]+)+"
    r"|(?:[a-z0-9.]+[_.-])*(?:token|secret|password|passwd|pwd|apikey|api[_-]key|signature)"
    r"|client[_-]?secret|(?:access|refresh|id|auth|session|security)token)"
)
# A parameter's separator may itself be escaped: HTML (&amp;), JSON (\u0026), a URL inside a URL (%26).
# One class of first characters, which the search looks for at several times the speed of an alternative.
_PLAIN_LEAD = r"(?:[?&#;\\](?:(?<!\\)|(?<=\\)\\*u00(?:26|3[fF]|23)))"
_PLAIN_EQUALS = r"(?:=|\\+u003[dD]|&#(?:61|[xX]3[dD]);|&equals;)"
_ENCODED_LEAD = r"(?:%(?:25)*(?:3[fF]|26|23))"
_ENCODED_EQUALS = r"(?:%(?:25)*3[dD])"
# A value ends where its URL or the next parameter does. JSON escapes other than those of & " # < > ' and
# the blank belong to it, and so does an escaped slash.
_ORDINARY = r"[^\s&#\"'<>\\`(){}\[\]|,]"
_RARE = r"|,(?!\s|https?:|$)|\\+/|\\+u00(?!26|22|23|3[cCeE]|27|20|0)[0-9a-fA-F]{2}"
# Nothing follows a plain value, so that what it begins with can be taken in one go.
_VALUE = f"(?:{_ORDINARY}++{_RARE})*"
_ENCODED_VALUE = f"(?:(?!%(?:25)*(?:26|23)){_ORDINARY}{_RARE})*"

_PLAIN = re.compile(f"({_PLAIN_LEAD}{_NAME}{_PLAIN_EQUALS})({_VALUE})", re.IGNORECASE)
_ENCODED = re.compile(f"({_ENCODED_LEAD}{_NAME}{_ENCODED_EQUALS})({_ENCODED_VALUE})", re.IGNORECASE)
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*:\\?/\\?/[^\s/?#:@\"'<>]*:)([^\s/?#\"'<>]+)(?=@)", re.IGNORECASE)
# libpq accepts any byte in a password, so the userinfo of a PostgreSQL URL ends at its last @ before a blank.
_POSTGRES_USERINFO = re.compile(r"(\bpostgres(?:ql)?://[^\s:@/\"'<>]*:)([^\s\"'<>]+)(?=@)", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(\b(?:pg|db|ssl)?(?:password|passwd|pwd)\s*=\s*)('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s'\"&;,)]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(
    r"(\b(?:bearer|authorization:\s*basic)\s+)((?=[^\s\"'<>,;]*[0-9]|[^\s\"'<>,;]{20})[A-Za-z0-9._~+/-]{8,}=*)",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """`text` with the values of signing URL parameters, URL and DSN passwords and bearer tokens replaced.

    URLs are found anywhere, also inside HTML, JSON or another URL. Everything else stays as it is, byte
    for byte, and the function is idempotent.
    """
    if "=" in text or "%" in text or "\\u003" in text or "&#" in text or "&equals" in text:
        text = _unsigned(text) if len(text) > _REMEMBERED else _remembered(text)
    if "@" in text and (":/" in text or ":\\/" in text):
        text = _USERINFO.sub(_replaced, _POSTGRES_USERINFO.sub(_replaced, text))
    if "earer" in text or "EARER" in text or "uthorization" in text:
        text = _BEARER.sub(_replaced, text)
    return text


def redact_each(texts: Sequence[str | None]) -> Sequence[str | None]:
    """`redact_text` of each text, None as it is: at once where no secret of one can reach into the next."""
    present = [text for text in texts if text]
    joined = "\n".join(present)
    if joined.count("\n") != len(present) - 1 or _may_span_blanks(lowered(joined)):
        return [text and redact_text(text) for text in texts]
    redacted = redact_text(joined)
    if redacted == joined:
        return texts
    pieces = iter(redacted.split("\n"))
    return [text and next(pieces) for text in texts]


def _may_span_blanks(low: bytes) -> bool:
    """Whether there may be a secret with a blank between its name and itself, or inside it."""
    return b"passw" in low or b"pwd" in low or b"earer" in low or b"uthorization" in low


def may_change(text: str) -> bool:
    """Whether `redact_text` could change the text, or one that is part of it: quick, and never wrongly False."""
    return (
        "=" in text
        or "%" in text
        or ("\\" in text and "\\u003" in text)
        or ("&" in text and ("&#" in text or "&equals" in text))
        or ("@" in text and (":/" in text or ":\\/" in text))
        or "uthorization" in text
        or "EARER" in text
        or "earer" in text
    )


def _unsigned(text: str) -> str:
    """`text` without the values of signing parameters and of passwords that are assigned."""
    # Searching a lowered copy for each word is ten times as fast as one case-insensitive pattern.
    low = lowered(text)
    if _may_name_a_secret(low):
        text = _PLAIN.sub(_replaced, text)
        if b"%3d" in low or b"%25" in low:
            text = _ENCODED.sub(_replaced, text)
        if "=" in text and (b"passw" in low or b"pwd" in low):
            text = _ASSIGNED.sub(_replaced, text)
    return text


# A signed URL is looked at once as a cell and once for every way in which it names a file.
_remembered = lru_cache(maxsize=64)(_unsigned)


def _may_name_a_secret(low: bytes) -> bool:
    return (
        b"sig" in low
        or b"token" in low
        or b"expires" in low
        or b"policy" in low
        or b"secret" in low
        or b"passw" in low
        or b"pwd" in low
        or b"key" in low
        or b"accessid" in low
        or b"amz" in low
        or b"goog" in low
    )


def lowered(text: str) -> bytes:
    """The text in lower case as UTF-8, to look for ASCII words in: letters beyond ASCII may stay as they are."""
    if "\u0130" in text or "\u212a" in text:
        # The only letters beyond ASCII of which lower case makes ASCII ones.
        text = text.lower()
    return text.encode("utf-8", "surrogatepass").lower()


def redact_url(url: str) -> str:
    """One URL fit to be shown or stored: no password, no signature."""
    return redact_text(url)


def _replaced(match: re.Match[str]) -> str:
    value = match.group(2)
    kept = value[len(value.rstrip(".,;:!")) :] if value else ""
    if not value or len(kept) == len(value):
        return match.group()
    return f"{match.group(1)}{REDACTED}{kept}"


class Redactor(logging.Filter):
    """Removes known secrets, and whatever `redact_text` finds, from log records.

    Attach it to handlers: a logger's filters do not see what its children log.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str | None) -> None:
        """Remove this string from now on, also where it stands percent-encoded."""
        if not secret or len(secret) < MIN_SECRET_CHARS or secret == REDACTED:
            return
        self._secrets |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
        self._secrets |= {repr(secret)[1:-1]}
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(s) for s in longest_first))

    def redact(self, text: str) -> str:
        """`text` without any known secret and without what looks like one."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return redact_text(text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always True, nothing is dropped."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args!r}"
        record.msg, record.args = self.redact(message), ()
        if record.exc_info and not record.exc_text and record.exc_info[0] is not None:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if record.exc_text:
            # The exception object itself still holds the secret, so only its cleaned text goes on.
            record.exc_text, record.exc_info = self.redact(record.exc_text), None
        if record.stack_info:
            record.stack_info = self.redact(record.stack_info)
        for name, value in record.__dict__.items():
            if isinstance(value, str) and name not in _RECORD_NAMES:
                record.__dict__[name] = self.redact(value)
        return True


_RECORD_NAMES = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
