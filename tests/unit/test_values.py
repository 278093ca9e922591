"""Canonical text, refused code points, cut cells, epochs. The server's side is in test_value_fidelity."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import values

EAST = timezone(timedelta(hours=2))
NAIVE = datetime.fromisoformat("2024-01-31T08:05:00")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), (True, "true"), (False, "false"), (0, "0"), (-(2**70), str(-(2**70))),
        (Decimal("1.50"), "1.50"), (Decimal("1E+3"), "1000"), (Decimal("-0.00"), "0.00"), (Decimal("NaN"), "NaN"),
        (0.1, "0.1"), (1e15, "1e+15"), (float("inf"), "Infinity"), (float("nan"), "NaN"), (100.0, "100"),
        (NAIVE.replace(microsecond=120000), "2024-01-31T08:05:00.12"),
        (datetime(2024, 1, 31, 8, 5, tzinfo=EAST), "2024-01-31T06:05:00Z"),
        (NAIVE.replace(1, 1, 1, 0, 0), "0001-01-01T00:00:00"), (date(2024, 2, 29), "2024-02-29"),
        (time(8, 5, 0, 500000), "08:05:00.5"), (time(8, 5, tzinfo=EAST), "08:05:00+02"),
        (timedelta(days=1, hours=2), "1 day 02:00:00"), (b"\x00\xff", "\\x00ff"),
        ([1, None, "a\"b"], '[1,null,"a\\"b"]'), ({"b": 1, "a": ["é", None]}, '{"b": 1, "a": ["é", null]}'),
        ({}, "{}"), ([], "[]"), ("as it is", "as it is"), ("", ""),
    ],
)  # fmt: skip
def test_typed_values_have_one_spelling(value: Any, expected: str | None) -> None:
    assert values.to_text(value) == expected


def test_the_column_s_type_settles_what_the_value_leaves_open() -> None:
    assert values.to_text([1, "x"], "jsonb") == '[1, "x"]'
    assert values.to_text([1, 2], "_int4") == "[1,2]"
    assert values.to_text(0.10000000149011612, "float4") == "0.1"
    assert values.to_text(b"a", "char") == "a"
    assert values.to_text("2024-01-31 08:05:00+00", "timestamptz") == "2024-01-31T08:05:00Z"
    assert values.to_text((1, "a b", None, True)) == '(1,"a b",,t)'


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("2024-01-31 08:05:00.12", "timestamp", "2024-01-31T08:05:00.12"),
        ("2024-01-31 08:05:00+00", "timestamptz", "2024-01-31T08:05:00Z"),
        ("0044-03-15 12:00:00+00 BC", "timestamptz", "0044-03-15T12:00:00Z BC"),
        ("2024-01-31 08:05:00+02", "timestamptz", "2024-01-31T06:05:00Z"),
        ("2024-01-31 08:05:00.5-03:30", "timestamptz", "2024-01-31T11:35:00.5Z"),
        ("infinity", "timestamptz", "infinity"), ("-infinity", "timestamp", "-infinity"),
        ("12345-01-01 00:00:00", "timestamp", "12345-01-01T00:00:00"), ("a b", "text", "a b"),
    ],
)  # fmt: skip
def test_server_text_becomes_canonical_and_stays_so(text: str, kind: str, expected: str) -> None:
    assert values.canonical(text, kind) == expected
    assert values.canonical(expected, kind) == expected


@given(st.text(st.characters()))
def test_cleaning_replaces_exactly_what_vespa_refuses(text: str) -> None:
    def refused(char: str) -> bool:
        n = ord(char)
        return (
            (n < 32 and char not in "\t\n\r")
            or 0xD800 <= n <= 0xDFFF
            or 0xFDD0 <= n <= 0xFDDF
            or n & 0xFFFE == 0xFFFE
        )

    cleaned, changed = values.clean(text)
    assert cleaned == "".join("\ufffd" if refused(char) else char for char in text)
    assert changed is any(map(refused, text))


def test_all_code_points_are_judged_alike() -> None:
    allowed = "\t\n\r\x7f\x80\x9f\ufde0\ufdef\ufffd\u202e\u200b😀"
    assert values.clean(allowed) == (allowed, False)
    for refused in "\x00\x08\x0b\x0c\x0e\x1f\ud800\udfff\ufdd0\ufddf\ufffe\uffff\U0001fffe\U0010ffff":
        assert values.clean(f"a{refused}b") == ("a\ufffdb", True)


@given(st.text(max_size=40), st.integers(1, 60))
def test_a_cut_never_splits_a_character(text: str, limit: int) -> None:
    kept, was_cut = values.cut(text, limit)
    size = len(text.encode("utf-8", "surrogatepass"))
    assert was_cut is (size > limit)
    assert text.startswith(kept)
    assert len(kept.encode("utf-8", "surrogatepass")) <= limit
    assert was_cut or kept == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00", 0), ("1970-01-01T00:00:00.0019Z", 1), ("1969-12-31T23:59:59.9999", -1),
        ("2024-01-31T08:05:00.12", 1706688300120), ("2024-01-31", 1706659200000),
        ("0001-01-01T00:00:00", -62135596800000),
        ("0001-01-01T00:00:00Z BC", -62167219200000), ("10000-01-01T00:00:00", 253402300800000),
        ("294276-12-31T23:59:59.999999", 9224318015999999), ("infinity", None), ("-infinity", None), ("", None),
        (None, None), ("soon", None), ("2024-01-31 08:05:00+02", 1706681100000), ("12", None),
        ("9999-12-31T23:59:59.999999Z", 253402300799999),
    ],
)  # fmt: skip
def test_epochs_are_floored_milliseconds(text: str | None, expected: int | None) -> None:
    assert values.epoch_ms(text) == expected


@given(st.datetimes(), st.sampled_from([UTC, EAST, ZoneInfo("America/St_Johns")]))
def test_naive_times_are_read_in_the_given_zone(moment: datetime, zone: Any) -> None:
    text = values.to_text(moment)
    if date(2, 1, 1) < moment.date() < date(9999, 1, 1):
        aware = moment.replace(tzinfo=zone)
        assert values.epoch_ms(text, zone) == (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
            milliseconds=1
        )
    assert values.epoch_ms(text) == (moment - NAIVE.replace(1970, 1, 1, 0, 0)) // timedelta(milliseconds=1)


@given(st.text())
def test_any_text_has_an_epoch_or_none(text: str) -> None:
    for candidate in (text, f"2024-01-{text}", f"2024-01-31T{text}"):
        assert values.epoch_ms(candidate) is None or abs(values.epoch_ms(candidate) or 0) <= values.MAX_INT64


def test_json_of_any_depth_is_written() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [{"a": deep}]
    text = values.to_text({"x": deep})
    assert text is not None
    assert text.count("{") == 5_001
