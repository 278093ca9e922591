"""Request parameters, read as Vespa's handlers read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import parse_qsl

from ingestion.sandbox.vespa_endpoint.problems import Refused

_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*(ks|s|ms|µs|us)?\s*\Z")
_SECONDS = {"ks": 1000.0, "s": 1.0, "ms": 0.001, "µs": 1e-6, "us": 1e-6, None: 1.0}


@lru_cache(maxsize=512)
def parse_query(raw: bytes) -> Mapping[str, str]:
    """The parameters of a query string; the last of equal names counts. Kept: a batch of puts has one of them."""
    text = raw.decode("ascii", "replace")
    return MappingProxyType(dict(parse_qsl(text, keep_blank_values=True, max_num_fields=1000)))


class Parameters:
    """Typed access to a request's parameters. Every method raises Refused (400) naming the parameter."""

    __slots__ = ("_path", "_values")

    def __init__(self, values: Mapping[str, str], path: str) -> None:
        self._values, self._path = values, path

    def text(self, name: str) -> str | None:
        """The value, or None when absent; present but blank is refused."""
        value = self._values.get(name)
        if value is not None and not value.strip():
            raise Refused(f"Expected non-empty value for request property '{name}'")
        return value

    def required(self, name: str) -> str:
        """The value; its absence is refused."""
        value = self.text(name)
        if value is None:
            raise Refused(f"Must specify '{name}' at '{self._path}'")
        return value

    def flag(self, name: str) -> bool:
        """True only for the word true, in any case."""
        value = self.text(name)
        return value is not None and value.lower() == "true"

    def integer(self, name: str) -> int | None:
        """The whole number, or None when absent."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise Refused(
                f"Failed to parse request property '{name}' value '{value}': not a whole number"
            ) from None

    def positive(self, name: str, default: int) -> int:
        """The number, at least 1."""
        value = self.integer(name)
        if value is not None and value <= 0:
            raise Refused(f"{name} must be positive")
        return default if value is None else value

    def seconds(self, name: str, default: float) -> float:
        """A duration such as `20s`, `500ms` or `1.5` (seconds)."""
        value = self.text(name)
        if value is None:
            return default
        seconds = parse_seconds(value)
        if seconds is None:
            raise Refused(f"Failed to parse request property '{name}' value '{value}': not a time")
        return seconds or default

    def disallow(self, *names: str) -> None:
        """Refuse parameters that this resource does not take."""
        for name in names:
            if name in self._values:
                raise Refused(f"May not specify '{name}' at '{self._path}'")


def parse_seconds(text: str) -> float | None:
    """Seconds of Vespa's time syntax, or None when it is none."""
    match = _TIME.match(text)
    return None if match is None else float(match[1]) * _SECONDS[match[2]]
