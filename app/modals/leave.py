"""Leaving while a job runs: let it go on, stop it at its checkpoint and wait, or stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from app import formatting
from app.bridge import ACTIVE, explain
from app.modals.dialog import Dialog
from app.themes import tones

if TYPE_CHECKING:
    from app.application import IngestApp

POLL_S = 0.2


class Leave(Dialog[str | None]):
    """Answers `detach`, `stopped` (the job has ended at its checkpoint) or None (stay)."""

    heading = "A job is running"
    footing = "enter chooses, esc stays"

    DEFAULT_CSS = """
    Leave OptionList { height: auto; }
    Leave OptionList > .option-list--option { padding: 0 1; }
    """

    def compose_inside(self) -> ComposeResult:
        app = cast("IngestApp", self.app)
        view = app.bridge.view
        share = formatting.percent(view.share if view else None, glyphs=app.glyphs)
        yield self.says(f"{share} is done. What is done stays done, whatever you choose.")
        ink = tones(self.app)
        options = []
        for key, label, detail in (
            ("stay", "Stay here", "Keep watching."),
            ("detach", "Leave, the job goes on", "It runs in a process of its own; the next start finds it."),
            ("stop", "Stop the job, then leave", "Waits for its next checkpoint; it can be resumed."),
        ):
            text = Text(label, ink.strong)
            text.append(f"\n{detail}", ink.muted)
            options.append(Option(text, id=key))
        yield OptionList(*options)
        yield Static("", id="waiting", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_key(self, event: events.Key) -> None:
        if event.key in {"q", "ctrl+q", "ctrl+c"}:
            event.stop()
            event.prevent_default()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option_id == "stay":
            self.dismiss(None)
        elif event.option_id == "detach":
            self.dismiss("detach")
        else:
            self.query_one(OptionList).disabled = True
            self._stop_and_wait()

    @work(group="stop", exit_on_error=False)
    async def _stop_and_wait(self) -> None:
        import asyncio

        bridge = cast("IngestApp", self.app).bridge
        said = self.query_one("#waiting", Static)
        job_id = bridge.job_id or ""
        said.update(Text("Waiting for the checkpoint. esc stays here; the job stops all the same."))
        try:
            await bridge.service.stop(job_id)
            while True:
                view = await bridge.service.run_view(job_id)
                if view is None or view.status not in ACTIVE:
                    break
                await asyncio.sleep(POLL_S)
        except Exception as error:
            said.update(Text(f"The job could not be stopped: {explain(error)}"))
            self.query_one(OptionList).disabled = False
            return
        self.dismiss("stopped")
