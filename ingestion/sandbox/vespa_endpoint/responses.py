"""A request as the handlers see it, and what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

JSON = b"application/json; charset=UTF-8"
"""What /document/v1 calls its JSON."""
JSON_LINES = b"application/jsonl; charset=UTF-8"
"""What it calls lines of it."""
SEARCH_JSON = b"application/json;charset=utf-8"
"""What /search/ calls it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `body` reads and unpacks the whole body, raising Refused (413, 400)."""

    method: str
    raw_path: str
    parameters: Mapping[str, str]
    body: Callable[[], Awaitable[bytes]]
    content_type: str = ""
    accept: str = ""

    def prefers(self, kind: str) -> bool:
        """Whether the client accepts this media type, and no other one more."""
        qualities: dict[str, float] = {}
        for part in self.accept.split(","):
            name, *options = (piece.strip() for piece in part.split(";"))
            quality = next((option[2:] for option in options if option.startswith("q=")), "1")
            try:
                qualities[name] = float(quality)
            except ValueError:
                qualities[name] = 0.0
        return 0 < qualities.get(kind, 0) >= max(qualities.values())


@dataclass(frozen=True, slots=True)
class Response:
    """Status, body (whole or in parts) and headers beside content-type."""

    status: int
    body: bytes | AsyncIterator[bytes]
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def json_response(status: int, answer: Mapping[str, Any], content_type: bytes = JSON) -> Response:
    """A JSON answer. Lone surrogates, which no client should see, become question marks."""
    try:
        return Response(status, orjson.dumps(answer), content_type)
    except TypeError:
        clean = {key: str(value).encode("utf-8", "replace").decode() for key, value in answer.items()}
        return Response(status, orjson.dumps(clean), content_type)
