"""How figures, times and states are written: pure functions, the same on screens and on the command line.

Nothing here reads the clock, the terminal or the environment: callers pass `now`, `width` and a `Glyphs`.
Whatever comes from data goes through `safe` before it is shown: it can then neither move the cursor nor
turn the direction of the text around it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

MAX_CELL_CHARS = 4_000
"""Text handed to a one-line cell is cut here before anything else looks at it."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The symbols of one terminal; every one is a single cell wide."""

    unicode: bool
    ok: str
    bad: str
    warn: str
    running: str
    waiting: str
    paused: str
    stopped: str
    skipped: str
    on: str
    off: str
    dot: str
    arrow: str
    back: str
    bar: str
    bar_part: str
    bar_rest: str
    rule: str
    column: str
    ellipsis: str
    dash: str
    up: str
    down: str
    expanded: str
    collapsed: str
    mark: str
    about: str
    spinner: str


UNICODE = Glyphs(
    unicode=True, ok="✓", bad="✗", warn="▲", running="●", waiting="○", paused="‖", stopped="■", skipped="–",
    on="■", off="□", dot="·", arrow="→", back="←", bar="━", bar_part="╸", bar_rest="─", rule="─", column="│",
    ellipsis="…", dash="—", up="↑", down="↓", expanded="▾", collapsed="▸", mark="▌", about="≈",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
)  # fmt: skip

ASCII = Glyphs(
    unicode=False, ok="+", bad="x", warn="!", running=">", waiting=".", paused="=", stopped="#", skipped="-",
    on="x", off=" ", dot="-", arrow=">", back="<", bar="#", bar_part="#", bar_rest=".", rule="-", column="|",
    ellipsis="~", dash="-", up="^", down="v", expanded="-", collapsed="+", mark=">", about="~",
    spinner="|/-\\",
)  # fmt: skip


def glyphs_for(encoding: str | None, environ: Mapping[str, str]) -> Glyphs:
    """`ASCII` where the output is not UTF-8 or the terminal is `dumb` or `linux`, else `UNICODE`.

    `PROCORE_INGEST_GLYPHS=ascii|unicode` overrides the guess.
    """
    wanted = environ.get("PROCORE_INGEST_GLYPHS", "").lower()
    if wanted in {"ascii", "unicode"}:
        return ASCII if wanted == "ascii" else UNICODE
    if (encoding or "").lower().replace("-", "").replace("_", "") not in {"utf8", "utf8sig"}:
        return ASCII
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    if locale.split(".")[0] in {"C", "POSIX"} and "utf" not in locale.lower():
        return ASCII
    return ASCII if environ.get("TERM", "") in {"dumb", "linux"} else UNICODE


# -- numbers ---------------------------------------------------------------------------------------------


def count(number: int | None, *, exact: bool = True, glyphs: Glyphs = UNICODE) -> str:
    """`48,389`; an estimate carries `≈`, an unknown number is a dash."""
    if number is None or number < 0:
        return glyphs.dash
    return f"{number:,}" if exact else f"{glyphs.about}{number:,}"


def short_count(number: int | None, *, exact: bool = True, glyphs: Glyphs = UNICODE) -> str:
    """At most five cells and a sign: `999`, `9,999`, `48.4k`, `1.2M`, `45M`."""
    if number is None or number < 0:
        return glyphs.dash
    lead = "" if exact else glyphs.about
    if number < 10_000:
        return f"{lead}{number:,}"
    value = float(number)
    for unit in "kMGT":
        value /= 1000
        if value < 99.95:
            return f"{lead}{value:.1f}{unit}"
        if value < 999.5 or unit == "T":
            return f"{lead}{value:.0f}{unit}"
    raise AssertionError("unreachable")


def plural(number: int, noun: str, nouns: str = "") -> str:
    """`1 table`, `49 tables`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def rate(per_s: float | None, *, glyphs: Glyphs = UNICODE) -> str:
    """Rows a second: `1,234/s`; slow ones keep a decimal (`0.4/s`); none is a dash."""
    if per_s is None or per_s <= 0:
        return glyphs.dash
    return f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s:.1f}/s"


def percent(share: float | None, *, glyphs: Glyphs = UNICODE) -> str:
    """`42%`; below the whole never `100%`, above nothing never `0%`."""
    if share is None:
        return glyphs.dash
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return "99%"
    return f"{share * 100:.0f}%"


def size(size_bytes: int | None, *, glyphs: Glyphs = UNICODE) -> str:
    """`512 B`, `4.2 MiB`; unknown is a dash."""
    if size_bytes is None or size_bytes < 0:
        return glyphs.dash
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = size_bytes / 1024
    units = ["TiB", "GiB", "MiB", "KiB"]
    while value >= 1023.5 and len(units) > 1:
        value /= 1024
        units.pop()
    return f"{value:.1f} {units[-1]}" if value < 100 else f"{value:,.0f} {units[-1]}"


# -- times -----------------------------------------------------------------------------------------------


def duration(seconds: float | None, *, glyphs: Glyphs = UNICODE) -> str:
    """`0.4s`, `12s`, `3m 05s`, `2h 10m`, `4d 3h`; unknown is a dash."""
    if seconds is None:
        return glyphs.dash
    if seconds < 0:
        return "0s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def eta(seconds: float | None, *, exact: bool = True, glyphs: Glyphs = UNICODE) -> str:
    """What is left, without tenths; `≈` in front where the total is an estimate."""
    if seconds is None:
        return glyphs.dash
    whole = duration(max(10.0, seconds)) if seconds >= 10 else f"{max(1, round(seconds))}s"
    return whole if exact else f"{glyphs.about}{whole}"


def moment(value: datetime | float | None, *, glyphs: Glyphs = UNICODE, seconds: bool = True) -> str:
    """UTC with `Z`: `2026-01-31 08:05:00Z`. Takes aware times, naive UTC ones, or epoch seconds."""
    if value is None:
        return glyphs.dash
    if isinstance(value, int | float):
        try:
            value = datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError, ValueError):
            return glyphs.dash
    if value.tzinfo is not None:
        value = value.astimezone(UTC)
    return value.strftime("%Y-%m-%d %H:%M:%SZ" if seconds else "%Y-%m-%d %H:%MZ")


def clock(value: float) -> str:
    """Time of day in UTC, for log lines: `08:05:00`."""
    return datetime.fromtimestamp(value, UTC).strftime("%H:%M:%S")


def ago(then: datetime | float | None, now: float, *, glyphs: Glyphs = UNICODE) -> str:
    """`just now`, `5m ago`, `3d ago`; what lies ahead reads `in 5m`."""
    if then is None:
        return glyphs.dash
    if isinstance(then, datetime):
        then = (then if then.tzinfo is not None else then.replace(tzinfo=UTC)).timestamp()
    gap = now - then
    if -5 < gap < 5:
        return "just now"
    whole = abs(gap)
    text = next(
        f"{int(whole // unit)}{name}"
        for unit, name in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
        if whole >= unit
    )
    return f"{text} ago" if gap > 0 else f"in {text}"


# -- bars and states ---------------------------------------------------------------------------------------


def bar(share: float | None, width: int, glyphs: Glyphs = UNICODE) -> tuple[str, str]:
    """The done and the open part of a bar, together exactly `width` cells.

    Full only when `share` is 1, and not empty once anything is done.
    """
    if width <= 0:
        return "", ""
    share = min(1.0, max(0.0, share or 0.0))
    halves = round(share * width * 2)
    if share < 1.0:
        halves = min(halves, width * 2 - 1)
    if share > 0.0:
        halves = max(halves, 1)
    full, part = divmod(halves, 2)
    done = glyphs.bar * full + (glyphs.bar_part if part else "")
    return done, glyphs.bar_rest * (width - len(done))


_STATES: dict[str, tuple[str, str, str]] = {
    # state: (name of the glyph, word, tone)
    "pending": ("waiting", "waiting", "muted"),
    "queued": ("waiting", "waiting", "muted"),
    "starting": ("waiting", "starting", "info"),
    "running": ("running", "running", "info"),
    "paused": ("paused", "paused", "warn"),
    "stopping": ("paused", "stopping", "warn"),
    "completed": ("ok", "completed", "good"),
    "partial": ("warn", "partial", "warn"),
    "failed": ("bad", "failed", "bad"),
    "cancelled": ("stopped", "cancelled", "warn"),
    "interrupted": ("stopped", "interrupted", "warn"),
    "skipped": ("skipped", "skipped", "muted"),
    "open": ("bad", "open", "bad"),
    "resolved": ("ok", "resolved", "good"),
    "dismissed": ("skipped", "dismissed", "muted"),
    "equal": ("ok", "equal", "good"),
    "different": ("bad", "different", "bad"),
    "ok": ("ok", "ready", "good"),
    "unknown": ("waiting", "unknown", "muted"),
}


@dataclass(frozen=True, slots=True)
class StateMark:
    """A state as it is shown: never colour alone. `tone` is one of good, warn, bad, info, muted."""

    glyph: str
    word: str
    tone: str

    def __str__(self) -> str:
        return f"{self.glyph} {self.word}"


def state_mark(state: str, glyphs: Glyphs = UNICODE) -> StateMark:
    """The glyph, word and tone of a job's, table's or failure's state; unknown states show their own name."""
    name, word, tone = _STATES.get(state, ("dot", state, "muted"))
    return StateMark(getattr(glyphs, name), word, tone)


def run_title(status: str, share: float | None, glyphs: Glyphs = UNICODE) -> str:
    """A job in a few words, for the terminal's own title: `● 42% procore-ingest`, `✓ procore-ingest completed`."""
    mark = state_mark(status, glyphs)
    if status in {"running", "paused"}:
        return f"{mark.glyph} {percent(share, glyphs=glyphs)} procore-ingest"
    return f"{mark.glyph} procore-ingest {mark.word}"


# -- text from data ----------------------------------------------------------------------------------------

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: escape sequences begin here
    "\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # zero width and bidirectional marks, odd line ends
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_SPACES = re.compile(r"[\t\n\r\f\v ]+")


def _visible(match: re.Match[str]) -> str:
    char = match.group()
    if char in "\n\t":
        return char
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "\N{MIDDLE DOT}"


def safe(text: str, *, glyphs: Glyphs = UNICODE) -> str:
    """Text from data that cannot steer the terminal; line feeds stay, tabs become four blanks.

    With ASCII glyphs everything else outside ASCII becomes `?`.
    """
    text = _UNSAFE.sub(_visible, text.replace("\r\n", "\n")).replace("\t", "    ")
    return text if glyphs.unicode else text.encode("ascii", "replace").decode("ascii")


@lru_cache(maxsize=2048)
def one_line(text: str, *, unicode: bool = True) -> str:
    """Text from data for one line: runs of white space become one blank; cut at `MAX_CELL_CHARS`."""
    text = _SPACES.sub(" ", text[:MAX_CELL_CHARS]).strip()
    return safe(text, glyphs=UNICODE if unicode else ASCII)


def middle(text: str, width: int, glyphs: Glyphs = UNICODE) -> str:
    """Shorten in the middle, so that paths and ids keep both ends. Counts characters, not cells."""
    if len(text) <= width or width < 5:
        return text[: max(0, width)]
    head = (width - 1) // 2
    return text[:head] + glyphs.ellipsis + text[len(text) - (width - 1 - head) :]


def sort_text(text: str) -> str:
    """A key for sorting names as people do: without case and accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


_PASSWORD = re.compile(r"(?P<lead>[a-z][a-z0-9+.-]*://[^:@/\s]*):[^@/\s]*@", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&;](?:sig|signature|token|password|sslpassword|expires|policy|key-pair-id|x-amz-[a-z-]+))"
    r"=[^&\s\"']*",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Text without the passwords and signatures of URLs: the last guard; the core has redacted already."""
    text = _PASSWORD.sub(r"\g<lead>:***@", text)
    return _SECRET_PARAMETER.sub(r"\g<name>=REDACTED", text)
