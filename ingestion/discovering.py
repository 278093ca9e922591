"""Discovery for a front end: with the operator's verdicts, what changed since the last one, kept in the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ingestion import errors
from ingestion.connections import Connections
from ingestion.discovery import schema_drift, verdicts
from ingestion.events import Noted
from ingestion.schema_discovery import SchemaDiscovery, SchemaMap
from ingestion.state.store import StateStore
from ingestion.state.types import Decision
from ingestion.transform import masks

RELATIONSHIP = "relationship"
_SCHEMA_MAP = "schema_map"
_REMOVAL = "its documents stay until `verify --repair --allow-mass-delete`"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What an operator says of references, each as `TABLE.COLUMN=TARGET`; `forget` takes a verdict back."""

    accept: Sequence[str] = ()
    reject: Sequence[str] = ()
    forget: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.accept or self.reject or self.forget)


async def discover(
    connections: Connections,
    *,
    include_samples: bool = False,
    include_stats: bool = False,
    schemas: list[str] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> SchemaMap:
    """Discover the source now, and say in `SchemaMap.drift` what changed; raises errors.SourceUnavailable."""
    db = await connections.source()
    state = await connections.state()
    discovery = SchemaDiscovery(db, connections.logger)
    before = await last(state)
    schema = await discovery.discover(
        include_samples,
        include_stats=include_stats,
        schemas=schemas,
        on_progress=on_progress,
        decisions=await decisions(state),
        before=before,
    )
    masks.hide(schema, await masks.in_force(connections))
    if before is not None:
        schema.drift = schema_drift.compare(_within(before, schemas), schema).lines()
        schema.drift_since = before.discovery_timestamp
    if schemas is None:  # a part is no picture of the whole
        await state.set_meta(_SCHEMA_MAP, discovery.to_json(schema))
    return schema


async def last(state: StateStore) -> SchemaMap | None:
    """What the last discovery of the whole database found; None where there was none, or none that we can read."""
    text = await state.get_meta(_SCHEMA_MAP)
    try:
        return SchemaMap.from_json(text) if text else None
    except errors.SchemaError:
        return None


async def decisions(state: StateStore) -> dict[verdicts.Triple, bool]:
    """The operator's verdicts, as inference takes them."""
    found = {}
    for subject, decision in (await state.decisions(RELATIONSHIP)).items():
        triple = verdicts.from_subject(subject)
        if triple is not None:
            found[triple] = decision.verdict == "accepted"
    return found


async def decide(state: StateStore, triple: verdicts.Triple, accepted: bool) -> None:
    """Store one verdict; the next discovery obeys it."""
    verdict = "accepted" if accepted else "rejected"
    await state.decide(Decision(kind=RELATIONSHIP, subject=verdicts.subject(triple), verdict=verdict))


async def decide_all(connections: Connections, said: Verdicts) -> None:
    """Store verdicts given as text, all or none; raises errors.SchemaError for one that names no reference."""
    state = await connections.state()
    schema = await SchemaDiscovery(await connections.source(), connections.logger).discover(read_rows=False)
    given = [(verdicts.find(text, schema), True) for text in said.accept]
    given += [(verdicts.find(text, schema), False) for text in said.reject]
    known = await decisions(state)
    for triple, accepted in given:
        known[triple] = accepted
        if accepted and not schema.table(triple[2]).columns:
            raise errors.SchemaError(
                f"{triple[2]} has no column that could be referred to", hint="Accept another table."
            )
    withdrawn = [triple for text in said.forget for triple in verdicts.of_column(text, known)]
    for triple, accepted in given:
        await decide(state, triple, accepted)
    for triple in withdrawn:
        await state.withdraw(RELATIONSHIP, verdicts.subject(triple))


async def notes(state: StateStore, schema: SchemaMap) -> list[Noted]:
    """What a sync has to tell before it begins: tables that left the source, and what else changed.

    A table that was synced and is gone is told by every sync until its documents are.
    """
    present = {table.name for table in schema.tables}
    by_oid = {table.oid: table.name for table in schema.tables if table.oid}
    states = await state.table_states()
    found = []
    for name, known in sorted(states.items()):
        count = 0 if name in present else await state.ledger_count(name)
        if not count:
            continue
        renamed = by_oid.get(known.oid) if known.oid else None
        what = f"was renamed to {renamed} in the source" if renamed else "is no longer in the source"
        found.append(
            Noted(job_id="", level="warning", table=name, message=f"{what}; {_REMOVAL}, {count:,} of them")
        )
    return found + [Noted(job_id="", level="info", message=line) for line in schema.drift]


def _within(schema: SchemaMap, schemas: Sequence[str] | None) -> SchemaMap:
    """The part of a whole picture that a discovery of these schemas can be compared with."""
    if schemas is None:
        return schema
    tables = [t for t in schema.tables if t.schema in schemas]
    names = {t.name for t in tables}
    within = [r for r in schema.relationships if {r.source_table, r.target_table} <= names]
    return replace(schema, tables=tables, relationships=within)
