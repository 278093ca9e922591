"""Verify: source against index, table by table; what is missing, extra or different, and mending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from app import formatting, reporting
from app.actions import Action, Need
from app.messages import VerifyMoved
from app.screens.base import BaseScreen
from app.screens.schema_parts import progress_text
from app.widgets.field_list import Field, FieldList
from app.widgets.ink import Ink, bar_runs
from app.widgets.lines import InkLines
from app.widgets.row_list import ListColumn, Notice, RowList

if TYPE_CHECKING:
    from ingestion.reports import TableDifference


class VerifyScreen(BaseScreen):
    """Opened above another screen; a verification goes on when this closes."""

    scope: ClassVar[str] = "verify"

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="panel", id="verdict-panel"):
            yield InkLines(self._verdict_lines, id="verdict")
        with Horizontal(id="lower"):
            with Vertical(classes="panel", id="tables-panel"):
                yield RowList["TableDifference"](
                    (
                        ListColumn("state", "Verdict", 11),
                        ListColumn("name", "Table", flex=2, minimum=16, maximum=40),
                        ListColumn("source", "Source", 8, right=True),
                        ListColumn("indexed", "Indexed", 8, right=True),
                        ListColumn("failed", "Failed", 7, right=True, drop=2),
                        ListColumn("skipped", "Skipped", 7, right=True, drop=3),
                        ListColumn("missing", "Missing", 7, right=True),
                        ListColumn("extra", "Extra", 6, right=True),
                        ListColumn("different", "Differ", 6, right=True),
                    ),
                    self._cells,
                    lambda table: table.table,
                    id="tables",
                )
            with Vertical(classes="panel", id="detail-panel"):
                yield FieldList(name_width=4, id="detail")

    def on_mount(self) -> None:
        self.title_panel("#verdict-panel", "Verify", "source against index")
        self.set_focus(self._list)
        if self.bridge.verification.value is None and not self.bridge.verification.loading:
            self.bridge.verify()
        self._show()

    @property
    def _list(self) -> RowList[TableDifference]:
        return self.query_one("#tables", RowList)

    def facts(self) -> set[Need]:
        met = super().facts()
        report = self.bridge.verification.value
        if report is not None:
            met.add(Need.VERIFIED)
            if not report.equal:
                met.add(Need.DIFFERENCES)
        return met

    def question_of(self, action: Action) -> tuple[str, str, str]:
        report = self.bridge.verification.value
        if report is None:
            return super().question_of(action)
        lost = sum(t.missing + t.different for t in report.tables)
        extra = sum(t.extra for t in report.tables)
        text = (
            f"{formatting.plural(lost, 'record')} will be fed again, "
            f"{formatting.plural(extra, 'record')} removed from the index."
        )
        return f"{action.question}\n\n{text}", "Repair", ""

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, VerifyMoved):
            self._show()

    def _show(self) -> None:
        loaded = self.bridge.verification
        self.query_one("#verdict", InkLines).update()
        if loaded.error:
            notice = Notice(loaded.error, f"{loaded.hint} r tries again.".strip(), "bad")
        elif loaded.loading:
            notice = Notice("Comparing", progress_text(loaded.step, loaded.done, loaded.total), "info")
        else:
            notice = Notice("Nothing compared yet", "Press r.")
        tables = loaded.value.tables if loaded.value is not None else ()
        self._list.set_items(sorted(tables, key=lambda t: (t.equal, t.table)), notice=notice)
        different = sum(not t.equal for t in tables)
        self.title_panel("#tables-panel", f"Tables {len(tables)}",
                         f"{formatting.plural(different, 'table')} different" if different else "")  # fmt: skip
        self._show_detail()

    def _verdict_lines(self, width: int) -> list[Ink]:
        loaded, glyphs = self.bridge.verification, self.glyphs
        if loaded.loading:
            share = loaded.done / loaded.total if loaded.total else None
            step = progress_text(loaded.step, loaded.done, loaded.total)
            return [
                [
                    (f"{glyphs.running} comparing ", "info"),
                    *bar_runs(share, max(4, width - 14), "info", glyphs),
                ],
                (step, "muted"),
            ]
        report = loaded.value
        if report is None:
            return [(loaded.error or "Nothing compared yet.", "bad" if loaded.error else "muted")]
        mark = formatting.state_mark("equal" if report.equal else "different", glyphs)
        rows, indexed = sum(t.source for t in report.tables), sum(t.indexed for t in report.tables)
        failed, skipped = sum(t.failed for t in report.tables), sum(t.skipped for t in report.tables)
        depth = "every document was compared" if report.deep else "counts, keys and digests were compared"
        lines: list[Ink] = [
            [(f"{mark.glyph} {mark.word}", mark.tone), (f"   {depth}", "muted")],
            [
                (formatting.count(rows), "strong"), (" rows in the source = ", "muted"),
                (formatting.count(indexed), "good"), (" indexed + ", "muted"),
                (formatting.count(failed), "bad" if failed else "muted"), (" failed + ", "muted"),
                (formatting.count(skipped), "muted"), (" skipped", "muted"),
            ],
        ]  # fmt: skip
        if report.repaired:
            lines.append((f"{formatting.plural(report.repaired, 'record')} repaired", "good"))
        elif not report.equal:
            lines.append([("m", "key"), (" mends the differences", "muted")])
        return lines

    def _cells(self, table: TableDifference, column: str, width: int) -> Ink:
        glyphs = self.glyphs
        if column == "state":
            mark = formatting.state_mark("equal" if table.equal else "different", glyphs)
            return [(f"{mark.glyph} ", mark.tone), (mark.word, mark.tone if not table.equal else "muted")]
        if column == "name":
            name = formatting.one_line(table.table, unicode=glyphs.unicode)
            return formatting.middle(name, width, glyphs)
        number = getattr(table, column)
        if column in {"source", "indexed"}:
            return (formatting.count(number), "muted")
        tone = "muted" if column == "skipped" else "bad"
        return (formatting.count(number), tone) if number else (glyphs.dot, "faint")

    @on(RowList.Highlighted, "#tables")
    def _show_detail(self) -> None:
        table = self._list.current
        detail = self.query_one("#detail", FieldList)
        if table is None:
            detail.set_notice(Notice(""))
            return
        self.title_panel("#detail-panel", table.table)
        if table.equal:
            detail.set_notice(Notice(f"{self.glyphs.ok} equal", f"{formatting.plural(table.source, 'row')}."))
            return
        fields = [Field("message", table.message, tone="bad")] if table.message else []
        for name, meaning in (
            ("missing", "in the source, not in the index"),
            ("extra", "in the index, not in the source"),
            ("different", "the document differs from its row"),
        ):
            number, ids = getattr(table, name), getattr(table, f"{name}_ids")
            if number:
                fields.append(Field(f"{formatting.count(number)} {name}: {meaning}", heading=True))
                fields += [Field("", key, depth=1, tone="") for key in ids[:200]]
                if number > len(ids[:200]):
                    fields.append(Field("", f"and {number - len(ids[:200]):,} more", tone="faint"))
        if table.pending:
            fields.append(
                Field("pending", f"{table.pending:,} rows are newer than the last sync", tone="muted")
            )
        detail.set_fields(fields)

    # -- actions -----------------------------------------------------------------------------------------------

    def do_again(self) -> None:
        self.bridge.verify()

    def do_deep(self) -> None:
        self.bridge.verify(deep=True)

    def do_repair(self) -> None:
        report = self.bridge.verification.value
        different = [t.table for t in report.tables if not t.equal] if report is not None else None
        self.bridge.verify(different, repair=True)

    @work(group="save", exit_on_error=False)
    async def do_save(self) -> None:
        from app.modals.save import save_text

        report = self.bridge.verification.value
        if report is None:
            return

        async def text(form: str) -> str:
            return reporting.verify_markdown(report) if form == "markdown" else reporting.verify_json(report)

        await save_text(
            self,
            "Save the report",
            "verification",
            (("markdown", "Markdown", "For people."), ("json", "JSON", "For scripts.")),
            text,
        )

    def do_close(self) -> None:
        self.app.pop_screen()
