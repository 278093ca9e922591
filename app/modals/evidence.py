"""Why a relation is implied: what speaks for and against it, sampled pairs, what else was considered, a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Button

from app import formatting
from app.bridge import advice, explain
from app.modals.dialog import Dialog
from app.widgets.field_list import Field, FieldList
from app.widgets.row_list import Notice
from ingestion.reports import RelationSample

if TYPE_CHECKING:
    from app.application import IngestApp
    from ingestion.schema_discovery import ImplicitRelationship

_BASES = {
    "declared": "a declared foreign key", "inferred": "inferred", "operator": "accepted by you",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict on a relation; `accepted` None takes an earlier one back."""

    relation: ImplicitRelationship
    accepted: bool | None


class Evidence(Dialog[Judged | None]):
    """Answers the verdict, or None to leave all as it is. `standing` is asserted, guess or rejected."""

    footing = "a accepts, x rejects, w withdraws a verdict, esc leaves it"

    DEFAULT_CSS = """
    Evidence > .frame { width: 100; height: auto; max-height: 96%; padding: 0 1; }
    Evidence FieldList { height: 14; }
    Evidence .buttons { margin-top: 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "accept", show=False),
        Binding("x", "reject", show=False),
        Binding("w", "withdraw", show=False),
    ]

    def __init__(
        self,
        relation: ImplicitRelationship,
        alternatives: Sequence[ImplicitRelationship],
        standing: str = "asserted",
    ) -> None:
        super().__init__()
        self._relation, self._alternatives, self._standing = relation, list(alternatives), standing
        self._sample: RelationSample | None = None
        self._at: dict[int, ImplicitRelationship] = {}
        """Which alternative stands in which field."""
        self.heading = f"{relation.source_table}.{relation.source_column} refers to {relation.target_table}?"

    @property
    def _judged(self) -> bool:
        return self._standing == "rejected" or self._relation.basis == "operator"

    def compose_inside(self) -> ComposeResult:
        yield FieldList(name_width=15, id="evidence")
        yield self.buttons(
            Button("Leave it", id="leave", compact=True),
            Button("Accept", id="yes", compact=True),
            Button("Reject", id="no", compact=True),
            *([Button("Withdraw", id="withdraw", compact=True)] if self._judged else []),
        )

    def on_mount(self) -> None:
        listing = self.query_one(FieldList)
        listing.notice = Notice("")
        listing.set_fields(self._fields())
        listing.focus()
        self._look()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        self.fit_height(self.query_one(FieldList))

    @work(group="sample", exit_on_error=False)
    async def _look(self) -> None:
        service = cast("IngestApp", self.app).bridge.service
        try:
            self._sample = await service.relation_sample(self._relation)
        except Exception as error:
            problem = formatting.redacted(f"{explain(error)} {advice(error)}".strip())
            self._sample = RelationSample(problem=problem)
        if self.is_mounted:
            self.query_one(FieldList).set_fields(self._fields(), keep=True)
            self.call_after_refresh(self._fit)

    # -- what is said ------------------------------------------------------------------------------------------

    def _fields(self) -> list[Field]:
        r = self._relation
        glyphs = cast("IngestApp", self.app).glyphs
        standing = {"guess": "a guess, not asserted", "rejected": "rejected by you"}.get(
            self._standing, _BASES.get(r.basis, r.basis)
        )
        if r.basis == "inferred" and self._standing != "rejected":
            standing += f", {formatting.percent(r.confidence)} sure"
        fields = [Field("leads to", f"{r.target_table}.{r.target_column}"), Field("standing", standing)]
        fields.append(Field("role", " ".join(filter(None, (r.relation, _cardinality(r)))) or "(none)"))
        if r.type_column:
            fields.append(Field("only where", f"{r.type_column} = {r.type_value}"))
        fields.append(self._match(r.orphan_share, glyphs))
        fields += [Field("because" if not n else "", text) for n, text in enumerate(r.evidence)]
        self._at = {}
        for number, other in enumerate(self._alternatives):
            lost = (
                f", {formatting.percent(1 - other.orphan_share)} match"
                if other.orphan_share is not None
                else ""
            )
            text = (
                f"{other.target_table}.{other.target_column} ({formatting.percent(other.confidence)}{lost})"
            )
            self._at[len(fields)] = other
            fields.append(Field("also considered" if not number else "", text, tone="muted"))
        return [*fields, *self._pairs(glyphs)]

    def _match(self, orphan_share: float | None, glyphs: formatting.Glyphs) -> Field:
        if orphan_share is None:
            return Field("match", "not tested: there are no values, or no rows over there", tone="muted")
        share = 1 - orphan_share
        done, rest = formatting.bar(share, 20, glyphs)
        target = f"{self._relation.target_table}.{self._relation.target_column}"
        text = f"{done}{rest} {formatting.percent(share)} of sampled values exist in {target}"
        return Field("match", text, tone="good" if share >= 0.9 else "warn" if share >= 0.5 else "bad")

    def _pairs(self, glyphs: formatting.Glyphs) -> list[Field]:
        sample = self._sample
        if sample is None:
            return [Field("Sampled pairs", heading=True, note=f"reading{glyphs.ellipsis}")]
        if sample.problem:
            return [Field("Sampled pairs", heading=True), Field("none", sample.problem, tone="muted")]
        if not sample.values:
            return [Field("Sampled pairs", heading=True), Field("none", "the column is empty", tone="muted")]
        note = f"{sample.found:,} of {formatting.plural(sample.values, 'value')} found"
        fields = [Field("Sampled pairs", heading=True, note=note)]
        for pair in sample.pairs:
            if pair.found:
                label = f"{glyphs.arrow} {pair.label or 'found'}"
                fields.append(Field(pair.value, f"{label}   ({formatting.plural(pair.rows, 'row')})"))
        orphans = [pair for pair in sample.pairs if not pair.found]
        lost = sample.rows - sample.rows_found
        note = f"{sample.values - sample.found:,} values in {formatting.plural(lost, 'sampled row')}"
        fields.append(
            Field("Orphans", heading=True, note=note if orphans else "none: every value leads somewhere")
        )
        fields += [
            Field(
                pair.value, f"{glyphs.bad} no such row   ({formatting.plural(pair.rows, 'row')})", tone="warn"
            )
            for pair in orphans
        ]
        return fields

    # -- verdicts ------------------------------------------------------------------------------------------------

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "leave":
            self.dismiss(None)
        else:
            {"yes": self.action_accept, "no": self.action_reject, "withdraw": self.action_withdraw}[
                event.button.id or ""
            ]()

    def action_accept(self) -> None:
        """Accept this one, or the alternative under the cursor."""
        chosen = self._at.get(self.query_one(FieldList).cursor, self._relation)
        self.dismiss(Judged(chosen, True))

    def action_reject(self) -> None:
        self.dismiss(Judged(self._relation, False))

    def action_withdraw(self) -> None:
        if self._judged:
            self.dismiss(Judged(self._relation, None))
        else:
            self.notify("No verdict has been given on this relation.", severity="warning", markup=False)


def _cardinality(relation: ImplicitRelationship) -> str:
    return {"many_to_one": "(many to one)", "one_to_one": "(one to one)"}.get(relation.cardinality, "")
