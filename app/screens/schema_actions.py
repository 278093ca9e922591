"""What the Schema screen opens and stores: a column, a value, the evidence and its verdict, changes, an export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from app.screens.schema_parts import Link, alternatives

if TYPE_CHECKING:
    from app.screens.base import BaseScreen
    from app.widgets.field_list import Field
    from ingestion.schema_discovery import SchemaMap, Table

_STANDINGS = {"guess_out": "guess", "guess_in": "guess", "rejected": "rejected"}


def open_column(screen: BaseScreen, schema: SchemaMap, table: Table, name: str) -> None:
    """All that is known of a column."""
    from app.modals.column import ColumnDialog

    screen.app.push_screen(ColumnDialog(schema, table, table.column(name)))


def read_value(screen: BaseScreen, field: Field | None) -> None:
    """A sample's value in full, JSON indented."""
    from app.modals.reading import Reading

    if field is None or field.value is None or field.heading:
        return
    text = field.value
    if text[:1] in {"{", "["}:
        text = _indented(text)
    screen.app.push_screen(Reading(field.name, text))


def _indented(text: str) -> str:
    """JSON indented; as it is where it was cut, or where reading it would change a number's digits."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    same = "".join(json.dumps(value, ensure_ascii=False).split()) == "".join(text.split())
    return json.dumps(value, ensure_ascii=False, indent=2) if same else text


def show_drift(screen: BaseScreen, schema: SchemaMap) -> None:
    """What changed between the last two discoveries."""
    from app.modals.reading import Reading

    heading = f"Changes since {schema.drift_since or 'the discovery before'}"
    screen.app.push_screen(Reading(heading, "\n".join(schema.drift)))


async def judge(screen: BaseScreen, schema: SchemaMap, link: Link) -> None:
    """Show the evidence for a relation, store the verdict, and let the next discovery obey it."""
    from app.modals.evidence import Evidence

    relation = link.relation
    if relation is None:
        return
    standing = _STANDINGS.get(link.kind, "asserted")
    judged = await screen.app.push_screen_wait(Evidence(relation, alternatives(schema, relation), standing))
    if judged is None:
        return
    service = screen.bridge.service
    try:
        if judged.accepted is None:
            await service.withdraw_verdict(judged.relation)
        else:
            await service.decide_relation(judged.relation, judged.accepted)
    except Exception as error:
        screen.tell_error(error, "The verdict was not stored")
        return
    what = {True: "Accepted", False: "Rejected", None: "Withdrawn"}[judged.accepted]
    r = judged.relation
    screen.tell(f"{what}: {r.source_table}.{r.source_column} to {r.target_table}. Reading the schema again.")
    screen.bridge.load_schema(discover=True)


async def export(screen: BaseScreen) -> None:
    """Save the schema in one of its three forms."""
    from app.modals.save import save_text

    await save_text(
        screen,
        "Export the schema",
        "schema",
        (
            ("json", "JSON", "All of it, field by field; `discover --format json` writes the same."),
            ("markdown", "Markdown", "A readable description, table by table."),
            ("mermaid", "Mermaid", "A diagram of tables and relations."),
        ),
        screen.bridge.service.schema_text,
    )
