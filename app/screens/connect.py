"""Connect: which database, which index, what we may do there; the sandbox is one key away."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from app import connection_book, formatting
from app.actions import Action, Need
from app.bridge import Loaded
from app.connection_book import Addresses, SavedConnection
from app.messages import ConnectionMoved, SchemaMoved
from app.screens.base import BaseScreen
from app.themes import tones
from app.widgets.field_list import Field, FieldList
from app.widgets.ink import Ink
from app.widgets.press_line import Piece, PressLine
from app.widgets.row_list import ListColumn, Notice, RowList
from ingestion.postgres import connection_url
from ingestion.settings import DEFAULT_VESPA_URL

if TYPE_CHECKING:
    from app.modals.connection import Entered
    from ingestion.reports import SourceInfo, VespaInfo

WELCOME: tuple[tuple[tuple[str, str], ...], ...] = (
    (("Make a PostgreSQL database findable in Vespa.", "strong"),),
    (("a", "key"), (" adds a connection to your database and your Vespa.", "muted")),
    (("b", "key"), (" tries it on a sandbox: sample database, local Vespa, file store.", "muted")),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list: `kind` is given, typed, saved, service or sandbox; `key` is the bridge's word for it."""

    kind: str
    name: str
    source: str
    index: str
    saved: SavedConnection | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.name}" if self.kind in {"saved", "service"} else self.kind


class ConnectScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "connect"

    def compose_body(self) -> ComposeResult:
        yield Static(id="welcome", markup=False)
        with Vertical(classes="panel", id="connections-panel"):
            yield RowList[Entry](
                (
                    ListColumn("name", "Connection", flex=2, minimum=14, maximum=30),
                    ListColumn("source", "Source", flex=4, minimum=20),
                    ListColumn("index", "Index", flex=3, minimum=16, drop=2),
                ),
                self._cells,
                lambda entry: entry.key,
                id="connections",
            )
        with Horizontal(id="states"):
            with Vertical(classes="panel", id="source-panel"):
                yield FieldList(name_width=9, id="source")
                yield PressLine(lambda: self._foot(self.bridge.source, "connect.test_source", "d"))
            with Vertical(classes="panel", id="vespa-panel"):
                yield FieldList(name_width=9, id="index")
                yield PressLine(lambda: self._foot(self.bridge.vespa, "connect.test_vespa", "v"))

    def on_mount(self) -> None:
        self._given = self._given_entry()
        self._show()
        self._list.go_to(self.bridge.connection or f"saved:{self.ingest_app.ui_state.text('connection')}")
        self.set_focus(self._list)

    @property
    def _list(self) -> RowList[Entry]:
        return self.query_one("#connections", RowList)

    def theme_moved(self) -> None:
        self._show_welcome()

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, ConnectionMoved | SchemaMoved):
            self._show()

    def shown(self) -> None:
        self._show()

    def facts(self) -> set[Need]:
        met = super().facts()
        entry = self._list.current if self.ready else None
        if entry is not None:
            met.add(Need.ROW)
            if entry.kind == "saved":
                met.add(Need.SAVED)
        if self.bridge.service.where().configured:
            met.add(Need.SOURCE)
        return met

    def is_harmless(self, action: Action) -> bool:
        where = self.bridge.service.where()
        return action.id == "connect.sandbox" and (not where.configured or where.sandbox)

    def question_of(self, action: Action) -> tuple[str, str, str]:
        entry = self._list.current
        if action.id == "connect.delete" and entry is not None:
            return f"Forget {entry.name!r}? The database and the index are not touched.", "Delete", ""
        return super().question_of(action)

    # -- the list --------------------------------------------------------------------------------------------

    def _given_entry(self) -> Entry | None:
        """What was named at the start; it can be come back to, though its address may be no one's to save."""
        where = self.bridge.service.where()
        if self.bridge.connection != "given":
            return None
        return Entry("given", "as started", where.database, where.vespa)

    def _entries(self) -> list[Entry]:
        where = self.bridge.service.where()
        entries = [self._given] if self._given is not None else []
        if self.bridge.connection == "typed":
            entries.append(Entry("typed", "not saved", where.database, where.vespa))
        saved = self.ingest_app.connections.entries()
        for one in saved:
            index = one.vespa or DEFAULT_VESPA_URL
            if one.namespace and one.namespace != connection_book.DEFAULT_NAMESPACE:
                index += f" ({one.namespace})"
            entries.append(Entry("saved", one.name, connection_book.shown(one.source), index, one))
        known = {one.source.replace(" ", "") for one in saved}
        for name in connection_url.service_names(os.environ):
            source = f"service={name}"
            if source not in known:
                unsaved = SavedConnection(name, source)
                entries.append(Entry("service", name, source, DEFAULT_VESPA_URL, unsaved))
        entries.append(
            Entry("sandbox", "sandbox", "sample database, brought up here", "local Vespa endpoint")
        )
        return entries

    def _cells(self, entry: Entry, column: str, width: int) -> Ink:
        here = entry.key == self.bridge.connection
        unicode = self.glyphs.unicode
        if column == "name":
            mark = (f"{self.glyphs.running} ", "good") if here else (f"{self.glyphs.waiting} ", "faint")
            return [mark, (formatting.one_line(entry.name, unicode=unicode), "strong" if here else "")]
        text = entry.source if column == "source" else entry.index
        return (formatting.one_line(formatting.redacted(text), unicode=unicode), "" if here else "muted")

    @on(RowList.Highlighted, "#connections")
    def _moved(self) -> None:
        self.refresh_bars()

    @on(RowList.Opened, "#connections")
    def _opened(self) -> None:
        self.perform("connect.use")

    # -- showing -----------------------------------------------------------------------------------------------

    def _show(self) -> None:
        where = self.bridge.service.where()
        self._show_welcome()
        entries = self._entries()
        self._list.set_items(entries)
        panel = self.query_one("#connections-panel")
        panel.styles.height = min(len(entries), 5 if self.app.size.height < 30 else 12) + 3
        book = self.ingest_app.connections
        self.title_panel("#connections-panel", "Connections", book.problem or "no password is ever saved")
        self.title_panel("#source-panel", "Source", "PostgreSQL" + (", sandbox" if where.sandbox else ""))
        self.title_panel("#vespa-panel", "Index", "Vespa")
        self._show_source(self.bridge.source, where.configured)
        self._show_vespa(self.bridge.vespa, where.configured)

    def _show_welcome(self) -> None:
        welcome = self.query_one("#welcome", Static)
        welcome.display = not self.bridge.service.where().configured
        ink = tones(self.app)
        text = Text()
        for number, line in enumerate(WELCOME):
            text.append("\n" if number else "")
            for words, tone in line:
                text.append(words, ink.get(tone))
        welcome.update(text)

    def _foot(self, loaded: Loaded[Any], action_id: str, key: str) -> list[Piece]:
        if not self.bridge.service.where().configured:
            return []
        pieces: list[Piece] = [("  ", "", ""), (f"{key}", "key", action_id), (" Test", "strong", action_id)]
        if loaded.loading:
            pieces.append((f"   asking{self.glyphs.ellipsis}", "info", ""))
        elif loaded.value is not None:
            pieces.append((f"   answered in {max(1, round(loaded.seconds * 1000)):,} ms", "faint", ""))
        return pieces

    def _show_source(self, loaded: Loaded[SourceInfo], configured: bool) -> None:
        listing = self.query_one("#source", FieldList)
        sandbox = self.bridge.sandbox
        if sandbox.loading:
            listing.set_notice(Notice("Bringing up the sandbox", sandbox.step, "info"))
            return
        if sandbox.error:
            listing.set_notice(Notice(sandbox.error, sandbox.hint, "bad"))
            return
        info = loaded.value
        if info is None:
            nothing = "Not asked yet" if configured else "No database yet"
            listing.set_notice(_notice(loaded, nothing, configured))
            return
        ok, warn = self.glyphs.ok, self.glyphs.warn
        server = f"{info.host}:{info.port}" if info.port else info.host
        limit = f", {info.timeout_s:.0f} s limit" if info.timeout_s else ""
        standby = ", hot standby" if info.in_recovery else ""
        listing.set_fields(
            [
                Field("state", f"{ok} connected to {info.database}", tone="good"),
                Field("server", f"{server}{standby}"),
                Field("version", f"PostgreSQL {info.server_version}, {info.encoding}"),
                Field("session", f"{ok} read-only{limit}" if info.read_only else f"{warn} NOT read-only",
                      tone="good" if info.read_only else "bad"),
                Field("role", info.user),
                self._readable(info),
                self._rights(info),
                self._transport(info.host, info.encrypted),
            ],
            keep=True,
        )  # fmt: skip

    def _readable(self, info: SourceInfo) -> Field:
        readable = info.tables - info.unreadable
        if info.unreadable:
            text = f"{self.glyphs.warn} read {readable:,} of {info.tables:,} tables"
            return Field("may", text, tone="warn")
        return Field("may", f"{self.glyphs.ok} read all {info.tables:,} tables", tone="good")

    def _rights(self, info: SourceInfo) -> Field:
        if info.superuser:
            return Field(
                "", f"{self.glyphs.warn} do anything: a superuser; our sessions only read", tone="muted"
            )
        if info.can_write:
            return Field("", f"{self.glyphs.warn} the role could write; our sessions cannot", tone="muted")
        return Field("", f"{self.glyphs.ok} the role cannot write", tone="muted")

    def _transport(self, host: str, encrypted: bool) -> Field:
        if host.startswith(("/", "@")):
            return Field("transport", f"{self.glyphs.ok} local socket", tone="good")
        if encrypted:
            return Field("transport", f"{self.glyphs.ok} encrypted", tone="good")
        return Field("transport", f"{self.glyphs.warn} not encrypted", tone="warn")

    def _show_vespa(self, loaded: Loaded[VespaInfo], configured: bool) -> None:
        listing = self.query_one("#index", FieldList)
        info = loaded.value
        if info is None:
            nothing = "Not asked yet" if configured else "No index asked yet"
            listing.set_notice(_notice(loaded, nothing, configured))
            return
        ok, bad = self.glyphs.ok, self.glyphs.bad
        fields = [
            Field("state", f"{ok} up" if info.up else f"{bad} not up", tone="good" if info.up else "bad"),
            Field("address", formatting.redacted(info.url)),
            Field("namespace", info.namespace),
        ]
        if info.missing:
            fields.append(Field("missing", ", ".join(info.missing), tone="bad", flagged=True))
            fields.append(Field("next", "Run `procore-ingest vespa deploy`, then press v.", tone="warn"))
        else:
            fields.append(Field("schema", f"{ok} complete", tone="good"))
        fields.append(Field("records", formatting.count(info.records)))
        fields.append(Field("files", formatting.count(info.files)))
        listing.set_fields(fields, keep=True)

    # -- actions -----------------------------------------------------------------------------------------------

    def do_use(self) -> None:
        entry = self._list.current
        if entry is None:
            return
        if entry.key == self.bridge.connection:
            self.bridge.test_connections()
        elif entry.kind == "sandbox":
            self.perform("connect.sandbox")
        elif entry.kind == "given":
            service = self.bridge.service
            self.load("connect", service.reconnect_to_start, lambda _: self.bridge.use_source("given"))
        elif entry.saved is not None:
            self._use(entry.saved.source, entry.saved.vespa, entry.saved.namespace, entry.key)

    def _use(self, source: str, vespa: str, namespace: str, key: str) -> None:
        try:
            found = connection_book.resolve(source, vespa, namespace, os.environ)
        except Exception as error:
            self.tell_error(error, "Not connected")
            return
        self.load("connect", lambda: self._reconnect(found), lambda _: self._in_use(key))

    async def _reconnect(self, found: Addresses) -> None:
        await self.bridge.service.reconnect(
            database_url=found.database_url, vespa_url=found.vespa_url, namespace=found.namespace
        )

    def _in_use(self, key: str) -> None:
        kind, _, name = key.partition(":")
        if kind == "saved":
            self.ingest_app.ui_state.set("connection", name)
        self.bridge.use_source(key)
        self._show()
        self._list.go_to(key)

    def do_add(self) -> None:
        self._ask_for("Add a connection", SavedConnection("", ""))

    def do_edit(self) -> None:
        entry = self._list.current
        if entry is not None and entry.saved is not None:
            self._ask_for(f"Change {entry.name}", entry.saved, instead_of=entry.name)
        else:
            self._ask_for("Other addresses", SavedConnection("", ""))

    @work(group="form", exit_on_error=False)
    async def _ask_for(self, heading: str, entry: SavedConnection, instead_of: str = "") -> None:
        from app.modals.connection import ConnectionForm

        entered: Entered | None = await self.app.push_screen_wait(ConnectionForm(heading, entry))
        if entered is None:
            return
        key = "typed"
        if entered.name:
            wanted = SavedConnection(entered.name, entered.source, entered.vespa, entered.namespace)
            try:
                saved = self.ingest_app.connections.save(wanted, instead_of=instead_of)
            except Exception as error:
                self.tell_error(error, "Not saved, but used")
            else:
                key = f"saved:{saved.name}"
                self.tell(f"Saved {saved.name}, without any password.")
        self._use(entered.source, entered.vespa, entered.namespace, key)

    def do_delete(self) -> None:
        entry = self._list.current
        if entry is None:
            return
        try:
            self.ingest_app.connections.delete(entry.name)
        except Exception as error:
            self.tell_error(error, "Not deleted")
            return
        if entry.key == self.bridge.connection:
            self.bridge.connection = "typed"
        self._show()

    def do_test(self) -> None:
        self.bridge.test_connections()

    def do_test_source(self) -> None:
        self.bridge.test_source()

    def do_test_vespa(self) -> None:
        self.bridge.test_vespa()

    def do_sandbox(self) -> None:
        self.bridge.bring_up_sandbox()

    def do_next(self) -> None:
        self.ingest_app.go("schema")


def _notice(loaded: Loaded[Any], nothing: str, configured: bool) -> Notice:
    if loaded.loading:
        return Notice("Asking", "", "info")
    if loaded.error:
        return Notice(formatting.redacted(loaded.error), loaded.hint, "bad")
    return Notice(nothing, "Press t to test." if configured else "a adds one, b brings up the sandbox.")
