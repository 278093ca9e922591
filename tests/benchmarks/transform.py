"""Rows per second from server text to documents, on one core: `python tests/benchmarks/transform.py`."""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import time

from ingestion.file_detector import FileDetector
from ingestion.schema_discovery import (
    Column,
    FileReferenceColumn,
    FileReferenceType,
    ImplicitRelationship,
    SchemaMap,
    Table,
)
from ingestion.transform.documents import DocumentBuilder

COLUMNS = (
    ("id", "bigint"),
    ("project_id", "bigint"),
    ("number", "text"),
    ("title", "text"),
    ("status", "text"),
    ("description", "text"),
    ("grand_total", "numeric(15,2)"),
    ("created_by_id", "bigint"),
    ("custom_fields", "jsonb"),
    ("created_at", "timestamp(3) without time zone"),
    ("updated_at", "timestamp(3) without time zone"),
    ("active", "boolean"),
)
BATCH = 1000
WORDS = (
    "the concrete slab",
    "at level two",
    "needs",
    "a revised reinforcement detail",
    "before pouring",
    "starts",
)


def rows(count: int, seed: int) -> list[list[str | None]]:
    pick = random.Random(seed)
    made: list[list[str | None]] = []
    for i in range(count):
        text = " ".join(pick.choices(WORDS, k=pick.choice((6, 8, 10, 100))))
        made.append(
            [
                str(2**49 + i), str(2**49 + i % 31), f"CO-{i:03d}", text[:40], "Approved",
                None if i % 3 == 0 else text + (" <b>urgent &amp; late</b>" if i % 7 == 0 else ""),
                f"{i}.50", str(2**49 + i % 500),
                None if i % 10 > 2 else '{"custom_field_1": {"value": "Yes", "data_type": "string"}}',
                "2024-01-31 08:05:00.12", f"2024-02-{i % 28 + 1:02d} 09:00:00", "true",
            ]
        )  # fmt: skip
    return made


def schema(with_files: bool) -> tuple[SchemaMap, Table]:
    table = Table(
        "change_orders",
        0,
        [Column(n, t, True, position=i) for i, (n, t) in enumerate(COLUMNS)],
        key_columns=["id"],
        key_basis="proven_id",
    )
    if with_files:
        table.columns.append(Column("s3_key", "text", True, position=99))
        table.file_reference_columns = [
            FileReferenceColumn("s3_key", FileReferenceType.S3_KEY, "named s3_key")
        ]
    relations = [
        ImplicitRelationship("change_orders", "project_id", "projects"),
        ImplicitRelationship("change_orders", "created_by_id", "company_users"),
    ]
    return SchemaMap("2024-01-01T00:00:00Z", "procore", [table], relations), table


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--files", action="store_true", help="with a column of S3 keys")
    options.add_argument("--single", action="store_true", help="row by row instead of in batches")
    options.add_argument("--profile", action="store_true")
    chosen = options.parse_args()
    data = rows(chosen.rows, 1)
    schema_map, table = schema(chosen.files)
    if chosen.files:
        for i, row in enumerate(data):
            row.append(f"5629499534/{i % 31}/photos/{i}/IMG {i}.jpg")
    builder = DocumentBuilder(schema_map, table, file_detector=FileDetector(schema_map))
    profile = cProfile.Profile()
    if chosen.profile:
        profile.enable()
    gc.set_threshold(50_000, 20, 20)  # as in a worker process
    started = time.process_time()
    if chosen.single:
        for row in data:
            builder.build(row)
    else:
        for start in range(0, len(data), BATCH):
            builder.build_batch(data[start : start + BATCH])
    seconds = time.process_time() - started
    if chosen.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
    rate = chosen.rows / seconds
    print(f"{chosen.rows:,} rows of {len(table.columns)} columns in {seconds:.2f} CPU s: {rate:,.0f} rows/s")


if __name__ == "__main__":
    main()
