"""Discovery for a front end: with the operator's decisions, and its result kept in the state."""

from __future__ import annotations

from collections.abc import Callable

from ingestion.connections import Connections
from ingestion.schema_discovery import ImplicitRelationship, SchemaDiscovery, SchemaMap
from ingestion.transform import masks

RELATIONSHIP = "relationship"


def subject_of(relation: ImplicitRelationship) -> str:
    """The name under which a verdict on this relation is stored; no table or column name holds a tab."""
    return "\t".join((relation.source_table, relation.source_column, relation.target_table))


async def discover(
    connections: Connections,
    *,
    include_samples: bool = False,
    include_stats: bool = False,
    schemas: list[str] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> SchemaMap:
    """Discover the source now; raises errors.SourceUnavailable."""
    db = await connections.source()
    state = await connections.state()
    decisions: dict[tuple[str, str, str], bool] = {}
    for subject, decision in (await state.decisions(RELATIONSHIP)).items():
        table, column, target = subject.split("\t")
        decisions[table, column, target] = decision.verdict == "accepted"
    discovery = SchemaDiscovery(db, connections.logger)
    schema = await discovery.discover(
        include_samples,
        include_stats=include_stats,
        schemas=schemas,
        on_progress=on_progress,
        decisions=decisions,
    )
    masks.hide(schema, await masks.in_force(connections))
    if schemas is None:  # a part is no picture of the whole
        await state.set_meta("schema_map", discovery.to_json(schema))
    return schema
