"""One PostgreSQL value as one string, the same from the server's text and from asyncpg's Python value.

    true · 42 · 1.50 · 2024-01-31T08:05:00.12 · 2024-01-31T08:05:00Z · infinity · 0044-03-15 BC · \\x00ff
    arrays as JSON · json and jsonb as the server's text · everything else as PostgreSQL prints it

`processor` gives what the server's text still needs (nothing, for most types); `to_text` does typed values.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from ingestion.postgres import codecs
from ingestion.postgres.sql import CELL_LIMIT_BYTES

REPLACEMENT = "\ufffd"
MAX_INT64 = 2**63 - 1
JSON_TYPES = frozenset({"json", "jsonb"})

# What Vespa refuses with 400 "illegal code point", in fields, map keys and ids alike.
_REFUSED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufdd0-\ufddf"
    + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(17))
    + "]"
)
SAFE_CHARS = CELL_LIMIT_BYTES // 4
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive times are UTC here
_MILLISECOND = timedelta(milliseconds=1)
_TIMESTAMP = re.compile(
    r"(\d{4,})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?)?"
    r"(Z|[+-]\d\d(?::?\d\d){0,2})?( BC)?$"
)


# -- any text ----------------------------------------------------------------------------------------------


def clean(text: str) -> tuple[str, bool]:
    """`text` with every code point that Vespa refuses as U+FFFD, and whether there was any."""
    # Most text that is not all printable has nothing but line ends; looking for those is quick.
    if text.isprintable() or text.replace("\n", "").isprintable() or _REFUSED.search(text) is None:
        return text, False
    return _REFUSED.sub(REPLACEMENT, text), True


def cut(text: str, limit_bytes: int = CELL_LIMIT_BYTES) -> tuple[str, bool]:
    """`text` without what exceeds `limit_bytes` of UTF-8, never inside a character, and whether it was cut."""
    if len(text) <= limit_bytes // 4:
        return text, False
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= limit_bytes:
        return text, False
    return encoded[:limit_bytes].decode("utf-8", "ignore"), True


# -- the server's text -------------------------------------------------------------------------------------


def processor(type_name: str) -> Callable[[str], str] | None:
    """What turns the server's text of this base type into the canonical one; None where it already is.

    The text is that of `sql.text_column`, read in a session in UTC. Canonical text passes unchanged.
    """
    if type_name == "timestamp":
        return _timestamp
    if type_name == "timestamptz":
        return _timestamptz
    return None


def canonical(text: str, type_name: str) -> str:
    """The canonical text of the server's text of one value."""
    process = processor(type_name)
    return process(text) if process is not None else text


def _timestamp(text: str) -> str:
    return text if "T" in text else text.replace(" ", "T", 1)


def _timestamptz(text: str) -> str:
    if text.endswith("+00"):
        return f"{text[:-3].replace(' ', 'T', 1)}Z"
    if text.endswith("+00 BC"):
        return f"{text[:-6].replace(' ', 'T', 1)}Z BC"
    return text if text.endswith(("Z", "Z BC", "infinity")) else _in_utc(text)


def _in_utc(text: str) -> str:
    """A timestamp in another zone than UTC's, which only another session can have printed."""
    us = _microseconds(text, UTC)
    if us is None:
        return text
    return codecs.timestamp_text(us - 946_684_800_000_000, "Z").replace(" ", "T", 1)


# -- typed values ------------------------------------------------------------------------------------------


def to_text(value: Any, type_name: str = "") -> str | None:
    """The canonical text of a value as asyncpg gives it; None for NULL.

    `type_name` is the base type's bare name (`Column.base_type`); without it a list counts as an array and
    a float as double precision. Text counts as the server's.
    """
    if value is None:
        return None
    kind = type(value)
    if kind is str:
        return canonical(value, type_name) if type_name else value
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}" if type_name == "pg_lsn" else str(value)
    if isinstance(value, datetime):
        return _datetime(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, dict):
        return json_text(value)
    if isinstance(value, list):
        if type_name in JSON_TYPES:
            return json_text(value)
        if type_name.endswith("multirange"):
            return "{" + ",".join(printed(item) for item in value) + "}"
        return _array_json(value, type_name[1:] if type_name.startswith("_") else "")
    return printed(value, type_name)


def printed(value: Any, type_name: str = "") -> str:
    """A value as PostgreSQL's own output function prints it, as it does inside ranges and composites."""
    kind = type(value)
    if kind is str:
        return str(value)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, float):
        return float4_text(value) if type_name == "float4" else float8_text(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        return _datetime(value).replace("T", " ", 1).replace("Z", "+00")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return _time(value)
    if isinstance(value, timedelta):
        return _timedelta(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _char(bytes(value)) if type_name == "char" else "\\x" + bytes(value).hex()
    if isinstance(value, dict):
        return json_text(value)
    if isinstance(value, list):
        return _array_text(value)
    if isinstance(value, UUID | ipaddress._IPAddressBase):
        return str(value)
    name = kind.__name__
    if name in _PRINTERS:
        return _PRINTERS[name](value)
    if isinstance(value, tuple) or name == "Record":
        return _snapshot(value) if type_name in ("txid_snapshot", "pg_snapshot") else _composite(value)
    if isinstance(value, set | frozenset):
        return _array_json(sorted(value, key=str), "")
    return str(value)


def float8_text(value: float) -> str:
    """The shortest digits that give the value back, as PostgreSQL 12 and later print double precision."""
    text = repr(value)
    if abs(value) >= 2**52 and math.isfinite(value):
        # PostgreSQL never takes a decimal exactly between two floats, Python does if it rounds to this one.
        below, above = math.nextafter(value, -math.inf), math.nextafter(value, math.inf)
        digits = len(Decimal(text).as_tuple().digits)
        while digits < 17 and not _is_inside(text, value, below, above):
            digits += 1
            text = f"{value:.{digits - 1}e}"
    return _shortest(text, 15)


def float4_text(value: float) -> str:
    """Likewise for real: the shortest digits that give the same 32-bit float back."""
    if not math.isfinite(value) or value == 0:
        return _shortest(repr(value), 6)
    (bits,) = struct.unpack(">I", struct.pack(">f", value))
    exact, nearer, farther = (
        struct.unpack(">f", struct.pack(">I", b))[0] for b in (bits, bits - 1, bits + 1)
    )
    below, above = (nearer, farther) if value > 0 else (farther, nearer)
    for digits in range(1, 10):
        near = f"{exact:.{digits - 1}e}"
        for text in (near, _one_up(near)):
            # Above a power of two the gap is wider than below, so that the farther decimal may be the one.
            if _is_inside(text, exact, below, above):
                return _shortest(text, 6)
    return _shortest(f"{exact:.8e}", 6)


def _one_up(text: str) -> str:
    """The decimal of as many digits that is next farther from zero."""
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    return str(Decimal((sign, tuple(map(int, str(int("".join(map(str, digits))) + 1))), exponent)))


def _is_inside(text: str, value: float, below: float, above: float) -> bool:
    """Whether a decimal lies nearer to `value` than to both its neighbours."""
    number, exact = Fraction(text), Fraction(value)
    low = (exact + Fraction(below)) / 2 if math.isfinite(below) else exact - (Fraction(above) - exact) / 2
    high = (exact + Fraction(above)) / 2 if math.isfinite(above) else exact + (exact - Fraction(below)) / 2
    return low < number < high


def _shortest(text: str, fixed_below: int) -> str:
    if text in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[text]
    number = Decimal(text)
    sign = "-" if number.is_signed() else ""
    if not number:
        return f"{sign}0"
    digits = "".join(map(str, number.as_tuple().digits))
    exponent = number.adjusted()
    digits = digits.rstrip("0") or "0"
    if exponent < -4 or exponent >= fixed_below:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _decimal(value: Decimal) -> str:
    if value.is_finite():
        return format(value if value else value.copy_abs(), "f")
    if value.is_nan():
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _datetime(value: datetime) -> str:
    zone = ""
    if value.tzinfo is not None:
        value, zone = value.astimezone(UTC).replace(tzinfo=None), "Z"
    text = value.isoformat()
    return (text.rstrip("0") if value.microsecond else text) + zone


def _time(value: time) -> str:
    text = value.replace(tzinfo=None).isoformat()
    if value.microsecond:
        text = text.rstrip("0")
    offset = value.utcoffset()
    return text if offset is None else text + codecs.zone_text(int(offset.total_seconds()))


def _timedelta(value: timedelta) -> str:
    if isinstance(value, codecs.Interval):
        return value.text
    return codecs.interval_text(0, value.days, value.seconds * 1_000_000 + value.microseconds)


def _char(value: bytes) -> str:
    """The one-byte type "char": bytes over 127 in octal, as PostgreSQL 16 and later print them."""
    if value in (b"", b"\x00"):
        return ""
    return value.decode("ascii") if value[0] < 128 else f"\\{value[0]:03o}"


def _range(value: Any) -> str:
    if value.isempty:
        return "empty"
    lower = "" if value.lower is None else _quoted(printed(value.lower), '"\\()[],')
    upper = "" if value.upper is None else _quoted(printed(value.upper), '"\\()[],')
    return f"{'[' if value.lower_inc else '('}{lower},{upper}{']' if value.upper_inc else ')'}"


def _composite(value: Any) -> str:
    cells = value.values() if hasattr(value, "values") else value
    return "(" + ",".join("" if c is None else _quoted(printed(c), '"\\(),') for c in cells) + ")"


def _quoted(text: str, special: str) -> str:
    if text and not any(char in special or char in " \t\n\r\v\f" for char in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'


def _array_text(value: list[Any]) -> str:
    cells = []
    for item in value:
        if item is None:
            cells.append("NULL")
        elif isinstance(item, list):
            cells.append(_array_text(item))
        else:
            text = printed(item)
            if not text or text.upper() == "NULL" or any(c in '"\\{},' or c in " \t\n\r\v\f" for c in text):
                text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            cells.append(text)
    return "{" + ",".join(cells) + "}"


def _snapshot(value: Any) -> str:
    xmin, xmax, running = value
    return f"{xmin}:{xmax}:{','.join(map(str, running))}"


def _bits(value: Any) -> str:
    raw = value.bytes
    return "".join(f"{byte:08b}" for byte in raw)[: len(value)]


def _point(value: Any) -> str:
    return f"({float8_text(value[0])},{float8_text(value[1])})"


def _points(value: Any) -> str:
    return ",".join(_point(point) for point in value)


def _path(value: Any) -> str:
    inner = _points(value.points)
    return f"({inner})" if value.is_closed else f"[{inner}]"


_PRINTERS: dict[str, Callable[[Any], str]] = {
    "Range": _range,
    "BitString": _bits,
    "Point": _point,
    "Box": lambda v: f"{_point(v.high)},{_point(v.low)}",
    "Line": lambda v: f"{{{float8_text(v.A)},{float8_text(v.B)},{float8_text(v.C)}}}",
    "LineSegment": lambda v: f"[{_point(v.p1)},{_point(v.p2)}]",
    "Path": _path,
    "Polygon": lambda v: f"({_points(v.points)})",
    "Circle": lambda v: f"<{_point(v.center)},{float8_text(v.radius)}>",
}


# -- JSON --------------------------------------------------------------------------------------------------


def json_text(value: Any) -> str:
    """JSON in jsonb's spacing, unescaped beyond ASCII; any depth, exact decimals, text for other types."""
    out: list[str] = []
    work: list[Any] = [value]
    while work:
        item = work.pop()
        if isinstance(item, _Raw):
            out.append(item)
        elif isinstance(item, Mapping):
            parts: list[Any] = [_Raw("{")]
            for number, (key, member) in enumerate(item.items()):
                parts += [_Raw(f"{', ' if number else ''}{_json_string(str(key))}: "), member]
            work += reversed([*parts, _Raw("}")])
        elif isinstance(item, list | tuple):
            parts = [_Raw("[")]
            for number, member in enumerate(item):
                parts += [_Raw(", "), member] if number else [member]
            work += reversed([*parts, _Raw("]")])
        else:
            out.append(_json_scalar(item))
    return "".join(out)


class _Raw(str):
    """Punctuation on its way out; a class of its own, since a value may be a string too."""

    __slots__ = ()


def _json_scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _json_string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return _decimal(value) if isinstance(value, Decimal) else repr(value)
    return _json_string(to_text(value) or "")


def _json_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _array_json(value: list[Any], element: str) -> str:
    """An array as PostgreSQL's `to_json` writes it."""
    return "[" + ",".join(_array_element(item, element) for item in value) + "]"


def _array_element(item: Any, element: str) -> str:
    if item is None:
        return "null"
    if isinstance(item, list):
        return _array_json(item, element)
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str):
        if element in JSON_TYPES:
            return item
        if element in ("timestamp", "timestamptz"):
            return _json_string(_json_time(item))
        return _json_string(item)
    if isinstance(item, int):
        return str(item)
    if isinstance(item, float | Decimal):
        text = printed(item, element)
        return text if math.isfinite(item) else _json_string(text)
    if isinstance(item, datetime):
        return _json_string(_json_time(_datetime(item)))
    if isinstance(item, dict):
        return json_text(item)
    if type(item).__name__ == "Record":
        members = (f"{_json_string(name)}:{_array_element(member, '')}" for name, member in item.items())
        return "{" + ",".join(members) + "}"
    return _json_string(printed(item, element))


def _json_time(text: str) -> str:
    return text.replace(" ", "T", 1).replace("Z", "+00:00") if "+00" not in text else _with_minutes(text)


def _with_minutes(text: str) -> str:
    return text.replace(" ", "T", 1).replace("+00", "+00:00", 1)


# -- time --------------------------------------------------------------------------------------------------


def epoch_ms(text: str | None, zone: tzinfo = UTC) -> int | None:
    """Milliseconds since 1970, floored, of a canonical (or the server's) timestamp or date.

    A time without zone is read in `zone`. None for NULL, infinity, what is no time, and beyond 64 bits.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        us = _microseconds(text, zone)
        ms = None if us is None else us // 1000
        return ms if ms is None or abs(ms) <= MAX_INT64 else None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    elif zone is not UTC:
        # On the first or last day of Python's calendar the offset, less than a day, is lost.
        with suppress(OverflowError):
            moment = moment.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
    return (moment - _EPOCH) // _MILLISECOND


def _microseconds(text: str, zone: tzinfo) -> int | None:
    match = _TIMESTAMP.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset, bc = match.groups()
    days = _days(1 - int(year) if bc else int(year), int(month), int(day))
    seconds = days * 86_400 + int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    if offset and offset != "Z":
        parts = re.findall(r"\d\d", offset)
        east = sum(int(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
        seconds -= east if offset[0] == "+" else -east
    elif not offset and zone is not UTC:
        standard = zone.utcoffset(datetime(2000, 1, 1))  # noqa: DTZ001 - asks the zone itself
        seconds -= int(standard.total_seconds()) if standard else 0
    return seconds * 1_000_000 + int((fraction or "").ljust(6, "0"))


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01, proleptic Gregorian."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The time zone of this IANA name; raises ValueError or KeyError for an unknown one."""
    return UTC if name.upper() in ("UTC", "ETC/UTC", "Z", "GMT") else ZoneInfo(name)
