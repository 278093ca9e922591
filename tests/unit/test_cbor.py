"""CBOR as RFC 8949 has it: the examples of its appendix A."""

from __future__ import annotations

from typing import Any

import pytest

from ingestion.sandbox.vespa_endpoint.cbor import encode


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (100, "1864"),
        (1000, "1903e8"),
        (1_000_000, "1a000f4240"),
        (1_000_000_000_000, "1b000000e8d4a51000"),
        (2**64 - 1, "1bffffffffffffffff"),
        (-1, "20"),
        (-1000, "3903e7"),
        (-(2**63), "3b7fffffffffffffff"),
        (1.1, "fb3ff199999999999a"),
        (False, "f4"),
        (True, "f5"),
        (None, "f6"),
        ("", "60"),
        ("IETF", "6449455446"),
        ("ü", "62c3bc"),
        ([1, [2, 3], [4, 5]], "8301820203820405"),
        ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    ],
)
def test_a_value_becomes_the_bytes_of_the_standards_example(value: Any, expected: str) -> None:
    assert encode(value).hex() == expected


def test_what_json_has_not_is_refused() -> None:
    with pytest.raises(TypeError):
        encode({"a": object()})
