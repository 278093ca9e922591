"""Source against index: every row is in the index, or stands in the failures with its reason.

Both sides are summed per key bucket, count and exclusive or of the row digests, and only buckets that differ
are looked into key by key. `deep` visits every document instead and recomputes its digest from what the index
returns, which is linear in the index's size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ingestion import errors
from ingestion import plan as plans
from ingestion.connections import Connections
from ingestion.discovering import discover
from ingestion.jobs import job_services
from ingestion.jobs.job_services import JobServices
from ingestion.reports import TableDifference, VerifyReport
from ingestion.schema_discovery import SchemaMap
from ingestion.state.store import StateStore
from ingestion.state.types import Job, LedgerEntry, TableState
from ingestion.sync import deletes
from ingestion.sync.partitions import at_or_after
from ingestion.sync.settlement import SYNC_KINDS, TableRun
from ingestion.verification import retrying
from ingestion.verification.index_side import IndexSide
from ingestion.verification.source_side import SourceSide
from ingestion.vespa import queries

OnProgress = Callable[[str, int, int], None]
MOST_IDS = 1000
KEYS_PER_ROUND = 200_000
"""Keys of differing buckets held in memory at once."""
_LOOK_BACK = 100
"""Jobs looked through for the newest sync."""
_STAY = "its documents stay until `verify --repair --allow-mass-delete`"


async def verify(
    connections: Connections,
    *,
    include: tuple[str, ...] = ("*",),
    exclude: tuple[str, ...] = (),
    deep: bool = False,
    repair: bool = False,
    allow_mass_delete: bool = False,
    on_progress: OnProgress | None = None,
) -> VerifyReport:
    """Compare the chosen tables, and with `repair` mend exactly what differs and compare again.

    Raises errors.SchemaError for a glob that matches nothing, errors.WriterLocked when repairing while a job
    runs.
    """
    schema = await discover(connections)
    index = await connections.index()
    indexed = await queries.counts_by_table(index)
    names = [table.name for table in schema.tables]
    chosen = plans.select(names, include, exclude)
    state = await connections.state()
    synced = {name for name, counted in (await state.ledger_counts()).items() if counted}
    synced |= set(await state.table_states())
    everything = include == ("*",) and not exclude
    leftovers = await _leftovers(state, schema, set(indexed)) if everything else {}
    # A table that was never taken is no difference; one that is named is looked at whatever its past.
    looked_at = [
        name
        for name in chosen
        if (not everything or name in synced or name in indexed) and name not in leftovers
    ]
    if everything and not looked_at and not leftovers:
        # Nothing was ever taken: to look at nothing would be to call an empty index equal to a full source.
        looked_at = chosen
    differences: list[TableDifference] = []
    repaired = 0
    tables = [*looked_at, *(left.renamed_to for left in leftovers.values() if left.renamed_to)]
    async with job_services.opened(
        connections, "verify", list(dict.fromkeys(tables)), schema=schema, write=repair,
        allow_mass_delete=allow_mass_delete,
    ) as services:  # fmt: skip
        for number, name in enumerate(looked_at, 1):
            if on_progress is not None:
                on_progress(f"comparing {name}", number, len(looked_at))
            difference, mended = await _table(services, name, deep, repair)
            repaired += mended
            differences.append(difference)
        for name, left in sorted(leftovers.items()):
            if repair and allow_mass_delete:
                if left.renamed_to and left.renamed_to not in looked_at:
                    await services.follow(left.renamed_to)
                    moved, _ = await _table(services, left.renamed_to, deep, repair=False)
                    differences.append(moved)
                repaired += await services.remove_table(name)
                differences.append(TableDifference(name))
            else:
                held = indexed[name]
                differences.append(TableDifference(name, indexed=held, extra=held, message=left.reason))
    return VerifyReport(deep, tuple(differences), repaired)


@dataclass(frozen=True, slots=True)
class _Leftover:
    """Why the index has documents of a table that no sync follows; `renamed_to` is its name in the source now."""

    reason: str
    renamed_to: str = ""


async def _leftovers(state: StateStore, schema: SchemaMap, indexed: Collection[str]) -> dict[str, _Leftover]:
    """Tables with documents that the source no longer has under that name, or that the newest plan leaves out."""
    names = [table.name for table in schema.tables]
    states = await state.table_states()
    by_oid = {table.oid: table.name for table in schema.tables if table.oid}
    found: dict[str, _Leftover] = {}
    for name in set(indexed) - set(names):
        known = states.get(name)
        new = by_oid.get(known.oid) if known is not None and known.oid else None
        if new is not None:
            found[name] = _Leftover(
                f"renamed to {new} in the source; `verify --repair --allow-mass-delete` moves its documents",
                new,
            )
        else:
            found[name] = _Leftover(f"no longer in the source, or not readable; {_STAY}")
    job = await _newest_sync(state)
    if job is not None:
        excluded = job.plan.get("config", {}).get("exclude_tables", ())
        for name in names:
            if name in indexed and any(fnmatchcase(name, glob) for glob in excluded):
                found[name] = _Leftover(f"left out by the plan of job {job.id}; {_STAY}")
    return found


async def _newest_sync(state: StateStore) -> Job | None:
    return next((job for job in await state.list_jobs(_LOOK_BACK) if job.kind in SYNC_KINDS), None)


async def _table(services: JobServices, name: str, deep: bool, repair: bool) -> tuple[TableDifference, int]:
    try:
        run = await services.table_run(name)
        found = await _Comparison(
            run, IndexSide(services.index, name, deep), services.states.get(name)
        ).made()
        if not repair or found.difference.equal:
            return found.difference, 0
        mended, kept = await _mend(run, found)
        again = await _Comparison(
            run, IndexSide(services.index, name, deep), services.states.get(name)
        ).made()
        return replace(again.difference, message=kept), mended
    except errors.SchemaError as error:
        return TableDifference(name, message=str(error)), 0


async def _mend(run: TableRun, found: _Comparison) -> tuple[int, str]:
    """Feed what is missing or different, remove what is extra unless the brake holds; how many, and what stays."""
    await retrying.settle_keys(run, [*found.missing, *found.different])
    extra = found.extra
    allowed = max(run.io.delete_floor, int(found.difference.indexed * run.io.delete_share))
    if len(extra) > allowed and not run.io.allow_mass_delete:
        said = (
            f"{len(extra):,} of {found.difference.indexed:,} documents have no row any more; they stay until "
            "`verify --repair --allow-mass-delete`"
        )
        return len(found.missing) + len(found.different), said
    await deletes.remove_documents(run, extra)
    return len(found.missing) + len(found.different) + len(extra), ""


class _Comparison:
    """One table's comparison; `missing`, `extra` and `different` hold all keys, the difference its first ones."""

    def __init__(self, run: TableRun, index: IndexSide, state: TableState | None) -> None:
        self.run, self.index, self.state = run, index, state
        self.missing: list[str] = []
        self.extra: list[str] = []
        self.different: list[str] = []
        self.pending = 0
        self.difference = TableDifference(run.name)

    async def made(self) -> _Comparison:
        """Compare; returns itself with the difference filled in."""
        source = await SourceSide.read(self.run)
        sums = await self.index.sums()
        differing = sorted(
            bucket
            for bucket in source.sums.keys() | sums.keys()
            if source.sums.get(bucket, (0, 0)) != sums.get(bucket, (0, 0))
        )
        if self.index.deep:
            differing = sorted(source.sums.keys() | sums.keys())
        for group in _groups(differing, {b: max(source.count(b), sums.get(b, (0, 0))[0]) for b in differing}):
            await self._compare(source, group)
        self.difference = TableDifference(
            table=self.run.name,
            source=source.rows,
            indexed=sum(count for count, _ in sums.values()),
            failed=source.failed,
            skipped=source.skipped,
            pending=self.pending,
            missing=len(self.missing),
            extra=len(self.extra),
            different=len(self.different),
            missing_ids=tuple(self.missing[:MOST_IDS]),
            extra_ids=tuple(self.extra[:MOST_IDS]),
            different_ids=tuple(self.different[:MOST_IDS]),
            truncated=max(len(self.missing), len(self.extra), len(self.different)) > MOST_IDS,
        )
        return self

    async def _compare(self, source: SourceSide, buckets: frozenset[int]) -> None:
        """Key by key in these buckets: what the index holds against what the source says."""
        held = await self.index.digests(buckets)
        met: set[str] = set()
        suspects: dict[str, tuple[int, int]] = {}
        async with aclosing(source.expected(self.run, buckets)) as pages:
            async for page in pages:
                for key, digest, version in page:
                    met.add(key)
                    if held.get(key) != digest:
                        suspects[key] = (digest, version)
        extra = [key for key in held if key not in met and not source.is_failed(key)]
        entries = await self._entries([*suspects, *extra])
        for key, (_, version) in suspects.items():
            if self._changed_since(entries.get(key), held.get(key), version):
                self.pending += 1
            elif key in held:
                self.different.append(key)
            else:
                self.missing.append(key)
        for key in extra:
            entry = entries.get(key)
            if entry is not None and entry.epoch >= self._last_epoch and self._last_epoch:
                self.pending += 1
            else:
                self.extra.append(key)

    @property
    def _last_epoch(self) -> int:
        return (self.state.epoch or 0) if self.state is not None else 0

    def _changed_since(self, entry: LedgerEntry | None, held: int | None, version: int) -> bool:
        """Whether the row changed after the last sync and the index still stands as that sync left it."""
        as_left = held is None if entry is None else held == entry.digest
        horizon = self.state.horizon if self.state is not None else None
        return as_left and horizon is not None and at_or_after(version, horizon)

    async def _entries(self, keys: list[str]) -> dict[str, LedgerEntry]:
        found: dict[str, LedgerEntry] = {}
        for start in range(0, len(keys), MOST_IDS):
            found |= await self.run.io.state.lookup(self.run.name, keys[start : start + MOST_IDS])
        return found


def _groups(buckets: list[int], sizes: dict[int, int]) -> list[frozenset[int]]:
    """The buckets in groups of a bounded number of keys."""
    groups: list[list[int]] = []
    filled: dict[int, int] = defaultdict(int)
    for bucket in buckets:
        if not groups or filled[len(groups) - 1] + sizes[bucket] > KEYS_PER_ROUND:
            groups.append([])
        groups[-1].append(bucket)
        filled[len(groups) - 1] += sizes[bucket]
    return [frozenset(group) for group in groups]
