"""Dirty values, each a text in COPY's form, and what the product owes each of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.pools import Pools, escaped

INDEXED: Final = "indexed"
WARNED: Final = "warned"
CELL_LIMIT: Final = 2**20
"""Bytes of one cell's text that are indexed; what is beyond is cut, with a warning."""

_PROSE_COLUMNS: Final = frozenset(
    [
        "comment",
        "description",
        "display_name",
        "exclusions",
        "forecast_notes",
        "inclusions",
        "label",
        "location",
        "name",
        "notes",
        "question",
        "subject",
        "title",
    ]
)
_JSON_COLUMNS: Final = frozenset(
    ["bidding_qualifications", "custom_fields", "data_payload", "extended_data", "response_data"]
)
_TIME_COLUMNS: Final = frozenset(["created_at", "updated_at", "taken_at", "received_date", "issued_date"])
_REFUSED_CONTROLS: Final = [chr(code) for code in (*range(1, 9), 0x0B, 0x0C, *range(0x0E, 0x20))]
_NONCHARACTERS: Final = [chr(code) for code in (0xFDD0, 0xFDDF, 0xFFFE, 0xFFFF, 0x1FFFE, 0x10FFFF)]
_COMBINING: Final = ["e\u0301", "n\u0303", "Z\u0351\u036b\u0343"]
_BIDI: Final = ["\u202eموقع\u202c", "\u200fשלום\u200e", "\u2067٣\u2069"]
_ZERO_WIDTH: Final = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff"]
_PIXEL: Final = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" * 60


@dataclass(frozen=True, slots=True)
class CellKind:
    """One kind of dirty cell.

    `rate` is its share of the rows of each table that `fits` a column; `home` is a table that gets one
    at least; `make` gives the cell.
    """

    name: str
    fits: Callable[[facts.SampleTable, facts.SampleColumn], bool]
    make: Callable[[Random, Pools], str]
    rate: float
    home: str
    expect: str = INDEXED


def _prose(table: facts.SampleTable, column: facts.SampleColumn) -> bool:
    # A document's name is its file's.
    return column.name in _PROSE_COLUMNS and column.type == "text" and table.name != "documents"


def _optional_text(table: facts.SampleTable, column: facts.SampleColumn) -> bool:
    # A photo's key is what saves a photo whose URL has run out.
    kept = table.name == "api_credentials" or column.name.endswith("url")
    kept = kept or (table.name == "photos" and column.name == "s3_key")
    return column.nullable and column.type == "text" and not kept


def _json(table: facts.SampleTable, column: facts.SampleColumn) -> bool:
    return column.name in _JSON_COLUMNS and column.type == "jsonb"


def _answers(table: facts.SampleTable, column: facts.SampleColumn) -> bool:
    return table.name == "audit_records" and column.name == "response_data"


def _number(table: facts.SampleTable, column: facts.SampleColumn) -> bool:
    return column.type.startswith("numeric")


def _time(table: facts.SampleTable, column: facts.SampleColumn) -> bool:
    return column.name in _TIME_COLUMNS and column.type.startswith("timestamp")


def _changed(table: facts.SampleTable, column: facts.SampleColumn) -> bool:
    return column.name == "updated_at" and table.base_rows >= 1_000


def _with(characters: list[str]) -> Callable[[Random, Pools], str]:
    """A title with one to three of the characters in it."""

    def make(random: Random, pools: Pools) -> str:
        words = random.choice(pools.titles).split(" ")
        for _ in range(random.randint(1, 3)):
            words.insert(random.randint(1, len(words)), random.choice(characters))
        return " ".join(words)

    return make


def _around(before: str, after: str = "") -> Callable[[Random, Pools], str]:
    return lambda random, pools: escaped(before) + random.choice(pools.titles) + escaped(after)


def _exactly(text: str) -> Callable[[Random, Pools], str]:
    return lambda random, pools: text


def _document(value: object) -> Callable[[Random, Pools], str]:
    return lambda random, pools: escaped(json.dumps(value, ensure_ascii=False))


def _long_text(random: Random, pools: Pools) -> str:
    made: list[str] = []
    size = 0
    while size < 100_000:
        made.append(random.choice(pools.titles))
        size += len(made[-1]) + 1
    return " ".join(made)[:100_000]


def _json_of_bytes(size: int) -> Callable[[Random, Pools], str]:
    """A document whose text, as the server prints it, has that many bytes."""

    def make(random: Random, pools: Pools) -> str:
        head, tail = '{"records": ["', '"]}'
        records, room = [], size - len(head) - len(tail)
        while room > 400:
            words = " ".join(random.choices(pools.words, k=24))
            records.append(words)
            room -= len(words) + len('", "')
        records.append("x" * room)
        return head + '", "'.join(records) + tail

    return make


def _deep(random: Random, pools: Pools) -> str:
    return '{"level": ' * 200 + '"bottom"' + "}" * 200


_BIG_NUMBERS: Final = (
    '{"id": 9007199254740993, "sum": 123456789012345678901234567890, "ratio": 0.1000000000000000055511151231, '
    '"large": 1e40}'
)
_KEYS: Final = {"id": 1, "Id": 2, "ID": 3, "id ": 4, "é": 5, "e\u0301": 6, "": 7}

_TEXT_RATE: Final = 0.0005

CELL_KINDS: Final = (
    CellKind("control_characters", _prose, _with(_REFUSED_CONTROLS), _TEXT_RATE, "photos", WARNED),
    CellKind("noncharacters", _prose, _with(_NONCHARACTERS), _TEXT_RATE, "photos", WARNED),
    CellKind("emoji", _prose, _with(["🏗️", "👷🏽‍♀️", "🚧", "✅"]), _TEXT_RATE, "photos"),
    CellKind("combining_marks", _prose, _with(_COMBINING), _TEXT_RATE, "drawings"),
    CellKind("bidi_marks", _prose, _with(_BIDI), _TEXT_RATE, "drawings"),
    CellKind("zero_width", _prose, _with(_ZERO_WIDTH), _TEXT_RATE, "drawings"),
    CellKind("replacement_character", _prose, _with(["\ufffd"]), _TEXT_RATE, "photos"),
    CellKind("lone_cr", _prose, _around("first line\r", "\rlast"), _TEXT_RATE, "photos"),
    CellKind("html_script", _prose, _around("<p>", "<script>alert('x')</script></p>"), _TEXT_RATE, "photos"),
    CellKind("html_entities", _prose, _around("&lt;b&gt; &amp;amp; &#x1F6A7; &nbsp;"), _TEXT_RATE, "photos"),
    CellKind("html_base64_image", _prose, _around(f'<img src="{_PIXEL}">'), 0.0002, "photos"),
    CellKind("csv_formula", _prose, _around("=HYPERLINK(\"https://example.test\",\"x\") "), _TEXT_RATE, "photos"),
    CellKind("markup", _prose, _around("[bold red]not markup[/] \\[x] \x7f\x85 "), _TEXT_RATE, "drawings"),
    CellKind("long_text", _prose, _long_text, 0.0002, "change_events"),
    CellKind("empty_string", _optional_text, _exactly(""), 0.001, "photos"),
    CellKind("null_text", _optional_text, _exactly("null"), 0.0005, "photos"),
    CellKind("json_under_limit", _answers, _json_of_bytes(CELL_LIMIT - 64), 0.001, "audit_records"),
    CellKind("json_over_limit", _answers, _json_of_bytes(CELL_LIMIT + 64), 0.001, "audit_records", WARNED),
    CellKind("json_deep", _json, _deep, 0.0005, "change_orders"),
    CellKind("json_lookalike_keys", _json, _document(_KEYS), 0.0005, "change_orders"),
    CellKind("json_big_numbers", _json, _exactly(_BIG_NUMBERS), 0.0005, "change_orders"),
    CellKind("json_escaped_nul", _json, _document({"text": "a\\u0000b"}), 0.0005, "change_orders"),
    CellKind("json_escaped_control", _json, _exactly(escaped('{"text": "a\\u0001b"}')), 0.0005, "change_orders"),
    CellKind("numeric_nan", _number, _exactly("NaN"), 0.0005, "direct_cost_items"),
    CellKind("time_1970", _time, _exactly("1970-01-01 00:00:00"), 0.001, "timesheets"),
    CellKind("time_after_2100", _time, _exactly("2125-03-04 05:06:07.089"), 0.001, "timesheets"),
    CellKind("time_year_1", _time, _exactly("0001-01-01 00:00:00"), 0.0001, "timesheets"),
    CellKind("time_9999", _time, _exactly("9999-12-31 23:59:59.999"), 0.0001, "timesheets"),
    CellKind("time_infinity", _time, _exactly("infinity"), 0.0001, "timesheets"),
    CellKind("null_updated_at", _changed, _exactly("\\N"), 0.0005, "timesheets"),
)  # fmt: skip
"""Kinds of single dirty cells, planted one after the other: no cell takes two."""
