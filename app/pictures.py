"""Pictures in the terminal, by the extra `preview` (textual-image); without it, and without colour, none.

textual-image asks the terminal what it can do as it is imported, which must not happen while Textual reads the
keyboard: it is imported with no terminal in sight, and what the terminal can do is told by its environment.

A stranger's file is decoded in a child process, as its facts were; what comes here is bare pixels.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.widget import Widget

MISSING = "Pictures need the extra: pip install 'procore-ingest[preview]'."


class NoPicture(Exception):
    """Why a picture is not shown, in a sentence."""


def reason_against(*, plain: bool, unicode: bool) -> str:
    """Why this terminal shows no pictures; empty where it does."""
    if plain:
        return "Without colour there are no pictures here."
    if not unicode:
        return "This terminal has no characters to draw pictures with."
    return "" if find_spec("textual_image") and find_spec("PIL") else MISSING


def way_of(environ: Mapping[str, str]) -> str:
    """How this terminal shows pictures: `kitty`, `sixel`, or `blocks` of two pixels a character, as all can.

    Inside tmux and screen always blocks: they swallow the rest.
    """
    if environ.get("TMUX") or environ.get("STY") or environ.get("TERM", "").startswith(("tmux", "screen")):
        return "blocks"
    program, term = environ.get("TERM_PROGRAM", "").lower(), environ.get("TERM", "").lower()
    if environ.get("KITTY_WINDOW_ID") or program == "ghostty" or "kitty" in term or "ghostty" in term:
        return "kitty"
    if program in {"wezterm", "iterm.app", "mintty"} or term.startswith(("foot", "mlterm")):
        return "sixel"
    return "blocks"


async def opened(path: Path) -> Any:
    """The picture, small enough to keep; raises NoPicture, also where the file ends the process that reads it."""
    from PIL import Image

    from ingestion import errors
    from ingestion.files.extraction import Extractor

    try:
        async with Extractor() as reader:
            preview = await reader.preview(path)
    except errors.DownloadError as error:
        raise NoPicture(str(error)) from error
    except OSError as error:
        raise NoPicture(
            f"No process can be started to read the picture: {error.strerror or error}."
        ) from error
    return Image.frombytes("RGB", (preview.width, preview.height), preview.rgb)


def widget(picture: Any, way: str) -> Widget:
    """The picture as a widget that fills its width."""
    held = sys.__stdout__
    sys.__stdout__ = io.StringIO()  # type: ignore[misc,assignment]
    try:
        from textual_image import widget as widgets
    finally:
        sys.__stdout__ = held  # type: ignore[misc]
    kinds = {"kitty": widgets.TGPImage, "sixel": widgets.SixelImage, "blocks": widgets.HalfcellImage}
    made: Widget = kinds[way](picture, id="picture")
    return made
