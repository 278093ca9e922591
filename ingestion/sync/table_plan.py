"""How a table is read in one job: decided once, stored, and taken up again by whoever resumes the job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from ingestion.db_connection import DatabaseConnection
from ingestion.postgres import server_info
from ingestion.schema_discovery import SchemaMap, Table
from ingestion.state.types import Partition as StoredPartition
from ingestion.state.types import TableState
from ingestion.sync import partitions, source_reader
from ingestion.sync.key_lookup import duplicated_keys
from ingestion.sync.partitions import Kind, Partition
from ingestion.sync.settlement import Mode, TableRun

TRANSFORM_VERSION = 1
"""Grows when equal rows become other documents than before: the next sync then compares every row."""

_BLOCKS_OF_CHANGES = 16_384
"""Where only changes are read a range is mostly skipped, so it may be larger: 128 MiB."""
_OF_PARTITION = ("table", "ordinal", "kind")


@dataclass(frozen=True, slots=True)
class Start:
    """Which rows a sync has to look at, and why not fewer; `since` is a horizon in mode CHANGES.

    `leaves` are the oids of the relations that the last sync knew: a partition that was attached since brings
    rows with old versions, perhaps under keys that another one held, and is read whole.
    """

    mode: Mode
    since: int | None = None
    reason: str = ""
    leaves: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """A stored partition and where to go on in it."""

    partition: Partition
    position: Mapping[str, Any] | None
    done: bool


@dataclass(frozen=True, slots=True)
class TablePlan:
    """`aside` are the keys that several rows held when the read began, `source` the server it is of.

    `mark` is the table's fingerprint when the read began: what was fed first was made of those columns.
    `leaves` are the oids of the relations that held the table's rows then.
    """

    mode: Mode
    since: int | None
    first_seq: int
    aside: frozenset[str]
    steps: tuple[Step, ...]
    source: str = ""
    mark: str = ""
    leaves: frozenset[int] = frozenset()

    @property
    def settled_since(self) -> int | None:
        """From which row version on rows without a key, or with a shared one, are settled anew; None: all of them.

        A range that is read whole brings rows of any version, which may share their keys with unchanged ones.
        """
        return None if any(step.partition.whole for step in self.steps) else self.since

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(step.partition.kind for step in self.steps)

    @property
    def horizon(self) -> int:
        return self.steps[0].partition.horizon

    @property
    def read_at(self) -> str:
        return self.steps[0].partition.read_at

    @property
    def method(self) -> str:
        """The way of reading, for a person."""
        if self.mode is Mode.CHANGES:
            return "changed row versions"
        way = {Kind.PAGES: "key pages", Kind.BLOCKS: "block ranges", Kind.STREAM: "one snapshot"}
        kind = self.steps[0].partition.kind
        words = way.get(kind, "block ranges")
        return f"{words}, compared" if self.mode is Mode.COMPARE else words

    def stored(self) -> list[StoredPartition]:
        """As the state keeps it; the keys set aside go with the last partition."""
        common = {"mode": self.mode.value, "since": self.since, "first_seq": self.first_seq,
                  "source": self.source, "mark": self.mark}  # fmt: skip
        stored = []
        for step in self.steps:
            members = asdict(step.partition)
            bounds: dict[str, Any] = {
                **{name: value for name, value in members.items() if name not in _OF_PARTITION}, **common
            }  # fmt: skip
            if step is self.steps[-1]:
                bounds |= {"aside": sorted(self.aside), "leaves": sorted(self.leaves)}
            stored.append(
                StoredPartition(
                    table=step.partition.table,
                    ordinal=step.partition.ordinal,
                    kind=step.partition.kind.value,
                    bounds=bounds,
                    position=step.position,
                    status="done" if step.done else "pending",
                )
            )
        return stored

    @classmethod
    def of(cls, stored: Sequence[StoredPartition]) -> TablePlan:
        """The plan that `stored` describes."""
        steps = []
        for part in stored:
            members = {k: v for k, v in part.bounds.items() if k in Partition.__slots__}
            partition = Partition(table=part.table, ordinal=part.ordinal, kind=Kind(part.kind), **members)
            steps.append(Step(partition, part.position, part.status == "done"))
        last = stored[-1].bounds
        return cls(
            Mode(last["mode"]), last["since"], last["first_seq"], frozenset(last["aside"]), tuple(steps),
            last["source"], last.get("mark", ""), frozenset(last.get("leaves", ())),
        )  # fmt: skip


async def where_to_start(
    db: DatabaseConnection,
    table: Table,
    known: TableState | None,
    synced: bool,
    mark: str,
    source: str,
    zone: str,
    unversioned: str = "",
) -> Start:
    """What an incremental sync has to read.

    `synced` says whether an earlier one reached its end, `mark` is the table's fingerprint now, `source` tells
    the server, its timeline and the database, `zone` is the setting `source_timezone`; `unversioned` says why
    row versions do not tell of every change, if they do not.
    """
    if not synced:
        return Start(Mode.FULL)
    if known is not None and (why := _made_otherwise(known, zone)):
        # Digests are of what the rows say: they would call documents equal that are to become others.
        return Start(Mode.FULL, reason=why)
    layout = await source_reader.layout(db, table)
    if not table.key_columns:
        return Start(Mode.COMPARE, reason="the table has no key")
    if not layout.heap:
        return Start(Mode.COMPARE, reason="its rows carry no version")
    if known is None or known.horizon is None:
        return Start(Mode.COMPARE, reason="no horizon is stored")
    before = str(known.detail.get("source", ""))
    if server_info.another_source(before, source):
        return Start(Mode.COMPARE, reason="another server, timeline or database answers than last time")
    if why := _changed(str(known.detail.get("fingerprint", "")), mark):
        return Start(Mode.COMPARE, reason=why)
    if unversioned:
        return Start(Mode.COMPARE, reason=unversioned)
    if known.oid != layout.oid:
        return Start(Mode.COMPARE, reason="the table was made anew")
    now = await source_reader.horizon(db)
    why = partitions.out_of_reach(known.horizon, now.next_xid)
    if why:
        return Start(Mode.COMPARE, reason=why)
    return Start(Mode.CHANGES, known.horizon, leaves=_known_leaves(known))


def _made_otherwise(known: TableState, zone: str) -> str:
    """Why equal rows would become other documents today than at the last sync; empty if they would not."""
    if known.transform_version not in (None, TRANSFORM_VERSION):
        return (
            f"this version makes documents otherwise (transform version {TRANSFORM_VERSION}, "
            f"the index was filled by {known.transform_version})"
        )
    before = str(known.detail.get("zone", zone))
    return f"source_timezone was {before} and is now {zone}" if before != zone else ""


def _changed(before: str, now: str) -> str:
    """What two fingerprints differ in; empty where they are the same."""
    if before.partition(".")[0] != now.partition(".")[0]:
        return "columns, references or masks have changed"
    if before != now:
        return (
            "labels or members of its types, or columns under their old names, have changed in the catalogue"
        )
    return ""


def _known_leaves(known: TableState) -> frozenset[int]:
    """Relations that the last sync knew; a state of before they were noted knows the table's own alone."""
    return frozenset(known.detail.get("leaves") or ([known.oid] if known.oid else ()))


async def make(run: TableRun, start: Start, *, by_blocks: bool = False) -> TablePlan:
    """Plan a read that begins now: first the horizon, then what is found of the table's layout.

    `by_blocks` forgoes key pages.
    """
    table, db = run.table, run.io.db
    horizon = await source_reader.horizon(db)
    # Measured after the horizon: whatever was committed before it is in these blocks.
    reader = run.reader = run.reader.over(await source_reader.layout(db, table))
    first_seq = await run.io.sequence.next()
    aside: frozenset[str] = frozenset()
    streamed = run.hashed or not reader.layout.heap
    if not run.key_unique and not streamed:
        aside = frozenset(await duplicated_keys(reader, run.builder))
    if streamed:
        parts = partitions.plan_stream(table.name, horizon)
    elif start.mode is Mode.CHANGES:
        storages = reader.layout.storages
        parts = partitions.plan_blocks(
            table.name, storages, horizon, size=_BLOCKS_OF_CHANGES, known=start.leaves
        )
    elif not by_blocks and await _has_pages(run):
        parts = partitions.plan_pages(table.name, horizon, settle=not run.key_unique)
    else:
        parts = partitions.plan_blocks(
            table.name, reader.layout.storages, horizon, size=run.io.blocks_per_partition
        )
    steps = tuple(Step(part, None, False) for part in parts)
    leaves = frozenset(storage.oid for storage in reader.layout.storages)
    return TablePlan(start.mode, start.since, first_seq, aside, steps, run.io.source, leaves=leaves)


async def make_again(run: TableRun, plan: TablePlan) -> TablePlan:
    """Plan the rest of a read anew by blocks, under its old horizon: what is settled stays settled.

    Its partitions are numbered on from the old ones.
    """
    layout = await source_reader.layout(run.io.db, run.table)
    whole = {(s.partition.schema, s.partition.relname) for s in plan.steps if s.partition.whole}
    known = frozenset(s.oid for s in layout.storages if (s.schema, s.relname) not in whole)
    fresh = await make(run, Start(plan.mode, plan.since, leaves=known & plan.leaves), by_blocks=True)
    after = plan.steps[-1].partition.ordinal + 1
    steps = tuple(
        Step(
            replace(
                step.partition,
                ordinal=after + step.partition.ordinal,
                horizon=plan.horizon,
                read_at=plan.read_at,
            ),
            None,
            False,
        )
        for step in fresh.steps
    )
    return replace(
        fresh,
        first_seq=plan.first_seq,
        aside=fresh.aside | plan.aside,
        steps=steps,
        mark=plan.mark,
        leaves=plan.leaves,
    )


def with_chosen_key(table: Table, known: TableState | None) -> Table:
    """The table with the key of its first sync, which names its documents until the operator says otherwise."""
    if known is None or known.key_columns is None or list(known.key_columns) == table.key_columns:
        return table
    basis = "proven_id" if known.key_columns else "row_hash"
    return replace(table, key_columns=list(known.key_columns), key_basis=basis, key_indexed=False)


def fingerprint(schema: SchemaMap, table: Table, masks: object, facts: str = "") -> str:
    """Changes when equal rows may become other documents: columns, references, masks, this program.

    Behind the point stand the `facts` of the catalogue, by which equal rows may hold other values.
    """
    parts = [
        TRANSFORM_VERSION,
        table.key_columns,
        [[column.name, column.data_type, column.sensitivity] for column in table.columns],
        sorted(
            [r.source_column, r.target_table, r.relation or "", r.type_column or "", r.type_value or ""]
            for r in schema.relations_from(table.name)
        ),
        repr(masks),
    ]
    return f"{hashlib.sha256(orjson.dumps(parts)).hexdigest()[:16]}.{facts}"


async def _has_pages(run: TableRun) -> bool:
    table, reader = run.table, run.reader
    return (
        table.key_indexed
        and table.kind == "table"
        and reader.queries.key_parses
        and await source_reader.sorts_by_bytes(run.io.db, table)
    )
