"""Saving to a file: choose the form, name the file, never overwrite without being told to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.modals.ask import Choice, Choose, Prompt
from app.modals.confirm import Confirm

if TYPE_CHECKING:
    from app.screens.base import BaseScreen

ENDINGS = {"json": ".json", "markdown": ".md", "mermaid": ".mmd", "jsonl": ".jsonl", "csv": ".csv",
           "toml": ".toml"}  # fmt: skip


async def ask_path(screen: BaseScreen, heading: str, name: str) -> Path | None:
    """A path to write to, confirmed where a file is there already; None when left."""

    def check(text: str) -> str:
        path = Path(text).expanduser()
        if not text:
            return "Name a file."
        if path.is_dir():
            return "That is a folder."
        return "" if path.absolute().parent.is_dir() else f"There is no folder {path.absolute().parent}."

    answer = await screen.app.push_screen_wait(
        Prompt(heading, "Where to?", value=str(Path.cwd() / name), check=check)
    )
    if answer is None:
        return None
    path = Path(answer).expanduser()
    if path.exists() and not await screen.app.push_screen_wait(
        Confirm(f"{path} exists. Replace it?", "Replace")
    ):
        return None
    return path


async def save_text(
    screen: BaseScreen,
    heading: str,
    name: str,
    forms: Sequence[tuple[str, str, str]],
    text_of: Callable[[str], Awaitable[str]],
) -> Path | None:
    """Ask for form and path, then write what `text_of` makes of the form; says what happened."""
    form: str | None = forms[0][0]
    if len(forms) > 1:
        form = await screen.app.push_screen_wait(
            Choose(heading, [Choice(key, label, detail) for key, label, detail in forms])
        )
    if form is None:
        return None
    path = await ask_path(screen, heading, name + ENDINGS[form])
    if path is None:
        return None
    try:
        text = await text_of(form)
        path.write_text(text, encoding="utf-8")
    except Exception as error:
        screen.tell_error(error, "Not saved")
        return None
    screen.tell(f"Saved {path}")
    return path
