"""asyncpg's Python types, and PostgreSQL's own text where Python has no value for one.

Without these a single `infinity`, year 10000, BC date or `24:00` fails the whole fetch. The codecs live in
the client only, so they work through PgBouncer, and they use the binary wire form, so they also hold
inside arrays, ranges and composites.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - PostgreSQL's naive epoch
_EPOCH_UTC = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(2000, 1, 1).toordinal()
_MAX64, _MIN64 = 2**63 - 1, -(2**63)
_MAX32, _MIN32 = 2**31 - 1, -(2**31)
_DAY_US = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)
INFINITY, NEGATIVE_INFINITY = "infinity", "-infinity"


class Interval(timedelta):
    """A `timedelta` that remembers PostgreSQL's days and time apart: `26:00:00` is not `1 day 02:00:00`."""

    __slots__ = ("text",)
    text: str

    @classmethod
    def of(cls, days: int, microseconds: int) -> Interval:
        made = cls(days=days, microseconds=microseconds)
        made.text = interval_text(0, days, microseconds)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return timedelta, (self.days, self.seconds, self.microseconds)


def civil(day: int) -> tuple[int, int, int]:
    """Year, month and day of `day` days since 2000-01-01, proleptic Gregorian; year 0 is 1 BC."""
    shifted = day + 730_425  # days since 0000-03-01
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * of_year + 2) // 153
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (month <= 2)
    return year, month, of_year - (153 * month_index + 2) // 5 + 1


def date_text(day: int) -> str:
    """A day count since 2000-01-01 as PostgreSQL prints it, without the BC suffix's era mark for years AD."""
    year, month, of_month = civil(day)
    if year > 0:
        return f"{year:04d}-{month:02d}-{of_month:02d}"
    return f"{1 - year:04d}-{month:02d}-{of_month:02d} BC"


def time_text(microseconds: int) -> str:
    """Microseconds of a day as `08:05:00.12`; hours may exceed 23."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


def timestamp_text(microseconds: int, zone: str = "") -> str:
    """Microseconds since 2000-01-01 as PostgreSQL prints a timestamp; `zone` follows the time (`+00`)."""
    days, of_day = divmod(microseconds, _DAY_US)
    day = date_text(days)
    if day.endswith(" BC"):
        return f"{day[:-3]} {time_text(of_day)}{zone} BC"
    return f"{day} {time_text(of_day)}{zone}"


def interval_text(months: int, days: int, microseconds: int) -> str:
    """An interval in PostgreSQL's own style (`intervalstyle = postgres`)."""
    years, months = (months // 12, months % 12) if months >= 0 else (-(-months // 12), -(-months % 12))
    parts: list[str] = []
    negative = False
    for value, unit in ((years, "year"), (months, "mon"), (days, "day")):
        if value:
            sign = "+" if negative and value > 0 else ""
            parts.append(f"{sign}{value} {unit}{'' if value == 1 else 's'}")
            negative = value < 0
    if microseconds or not parts:
        sign = "-" if microseconds < 0 else "+" if negative else ""
        parts.append(sign + time_text(abs(microseconds)))
    return " ".join(parts)


def _decode_timestamp(value: tuple[int]) -> datetime | str:
    (us,) = value
    try:
        return _EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return INFINITY if us == _MAX64 else NEGATIVE_INFINITY if us == _MIN64 else timestamp_text(us)


def _decode_timestamptz(value: tuple[int]) -> datetime | str:
    (us,) = value
    try:
        return _EPOCH_UTC + timedelta(microseconds=us)
    except OverflowError:
        return INFINITY if us == _MAX64 else NEGATIVE_INFINITY if us == _MIN64 else timestamp_text(us, "+00")


def _decode_date(value: tuple[int]) -> date | str:
    (day,) = value
    try:
        return date.fromordinal(day + _EPOCH_ORDINAL)
    except (OverflowError, ValueError):
        return INFINITY if day == _MAX32 else NEGATIVE_INFINITY if day == _MIN32 else date_text(day)


def _decode_time(value: tuple[int]) -> time | str:
    (us,) = value
    return time_text(us) if us >= _DAY_US else _time_of(us)


def _decode_timetz(value: tuple[int, int]) -> time | str:
    us, west = value
    if us < _DAY_US and west % 60 == 0 and abs(west) < 86_400:
        return _time_of(us).replace(tzinfo=timezone(timedelta(seconds=-west)))
    return time_text(us) + zone_text(-west)


def zone_text(east_s: int) -> str:
    """An offset in seconds east of UTC as PostgreSQL prints it: `+02`, `-03:30`, `+00:00:15`."""
    hours, rest = divmod(abs(east_s), 3600)
    minutes, seconds = divmod(rest, 60)
    text = f"{'-' if east_s < 0 else '+'}{hours:02d}"
    return text + (f":{minutes:02d}" if minutes or seconds else "") + (f":{seconds:02d}" if seconds else "")


def _decode_interval(value: tuple[int, int, int]) -> timedelta | str:
    months, days, us = value
    if months == _MAX32 and days == _MAX32 and us == _MAX64:
        return INFINITY
    if months == _MIN32 and days == _MIN32 and us == _MIN64:
        return NEGATIVE_INFINITY
    if months:
        return interval_text(months, days, us)
    try:
        return Interval.of(days, us)
    except OverflowError:
        return interval_text(months, days, us)


def _time_of(us: int) -> time:
    seconds, fraction = divmod(us, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, fraction)


def _infinite(value: Any, limits: tuple[Any, ...], parse: Any) -> Any:
    """Parameters may be given as text too: what came out of a fetch can go into the next query."""
    if value == INFINITY:
        return limits[1]
    if value == NEGATIVE_INFINITY:
        return limits[0]
    return parse(value)


def _encode_timestamp(value: Any) -> tuple[int]:
    if isinstance(value, str):
        value = _infinite(value, ((_MIN64,), (_MAX64,)), datetime.fromisoformat)
        if isinstance(value, tuple):
            return value
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a plain date's midnight
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return ((value - _EPOCH) // _MICROSECOND,)


def _encode_timestamptz(value: Any) -> tuple[int]:
    if isinstance(value, datetime) and value.tzinfo is None:
        # asyncpg would read it in this machine's zone, and the answer would depend on where we run.
        value = value.replace(tzinfo=UTC)
    return _encode_timestamp(value)


def _encode_date(value: Any) -> tuple[int]:
    if isinstance(value, str):
        value = _infinite(value, ((_MIN32,), (_MAX32,)), date.fromisoformat)
        if isinstance(value, tuple):
            return value
    return (value.toordinal() - _EPOCH_ORDINAL,)


def _encode_time(value: Any) -> tuple[int]:
    if isinstance(value, str):
        value = time.fromisoformat(value)
    return (((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond,)


def _encode_timetz(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        value = time.fromisoformat(value)
    offset = value.utcoffset() or timedelta()
    return (*_encode_time(value), -int(offset.total_seconds()))


def _encode_interval(value: timedelta) -> tuple[int, int, int]:
    return 0, value.days, value.seconds * 1_000_000 + value.microseconds


CODECS = (
    ("timestamp", _encode_timestamp, _decode_timestamp),
    ("timestamptz", _encode_timestamptz, _decode_timestamptz),
    ("date", _encode_date, _decode_date),
    ("time", _encode_time, _decode_time),
    ("timetz", _encode_timetz, _decode_timetz),
    ("interval", _encode_interval, _decode_interval),
)


async def install(connection: Any) -> None:
    """Teach one asyncpg connection; sends nothing to the server."""
    for name, encode, decode in CODECS:
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=encode, decoder=decode, format="tuple"
        )
