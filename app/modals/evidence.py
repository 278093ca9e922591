"""Why a relation is implied: what speaks for and against it, what else was considered, and your verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Button

from app import formatting
from app.modals.dialog import Dialog
from app.widgets.field_list import Field, FieldList

if TYPE_CHECKING:
    from ingestion.schema_discovery import ImplicitRelationship


class Evidence(Dialog[bool | None]):
    """Answers True (accept), False (reject) or None (leave as it is)."""

    footing = "a accepts, x rejects, esc leaves it as it is"

    DEFAULT_CSS = """
    Evidence > .frame { width: 84; }
    Evidence FieldList { height: auto; max-height: 22; min-height: 8; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "accept", show=False),
        Binding("x", "reject", show=False),
    ]

    def __init__(self, relation: ImplicitRelationship, alternatives: Sequence[ImplicitRelationship]) -> None:
        super().__init__()
        self._relation, self._alternatives = relation, alternatives
        self.heading = f"{relation.source_table}.{relation.source_column} refers to {relation.target_table}"

    def compose_inside(self) -> ComposeResult:
        yield FieldList(name_width=16, id="evidence")
        yield self.buttons(
            Button("Leave it", id="leave", compact=True),
            Button("Accept", id="yes", compact=True),
            Button("Reject", id="no", compact=True),
        )

    def on_mount(self) -> None:
        listing = self.query_one(FieldList)
        fields = self._fields()
        listing.set_fields(fields)
        listing.styles.height = min(22, max(8, 2 + sum(1 + len(f.value or "") // 60 for f in fields)))
        self.query_one("#leave").focus()

    def _fields(self) -> list[Field]:
        r = self._relation
        target = f"{r.target_table}.{r.target_column}"
        fields = [Field("to", target), Field("role", r.relation or "(none)"), Field("basis", r.basis)]
        fields.append(Field("confidence", formatting.percent(r.confidence)))
        if r.orphan_share is not None:
            share = f"{formatting.percent(1 - r.orphan_share)} of sampled values exist in {target}"
            fields.append(Field("match", share, tone="good" if r.orphan_share < 0.1 else "warn"))
        else:
            fields.append(Field("match", "not tested", tone="muted"))
        if r.type_column:
            fields.append(Field("only where", f"{r.type_column} = {r.type_value}"))
        fields += [Field("because" if not n else "", text) for n, text in enumerate(r.evidence)]
        for number, other in enumerate(self._alternatives):
            text = f"{other.target_table}.{other.target_column} ({formatting.percent(other.confidence)})"
            fields.append(Field("also considered" if not number else "", text, tone="muted"))
        return fields

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss({"yes": True, "no": False}.get(event.button.id or ""))

    def action_accept(self) -> None:
        self.dismiss(True)

    def action_reject(self) -> None:
        self.dismiss(False)
