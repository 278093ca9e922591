"""Which masks are in force: those of the settings, those of the job's plan, and those that filled the index.

A full sync takes the masks of its settings and its plan, and the state remembers them. Whatever comes later,
an incremental sync, a resumed job, a retry, a verification, a preview, keeps them and only adds its own: a
flag that is forgotten once must not put into the index what was masked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ingestion import errors
from ingestion.plan import Plan
from ingestion.transform.sensitivity import MASKED, MaskPolicy

if TYPE_CHECKING:
    from ingestion.connections import Connections
    from ingestion.reports import JobRequest
    from ingestion.schema_discovery import SchemaMap

_REMEMBERED = "masks"


async def in_force(connections: Connections) -> MaskPolicy:
    """The masks of whatever is no full sync: remembered ones and those of the settings."""
    return union(await _remembered(connections), of_settings(connections))


async def of_job(connections: Connections, schema: SchemaMap, request: JobRequest) -> MaskPolicy:
    """The masks of a job that is about to begin, remembered from now on.

    Raises errors.SchemaError for a glob that matches no column: a typing error must not leave data unmasked.
    """
    from ingestion.reports import JobKind

    own = union(of_settings(connections), of_plan(request.plan))
    check(own, schema)
    kept = await _remembered(connections)
    renewed = request.kind is JobKind.FULL and request.resume is None and _takes_all(request.plan)
    policy = own if renewed else union(kept, own)
    if policy != kept:
        await (await connections.state()).set_meta(_REMEMBERED, _to_dict(policy))
    dropped = sorted(set(kept.mask) - set(policy.mask))
    if dropped or (kept.mask_personal and not policy.mask_personal):
        shown = ", ".join(dropped) or "personal columns"
        connections.logger.warning("no longer masked, as this full sync does not say so: %s", shown)
    return policy


def hide(schema: SchemaMap, policy: MaskPolicy) -> None:
    """Take the values of masked columns out of samples and statistics, in place; secrets are out already."""
    for table in (*schema.tables, *schema.views):
        for column in table.columns:
            inside = column.type_category in ("json", "array", "composite")
            masked = policy.masks(table.name, column.name, column.sensitivity) or (
                # Which keys are masked inside a cell that may be cut cannot be told: the whole cell is.
                inside and policy.watches_all_keys(table.name, column.name)
            )
            if not masked:
                continue
            column.minimum = column.maximum = None
            column.top_values = []
            for row in table.samples:
                if row.get(column.name) is not None:
                    row[column.name] = MASKED


def of_settings(connections: Connections) -> MaskPolicy:
    settings = connections.settings
    return MaskPolicy(settings.mask, settings.unmask, settings.mask_personal)


def of_plan(plan: Plan) -> MaskPolicy:
    return MaskPolicy(plan.mask, plan.unmask)


def union(first: MaskPolicy, second: MaskPolicy) -> MaskPolicy:
    """Both policies' globs, each once."""
    return MaskPolicy(
        tuple(dict.fromkeys(first.mask + second.mask)),
        tuple(dict.fromkeys(first.unmask + second.unmask)),
        first.mask_personal or second.mask_personal,
    )


def _takes_all(plan: Plan) -> bool:
    """Whether the plan leaves no table with documents of an earlier plan."""
    return "*" in plan.include and not plan.exclude


def check(policy: MaskPolicy, schema: SchemaMap) -> None:
    """Raises errors.SchemaError for a glob that matches no column."""
    if not schema.tables:
        return
    names = [f"{table.name}.{column.name}" for table in schema.tables for column in table.columns]
    for glob in dict.fromkeys(policy.mask + policy.unmask):
        if not _matches_one(names, glob):
            near = get_close_matches(glob, names, 2, 0.6)
            raise errors.SchemaError(
                f"no column matches the mask {glob!r}",
                hint=f"Did you mean {' or '.join(near)}?"
                if near
                else "A mask is TABLE.COLUMN, or TABLE.COLUMN.KEY inside JSON; globs are allowed.",
            )


def _matches_one(names: Sequence[str], glob: str) -> bool:
    # `table.column.key` names a key inside the column's JSON.
    column = glob.rpartition(".")[0] if glob.count(".") > 1 else ""
    return any(fnmatchcase(name, glob) or fnmatchcase(name, column) for name in names)


async def _remembered(connections: Connections) -> MaskPolicy:
    stored: dict[str, Any] = await (await connections.state()).get_meta(_REMEMBERED) or {}
    return MaskPolicy(
        tuple(stored.get("mask", ())), tuple(stored.get("unmask", ())), bool(stored.get("mask_personal"))
    )


def _to_dict(policy: MaskPolicy) -> dict[str, Any]:
    return {"mask": policy.mask, "unmask": policy.unmask, "mask_personal": policy.mask_personal}
