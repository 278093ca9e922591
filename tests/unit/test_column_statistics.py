"""What the planner knows of a column, put into words."""

from __future__ import annotations

import pytest

from ingestion.discovery.column_statistics import extremes
from ingestion.schema_discovery import Column


@pytest.mark.parametrize(
    ("category", "bounds", "common", "expected"),
    [
        ("number", ["10", "50"], ["7", "100"], ("7", "100")),
        ("number", ["-2.5", "1e3"], ["NaN", "999"], ("-2.5", "1e3")),
        ("number", [], ["3", "-1"], ("-1", "3")),
        ("number", ["1"], ["Infinity", "-Infinity"], ("-Infinity", "Infinity")),
        ("number", ["pg_class", "pg_type"], ["a"], ("pg_class", "pg_type")),
        ("time", ["2024-01-02", "2024-03-01"], ["2023-12-31"], ("2023-12-31", "2024-03-01")),
        ("time", ["2024-01-02", "10000-01-01"], ["0044-03-15 BC"], ("0044-03-15 BC", "10000-01-01")),
        ("time", ["0100-01-01 BC", "0044-03-15 BC"], ["infinity"], ("0100-01-01 BC", "infinity")),
        ("text", ["b", "y"], ["a", "z"], ("b", "y")),
        ("json", ["{}"], [], (None, None)),
        ("number", [], [], (None, None)),
    ],
)
def test_extremes_include_the_most_common_values(
    category: str, bounds: list[str], common: list[str], expected: tuple[str | None, str | None]
) -> None:
    assert extremes(Column("c", "x", True, type_category=category), bounds, common) == expected
