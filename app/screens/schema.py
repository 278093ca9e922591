"""Schema: the tables as a tree with counts; of one table its columns, relations, samples, files and facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import ContentSwitcher, Input

from app import formatting
from app.actions import Action, Need
from app.clipboard import copy
from app.messages import PlanMoved, SchemaMoved
from app.screens import schema_actions
from app.screens import schema_parts as parts
from app.screens import schema_tree as tree
from app.screens.base import BaseScreen
from app.screens.schema_tree import Node
from app.widgets.field_list import Field, FieldList, fields_of_row
from app.widgets.ink import Ink
from app.widgets.lines import FilterLine, InkLines, TabStrip
from app.widgets.row_list import Notice, RowList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingestion.schema_discovery import Column, SchemaMap, Table

SAMPLE_ROWS = 20


@dataclass(frozen=True, slots=True)
class Visited:
    """Where a followed relation was left: the table, its tab, and the relation under the cursor."""

    table: str
    tab: str
    link: str | None


class SchemaScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "schema"

    def __init__(self) -> None:
        super().__init__()
        self._folded: set[str] = set()
        self._shown: Table | None = None
        self._history: list[Visited] = []
        self._samples: dict[str, Sequence[Mapping[str, str | None]]] = {}
        self._sample_at = 0
        self._wanted: str | None = None

    def compose_body(self) -> ComposeResult:
        with Horizontal():
            with Vertical(id="left", classes="panel"):
                yield FilterLine(tree.HINT, id="filter")
                yield RowList[Node](tree.TREE_COLUMNS, self._node_cells, lambda node: node.key, id="tables")
            with Vertical(id="detail", classes="panel"):
                yield InkLines(self._about_lines, id="about")
                yield TabStrip(parts.TABS, id="tabs")
                with ContentSwitcher(initial="columns"):
                    yield RowList["Column"](
                        parts.COLUMN_COLUMNS, self._column_cells, lambda column: column.name, id="columns"
                    )
                    yield RowList[parts.Link](
                        parts.LINK_COLUMNS,
                        lambda link, column, width: parts.link_cells(link, column, self.glyphs),
                        lambda link: link.key,
                        id="relations",
                        dim=lambda link: link.kind in {"outside", "rejected"},
                    )
                    yield FieldList(id="samples")
                    yield RowList[parts.FileLine](
                        parts.FILE_COLUMNS, parts.file_cells, lambda line: line.column, id="files"
                    )
                    yield FieldList(id="facts")

    def on_mount(self) -> None:
        self.set_focus(self._tables)
        kept = self.ingest_app.ui_state
        self._wanted = self._wanted or kept.text("schema.table") or None
        if (tab := kept.text("schema.tab")) in self._tabs.keys:
            self._tabs.choose(tab)
        self._show_schema()

    # -- what there is --------------------------------------------------------------------------------------

    @property
    def _tables(self) -> RowList[Node]:
        return self.query_one("#tables", RowList)

    @property
    def _relations(self) -> RowList[parts.Link]:
        return self.query_one("#relations", RowList)

    @property
    def _tabs(self) -> TabStrip:
        return self.query_one("#tabs", TabStrip)

    @property
    def _schema(self) -> SchemaMap | None:
        return self.bridge.schema.value

    def facts(self) -> set[Need]:
        met = super().facts()
        if self._shown is not None:
            met.add(Need.TABLE)
            if self._samples.get(self._shown.name):
                met.add(Need.SAMPLES)
        if self._history:
            met.add(Need.HISTORY)
        if self._schema is not None and self._schema.drift:
            met.add(Need.DRIFT)
        if self._tabs.chosen == "columns" and self.query_one("#columns", RowList).current is not None:
            met.add(Need.COLUMN)
        link = self._relations.current if self._tabs.chosen == "relations" else None
        if link is not None and link.relation is not None:
            met.add(Need.RELATION)
        return met

    def label_of(self, action: Action) -> str:
        if action.id == "schema.toggle" and self._shown is not None:
            return "Leave out" if self._shown.name in self.bridge.draft.included else "Take in"
        return action.label

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, SchemaMoved):
            self._show_schema()
        elif isinstance(message, PlanMoved):
            self._tables.refresh()

    def shown(self) -> None:
        self._show_schema()

    def theme_moved(self) -> None:
        self.query_one("#about", InkLines).update()

    def on_screen_suspend(self) -> None:
        self._keep()

    def on_unmount(self) -> None:
        self._keep()

    def _keep(self) -> None:
        """The table to come back to at the next start."""
        if self._shown is not None:
            self.ingest_app.ui_state.set("schema.table", self._shown.name)

    def open_on(self, *, table: str | None = None, job_id: str | None = None) -> None:
        if table is not None:
            self._wanted = table
            self._follow(table)

    # -- the tree ----------------------------------------------------------------------------------------------

    def _show_schema(self) -> None:
        loaded = self.bridge.schema
        schema = loaded.value
        if schema is None:
            self.title_panel("#left", "Tables")
            if loaded.error:
                notice = Notice(
                    loaded.error, f"{loaded.hint} Press r to try again, 1 for the connection.".strip(), "bad"
                )
            elif loaded.loading:
                notice = Notice(
                    "Reading the schema", parts.progress_text(loaded.step, loaded.done, loaded.total), "info"
                )
            else:
                notice = Notice("No schema yet", "Press 1 to connect, or r to read it.")
            self._tables.set_items((), notice=notice)
            self._show_table(None)
            return
        query = self.query_one("#filter", FilterLine).value
        nodes = tree.lines(schema, query, self._folded)
        self._tables.set_items(
            nodes,
            notice=Notice("No table matches", "Press escape to clear the filter.")
            if query
            else Notice("This database has no tables", "Grant the role rights on them, then press r."),
        )
        subtitle = parts.progress_text(loaded.step, loaded.done, loaded.total) if loaded.loading else ""
        if not subtitle and schema.drift:
            subtitle = f"{self.glyphs.warn} {formatting.plural(len(schema.drift), 'change')}: d"
        if loaded.error:
            subtitle = f"{self.glyphs.warn} {loaded.error}"
        shown = sum(node.table is not None for node in nodes)
        of_all = f"{shown} of {len(schema.tables)}" if query else formatting.count(len(schema.tables))
        self.title_panel("#left", f"Tables {of_all}", subtitle)
        wanted = self._wanted or (self._shown.name if self._shown else None)
        if self._wanted:
            self._wanted = None
            self._tables.go_to(f"t:{wanted}")
        if not query and self._tables.cursor == 0 and self._shown is None:
            self._tables.cursor = min(1, max(0, len(nodes) - 1))
        self._show_current()

    def _node_cells(self, node: Node, column: str, width: int) -> Ink:
        return tree.cells(node, column, width, self.bridge.draft.included, self._folded, self.glyphs)

    @on(RowList.Highlighted, "#tables")
    def _highlighted(self) -> None:
        self._show_current()

    def _show_current(self) -> None:
        node = self._tables.current
        if node is not None and node.table is not None:
            self._show_table(node.table)

    # -- one table -------------------------------------------------------------------------------------------

    def _show_table(self, table: Table | None) -> None:
        if table is self._shown and table is not None:
            return
        self._shown = table
        self._sample_at = 0
        schema = self._schema
        about = self.query_one("#about", InkLines)
        about.update()
        columns: RowList[Column] = self.query_one("#columns", RowList)
        facts = self.query_one("#facts", FieldList)
        files: RowList[parts.FileLine] = self.query_one("#files", RowList)
        if table is None or schema is None:
            self.title_panel("#detail", "")
            nothing = Notice("Nothing to show yet")
            columns.set_items((), notice=nothing)
            self._relations.set_items((), notice=nothing)
            files.set_items((), notice=nothing)
            facts.set_notice(nothing)
            self.query_one("#samples", FieldList).set_notice(nothing)
            return
        self._title_detail(table)
        self._targets = parts.targets_by_column(schema, table)
        columns.set_items(table.columns, notice=Notice("This table has no columns"))
        links = parts.links_of(schema, table)
        self._relations.set_items(links, notice=Notice("No relations", "No column here seems to hold keys."))
        lines = parts.file_lines(table)
        files.set_items(lines, notice=Notice("No file columns", "Nothing here looks like a file reference."))
        facts.set_fields(parts.fact_fields(table, self.glyphs))
        known = [link for link in links if link.kind in {"out", "in"}]
        self._tabs.note("columns", str(len(table.columns)))
        self._tabs.note("relations", str(len(known)) if known else "")
        self._tabs.note("files", str(len(lines)) if lines else "")
        self._show_samples()
        self.refresh_bars()

    def _title_detail(self, table: Table) -> None:
        way = [visited.table for visited in self._history][-2:]
        arrow = f" {self.glyphs.arrow} "
        self.title_panel("#detail", arrow.join([*way, table.name]), "bksp goes back" if way else "")

    def _about_lines(self, width: int) -> list[Ink]:
        if self._shown is None:
            return []
        return parts.about_lines(self._shown, self.glyphs)

    def _column_cells(self, column: Column, name: str, width: int) -> Ink:
        assert self._shown is not None
        masked = self.bridge.draft.masks(f"{self._shown.name}.{column.name}")
        return parts.column_cells(self._shown, column, name, self._targets, self.glyphs, masked=masked)

    # -- samples -----------------------------------------------------------------------------------------------

    def _show_samples(self) -> None:
        table = self._shown
        if table is None or self._tabs.chosen != "samples":
            return
        if not table.readable:
            self._samples_of().set_notice(Notice("This table cannot be read", table.problem or "", "bad"))
            return
        if table.samples and table.name not in self._samples:
            self._samples[table.name] = table.samples
        if table.name in self._samples:
            self._show_sample()
            return
        self._samples_of().set_notice(Notice("Reading sample rows", "", "info"))
        name = table.name

        def arrived(rows: Sequence[Mapping[str, str | None]]) -> None:
            self._samples[name] = rows
            if self._shown is not None and self._shown.name == name:
                self._show_sample()

        def failed(error: Exception) -> None:
            self._samples_of().set_notice(Notice("No sample rows", formatting.redacted(str(error)), "bad"))

        self.load("samples", lambda: self.bridge.service.sample_rows(name, SAMPLE_ROWS), arrived, failed)

    def _samples_of(self) -> FieldList:
        return self.query_one("#samples", FieldList)

    def _show_sample(self) -> None:
        table = self._shown
        if table is None:
            return
        rows = self._samples.get(table.name, ())
        if not rows:
            self._samples_of().set_notice(Notice("This table is empty"))
            return
        self._sample_at %= len(rows)
        types = {column.name: column.data_type for column in table.columns}
        heading = Field(f"row {self._sample_at + 1} of {len(rows)}   (n next, p previous)", heading=True)
        self._samples_of().set_fields([heading, *fields_of_row(rows[self._sample_at], types=types)])

    # -- moving about --------------------------------------------------------------------------------------------

    @on(TabStrip.Chosen)
    def _tab_chosen(self, event: TabStrip.Chosen) -> None:
        self.query_one(ContentSwitcher).current = event.key
        self.ingest_app.ui_state.set("schema.tab", event.key)
        if self.focused is not None and self.focused is not self._tables:
            self.set_focus(self.query_one(f"#{event.key}"))
        self._show_samples()
        self.refresh_bars()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show_schema()
        if self.query_one("#filter", FilterLine).value:
            self._tables.cursor = 0

    @on(FilterLine.Left)
    def _filter_left(self) -> None:
        self.set_focus(self._tables)

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.perform("schema.open")

    @on(RowList.Highlighted, "#relations")
    def _relation_moved(self) -> None:
        self.refresh_bars()

    def _follow(self, name: str) -> None:
        schema = self._schema
        if schema is None or all(table.name != name for table in schema.tables):
            if schema is not None:
                self.tell(f"There is no table {name}.", severity="warning")
            return
        self._wanted = None
        if not self._tables.go_to(f"t:{name}"):
            self.query_one("#filter", FilterLine).value = ""
            self._folded.discard(schema.table(name).schema)
            self._wanted = name
            self._show_schema()
            self._tables.go_to(f"t:{name}")
        self._show_current()

    # -- actions ---------------------------------------------------------------------------------------------------

    def do_filter(self) -> None:
        self.set_focus(self.query_one("#filter"))

    def do_open(self) -> None:
        pane = self.focused.id if self.focused is not None else ""
        if pane == "relations":
            self._follow_link()
        elif pane in {"columns", "files"}:
            self._open_column()
        elif pane == "samples":
            schema_actions.read_value(self, self._samples_of().current)
        elif pane == "facts":
            self.set_focus(self._tables)
        else:
            self._open_node()

    def _open_node(self) -> None:
        node = self._tables.current
        if node is not None and node.table is None:
            self._folded ^= {node.group}
            self._show_schema()
        elif node is not None:
            self.set_focus(self.query_one(f"#{self._tabs.chosen}"))

    def _follow_link(self) -> None:
        link = self._relations.current
        if link is None or self._shown is None:
            return
        if not link.other:
            self.tell("This column refers to something outside this database.")
            return
        self._history.append(Visited(self._shown.name, self._tabs.chosen, link.key))
        self._follow(link.other)

    def _open_column(self) -> None:
        chosen = self.query_one(f"#{self._tabs.chosen}", RowList).current
        name = chosen.column if isinstance(chosen, parts.FileLine) else getattr(chosen, "name", None)
        if name is not None and self._shown is not None and self._schema is not None:
            schema_actions.open_column(self, self._schema, self._shown, name)

    def do_back(self) -> None:
        left = self._history.pop()
        self._follow(left.table)
        self._tabs.choose(left.tab)
        if left.link is not None and left.tab == "relations":
            self._relations.go_to(left.link)
        if self._shown is not None:
            self._title_detail(self._shown)

    def do_drift(self) -> None:
        if self._schema is not None:
            schema_actions.show_drift(self, self._schema)

    def do_next_tab(self) -> None:
        self._tabs.step(1)

    def do_previous_tab(self) -> None:
        self._tabs.step(-1)

    def do_next_sample(self) -> None:
        self._step_sample(1)

    def do_previous_sample(self) -> None:
        self._step_sample(-1)

    def _step_sample(self, by: int) -> None:
        if self._tabs.chosen != "samples":
            self._tabs.choose("samples")
            return
        self._sample_at += by
        self._show_sample()

    def do_toggle(self) -> None:
        if self._shown is not None:
            self.bridge.edit_plan(self.bridge.draft.toggle([self._shown.name]))
            self._tables.action_move(1)

    def do_statistics(self) -> None:
        """Read the figures of the table's columns; the Columns tab then shows them."""
        if self._shown is None:
            return
        self._tabs.choose("columns")
        name = self._shown.name
        self.tell(f"Reading statistics of {name}")
        self.load("statistics", lambda: self.bridge.service.statistics(name), self._counted)

    def _counted(self, table: Table) -> None:
        if self._shown is not None and self._shown.name == table.name:
            self._shown.columns[:] = table.columns
            self.query_one("#columns", RowList).refresh()

    def do_mask(self) -> None:
        """Mask the column under the cursor in the plan, or show it again."""
        column: Column | None = self.query_one("#columns", RowList).current
        if self._shown is None or column is None:
            return
        if column.sensitivity == "secret":
            self.tell("Secrets are masked already; a plan file's `unmask` is the way to lift that.")
            return
        self.bridge.edit_plan(self.bridge.draft.toggle_mask(f"{self._shown.name}.{column.name}"))
        self.query_one("#columns", RowList).refresh()

    def do_discover(self) -> None:
        self._samples.clear()
        self.bridge.load_schema(discover=True)

    def do_copy(self) -> None:
        if self._shown is not None:
            self.tell(copy(self.app, self._shown.name))

    @work(group="evidence", exit_on_error=False)
    async def do_evidence(self) -> None:
        link = self._relations.current
        if link is not None and link.relation is not None and self._schema is not None:
            await schema_actions.judge(self, self._schema, link)

    def do_preview(self) -> None:
        from app.modals.preview import PreviewDialog

        if self._shown is not None:
            self.app.push_screen(PreviewDialog(self._shown.name, self.bridge.draft.plan))

    @work(group="export", exit_on_error=False)
    async def do_export(self) -> None:
        await schema_actions.export(self)
