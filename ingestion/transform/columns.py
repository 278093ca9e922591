"""Whole columns of a batch at once: a look at many cells together tells which need one each.

Each function gives what the functions for a single cell would; cells that those warn of are named apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

import orjson

from ingestion import redaction, values
from ingestion.transform import content_text
from ingestion.transform.sensitivity import may_hold_secret_key

Cells = Sequence[str | None]
Cell = Callable[[str], str]

_TOGETHER = 64
"""Cells that are looked at together: one that needs change costs its neighbours a look."""
_CONTROLS = bytes(code for code in range(32) if code not in (9, 10, 13))
_LEADS = (b"\xef", b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive times are UTC here
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NOTHING = frozenset({"{}", "[]", "null", '""'})


@dataclass(slots=True)
class Cleaned:
    """A column as it is indexed; `apart` are positions of rows that must be made one by one."""

    cells: Cells
    parts: Cells | None = None
    """What each cell adds to the readable text, where that fell off on the way."""
    apart: set[int] = field(default_factory=set)


def clean_texts(column: Cells, cell: Cell, warned: Callable[[], bool], *, all_keys: bool) -> Cleaned:
    """Texts as `cell` gives them; `warned` says, once, whether it warned since asked last."""
    made: list[str | None] = []
    apart: set[int] = set()
    for start in range(0, len(column), _TOGETHER):
        cells = column[start : start + _TOGETHER]
        joined = ",".join(filter(None, cells))
        too_long = len(joined) > values.SAFE_CHARS and longer_than(cells, values.SAFE_CHARS)
        if not (too_long or _may_be_masked(joined, all_keys=all_keys) or _may_hold_refused(joined)):
            made += redaction.redact_each(cells) if redaction.may_change(joined) else cells
            continue
        done = [text and cell(text) for text in cells]
        if warned():
            for position, text in enumerate(cells, start):
                if text:
                    cell(text)
                    if warned():
                        apart.add(position)
        made += done
    return Cleaned(made, apart=apart)


def clean_json(column: Cells, cell: Cell, warned: Callable[[], bool], *, all_keys: bool) -> Cleaned:
    """Likewise JSON that is read too: parsing tells of keys and control characters what a search would."""
    made: list[str | None] = []
    parts: list[str | None] = []
    apart: set[int] = set()
    read = content_text.read_json
    for start in range(0, len(column), _TOGETHER):
        cells = column[start : start + _TOGETHER]
        joined = ",".join(filter(None, cells))
        if not joined:
            made += cells
            parts += cells
            continue
        suspected = (
            all_keys
            or (len(joined) > values.SAFE_CHARS and longer_than(cells, values.SAFE_CHARS))
            or (not joined.isascii() and _may_hold_noncharacters(joined))
        )
        escapes = "\\" in joined
        redacted = redaction.redact_each(cells) if redaction.may_change(joined) else cells
        for position, (given, text) in enumerate(zip(cells, redacted, strict=True), start):
            part = None
            if given and text and given not in _NOTHING:
                try:
                    part, secret = read(text)
                    if suspected or secret or (escapes and "\\" in given):
                        read_before, text = text, cell(given)
                        if text != read_before:
                            part, _ = read(text)
                        if warned():
                            apart.add(position)
                except (orjson.JSONDecodeError, RecursionError):
                    warned()
                    apart.add(position)
            made.append(text)
            parts.append(part)
    return Cleaned(made, parts, apart)


def readable_parts(column: Cells) -> Cells:
    """What cleaned texts add to the readable text, None or "" for nothing."""
    read = content_text.short_readable
    return [text and read(text) for text in column]


def milliseconds(column: Cells, zone: tzinfo) -> list[int | None]:
    """`values.epoch_ms` of canonical times."""
    if zone is not UTC:
        return [values.epoch_ms(text, zone) for text in column]
    parse = datetime.fromisoformat
    made: list[int | None] = []
    for text in column:
        try:
            moment = parse(text)  # type: ignore[arg-type]
            epoch = _EPOCH if moment.tzinfo is None else _EPOCH_UTC
            made.append((moment - epoch) // _MILLISECOND)
        except (TypeError, ValueError):
            made.append(values.epoch_ms(text))
    return made


def project_ids(column: Cells) -> list[int | None]:
    """`project_id` of each cell."""
    joined = "".join(filter(None, column))
    if joined.isascii() and joined.isdigit() and "" not in column and not longer_than(column, 18):
        return [None if text is None else int(text) for text in column]
    return [project_id(text) for text in column]


def project_id(text: str | None) -> int | None:
    """A whole number of 64 bits, or None."""
    if not text or not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if -values.MAX_INT64 <= number <= values.MAX_INT64 else None


def longer_than(column: Cells, limit: int) -> bool:
    """Whether any cell has more characters."""
    return max(map(len, filter(None, column)), default=0) > limit


def _may_be_masked(joined: str, *, all_keys: bool) -> bool:
    """Whether a cell may hold JSON with masked members; never wrongly False."""
    return ("{" in joined or "[" in joined) and (all_keys or may_hold_secret_key(joined))


def _may_hold_refused(joined: str) -> bool:
    """Whether there may be a code point that Vespa refuses; never wrongly False."""
    try:
        data = joined.encode()
    except UnicodeEncodeError:
        return True
    if len(data.translate(None, _CONTROLS)) != len(data):
        return True
    return len(data) != len(joined) and _noncharacters_in(data)


def _may_hold_noncharacters(joined: str) -> bool:
    try:
        return _noncharacters_in(joined.encode())
    except UnicodeEncodeError:
        return True


def _noncharacters_in(data: bytes) -> bool:
    # Such code points begin with one of these bytes, U+FDD0 and its like with the first; the others end alike.
    return any(lead in data for lead in _LEADS) and (
        b"\xef\xb7" in data or b"\xbf\xbe" in data or b"\xbf\xbf" in data
    )
