"""Connect: which database, which index, what we may do there; the sandbox is one key away."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from app import formatting
from app.actions import Need
from app.bridge import Loaded
from app.messages import ConnectionMoved, SchemaMoved
from app.screens.base import BaseScreen
from app.themes import tones
from app.widgets.field_list import Field, FieldList
from app.widgets.row_list import Notice

WELCOME = (
    ("Make a PostgreSQL database findable in Vespa.", "strong"),
    ("Press e, give the addresses, then enter. The source is only ever read.", "muted"),
    (
        "No database? b brings up a sandbox: sample database, local Vespa, file store.",
        "muted",
    ),
)


class ConnectScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "connect"

    def compose_body(self) -> ComposeResult:
        yield Static(id="welcome", markup=False)
        with Vertical(classes="panel form", id="form"):
            for name, label, hint, secret in (
                ("database", "Database", "postgresql://user@host:5432/database", True),
                ("vespa", "Vespa", "http://localhost:8080", False),
                ("namespace", "Namespace", "procore", False),
            ):
                with Horizontal(classes="line"):
                    yield Static(label, classes="name", markup=False)
                    yield Input(placeholder=hint, password=secret, id=name)
        with Horizontal(id="states"):
            with Vertical(classes="panel", id="source-panel"):
                yield FieldList(name_width=12, id="source")
            with Vertical(classes="panel", id="vespa-panel"):
                yield FieldList(name_width=12, id="index")

    def on_mount(self) -> None:
        self._welcome()
        self._show()
        self.set_focus(self.query_one("#source"))

    def theme_moved(self) -> None:
        self._welcome()

    def _welcome(self) -> None:
        ink = tones(self.app)
        text = Text()
        for number, (line, tone) in enumerate(WELCOME):
            text.append(("\n" if number else "") + line, ink.get(tone))
        self.query_one("#welcome", Static).update(text)

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, ConnectionMoved | SchemaMoved):
            self._show()

    def shown(self) -> None:
        self._show()

    def facts(self) -> set[Need]:
        return super().facts() | {Need.EDITABLE}

    # -- showing ---------------------------------------------------------------------------------------------

    def _show(self) -> None:
        where = self.bridge.service.where()
        self.title_panel("#form", "Addresses", "enter or ^s connects; what is typed here is never stored")
        database = self.query_one("#database", Input)
        database.placeholder = where.database or "postgresql://user@host:5432/database"
        self.query_one("#vespa", Input).placeholder = where.vespa
        self.query_one("#namespace", Input).placeholder = where.namespace
        self.title_panel("#source-panel", "Source", "PostgreSQL" + (", sandbox" if where.sandbox else ""))
        self.title_panel("#vespa-panel", "Index", "Vespa")
        self._show_source(self.bridge.source, where.configured)
        self._show_vespa(self.bridge.vespa, where.configured)

    def _show_source(self, loaded: Loaded[Any], configured: bool) -> None:
        listing = self.query_one("#source", FieldList)
        sandbox = self.bridge.sandbox
        if sandbox.loading:
            listing.set_notice(Notice("Bringing up the sandbox", sandbox.step, "info"))
            return
        if sandbox.error:
            listing.set_notice(Notice(sandbox.error, sandbox.hint, "bad"))
            return
        info = self.bridge.source.value
        if info is None:
            listing.set_notice(
                _notice(loaded, "Not asked yet" if configured else "No database yet", configured)
            )
            return
        ok, bad = self.glyphs.ok, self.glyphs.warn
        listing.set_fields(
            [
                Field("state", f"{ok} connected", tone="good"),
                Field("database", info.database),
                Field("server", f"{info.host}:{info.port}" if info.port else info.host),
                Field("version", info.server_version),
                Field("role", info.user),
                Field("session", f"{ok} read-only" if info.read_only else f"{bad} NOT read-only",
                      tone="good" if info.read_only else "bad"),
                Field("rights", f"{bad} the role could write; our sessions cannot" if info.can_write
                      else f"{ok} the role cannot write", tone="muted"),
                self._transport(info.host, info.encrypted),
                Field("encoding", info.encoding),
                *([Field("kind", "hot standby", tone="muted")] if info.in_recovery else []),
            ],
            keep=True,
        )  # fmt: skip

    def _transport(self, host: str, encrypted: bool) -> Field:
        if host.startswith(("/", "@")):
            return Field("transport", f"{self.glyphs.ok} local socket", tone="good")
        if encrypted:
            return Field("transport", f"{self.glyphs.ok} encrypted", tone="good")
        return Field("transport", f"{self.glyphs.warn} not encrypted", tone="warn")

    def _show_vespa(self, loaded: Loaded[Any], configured: bool) -> None:
        listing = self.query_one("#index", FieldList)
        info = self.bridge.vespa.value
        if info is None:
            listing.set_notice(
                _notice(loaded, "Not asked yet" if configured else "No index asked yet", configured)
            )
            return
        ok, bad = self.glyphs.ok, self.glyphs.bad
        fields = [
            Field("state", f"{ok} up" if info.up else f"{bad} not up", tone="good" if info.up else "bad"),
            Field("address", info.url),
            Field("namespace", info.namespace),
            Field("records", formatting.count(info.records)),
            Field("files", formatting.count(info.files)),
        ]
        if info.missing:
            fields.append(Field("missing", ", ".join(info.missing), tone="bad", flagged=True))
            fields.append(Field("next", "Run `procore-ingest vespa deploy`, then press t.", tone="warn"))
        else:
            fields.append(Field("schema", f"{ok} complete", tone="good"))
        listing.set_fields(fields, keep=True)

    # -- actions -----------------------------------------------------------------------------------------------

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.perform("connect.connect")

    def do_connect(self) -> None:
        values = {name: self.query_one(f"#{name}", Input).value.strip()
                  for name in ("database", "vespa", "namespace")}  # fmt: skip
        if not values["database"] and not self.bridge.service.where().configured:
            self.tell("Type the database's URL first, or press escape and b for the sandbox.",
                      severity="warning")  # fmt: skip
            self.set_focus(self.query_one("#database"))
            return
        service = self.bridge.service
        self.load(
            "connect",
            lambda: service.reconnect(
                database_url=values["database"], vespa_url=values["vespa"], namespace=values["namespace"]
            ),
            lambda _: self._connected(),
        )

    def _connected(self) -> None:
        for name in ("database", "vespa", "namespace"):
            self.query_one(f"#{name}", Input).value = ""
        self.bridge.forget_source()
        self.bridge.test_connections()
        self.bridge.look_for_jobs()
        self.bridge.load_schema()
        self.set_focus(self.query_one("#source"))

    def do_edit(self) -> None:
        self.set_focus(self.query_one("#database"))

    def key_escape(self) -> None:
        self.set_focus(self.query_one("#source"))

    def do_test(self) -> None:
        if not self.bridge.service.where().configured:
            self.tell("There is nothing to test yet: type the database's URL first.", severity="warning")
            return
        self.bridge.test_connections()

    def do_sandbox(self) -> None:
        self.bridge.bring_up_sandbox()

    def do_next(self) -> None:
        self.ingest_app.go("schema")


def _notice(loaded: Loaded[Any], nothing: str, configured: bool) -> Notice:
    if loaded.loading:
        return Notice("Asking", "", "info")
    if loaded.error:
        return Notice(formatting.redacted(loaded.error), loaded.hint, "bad")
    return Notice(
        nothing, "Press t to test." if configured else "e gives addresses, b brings up the sandbox."
    )
