"""The sample database with all its dirt: both sides counted by independent queries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sync_world import world

from ingestion.sync_manager import SyncConfig


async def test_every_row_of_the_sample_is_indexed_failed_or_skipped_as_planted(
    sample_database: str,
    sample_manifest: list[dict[str, Any]],
    vespa_url: str,
    namespace: str,
    tmp_path: Path,
) -> None:
    async with world(sample_database, vespa_url, namespace, tmp_path) as here:
        result = await here.full(SyncConfig(workers=2))
        for table in result.tables:
            rows = await here.value(f'SELECT count(*) FROM "{table.table}"')
            assert table.counts.adds_up, table
            assert table.counts.read == rows, table
        indexed = Counter(fields["source_table"] for fields in (await here.documents()).values())
        assert indexed == Counter({t.table: t.counts.indexed for t in result.tables if t.counts.indexed})
        planted = Counter(
            (line["table"], line["expect"].partition(":")[2])
            for line in sample_manifest
            if line["expect"].startswith("failed:")
        )
        found = Counter((failure.table, failure.cause) for failure in await here.failures(kinds=("record",)))
        assert found == Counter({k: v for k, v in planted.items() if k[1] in ("null_key", "duplicate_key")})
        copies = Counter(
            line["table"] for line in sample_manifest if line["expect"] == "skipped:identical_copy"
        )
        notes = await here.failures(kinds=("warning",), causes=("identical_copy",))
        assert Counter(failure.table for failure in notes) == copies
        again = await here.incremental()
        assert again.records_indexed == again.records_deleted == 0
