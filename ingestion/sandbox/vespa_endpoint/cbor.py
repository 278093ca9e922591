"""JSON's values as CBOR, for clients that rather read that (RFC 8949, definite lengths, doubles in full)."""

from __future__ import annotations

import struct
from typing import Any

_UNSIGNED, _NEGATIVE, _TEXT, _ARRAY, _MAP = 0x00, 0x20, 0x60, 0x80, 0xA0
_CONSTANTS = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}


def encode(value: Any) -> bytes:
    """The value's bytes. Takes what JSON has, whole numbers of 64 bits. Raises TypeError for anything else."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def _write(value: Any, out: bytearray) -> None:
    if value is None or isinstance(value, bool):
        out += _CONSTANTS[value]
    elif isinstance(value, int):
        out += _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    elif isinstance(value, float):
        out += b"\xfb" + struct.pack(">d", value)
    elif isinstance(value, str):
        text = value.encode("utf-8", "replace")
        out += _head(_TEXT, len(text)) + text
    elif isinstance(value, list | tuple):
        out += _head(_ARRAY, len(value))
        for item in value:
            _write(item, out)
    elif isinstance(value, dict):
        out += _head(_MAP, len(value))
        for name, item in value.items():
            _write(str(name), out)
            _write(item, out)
    else:
        raise TypeError(f"{type(value).__name__} has no CBOR here")


def _head(major: int, number: int) -> bytes:
    """Kind and size of what follows, or the number itself."""
    if number < 24:
        return bytes((major | number,))
    for extra, (most, form) in enumerate(((0xFF, ">B"), (0xFFFF, ">H"), (0xFFFFFFFF, ">I")), 24):
        if number <= most:
            return bytes((major | extra,)) + struct.pack(form, number)
    return bytes((major | 27,)) + struct.pack(">Q", number)
