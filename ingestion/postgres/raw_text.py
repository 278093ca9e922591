"""Text of databases without an encoding (SQL_ASCII), which may hold any bytes.

It travels as LATIN1, which brings every byte over unharmed, and is read as UTF-8 here.
"""

from __future__ import annotations

from typing import Any


def decoded(value: Any) -> Any:
    """Text that came over as LATIN1: its bytes as UTF-8, broken ones as U+FFFD."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("latin-1").decode("utf-8", "replace")
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


def kept_bytes(cell: str | None) -> str | None:
    """Like `decoded`, but a broken byte becomes a lone surrogate, so that its cell can be warned of."""
    if cell is None or cell.isascii():
        return cell
    return cell.encode("latin-1").decode("utf-8", "surrogateescape")


def encoded(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("latin-1")
    if isinstance(value, list | tuple):
        return [encoded(item) for item in value]
    return value
