"""Dead letters: every record, file and cell that needs attention, once each, for as long as it does."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from ingestion import errors
from ingestion.state.connection import StateConnection, Transaction, dumps, json_list, loads
from ingestion.state.types import Failure, FailureCluster, FailureFilter, FailurePage

# A failure, or one more attempt at it. A dismissed one stays dismissed: the operator has seen this very cause.
PUT: Final = """INSERT INTO failures (job, table_id, kind, key, locator, stage, cause, message, attempts, first_at,
        last_at, status, note, detail)
    VALUES (:job, :table_id, :kind, :key, :locator, :stage, :cause, :message, :attempts, :at, :at, 'open', :note,
        :detail)
    ON CONFLICT (table_id, kind, key, cause, locator) WHERE status <> 'resolved' DO UPDATE SET
        attempts = attempts + excluded.attempts, last_at = excluded.last_at, job = excluded.job,
        stage = excluded.stage, message = excluded.message, detail = excluded.detail"""
# A record or file that now fails for another reason has one failure, not two.
REPLACE: Final = """UPDATE failures SET status = 'resolved', last_at = :at, note = 'now ' || :cause
    WHERE status <> 'resolved' AND table_id = :table_id AND kind = :kind AND key = :key AND locator = :locator
        AND cause <> :cause AND :kind <> 'warning'"""
# Whether a table has anything to resolve; nearly always it has not.
ANY_STANDING: Final = """SELECT 1 FROM failures WHERE status <> 'resolved' AND table_id = :table_id LIMIT 1"""
# Records that are in order now.
RESOLVE_RECORDS: Final = """UPDATE failures SET status = 'resolved', last_at = :at, note = :note
    WHERE status <> 'resolved' AND table_id = :table_id AND kind = 'record'
        AND key IN (SELECT value FROM json_each(:keys))"""
# Warnings of records that were indexed anew, unless they were given again in the same batch.
RESOLVE_WARNINGS: Final = """UPDATE failures SET status = 'resolved', last_at = :at, note = :note
    WHERE status <> 'resolved' AND table_id = :table_id AND kind = 'warning'
        AND key IN (SELECT value FROM json_each(:keys))
        AND json_array(key, cause, locator) NOT IN (SELECT value FROM json_each(:again))"""
# Everything of records that are gone.
RESOLVE_ALL: Final = """UPDATE failures SET status = 'resolved', last_at = :at, note = :note
    WHERE status <> 'resolved' AND table_id = :table_id AND kind IN ('record', 'file', 'warning')
        AND key IN (SELECT value FROM json_each(:keys))"""
# Files that arrived.
RESOLVE_FILES: Final = """UPDATE failures SET status = 'resolved', last_at = :at, note = :note
    WHERE kind = 'file' AND status = 'open' AND locator IN (SELECT value FROM json_each(:file_ids))"""
# What an operator settles by number.
RESOLVE_IDS: Final = """UPDATE failures SET status = 'resolved', note = :note, last_at = :at
    WHERE status <> 'resolved' AND id IN (SELECT value FROM json_each(:ids))"""
DISMISS_IDS: Final = """UPDATE failures SET status = 'dismissed', note = :note
    WHERE status = 'open' AND id IN (SELECT value FROM json_each(:ids))"""
# One failure.
GET: Final = """SELECT f.*, t.name AS table_name, j.id AS job_id FROM failures f JOIN tables t ON t.id = f.table_id
    LEFT JOIN jobs j ON j.ordinal = f.job WHERE f.id = :id"""
# The number of the newest failure.
NEWEST: Final = "SELECT max(id) FROM failures"
# What stands against certain keys of one table, from the index on what stands.
OF_KEYS: Final = """SELECT f.*, t.name AS table_name, j.id AS job_id FROM failures f
    JOIN tables t ON t.id = f.table_id LEFT JOIN jobs j ON j.ordinal = f.job
    WHERE f.status <> 'resolved' AND f.table_id = (SELECT id FROM tables WHERE name = :table) AND f.kind = :kind
        AND f.key IN (SELECT value FROM json_each(:keys)) ORDER BY f.id"""
# Keys of a table that are failed, for now or by decision.
FAILED_KEYS: Final = """SELECT DISTINCT key FROM failures WHERE status <> 'resolved'
    AND table_id = (SELECT id FROM tables WHERE name = :table) AND kind = 'record' AND key > :after
    ORDER BY key LIMIT :limit"""
# Names that globs are held against.
TABLES: Final = "SELECT id, name FROM tables"
CAUSES: Final = "SELECT DISTINCT cause FROM failures"

# A page in the order of ids. The unary plus keeps SQLite off the other indexes: it walks the table in id order
# and stops at the page's end instead of sorting all that match.
_PAGE: Final = """SELECT f.*, t.name AS table_name, j.id AS job_id FROM failures f
    JOIN tables t ON t.id = f.table_id LEFT JOIN jobs j ON j.ordinal = f.job
    WHERE f.id > :after AND {where} ORDER BY f.id LIMIT :limit"""
# How many there are.
_COUNT: Final = "SELECT count(*) FROM failures f WHERE {where}"
# How many there are per table and kind.
_COUNT_BY_TABLE: Final = """SELECT t.name, f.kind, count(*) FROM failures f JOIN tables t ON t.id = f.table_id
    WHERE {where} GROUP BY f.table_id, f.kind ORDER BY t.name, f.kind"""
# Groups that are one problem, per table; merged over tables by the caller.
_CLUSTERS: Final = """SELECT f.kind, f.cause, f.stage, t.name, count(*), min(f.first_at), max(f.last_at), max(f.id)
    FROM failures f JOIN tables t ON t.id = f.table_id WHERE {where}
    GROUP BY f.kind, f.cause, f.stage, f.table_id"""
# The parts of a filter; each is used only where the filter asks for it.
_CLAUSES: Final = {
    "statuses": "{plus}f.status IN (SELECT value FROM json_each(:statuses))",
    "kinds": "{plus}f.kind IN (SELECT value FROM json_each(:kinds))",
    "causes": "{plus}f.cause IN (SELECT value FROM json_each(:causes))",
    "stages": "{plus}f.stage IN (SELECT value FROM json_each(:stages))",
    "tables": "{plus}f.table_id IN (SELECT value FROM json_each(:tables))",
    "keys": "{plus}f.key IN (SELECT value FROM json_each(:keys))",
    "until": "f.id <= :until",
    "ids": "f.id IN (SELECT value FROM json_each(:ids))",
    "job_id": "f.job = (SELECT ordinal FROM jobs WHERE id = :job_id)",
}


class Failures(StateConnection):
    """Lists are paged by id, so that a hundred thousand of them cost as little as ten."""

    async def save_failures(self, job_id: str, failures: Sequence[Failure]) -> None:
        """Store failures outside a batch, of any tables; the rules are those of `commit_batch`."""

        async def save(tx: Transaction) -> None:
            await put(tx, await tx.job(job_id), failures)

        await self._write(save)

    async def failure(self, failure_id: int) -> Failure:
        """One failure. Raises StateError when there is none of that number."""
        row = await self._read_one(GET, {"id": failure_id})
        if row is None:
            raise errors.StateError(
                f"There is no failure {failure_id}.", hint="See `procore-ingest failures list`."
            )
        return _failure(row)

    async def failure_page(self, filter: FailureFilter, *, after: int = 0, limit: int = 200) -> FailurePage:
        """Up to `limit` failures with an id above `after`, oldest first, and how many match in all."""
        where, params = await self._where(filter)
        items = await self._page(filter, after, limit)
        row = await self._read_one(_COUNT.format(where=where), params)
        more = items[-1].id if len(items) == limit else None
        return FailurePage(total=int(row[0]) if row else 0, items=tuple(items), next=more)

    async def failures(
        self, filter: FailureFilter, *, page_size: int = 1000
    ) -> AsyncGenerator[Failure, None]:
        """All that match, oldest first, in constant memory; those resolved meanwhile may be left out."""
        after = 0
        while page := await self._page(filter, after, page_size):
            for failure in page:
                yield failure
            if len(page) < page_size:
                return
            after = page[-1].id

    async def failure_count(self, filter: FailureFilter) -> int:
        """How many match."""
        where, params = await self._where(filter)
        row = await self._read_one(_COUNT.format(where=where), params)
        return int(row[0]) if row else 0

    async def newest_failure(self) -> int:
        """The number of the newest failure, 0 where there is none."""
        row = await self._read_one(NEWEST)
        return int(row[0] or 0) if row else 0

    async def failure_counts(self, filter: FailureFilter) -> dict[str, dict[str, int]]:
        """How many match, per table and kind."""
        where, params = await self._where(filter)
        counts: dict[str, dict[str, int]] = {}
        for table, kind, count in await self._read(_COUNT_BY_TABLE.format(where=where), params):
            counts.setdefault(table, {})[kind] = count
        return counts

    async def failure_clusters(
        self, filter: FailureFilter, *, by_table: bool = False
    ) -> list[FailureCluster]:
        """Failures grouped by kind, cause and stage (and table, if asked), largest first."""
        where, params = await self._where(filter)
        groups: dict[tuple[str, ...], list[sqlite3.Row]] = {}
        for row in await self._read(_CLUSTERS.format(where=where), params):
            groups.setdefault(tuple(row)[: 4 if by_table else 3], []).append(row)
        clusters = [
            FailureCluster(
                kind=key[0],
                cause=key[1],
                stage=key[2],
                count=sum(row[4] for row in rows),
                first_at=min(row[5] for row in rows),
                last_at=max(row[6] for row in rows),
                tables=tuple(sorted(row[3] for row in rows)),
                sample=await self.failure(max(row[7] for row in rows)),
            )
            for key, rows in groups.items()
        ]
        return sorted(clusters, key=lambda c: (-c.count, c.kind, c.cause, c.stage, c.tables))

    async def failures_of_keys(self, table: str, keys: Collection[str], kind: str) -> list[Failure]:
        """Open and dismissed failures of one kind of these keys; costs the same however many others there are."""
        params = {"table": table, "kind": kind, "keys": json_list(keys)}
        return [_failure(row) for row in await self._read(OF_KEYS, params)]

    async def failed_keys(self, table: str, *, page_size: int = 10_000) -> AsyncIterator[list[str]]:
        """Keys with an open or dismissed record failure, in byte order, each once; rows without a key have none."""
        after = ""
        while True:
            params = {"table": table, "after": after, "limit": page_size}
            keys = [row[0] for row in await self._read(FAILED_KEYS, params)]
            if keys:
                yield keys
            if len(keys) < page_size:
                return
            after = keys[-1]

    async def resolve_failures(self, ids: Collection[int], note: str = "") -> int:
        """Close these; returns how many were open or dismissed."""
        params = {"ids": json_list(ids), "note": note}
        return await self._write(lambda tx: tx.run(RESOLVE_IDS, {**params, "at": tx.now}))

    async def dismiss_failures(self, ids: Collection[int], note: str) -> int:
        """Put these aside by the operator's decision; returns how many were open.

        They still explain why a row is not in the index, and end by themselves when the row is indexed.
        """
        params = {"ids": json_list(ids), "note": note}
        return await self._write(lambda tx: tx.run(DISMISS_IDS, params))

    async def _page(self, filter: FailureFilter, after: int, limit: int) -> list[Failure]:
        where, params = await self._where(filter, plus="+")
        rows = await self._read(_PAGE.format(where=where), {**params, "after": after, "limit": limit})
        return [_failure(row) for row in rows]

    async def _where(self, filter: FailureFilter, plus: str = "") -> tuple[str, dict[str, Any]]:
        params: dict[str, Any] = {
            name: json_list(values)
            for name in ("kinds", "statuses", "stages", "keys", "ids")
            if (values := getattr(filter, name)) is not None
        }
        if filter.tables is not None:
            names = await self._read(TABLES)
            params["tables"] = json_list([row["id"] for row in names if _matches(row["name"], filter.tables)])
        if filter.causes is not None:
            causes = [row[0] for row in await self._read(CAUSES)]
            params["causes"] = json_list([cause for cause in causes if _matches(cause, filter.causes)])
        if filter.until is not None:
            params["until"] = filter.until
        if filter.job_id is not None:
            params["job_id"] = filter.job_id
        clauses = [clause.format(plus=plus) for name, clause in _CLAUSES.items() if name in params]
        return " AND ".join(clauses) or "true", params


async def put(tx: Transaction, job: int, failures: Sequence[Failure]) -> None:
    """Store failures inside a transaction, ending those of the same record or file that had another cause."""
    numbers = {table: await tx.table_id(table) for table in {failure.table for failure in failures}}
    params = [
        {
            "job": job, "table_id": numbers[failure.table], "kind": failure.kind, "key": failure.key,
            "locator": failure.locator, "stage": failure.stage, "cause": failure.cause, "at": tx.now,
            "message": failure.message, "attempts": failure.attempts, "note": failure.note,
            "detail": dumps(failure.detail),
        }
        for failure in failures
    ]  # fmt: skip
    await tx.run_many(REPLACE, params)
    await tx.run_many(PUT, params)


async def resolve_indexed(
    tx: Transaction, table_id: int, fed: Collection[str], unchanged: Collection[str], again: Sequence[Failure]
) -> None:
    """End what stood against records that are in the index now.

    Records only found unchanged keep their warnings: nobody looked at their cells.
    """
    if await tx.one(ANY_STANDING, {"table_id": table_id}) is None:
        return
    params = {"table_id": table_id, "at": tx.now, "note": "indexed"}
    await tx.run(RESOLVE_RECORDS, {**params, "keys": json_list([*fed, *unchanged])})
    repeated = [dumps([f.key, f.cause, f.locator]) for f in again if f.kind == "warning"]
    await tx.run(RESOLVE_WARNINGS, {**params, "keys": json_list(fed), "again": json_list(repeated)})


async def resolve_gone(tx: Transaction, table_id: int, keys: Collection[str]) -> None:
    """End everything that stood against records that the source no longer has."""
    await tx.run(
        RESOLVE_ALL,
        {"table_id": table_id, "at": tx.now, "note": "no longer in the source", "keys": json_list(keys)},
    )


async def resolve_files(tx: Transaction, file_ids: Collection[str]) -> None:
    """End the failures of files that arrived or need not come."""
    await tx.run(RESOLVE_FILES, {"file_ids": json_list(file_ids), "at": tx.now, "note": "settled"})


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _failure(row: sqlite3.Row) -> Failure:
    detail: Mapping[str, Any] = loads(row["detail"])
    return Failure(
        id=row["id"],
        job_id=row["job_id"] or "",
        table=row["table_name"],
        kind=row["kind"],
        key=row["key"],
        locator=row["locator"],
        stage=row["stage"],
        cause=row["cause"],
        message=row["message"],
        attempts=row["attempts"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        status=row["status"],
        note=row["note"],
        detail=detail,
    )
