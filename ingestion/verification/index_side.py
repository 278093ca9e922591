"""What the index holds of a table: sums per key bucket, and digests of single buckets."""

from __future__ import annotations

from typing import Any

from ingestion.transform import digest, document_ids
from ingestion.vespa import queries, visiting
from ingestion.vespa.client import RECORD, VespaSession

_BUCKETS_VISITED_APART = 16
"""More differing buckets than this are cheaper found by one visit of the whole table."""


class IndexSide:
    """One table of the index; with `deep` digests are recomputed from what the documents hold."""

    def __init__(self, session: VespaSession, table: str, deep: bool) -> None:
        self.session, self.table, self.deep = session, table, deep

    async def sums(self) -> dict[int, tuple[int, int]]:
        """Count and exclusive or of the stored digests per bucket."""
        found = await queries.bucket_sums(self.session, self.table)
        return {bucket: (s.count, s.xor) for bucket, s in found.items()}

    async def digests(self, buckets: frozenset[int]) -> dict[str, int]:
        """Key → digest of the documents in these buckets."""
        if self.deep:
            return await self._recomputed(buckets)
        found: dict[str, int] = {}
        apart = sorted(buckets) if len(buckets) <= _BUCKETS_VISITED_APART else [None]
        for bucket in apart:
            async for page in visiting.records_of_table(self.session, self.table, bucket=bucket):
                found.update((r.key, r.digest) for r in page if r.bucket in buckets)
        return found

    async def _recomputed(self, buckets: frozenset[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        selection = f"{RECORD}.source_table == {visiting.quoted(self.table)}"
        async for page in visiting.visit(self.session, RECORD, selection=selection):
            for document in page:
                fields = document["fields"]
                key = str(fields.get("doc_id", "")).partition(":")[2]
                if document_ids.key_bucket(key) in buckets:
                    found[key] = digest_of(fields)
        return found


def digest_of(fields: dict[str, Any]) -> int:
    """The digest of what the index returns; one that does not match the stored digest shows damage."""
    metadata = {**fields.get("metadata", {}), **fields.get("metadata_long", {})}
    return digest.row_digest(metadata, fields.get("relationships", []))
