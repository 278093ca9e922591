"""Search: ask the index, open a record, follow its relations and files, and go back again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Input

from app import formatting
from app.actions import Need
from app.bridge import advice, explain
from app.clipboard import copy
from app.modals.ask import Choice, Choose, Prompt
from app.screens import search_parts as parts
from app.screens.base import BaseScreen
from app.widgets.field_list import FieldList, fields_of_document
from app.widgets.ink import Ink
from app.widgets.lines import FilterLine, InkLines
from app.widgets.row_list import ListColumn, Notice, RowList

if TYPE_CHECKING:
    from ingestion.vespa.queries import Hit, Related, SearchPage

PAGE = 50
MOST = 400
"""Vespa gives no more than this many hits of one query."""
REST_S = 0.12


class SearchScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "search"

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self._table: str | None = None
        self._project: int | None = None
        self._hits: list[Hit] = []
        self._total = 0
        self._doc_id: str | None = None
        self._hit_shown: str | None = None
        self._fields: Mapping[str, Any] = {}
        self._files: Sequence[Mapping[str, Any]] = ()
        self._history: list[str] = []
        self._rest: Timer | None = None
        self._notice = Notice(
            "Ask the index", "Type words and press enter. Nothing typed: the newest records."
        )

    def compose_body(self) -> ComposeResult:
        with Horizontal(classes="panel", id="query-panel"):
            yield FilterLine("words to find, enter asks", id="query")
        with Horizontal():
            with Vertical(classes="panel", id="results-panel"):
                yield InkLines(self._filter_line, id="filters")
                yield RowList["Hit"](
                    (
                        ListColumn("table", "Table", flex=2, minimum=10, maximum=28),
                        ListColumn("text", "Record", flex=3, minimum=14),
                        ListColumn("score", "Score", 6, right=True, drop=2),
                    ),
                    lambda hit, column, width: parts.hit_cells(hit, column, self._text, self.glyphs),
                    lambda hit: hit.doc_id,
                    id="hits",
                )
            with Vertical(id="right"):
                with Vertical(classes="panel", id="record-panel"):
                    yield FieldList(id="record")
                with Vertical(classes="panel", id="links-panel"):
                    yield RowList[parts.Link](
                        (
                            ListColumn("way", "", 1),
                            ListColumn("role", "As", flex=1, minimum=8, maximum=20),
                            ListColumn("target", "Record or file", flex=2, minimum=14),
                            ListColumn("title", "Title", flex=3, minimum=8, drop=2),
                        ),
                        lambda link, column, width: parts.link_cells(link, column, self.glyphs),
                        lambda link: link.key,
                        id="links",
                    )

    def on_mount(self) -> None:
        self.title_panel("#query-panel", "Search", "t table  o project  x clears")
        self.title_panel("#links-panel", "Relations and files")
        self._hit_list.set_items((), notice=self._notice)
        self.query_one("#record", FieldList).set_notice(Notice(""))
        state = self.ingest_app.ui_state
        self._table = state.text("search.table") or None
        project = state.text("search.project")
        self._project = int(project) if project.lstrip("-").isdigit() else None
        self.set_focus(self.query_one("#query"))

    @property
    def _hit_list(self) -> RowList[Hit]:
        return self.query_one("#hits", RowList)

    @property
    def _link_list(self) -> RowList[parts.Link]:
        return self.query_one("#links", RowList)

    def facts(self) -> set[Need]:
        met = super().facts()
        if self._doc_id is not None:
            met.add(Need.RECORD)
        if self._files:
            met.add(Need.FILES)
        if self._history:
            met.add(Need.HISTORY)
        return met

    def theme_moved(self) -> None:
        self.query_one("#filters", InkLines).update()

    def open_on(self, *, table: str | None = None, job_id: str | None = None) -> None:
        self._table = table
        self._query_index()

    # -- asking --------------------------------------------------------------------------------------------------

    @on(FilterLine.Left, "#query")
    def _query_left(self) -> None:
        self.set_focus(self._hit_list)

    @on(Input.Submitted, "#query")
    def _submitted(self, event: Input.Submitted) -> None:
        self._text = event.value.strip()
        self._query_index()

    def _query_index(self, offset: int = 0) -> None:
        if not self.bridge.service.where().configured:
            self._hit_list.set_items((), notice=Notice("Not connected yet", "Press 1 to connect."))
            return
        if not offset:
            self._hit_list.set_notice(Notice("Asking", "", "info"))
        text, table, project = self._text, self._table, self._project
        self.load(
            "search",
            lambda: self.bridge.service.search(text, table=table, project=project, limit=PAGE, offset=offset),
            lambda page: self._arrived(page, offset),
            self._failed,
        )

    def _arrived(self, page: SearchPage, offset: int) -> None:
        self._hits = [*self._hits, *page.hits] if offset else list(page.hits)
        self._total = page.total
        narrowed = self._table is not None or self._project is not None
        notice = Notice(
            "Nothing matches",
            "Press x to drop the filters." if narrowed else "Other words may: try a name, a number, a title.",
        )
        if not offset:
            self._history.clear()
            self._hit_shown = None
            self._hit_list.set_items(())
        self._hit_list.set_items(self._hits, notice=notice)
        self.query_one("#filters", InkLines).update()
        shown = (
            f"{len(self._hits):,} of {self._total:,}" if self._total > len(self._hits) else str(self._total)
        )
        self.title_panel("#results-panel", f"Results {shown}", "best first" if self._text else "newest first")
        if not offset:
            if self._hits:
                self._show_hit()
            else:
                self._clear_record()

    def _failed(self, error: Exception) -> None:
        self._hits = []
        notice = Notice(formatting.redacted(explain(error)), advice(error), "bad")
        self._hit_list.set_items((), notice=notice)
        self._clear_record()

    @on(RowList.NearEnd, "#hits")
    def _near_end(self) -> None:
        if 0 < len(self._hits) < min(self._total, MOST) and len(self._hits) % PAGE == 0:
            self._query_index(len(self._hits))

    def _filter_line(self, width: int) -> list[Ink]:
        if self._table is None and self._project is None:
            return [(" all tables, all projects", "faint")]
        runs: list[tuple[str, str]] = [(" ", "")]
        if self._table is not None:
            runs += [("table ", "muted"), (self._table, "info"), ("  ", "")]
        if self._project is not None:
            runs += [("project ", "muted"), (str(self._project), "info")]
        return [runs]

    # -- one record ----------------------------------------------------------------------------------------------

    @on(RowList.Highlighted, "#hits")
    def _hit_moved(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST_S, self._show_hit)

    def _show_hit(self) -> None:
        hit = self._hit_list.current
        # Compared with the hit shown last, not the record: whoever followed a relation meanwhile stays there.
        if hit is not None and hit.doc_id != self._hit_shown:
            self._hit_shown = hit.doc_id
            self._history.clear()
            self._open(hit.doc_id)

    def _clear_record(self) -> None:
        self._doc_id, self._hit_shown, self._fields, self._files = None, None, {}, ()
        self.query_one("#record", FieldList).set_notice(Notice(""))
        self._link_list.set_items((), notice=Notice(""))
        self.title_panel("#record-panel", "")

    def _open(self, doc_id: str) -> None:
        self._doc_id, self._files = doc_id, ()
        self.title_panel("#record-panel", doc_id)
        service = self.bridge.service

        def failed(error: Exception) -> None:
            text = formatting.redacted(explain(error))
            self.query_one("#record", FieldList).set_notice(Notice(text, advice(error), "bad"))

        self.load("record", lambda: service.show(doc_id), self._record_arrived, failed)

    def _record_arrived(self, fields: Mapping[str, Any] | None) -> None:
        record = self.query_one("#record", FieldList)
        if fields is None:
            record.set_notice(
                Notice("The index has no such record", "It may not be ingested, or was removed.")
            )
            self._link_list.set_items((), notice=Notice(""))
            return
        self._fields = fields
        matched = parts.matched_in(fields, self._text)
        record.set_fields(fields_of_document(parts.ordered(fields), matched=matched))
        where = (
            f"matches in {', '.join(matched[:3])}{' and more' if len(matched) > 3 else ''}" if matched else ""
        )
        self.title_panel("#record-panel", self._doc_id or "", where)
        doc_id = self._doc_id or ""
        service = self.bridge.service

        async def links() -> tuple[Sequence[Related], Sequence[Mapping[str, Any]]]:
            return await service.related(doc_id), await service.files_of(doc_id)

        self._link_list.set_items((), notice=Notice("Looking for relations", "", "info"))
        self.load("links", links, self._links_arrived, self._links_failed)

    def _links_failed(self, error: Exception) -> None:
        notice = Notice(formatting.redacted(explain(error)), advice(error), "bad")
        self._link_list.set_items((), notice=notice)

    def _links_arrived(self, found: tuple[Sequence[Related], Sequence[Mapping[str, Any]]]) -> None:
        links = parts.links_of(*found)
        self._files = found[1]
        if not self._files and self._fields.get("file_id"):
            self._files = [self._fields]  # the record shown is a file itself
        self._link_list.set_items(links, notice=Notice("No relations, no files"))
        back = f"{len(self._history)} back" if self._history else ""
        self.title_panel("#links-panel", f"Relations and files {len(links)}", back)

    # -- actions -------------------------------------------------------------------------------------------------

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.perform("search.open")

    def do_query(self) -> None:
        self.set_focus(self.query_one("#query"))

    def do_open(self) -> None:
        if self.focused is self._hit_list:
            self.set_focus(self._link_list if self._link_list.items else self.query_one("#record"))
        elif self.focused is self._link_list and (link := self._link_list.current) is not None:
            if not link.exists:
                self.tell("The index has no such record.", severity="warning")
                return
            if self._doc_id is not None:
                self._history.append(self._doc_id)
            self._open(link.doc_id)

    def do_view(self) -> None:
        from app.modals.file_view import FileView

        link = self._link_list.current if self.focused is self._link_list else None
        chosen = link.doc_id if link is not None else ""
        at = next((n for n, file in enumerate(self._files) if file.get("doc_id") == chosen), 0)
        self.app.push_screen(FileView(self._files, at))

    def do_back(self) -> None:
        self._open(self._history.pop())

    def _narrowed(self) -> None:
        """Other filters: kept for the next start, and asked with."""
        self.ingest_app.ui_state.set("search.table", self._table or "")
        self.ingest_app.ui_state.set("search.project", "" if self._project is None else str(self._project))
        self._query_index()

    @work(group="ask", exit_on_error=False)
    async def do_table(self) -> None:
        names = self.bridge.draft.names
        choices = [Choice("", "All tables"), *(Choice(name, name) for name in names)]
        answer = await self.app.push_screen_wait(Choose("Only records of one table", choices))
        if answer is not None:
            self._table = answer or None
            self._narrowed()

    @work(group="ask", exit_on_error=False)
    async def do_project(self) -> None:
        answer = await self.app.push_screen_wait(
            Prompt(
                "Only records of one project",
                "The project's id; nothing means all projects.",
                value="" if self._project is None else str(self._project),
                check=lambda text: "" if not text or text.lstrip("-").isdigit() else "An id is a number.",
            )
        )
        if answer is not None:
            self._project = int(answer) if answer else None
            self._narrowed()

    def do_clear(self) -> None:
        self._table = self._project = None
        self._narrowed()

    def do_copy(self) -> None:
        if self._doc_id is not None:
            self.tell(copy(self.app, self._doc_id))

    def do_source(self) -> None:
        table = str(self._fields.get("source_table", ""))
        if table:
            self.ingest_app.open_table(table)
