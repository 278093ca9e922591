"""The terminal application: wiring of screens, bridge, palette and themes. `run` is its front door.

First paint comes before anything is imported or contacted that is not on it: screens are imported when they
are first opened, and the source is asked only after the first screen is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.scrollbar import ScrollBar, ScrollBarRender

from app import actions, formatting, garbage, guide, terminal, themes
from app.bridge import Bridge, explain, guide_facts
from app.connection_book import ConnectionBook
from app.messages import (
    Coalesced,
    ConnectionMoved,
    JobEnded,
    PlanMoved,
    RunTick,
    SchemaMoved,
    VerifyMoved,
)
from app.ui_state import UiState
from ingestion import errors

if TYPE_CHECKING:
    from textual.screen import Screen

    from app.port import ServicePort
    from app.screens.base import BaseScreen
    from ingestion.plan import Plan
    from ingestion.schema_discovery import SchemaMap

CANCELLED = 5
"""Exit code after SIGTERM: the application was told to go; a running job went on by itself."""
HANG_UP_S = 5.0
"""How long leaving may take once the terminal is gone."""
INTERNAL = 70
"""Exit code after an error of our own."""


def _screen(name: str) -> Callable[[], Screen[Any]]:
    """A factory that imports the screen's module when it is first opened."""

    def make() -> Screen[Any]:
        module = import_module(f"app.screens.{name}")
        return cast("Screen[Any]", getattr(module, f"{name.capitalize()}Screen")())

    return make


class ActionCommands(Provider):
    """The palette: every action, then every table."""

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, help_text, run in self._commands():
            points = max(matcher.match(title), 0.6 * matcher.match(help_text))
            if points > 0:
                yield Hit(points, matcher.highlight(title), run, text=title, help=help_text)

    async def discover(self) -> Hits:
        for title, help_text, run in self._commands(tables=False):
            yield DiscoveryHit(title, run, help=help_text)

    def _commands(self, *, tables: bool = True) -> list[tuple[str, str, Callable[[], None]]]:
        app = cast("IngestApp", self.app)
        here = getattr(self.screen, "scope", "")
        ordered = sorted(actions.ACTIONS, key=lambda a: (a.scope != here, a.scope != "app"))
        labels = {name: label for name, label, _ in actions.SCREENS} | {"verify": "Verify"}
        out: list[tuple[str, str, Callable[[], None]]] = []
        for action in ordered:
            if action.id.startswith("app.go_"):
                title = f"Go to {action.label}"
            elif action.scope == "app":
                title = action.label
            else:
                title = f"{labels[action.scope]}: {action.label}"
            title += f"  ({actions.keys_text(action)})"
            out.append((title, action.help, _call(app.perform_anywhere, action.id)))
        schema = app.bridge.schema.value
        if tables and schema is not None:
            for table in schema.tables:
                rows = formatting.count(table.row_count, exact=table.row_count_exact)
                out.append((f"Table {table.name}", f"{rows} rows", _call(app.open_table, table.name)))
        return out


class PlainScrollBar(ScrollBarRender):
    """A scroll bar of coloured blanks, for terminals without block characters."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


def _call(function: Callable[[str], None], argument: str) -> Callable[[], None]:
    return lambda: function(argument)


class IngestApp(App[int]):
    """See the module. `ui_state` None keeps nothing between starts."""

    TITLE = "procore-ingest"
    CSS_PATH = "styles/app.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        name: _screen(name) for name in actions.SCREEN_NAMES
    }
    COMMANDS: ClassVar[set[Any]] = {ActionCommands}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.bindings("app"),
        Binding("ctrl+c", "perform('app.quit_asked')", show=False, priority=True),
    ]
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        service: ServicePort,
        *,
        screen: str | None = None,
        table: str | None = None,
        ui_state: UiState | None = None,
        connections: ConnectionBook | None = None,
        glyphs: formatting.Glyphs | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Started in its first screen's mode, Textual parses styles and lays out once instead of three times.
        configured = service.where().configured
        first = screen if screen in actions.SCREEN_NAMES else "schema" if configured else "connect"
        self.DEFAULT_MODE = first  # type: ignore[misc]
        super().__init__()
        self.ui_state = ui_state or UiState()
        self.connections = connections or ConnectionBook()
        self.glyphs = glyphs or formatting.glyphs_for(sys.stdout.encoding, os.environ)
        self.bridge = Bridge(service, self.post_message, clock)
        self.bridge.kept_plan = self._kept_plan
        self._configured, self._first_table = configured, table
        self._settled: SchemaMap | None = None
        """The schema with which memory was settled last."""
        self.told_title = ""
        """What the terminal's title was set to, empty as long as it was left alone."""
        # Textual keeps this one on the class: it is set for every application, not only for plain ones.
        ScrollBar.renderer = ScrollBarRender if self.glyphs.unicode else PlainScrollBar
        for theme in themes.OURS:
            self.register_theme(theme)
        wanted = self.ui_state.text("theme", themes.DARK)
        self.theme = wanted if wanted in self.available_themes else themes.DARK

    # -- start and end -----------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.set_class(not self.glyphs.unicode, "-ascii")
        self.set_class(self.no_color, "-plain")
        if not self.is_headless:
            self.call_after_refresh(garbage.keep)
        if self._configured:
            self.call_after_refresh(self._contact)
        if self._first_table is not None:
            self.call_after_refresh(self._open_first)

    def _contact(self) -> None:
        """After the first paint: who is there, what is known, what is running."""
        self.bridge.look_for_jobs()
        self.bridge.load_schema()
        self.bridge.test_connections()

    def _open_first(self) -> None:
        self._base_screen().open_on(table=self._first_table)

    def _base_screen(self) -> BaseScreen:
        return cast("BaseScreen", self.screen_stack[0])

    # -- the bridge's news ---------------------------------------------------------------------------------------

    def on_run_tick(self, message: RunTick) -> None:
        self._hand_on(message)
        if (view := self.bridge.view) is not None and self.bridge.job_active:
            self.terminal_title(formatting.run_title(view.status, view.share, self.glyphs))

    def on_schema_moved(self, message: SchemaMoved) -> None:
        self._hand_on(message)
        schema = self.bridge.schema.value
        if schema is not self._settled:
            self._settled = schema
            if not self.is_headless:
                self.call_after_refresh(garbage.settle)

    def on_plan_moved(self, message: PlanMoved) -> None:
        if self.bridge.draft.names:
            self.ui_state.set(self._plan_name(), self.bridge.draft.plan.to_toml())
        self._hand_on(message)

    def _plan_name(self) -> str:
        """Under which name the plan of the source in use is kept: no address can be read from it."""
        where = self.bridge.service.where()
        source = f"{where.database}\n{where.vespa}\n{where.namespace}"
        return f"plan-{hashlib.sha256(source.encode()).hexdigest()[:16]}"

    def _kept_plan(self) -> Plan | None:
        text = self.ui_state.text(self._plan_name())
        if not text:
            return None
        from ingestion import plan

        with contextlib.suppress(errors.IngestionError):
            return plan.parse(text, "kept since the last start")
        return None

    def on_connection_moved(self, message: ConnectionMoved) -> None:
        self._hand_on(message)

    def on_verify_moved(self, message: VerifyMoved) -> None:
        self._hand_on(message)

    def _hand_on(self, message: Coalesced) -> None:
        for screen in self.screen_stack:
            if getattr(screen, "ready", False):
                screen.bridge_moved(message)  # type: ignore[attr-defined]
                screen.refresh_bars()  # type: ignore[attr-defined]

    def on_job_ended(self, message: JobEnded) -> None:
        mark = formatting.state_mark(message.status, self.glyphs)
        view = self.bridge.view
        text = f"Job {message.job_id} {mark.word}."
        if view is not None:
            text += f" {formatting.count(view.counts.indexed)} indexed"
            text += f", {formatting.count(view.counts.failed)} failed."
        severity = "information" if mark.tone == "good" else "warning" if mark.tone == "warn" else "error"
        self.notify(text, markup=False, severity=severity, timeout=12)  # type: ignore[arg-type]
        if view is not None:
            self.terminal_title(formatting.run_title(view.status, view.share, self.glyphs))
        self.bell()
        for screen in self.screen_stack:
            if getattr(screen, "ready", False):
                screen.bridge_moved(message)  # type: ignore[attr-defined]

    def _fatal_error(self) -> None:
        """Leave with one sentence. Textual would print a traceback with the local variables, secrets included."""
        error = self._exception
        logging.getLogger("procore_ingest").error("internal error", exc_info=error)
        text = f"internal error: {type(error).__name__}. The log of this session has the details."
        self._exit_renderables.append(Text(text))
        self._return_code = INTERNAL
        self._close_messages_no_wait()

    def terminal_title(self, title: str) -> None:
        """The terminal's own title, where there is a terminal; its former one comes back at the end."""
        if title == self.told_title:
            return
        if self._driver is not None and not self.is_headless:
            keep = "" if self.told_title else "\x1b[22;2t"
            self._driver.write(f"{keep}\x1b]2;{formatting.one_line(title)}\x07")
        self.told_title = title

    def on_unmount(self) -> None:
        if self.told_title and self._driver is not None and not self.is_headless:
            self._driver.write("\x1b[23;2t")

    # -- actions ---------------------------------------------------------------------------------------------------

    def action_perform(self, action_id: str) -> None:
        self.perform(action_id)

    def perform(self, action_id: str) -> None:
        """An action of the scope `app`, wherever the user is."""
        action = actions.BY_ID[action_id]
        if action.verb.startswith("go_"):
            self.go(action.verb[3:])
        else:
            getattr(self, f"do_{action.verb}")()

    def perform_anywhere(self, action_id: str) -> None:
        """Any action of the registry; its screen is opened first where that is another one."""
        action = actions.BY_ID[action_id]
        if action.scope == "app":
            self.perform(action_id)
        elif getattr(self.screen, "scope", "") == action.scope:
            self.screen.perform(action_id)  # type: ignore[attr-defined]
        elif action.scope == "verify":
            self.open_verify()
        else:
            self.go(action.scope)
            self.call_after_refresh(lambda: self._base_screen().perform(action_id))

    def go(self, name: str) -> None:
        """Show a main screen; anything opened above the present one stays with that."""
        if self.current_mode != name:
            self.switch_mode(name)

    def open_table(self, name: str) -> None:
        """The table on the Schema screen."""
        self.go("schema")
        self.call_after_refresh(lambda: self._base_screen().open_on(table=name))

    def open_failures(self, *, table: str | None = None, job_id: str | None = None) -> None:
        """The failures of a table or a job."""
        self.go("failures")
        self.call_after_refresh(lambda: self._base_screen().open_on(table=table, job_id=job_id))

    def open_job(self, job_id: str) -> None:
        """The job on the Run screen."""
        self.bridge.watch(job_id)
        self.go("run")

    def open_verify(self) -> None:
        """The verification, above the present screen."""
        from app.screens.verify import VerifyScreen

        if not isinstance(self.screen, VerifyScreen):
            self.push_screen(VerifyScreen())

    def do_context_help(self) -> None:
        from app.modals.context_help import ContextHelp

        scope = getattr(self.screen, "scope", "")
        facts = self.screen.facts() if hasattr(self.screen, "facts") else set()
        if not isinstance(self.screen, ContextHelp):
            self.push_screen(ContextHelp(scope, frozenset(facts)))

    def do_palette(self) -> None:
        self.action_command_palette()

    def do_next_theme(self) -> None:
        self.theme = themes.LIGHT if self.theme == themes.DARK else themes.DARK
        self.ui_state.set("theme", self.theme)
        for screen in self.screen_stack:
            if hasattr(screen, "theme_moved"):
                screen.theme_moved()
        self.refresh(repaint=True)

    # -- the guide -------------------------------------------------------------------------------------------------

    @property
    def guide_shown(self) -> bool:
        return self.ui_state.switch("guide", True)

    def do_guide(self) -> None:
        self.ui_state.set("guide", not self.guide_shown)
        for screen in self.screen_stack:
            screen.set_class(not self.guide_shown, "-unguided")

    def do_guide_next(self) -> None:
        """The next step's screen or dialog, from wherever the user is."""
        scope = getattr(self.screen, "scope", "")
        place = guide.standing(guide_facts(self.bridge))
        if place.next is None:
            self.notify("Every step is done: 7 mends what failed, 8 searches.", markup=False)
            return
        step = guide.after_here(place, scope)
        if step is not place.next:
            self.bridge.steps_taken.add(place.next.name)
        if step.name == "run" and self.bridge.job_active:
            self.go("run")
        elif step.name == "verify" and scope == "verify":
            self.notify(guide.says(step, guide_facts(self.bridge)), markup=False)
        elif step.name == "verify":
            # The way is a line: verification stands above the job that it verifies, whatever screen this was.
            self.perform_anywhere("run.verify")
        elif step.scope == scope and step.action == f"app.go_{scope}":
            self.notify(guide.says(step, guide_facts(self.bridge)), markup=False)
        else:
            self.perform_anywhere(step.action)

    def do_guide_back(self) -> None:
        scopes = [scope for scope in guide.SCOPES if scope != "verify"]
        scope = getattr(self.screen, "scope", "")
        if scope == "verify":
            self.screen.perform("verify.close")  # type: ignore[attr-defined]
        elif scope in scopes:
            self.go(scopes[max(0, scopes.index(scope) - 1)])

    def do_zoom(self) -> None:
        if hasattr(self.screen, "toggle_zoom"):
            self.screen.toggle_zoom()

    def do_snapshot(self) -> None:
        try:
            path = self.save_screenshot(path=str(Path.cwd()))
        except OSError as error:
            self.notify(f"The picture could not be saved: {explain(error)}", severity="error", markup=False)
        else:
            self.notify(f"Saved {path}", markup=False)

    def do_quit_asked(self) -> None:
        if not self.bridge.job_active:
            self.exit(0)
            return
        from app.modals.leave import Leave

        if not isinstance(self.screen, Leave):
            self.push_screen(Leave(), self._leave)

    def _leave(self, choice: str | None) -> None:
        if choice == "detach":
            self.exit(0, message="The job goes on. Come back with `procore-ingest --screen run`.")
        elif choice == "stopped":
            self.exit(0, message="The job stopped at its checkpoint. `procore-ingest jobs list` has its id.")


async def run(service: ServicePort, *, screen: str | None = None, table: str | None = None) -> int:
    """Run the application on this service until the user leaves; answers the exit code.

    The service stays open: who made it closes it. SIGTERM leaves like `q` does, and answers `CANCELLED`; a
    running job goes on either way.
    """
    app = IngestApp(
        service,
        screen=screen,
        table=table,
        ui_state=UiState.default(),
        connections=ConnectionBook.default(),
    )
    loop = asyncio.get_running_loop()
    told: list[int] = []

    def terminated() -> None:
        told.append(CANCELLED)
        app.exit(CANCELLED)

    def hung_up() -> None:
        # Nobody reads what leaving politely would draw, and Textual's input thread spins on a closed terminal.
        terminated()
        showing.cancel()

    def on_hangup(signum: int, frame: object) -> None:
        # A terminal that stopped reading before it went (a dead SSH connection) holds the loop in a write for
        # ever, so the end must not depend on the loop. Nothing is lost: jobs have processes of their own.
        last_resort = threading.Timer(HANG_UP_S, os._exit, [CANCELLED])
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(hung_up)

    showing = asyncio.ensure_future(app.run_async())
    watching = asyncio.ensure_future(terminal.until_gone())
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, terminated)
        signal.signal(signal.SIGHUP, on_hangup)
    try:
        await asyncio.wait([showing, watching], return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            hung_up()
            await asyncio.wait([showing])
        if not showing.cancelled():
            showing.result()
    finally:
        watching.cancel()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGTERM)
        await app.bridge.aclose()
    return told[0] if told else (app.return_code or 0)
