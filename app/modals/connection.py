"""A connection typed in: addresses or references, tested before they are used, saved under a name if wanted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Input, Static

from app import connection_book, formatting
from app.bridge import advice, explain
from app.connection_book import Addresses, SavedConnection
from app.modals.dialog import Dialog
from app.themes import tones
from ingestion.settings import DEFAULT_VESPA_URL

if TYPE_CHECKING:
    from app.application import IngestApp

_FIELDS = (
    ("database", "Source"),
    ("vespa", "Vespa"),
    ("namespace", "Namespace"),
    ("name", "Save as"),
)
_HIDES = re.compile(r"://[^/@]*:[^/]*$|://[^/]*:[^/]*@|password\s*=", re.IGNORECASE)
"""What is typed is hidden while a password may be part of it."""

_SAYS = "A URL, service=NAME of PostgreSQL's service file, or $VARIABLE. The source is only ever read."


@dataclass(frozen=True, slots=True)
class Entered:
    """What was typed; may hold a password: used once, never stored."""

    source: str
    vespa: str
    namespace: str
    name: str = ""


class ConnectionForm(Dialog[Entered | None]):
    """Answers what was entered, or None."""

    footing = "enter connects, tab moves, esc leaves"

    DEFAULT_CSS = """
    ConnectionForm > .frame { width: 86; }
    ConnectionForm .line { height: 1; margin-bottom: 1; }
    ConnectionForm .line Static { width: 12; color: $muted; }
    ConnectionForm .line Input { height: 1; border: none; padding: 0 1; width: 1fr; background: $background; }
    ConnectionForm .line Input:focus { border: none; background: $boost; }
    ConnectionForm .said { height: auto; max-height: 4; padding: 0 0 0 12; }
    ConnectionForm .says { margin-bottom: 1; }
    """

    def __init__(self, heading: str, entry: SavedConnection, *, placeholder: str = "") -> None:
        super().__init__()
        self.heading = heading
        self._entry = entry
        self._placeholder = placeholder or "postgresql://reader@db.example:5432/procore"

    def compose_inside(self) -> ComposeResult:
        yield self.says(_SAYS, "muted")
        entry = self._entry
        hints = {
            "database": self._placeholder, "vespa": DEFAULT_VESPA_URL,
            "namespace": connection_book.DEFAULT_NAMESPACE, "name": "a name, or nothing to use it once",
        }  # fmt: skip
        values = {
            "database": entry.source, "vespa": entry.vespa, "namespace": entry.namespace, "name": entry.name,
        }  # fmt: skip
        for field, label in _FIELDS:
            with Horizontal(classes="line"):
                yield Static(label, markup=False)
                yield Input(values[field], placeholder=hints[field], id=field)
        yield Static("", classes="said", id="said-source", markup=False)
        yield Static("", classes="said", id="said-vespa", markup=False)
        yield self.buttons(
            Button("Test source", id="test-source", compact=True),
            Button("Test Vespa", id="test-vespa", compact=True),
            Button("Leave", id="leave", compact=True),
            Button("Connect", id="connect", compact=True),
        )

    def on_mount(self) -> None:
        self.query_one("#database").focus()

    # -- what is typed ---------------------------------------------------------------------------------------

    def _text(self, field: str) -> str:
        return self.query_one(f"#{field}", Input).value.strip()

    @on(Input.Changed, "#database")
    def _hide(self, event: Input.Changed) -> None:
        event.input.password = bool(_HIDES.search(event.value))

    @on(Input.Changed)
    def _say_what_is_kept(self) -> None:
        source, vespa = self._text("database"), self._text("vespa")
        if not self._text("name") or connection_book.complaint(source, vespa):
            return
        if connection_book.holds_secret(source, vespa):
            self._say(
                "source",
                "The password is used now and not saved: keep it in .pgpass, PGPASSWORD or a $VARIABLE.",
                "warn",
            )

    def _say(self, side: str, text: str, tone: str) -> None:
        glyphs = cast("IngestApp", self.app).glyphs
        line = Text(formatting.safe(formatting.redacted(text), glyphs=glyphs), tones(self.app).get(tone))
        self.query_one(f"#said-{side}", Static).update(line)

    def _addresses(self) -> Addresses | None:
        """What was typed, resolved; None after saying what is wrong with it."""
        import os

        source, vespa = self._text("database"), self._text("vespa")
        if wrong := connection_book.complaint(source, vespa):
            self._say("source", wrong, "bad")
            self.query_one("#database").focus()
            return None
        try:
            return connection_book.resolve(source, vespa, self._text("namespace"), os.environ)
        except Exception as error:
            self._say("source", f"{explain(error)}. {advice(error)}", "bad")
            return None

    @on(Input.Submitted)
    def _connect(self) -> None:
        if self._addresses() is None:
            return
        self.dismiss(
            Entered(self._text("database"), self._text("vespa"), self._text("namespace"), self._text("name"))
        )

    # -- testing -----------------------------------------------------------------------------------------------

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "leave":
            self.dismiss(None)
        elif event.button.id == "connect":
            self._connect()
        elif (addresses := self._addresses()) is not None:
            service = cast("IngestApp", self.app).bridge.service
            if event.button.id == "test-source":
                self._test("source", lambda: service.probe_source(addresses.database_url), _source_says)
            else:
                self._test(
                    "vespa",
                    lambda: service.probe_vespa(addresses.vespa_url, addresses.namespace),
                    _vespa_says,
                )

    @work(group="test", exit_on_error=False)
    async def _test(
        self, side: str, ask: Callable[[], Awaitable[Any]], says: Callable[[Any], tuple[str, str]]
    ) -> None:
        glyphs = cast("IngestApp", self.app).glyphs
        self._say(side, f"Asking{glyphs.ellipsis}", "info")
        try:
            text, tone = says(await ask())
        except Exception as error:
            text, tone = f"{explain(error).rstrip(chr(46))}. {advice(error)}".strip(), "bad"
        mark = glyphs.ok if tone == "good" else glyphs.warn if tone == "warn" else glyphs.bad
        if self.is_mounted:
            self._say(side, f"{mark} {text}", tone)


def _source_says(info: Any) -> tuple[str, str]:
    text = f"{info.database} answers: PostgreSQL {info.server_version}, as {info.user}"
    readable = info.tables - info.unreadable
    text += f", {formatting.plural(readable, 'table')} to read"
    return (f"{text}, {info.unreadable} not.", "warn") if info.unreadable else (f"{text}.", "good")


def _vespa_says(info: Any) -> tuple[str, str]:
    if not info.up:
        return "Vespa answers but is not up.", "bad"
    if info.missing:
        return "Vespa lacks our schema: run `procore-ingest vespa deploy`.", "warn"
    return f"Vespa is up with our schema: {formatting.plural(info.records, 'record')}.", "good"
