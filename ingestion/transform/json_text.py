"""JSON as text: masking members and finding string leaves without building it, at any depth, even cut off.

A document that needs no change comes back as it is, byte for byte. Nothing here recurses over nesting, so
hostile depth is harmless, and a text cut in the middle is handled up to its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from ingestion.transform.sensitivity import MASKED, may_hold_secret_key

MAX_EMBEDDED = 8
"""JSON inside a string inside JSON is followed this deep."""

# A string (perhaps cut off at the end) and whether a colon follows it; brackets; a bare scalar.
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*+)("|\\?\Z)(\s*:)?|([{\[])|([}\]])|([^\s"{}\[\],:]+)', re.DOTALL)


def looks_like_json(text: str) -> bool:
    """Whether a text begins as a JSON object, array or string would."""
    return text.lstrip()[:1] in ("{", "[", '"')


def mask_members(text: str, is_masked: Callable[[str], bool], *, all_keys: bool = False) -> str:
    """`text` with the value of each member whose key `is_masked` as `"[masked]"`; null stays null.

    JSON inside strings is masked too. `all_keys`: keys not named like secrets matter as well.
    """
    if not all_keys and not may_hold_secret_key(text):
        return text
    return _masked(text, is_masked, all_keys, 0)


def _masked(text: str, is_masked: Callable[[str], bool], all_keys: bool, level: int) -> str:
    out: list[str] = []
    kept = 0
    pending = False  # the next value belongs to a masked key
    masked_from, depth = -1, 0  # inside a masked object or array
    for match in _TOKEN.finditer(text):
        string, end, colon, opening, closing, scalar = match.groups()
        if masked_from >= 0:
            depth += 1 if opening else -1 if closing else 0
            if depth == 0:
                out += [text[kept:masked_from], f'"{MASKED}"']
                kept, masked_from = match.end(), -1
            continue
        if string is not None and colon:
            pending = is_masked(_unescaped(string))
            continue
        if pending:
            pending = False
            if opening:
                masked_from, depth = match.start(), 1
            elif not closing and scalar != "null" and string != MASKED:
                out += [text[kept : match.start()], f'"{MASKED}"']
                kept = match.end()
            continue
        if string is not None and end == '"' and "\\" in string and level < MAX_EMBEDDED:
            inner = _unescaped(string)
            if looks_like_json(inner) and (all_keys or may_hold_secret_key(inner)):
                changed = _masked(inner, is_masked, all_keys, level + 1)
                if changed != inner:
                    out += [text[kept : match.start()], json.dumps(changed, ensure_ascii=False)]
                    kept = match.end()
    if masked_from >= 0:
        out += [text[kept:masked_from], f'"{MASKED}"']
        kept = len(text)
    if not out:
        return text
    return "".join([*out, text[kept:]])


def string_leaves(text: str) -> Iterator[tuple[str, str]]:
    """(nearest key, string) for each string value, in order; works on broken and cut JSON as well."""
    key = ""
    for match in _TOKEN.finditer(text):
        string, end, colon, _, _, _ = match.groups()
        if string is None:
            continue
        if colon:
            key = _unescaped(string)
        elif string and end == '"':
            yield key, _unescaped(string)
        elif string:
            yield key, _unescaped(string.rstrip("\\"))


def member_names(text: str) -> set[str]:
    """The keys of all objects at any depth, of JSON inside strings too; works on broken and cut JSON as well."""
    found: set[str] = set()
    pending = [(text, 0)]
    while pending:
        document, level = pending.pop()
        for match in _TOKEN.finditer(document):
            string, end, colon, _, _, _ = match.groups()
            if string is None:
                continue
            if colon:
                found.add(_unescaped(string))
            elif end == '"' and "\\" in string and level < MAX_EMBEDDED:
                inner = _unescaped(string)
                if looks_like_json(inner):
                    pending.append((inner, level + 1))
    return found


def _unescaped(string: str) -> str:
    if "\\" not in string:
        return string
    try:
        return str(json.loads(f'"{string}"', strict=False))
    except ValueError:
        return string
