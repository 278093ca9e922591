"""What the source says the index should hold: keys and digests of rows, without those that cannot be indexed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from ingestion.sync import settlement
from ingestion.sync.key_lookup import duplicated_keys
from ingestion.sync.settlement import TableRun
from ingestion.sync.source_reader import Row
from ingestion.transform import document_ids
from ingestion.transform.documents import Document

Expected = tuple[str, int, int]
"""Key, digest, and row version."""


@dataclass(slots=True)
class SourceSide:
    """`rows` = expected documents + `failed` + `skipped`; `sums` are count and exclusive or per bucket."""

    rows: int = 0
    failed: int = 0
    skipped: int = 0
    sums: dict[int, tuple[int, int]] = field(default_factory=dict)
    _failed_keys: set[str] = field(default_factory=set)
    _duplicates: set[str] = field(default_factory=set)

    @classmethod
    async def read(cls, run: TableRun) -> SourceSide:
        """Read the table once."""
        side = cls()
        side._failed_keys = {key async for page in run.io.state.failed_keys(run.name) for key in page if key}
        if not run.key_unique and not run.hashed:
            side._duplicates = await duplicated_keys(run.reader, run.builder)
        copies: dict[str, list[Document | None]] = defaultdict(list)
        async with aclosing(_documents(run)) as batches:
            async for batch in batches:
                for key, document, _ in batch:
                    side.rows += 1
                    if key is not None and key in side._duplicates:
                        copies[key].append(document)
                    else:
                        side._take(key, document)
        for key, documents in copies.items():
            side._take_copies(key, documents)
        return side

    def count(self, bucket: int) -> int:
        """Documents expected in a bucket."""
        return self.sums.get(bucket, (0, 0))[0]

    def is_failed(self, key: str) -> bool:
        """Whether a stored failure is the reason that this key's document is absent or old."""
        return key in self._failed_keys

    async def expected(self, run: TableRun, buckets: frozenset[int]) -> AsyncGenerator[list[Expected], None]:
        """The documents that the index should hold in these buckets, reading the table once more."""
        given: set[str] = set()
        async with aclosing(_documents(run, buckets)) as batches:
            async for batch in batches:
                page: list[Expected] = []
                for key, document, version in batch:
                    if document is None or key is None or key in self._failed_keys or key in given:
                        continue
                    if document_ids.key_bucket(key) not in buckets:
                        continue
                    if key in self._duplicates:
                        given.add(key)
                    page.append((key, document.digest, version))
                if page:
                    yield page

    def _take(self, key: str | None, document: Document | None) -> None:
        if key is None or document is None or key in self._failed_keys:
            self.failed += 1
            return
        count, xor = self.sums.get(document.bucket, (0, 0))
        self.sums[document.bucket] = (count + 1, xor ^ document.digest)

    def _take_copies(self, key: str, documents: list[Document | None]) -> None:
        digests = {document.digest if document else None for document in documents}
        if len(digests) > 1 or key in self._failed_keys:
            self.failed += len(documents)
            self._failed_keys.add(key)
            return
        self._take(key, documents[0])
        self.skipped += len(documents) - 1


async def _documents(
    run: TableRun, buckets: frozenset[int] | None = None
) -> AsyncGenerator[list[tuple[str | None, Document | None, int]], None]:
    """Every row as (key, document, version); no document where the row cannot become one.

    With `buckets` rows of other buckets are left out before anything is made of them, where the key alone tells.
    """
    ordinals: Counter[str] = Counter()
    async with run.io.db.transaction(), aclosing(run.reader.rows(run.reader.queries.everything())) as batches:
        async for rows in batches:
            page: list[tuple[str | None, Document | None, int]] = []
            for row in rows:
                if run.has_null_key(row):
                    page.append((None, None, row.version))
                    continue
                if buckets is not None and not run.hashed:
                    key = run.builder.key_of(row.values)
                    if key is None or document_ids.key_bucket(key) not in buckets:
                        continue
                document = _document(run, row, ordinals)
                page.append((document.key if document else None, document, row.version))
            yield page


def _document(run: TableRun, row: Row, ordinals: Counter[str]) -> Document | None:
    built = settlement.build(run, row)
    if not isinstance(built, Document):
        return None
    if run.hashed:
        ordinal = ordinals[built.key]
        ordinals[built.key] += 1
        if ordinal:
            again = settlement.build(run, row, ordinal)
            return again if isinstance(again, Document) else None
    return built
