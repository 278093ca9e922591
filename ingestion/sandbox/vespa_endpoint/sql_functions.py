"""What SQLite is taught so that it counts, sums and compares as Vespa does."""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_CALENDAR_S = 2**50  # beyond it there is no calendar


class Xor:
    """SQL aggregate: exclusive or of 64-bit numbers."""

    def __init__(self) -> None:
        self.value = 0

    def step(self, value: int | None) -> None:
        """Add one value."""
        if value is not None:
            self.value ^= value

    def finalize(self) -> int:
        """The result."""
        return self.value


class Sum:
    """SQL aggregate: a sum that wraps at 64 bits, as Vespa's does, where SQLite's would fail."""

    def __init__(self) -> None:
        self.value: int | float = 0

    def step(self, value: int | float | None) -> None:
        """Add one value."""
        if value is not None:
            self.value += value

    def finalize(self) -> Any:
        """The result."""
        return self.value if isinstance(self.value, float) else wrapped(self.value)


class Deviation:
    """SQL aggregate: the population's standard deviation; 0 of nothing."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def step(self, value: int | float | None) -> None:
        """Add one value (Welford's way, which large numbers do not spoil)."""
        if value is not None:
            self.count += 1
            before = value - self.mean
            self.mean += before / self.count
            self.squares += before * (value - self.mean)

    def finalize(self) -> Any:
        """The result."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


def register(conn: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    conn.create_function("vespa_lower", 1, _lower, deterministic=True)
    conn.create_function("vespa_matches", 2, _matches, deterministic=True)
    conn.create_function("vespa_fuzzy", 4, _fuzzy, deterministic=True)
    conn.create_function("vespa_number", 3, _number, deterministic=True)
    conn.create_function("vespa_math", 2, _math, deterministic=True)
    conn.create_function("vespa_time", 2, _time, deterministic=True)
    conn.create_function("vespa_bucket", 2, _bucket, deterministic=True)
    conn.create_function("vespa_bytes", 1, lambda text: len(str(text).encode()), deterministic=True)
    conn.create_function("vespa_text", 1, lambda value: str(value), deterministic=True)
    conn.create_aggregate("vespa_xor", 1, Xor)
    conn.create_aggregate("vespa_sum", 1, Sum)
    conn.create_aggregate("vespa_stddev", 1, Deviation)


def wrapped(value: int) -> int:
    """The number's lowest 64 bits."""
    return (value + 2**63) % 2**64 - 2**63


def _lower(text: Any) -> Any:
    return text.lower() if isinstance(text, str) else text


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _matches(pattern: str, text: Any) -> int:
    return int(isinstance(text, str) and _pattern(pattern).search(text) is not None)


def _fuzzy(text: Any, wanted: str, most: int, frozen: int) -> int:
    """Whether at most `most` letters must be changed, added or taken out behind the first `frozen` ones."""
    if not isinstance(text, str):
        return 0
    if text[:frozen] != wanted[:frozen]:
        return 0
    one, other = text[frozen:], wanted[frozen:]
    if abs(len(one) - len(other)) > most:
        return 0
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        above, row[0] = row[0], number
        for at, theirs in enumerate(other, 1):
            above, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, above + (letter != theirs))
        if min(row) > most:
            return 0
    return int(row[-1] <= most)


def _divided(one: Any, other: Any) -> Any:
    if not other:
        return one - one  # Vespa: nothing, and no failure
    if isinstance(one, int) and isinstance(other, int):
        return -(-one // other) if (one < 0) != (other < 0) else one // other
    return one / other


def _remainder(one: Any, other: Any) -> Any:
    if not other:
        return one - one
    return one - other * _divided(one, other) if isinstance(one, int) else math.fmod(one, other)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divided,
    "mod": _remainder,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "math.pow": lambda a, b: math.pow(a, b),
    "math.hypot": lambda a, b: math.hypot(a, b),
}


def _number(operation: str, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return None
    if isinstance(one, float) != isinstance(other, float):
        one, other = float(one), float(other)
    try:
        result = _OPERATIONS[operation](one, other)
    except (OverflowError, ValueError):
        return None
    return wrapped(result) if isinstance(result, int) else result


def _math(function: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(math.cbrt(value) if function == "cbrt" else getattr(math, function)(value))
    except (OverflowError, ValueError):
        return None


def _time(part: str, seconds: Any) -> Any:
    if seconds is None:
        return None
    there = isinstance(seconds, int) and abs(seconds) < _CALENDAR_S
    at = time.gmtime(seconds if there else 0)
    return {
        "year": at.tm_year,
        "monthofyear": at.tm_mon,
        "dayofmonth": at.tm_mday,
        "dayofweek": at.tm_wday,
        "dayofyear": at.tm_yday - 1,
        "hourofday": at.tm_hour,
        "minuteofhour": at.tm_min,
        "secondofminute": at.tm_sec,
        "date": f"{at.tm_year}-{at.tm_mon}-{at.tm_mday}",
    }[part]


def _bucket(value: Any, width: int | float) -> Any:
    """Where the bucket of a value begins; of the lowest numbers, at the lowest there is."""
    if value is None:
        return None
    start = value // width * width
    return max(start, -(2**63)) if isinstance(start, int) else start
