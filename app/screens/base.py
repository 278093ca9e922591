"""What every screen shares: bars, the panel look, actions by registry, loading without blocking.

A screen names its `scope`; its keys come from the registry. For an action `scope.verb` it has the method
`do_verb`. `facts()` says which needs are met right now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.content import Content
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from app import actions, formatting, guide
from app.actions import Action, Danger, Need
from app.bridge import Bridge, advice, explain
from app.modals.confirm import Confirm, TypedConfirm
from app.widgets.bars import KeyBar, TopBar, _Bar
from app.widgets.guide_bar import GuideBar

if TYPE_CHECKING:
    from app.application import IngestApp

T = TypeVar("T")


class BaseScreen(Screen[None]):
    """A main screen: one of the number keys, or one opened above it."""

    scope: ClassVar[str] = ""
    AUTO_FOCUS: ClassVar[str | None] = None
    wide_at: ClassVar[int] = 110
    """From this many columns on a screen has the class `-wide`, from 160 on `-huge`; below 90 `-narrow`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.__dict__.get("scope"):
            cls.BINDINGS = [*cls.__dict__.get("BINDINGS", []), *actions.bindings(cls.scope)]
        super().__init_subclass__(**kwargs)

    def __init__(self) -> None:
        super().__init__()
        self._load_turn: dict[str, int] = {}
        self.ready = False
        """Whether the screen's widgets are there; the bridge's news may come before."""
        self._zoom_hides: list[Widget] = []
        self._zoom_widens: list[Widget] = []

    # -- shape -----------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield TopBar(self.scope)
        if self.scope in guide.SCOPES:
            yield GuideBar()
        yield from self.compose_body()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """The screen's own widgets, between the bars."""
        yield from ()

    def on_mount(self) -> None:
        # Textual calls the handlers of all classes, this one after the screen's own.
        self.ready = True

    def on_resize(self) -> None:
        width, height = self.app.size
        self.set_class(width >= self.wide_at, "-wide")
        self.set_class(width >= 160, "-huge")
        self.set_class(width < 90, "-narrow")
        self.set_class(height < 30, "-short")
        self.set_class(not self.ingest_app.guide_shown, "-unguided")

    @property
    def ingest_app(self) -> IngestApp:
        return cast("IngestApp", self.app)

    @property
    def bridge(self) -> Bridge:
        return self.ingest_app.bridge

    @property
    def glyphs(self) -> formatting.Glyphs:
        return self.ingest_app.glyphs

    def now(self) -> float:
        return self.bridge.clock()

    def title_panel(self, selector: str, title: str, subtitle: str = "") -> None:
        """The border titles of a panel, from plain text."""
        try:
            panel = self.query_one(selector)
        except NoMatches:
            return
        panel.border_title = Content(formatting.one_line(title, unicode=self.glyphs.unicode))
        panel.border_subtitle = Content(formatting.one_line(subtitle, unicode=self.glyphs.unicode))

    def refresh_bars(self) -> None:
        if self.scope == "schema" and self.bridge.schema.value is not None:
            self.bridge.steps_taken.add("discover")
        for bar in self.query(_Bar):
            bar.refresh()

    # -- zoom ----------------------------------------------------------------------------------------------------

    def toggle_zoom(self) -> None:
        """Give the panel with the focus the whole screen, or everything its place back."""
        if self._zoom_widens:
            for widget in self._zoom_hides:
                widget.display = True
            for widget in self._zoom_widens:
                widget.remove_class("-zoomed")
            self._zoom_hides, self._zoom_widens = [], []
            return
        node: DOMNode | None = self.focused
        while node is not None and node is not self and not node.has_class("panel"):
            node = node.parent
        while isinstance(node, Widget) and node is not self:
            node.add_class("-zoomed")
            self._zoom_widens.append(node)
            for other in cast("Widget", node.parent).children:
                if other is not node and other.display and not isinstance(other, _Bar):
                    other.display = False
                    self._zoom_hides.append(other)
            node = node.parent

    def set_focus(self, widget: Widget | None, *args: Any, **kwargs: Any) -> None:
        if widget is not None and any(hidden in widget.ancestors_with_self for hidden in self._zoom_hides):
            # The zoom follows the focus into another panel.
            self.toggle_zoom()
            super().set_focus(widget, *args, **kwargs)
            self.toggle_zoom()
        else:
            super().set_focus(widget, *args, **kwargs)

    # -- actions -----------------------------------------------------------------------------------------------

    def facts(self) -> set[Need]:
        """The needs that are met; screens add their own to these."""
        met: set[Need] = set()
        bridge = self.bridge
        if bridge.schema.value is not None:
            met.add(Need.SCHEMA)
        if bridge.draft.included:
            met.add(Need.INCLUDED)
        if bridge.view is not None:
            met.add(Need.JOB)
        met.add(Need.ACTIVE_JOB if bridge.job_active else Need.IDLE)
        if bridge.view is not None and not bridge.job_active:
            met.add(Need.FINISHED)
            if bridge.view.status in {"cancelled", "interrupted", "failed"}:
                met.add(Need.RESUMABLE)
        return met

    def label_of(self, action: Action) -> str:
        """The footer's word; screens may say what a toggle would do now."""
        return action.label

    def is_harmless(self, action: Action) -> bool:
        """Whether a dangerous action would destroy nothing right now, so that nobody needs to be asked."""
        return False

    def question_of(self, action: Action) -> tuple[str, str, str]:
        """Question, confirming button, and (for typed ones) the word to type."""
        return action.question, action.label, ""

    def action_perform(self, action_id: str) -> None:
        self.perform(action_id)

    def perform(self, action_id: str) -> None:
        """Do an action, or say why it cannot be done; dangerous ones ask first."""
        action = actions.BY_ID[action_id]
        if action.scope != self.scope:
            self.ingest_app.perform(action_id)
            return
        reason = action.disabled_reason(self.facts())
        if reason is not None:
            self.tell(reason, severity="warning")
            return
        if action.danger is Danger.NONE or self.is_harmless(action):
            self._do(action)
        else:
            self._ask(action)

    @work(group="ask", exit_on_error=False)
    async def _ask(self, action: Action) -> None:
        question, label, word = self.question_of(action)
        dialog = (
            TypedConfirm(question, label, word)
            if action.danger is Danger.TYPED
            else Confirm(question, label, asked_by=action.keys)
        )
        if await self.app.push_screen_wait(dialog):
            self._do(action)

    def _do(self, action: Action) -> None:
        getattr(self, f"do_{action.verb}")()
        if (step := guide.step_done_by(action.id)) is not None:
            self.bridge.steps_taken.add(step)
        self.refresh_bars()

    @on(_Bar.Pressed)
    def _bar_pressed(self, event: _Bar.Pressed) -> None:
        event.stop()
        self.ingest_app.perform_anywhere(event.action_id)

    def tell(self, message: str, *, severity: str = "information", title: str = "") -> None:
        """A toast; never markup."""
        self.notify(
            formatting.safe(message, glyphs=self.glyphs),
            title=title,
            severity=severity,  # type: ignore[arg-type]
            markup=False,
            timeout=6 if severity == "information" else 10,
        )

    def tell_error(self, error: BaseException, what: str = "") -> None:
        """What went wrong and the next step."""
        text = formatting.redacted(f"{explain(error)}\n{advice(error)}".strip())
        self.tell(text, severity="error", title=what)

    # -- loading -------------------------------------------------------------------------------------------------

    def load(
        self,
        name: str,
        job: Callable[[], Awaitable[T]],
        then: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Fetch in the background; `then` gets the answer on the newest call of this name only.

        A cancelled worker may still be cleaning up while the next one runs, so answers carry a turn number.
        """
        turn = self._load_turn[name] = self._load_turn.get(name, 0) + 1

        async def fetch() -> None:
            try:
                found = await job()
            except Exception as error:
                if self._load_turn[name] == turn and self.is_mounted:
                    (failed or self.tell_error)(error)
                return
            if self._load_turn[name] == turn and self.is_mounted:
                then(found)
                self.refresh_bars()

        self.run_worker(
            cast("Any", fetch), name=name, group=f"load-{name}", exclusive=True, exit_on_error=False
        )

    def on_descendant_focus(self) -> None:
        self.refresh_bars()

    def shown(self) -> None:
        """The screen came to the front: read again what may have changed."""

    def on_screen_resume(self) -> None:
        self.set_class(not self.ingest_app.guide_shown, "-unguided")
        if self.ready:
            self.shown()
        self.refresh_bars()

    def open_on(self, *, table: str | None = None, job_id: str | None = None) -> None:
        """A link from elsewhere: show this table or job."""

    def bridge_moved(self, message: object) -> None:
        """The bridge has news (one of `app.messages`); the bars follow by themselves."""
