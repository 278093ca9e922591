"""All that is known of one column: type, key, time, reference, file, sensitivity and why, and its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from app import formatting
from app.bridge import advice, explain
from app.clipboard import copy
from app.formatting import Glyphs
from app.modals.dialog import Dialog
from app.widgets.field_list import Field, FieldList

if TYPE_CHECKING:
    from app.application import IngestApp
    from ingestion.schema_discovery import Column, SchemaMap, Table


class ColumnDialog(Dialog[None]):
    """Statistics are read when the dialog opens, where they are not known yet."""

    footing = "y copies the value under the cursor, esc closes"

    DEFAULT_CSS = """
    ColumnDialog > .frame { width: 92; height: auto; max-height: 96%; padding: 0 1; }
    ColumnDialog FieldList { height: 14; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", show=False),
        Binding("enter,q", "leave", show=False),
    ]

    def __init__(self, schema: SchemaMap, table: Table, column: Column) -> None:
        super().__init__()
        self._schema, self._table, self._column = schema, table, column
        self._note = ""
        self.heading = f"{table.name}.{column.name}"

    def compose_inside(self) -> ComposeResult:
        yield FieldList(name_width=14)

    def on_mount(self) -> None:
        self.query_one(FieldList).focus()
        self._show()
        if self._table.readable and self._column.null_share is None and self._column.sensitivity != "secret":
            self._fetch()

    def _show(self) -> None:
        glyphs = cast("IngestApp", self.app).glyphs
        fields = [
            *column_fields(self._schema, self._table, self._column, glyphs),
            Field("Statistics", heading=True),
            *statistics_fields(self._table, self._column, glyphs, self._note),
        ]
        self.query_one(FieldList).set_fields(fields, keep=True)
        self.call_after_refresh(self._fit)

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        self.fit_height(self.query_one(FieldList))

    @work(group="statistics", exit_on_error=False)
    async def _fetch(self) -> None:
        self._note = "reading"
        self._show()
        service = cast("IngestApp", self.app).bridge.service
        try:
            found = await service.statistics(self._table.name)
        except Exception as error:
            self._note = formatting.redacted(f"{explain(error)} {advice(error)}".strip())
        else:
            self._note = ""
            self._column = next((c for c in found.columns if c.name == self._column.name), self._column)
        if self.is_mounted:
            self._show()

    def action_copy(self) -> None:
        field = self.query_one(FieldList).current
        if field is not None and field.value:
            self.notify(copy(self.app, field.value), markup=False)


def column_fields(schema: SchemaMap, table: Table, column: Column, glyphs: Glyphs) -> list[Field]:
    """What the catalog and discovery say."""
    fields = [Field("type", column.data_type + ("" if column.is_nullable else ", NOT NULL"))]
    if column.default_value:
        fields.append(Field("default", column.default_value))
    if column.comment:
        fields.append(Field("comment", column.comment))
    if column.name in table.key_columns:
        whole = ", ".join(table.key_columns)
        fields.append(
            Field("key", "tells the rows apart" if len(table.key_columns) == 1 else f"part of {whole}")
        )
    fields += _sensitivity(column, glyphs)
    for relation in schema.relationships:
        if (relation.source_table, relation.source_column) == (table.name, column.name):
            fields.append(
                Field("refers to", f"{relation.target_table}.{relation.target_column} ({relation.basis})")
            )
    users = sum(r.target_table == table.name and r.target_column == column.name for r in schema.relationships)
    if users:
        fields.append(Field("referred to", f"by {formatting.plural(users, 'column')} of other tables"))
    fields += [
        Field("outside", external.reason, tone="muted")
        for external in schema.external_columns
        if (external.table, external.column) == (table.name, column.name)
    ]
    for fitness in table.timestamps:
        if fitness.column == column.name:
            chosen = ", chosen for freshness" if column.name == table.timestamp_column else ""
            verdict = f"{glyphs.ok} fit" if fitness.fit else f"{glyphs.bad} not fit"
            text = f"{verdict} to narrow an incremental read{chosen}" + "".join(
                f"\n{r}" for r in fitness.reasons
            )
            fields.append(Field("time", text, tone="good" if fitness.fit else "muted"))
    for file in table.file_reference_columns:
        if file.column_name == column.name:
            share = (
                f", {formatting.percent(file.parsed_share)} of {file.sampled:,} values parse"
                if file.sampled
                else ""
            )
            fields.append(Field("files", f"{file.reference_type.value}: {file.pattern}{share}", tone="good"))
            for what, name in file.companions.items():
                fields.append(Field(f"  {what.replace('_', ' ')}", f"in column {name}", tone="muted"))
    return fields


def _sensitivity(column: Column, glyphs: Glyphs) -> list[Field]:
    secret_keys = list(getattr(column, "secret_keys", ()))
    fields = []
    if column.sensitivity == "secret":
        why = f": {column.sensitivity_reason}" if column.sensitivity_reason else ""
        fields.append(Field("secret", f"{glyphs.warn} masked as it is read{why}", tone="warn"))
    elif column.sensitivity == "personal":
        why = f": {column.sensitivity_reason}" if column.sensitivity_reason else ""
        fields.append(
            Field("personal", f"indexed, unless --mask-personal or the plan's mask{why}", tone="warn")
        )
    if secret_keys:
        fields.append(
            Field("secret keys", f"{glyphs.warn} masked inside: {', '.join(secret_keys)}", tone="warn")
        )
    return fields


def statistics_fields(table: Table, column: Column, glyphs: Glyphs, note: str) -> list[Field]:
    """The figures, or why there are none."""
    if column.sensitivity == "secret":
        return [Field("none", "a secret's values are never looked at", tone="muted")]
    if column.null_share is None:
        return [
            Field("none", note or ("the table is empty" if not table.row_count else "not read"), tone="muted")
        ]
    fields = [Field("NULL", formatting.percent(column.null_share))]
    if column.distinct is not None:
        fields.append(Field("distinct", f"about {formatting.count(column.distinct)}"))
    if column.minimum is not None or column.maximum is not None:
        fields.append(Field("from", column.minimum))
        fields.append(Field("to", column.maximum))
    if column.longest:
        fields.append(Field("longest", formatting.plural(column.longest, "character")))
    for number, value in enumerate(column.top_values):
        fields.append(Field("frequent" if not number else "", value))
    return fields
