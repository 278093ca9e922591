"""Painting lines: runs of text with tones, fitted to an exact number of cells.

Text from data passes through `formatting.safe` or `formatting.one_line` before it becomes a run. Nothing is
ever read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from app.formatting import Glyphs
from app.themes import Tones

Run = tuple[str, str]
"""Text and the name of its tone (empty: plain)."""

Ink = str | Run | Sequence[Run]


_UNDERLINED = frozenset({"link", "brand", "tab"})
"""Tones that show on blanks too."""


def runs_of(ink: Ink) -> list[Run]:
    """Ink as a list of runs, empty ones left out."""
    if isinstance(ink, str):
        return [(ink, "")] if ink else []
    if isinstance(ink, tuple) and len(ink) == 2 and isinstance(ink[0], str):
        return [ink] if ink[0] else []
    return [run for run in ink if run[0]]


def width_of(runs: Iterable[Run]) -> int:
    return sum(cell_len(text) for text, _ in runs)


@lru_cache(maxsize=2048)
def crop(text: str, width: int, ellipsis: str) -> str:
    """`text` in at most `width` cells, with the ellipsis when something was cut."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return ellipsis[:width]
    return set_cell_size(text, width - 1).rstrip().rstrip(ellipsis) + ellipsis


def fit(ink: Ink, width: int, *, right: bool = False, ellipsis: str = "…") -> list[Run]:
    """Runs that fill exactly `width` cells."""
    out: list[Run] = []
    left = width
    runs = runs_of(ink)
    total = width_of(runs)
    for text, tone in runs:
        cells = cell_len(text)
        if cells > left or (cells == left and total > width):
            text = crop(text + " " * (total > width), left, ellipsis)
            out.append((text, tone))
            left -= cell_len(text)
            break
        out.append((text, tone))
        left -= cells
        if left <= 0:
            break
    if left > 0:
        pad = (" " * left, "")
        out = [pad, *out] if right else [*out, pad]
    return out


def strip_of(runs: Iterable[Run], tones: Tones, base: Style, over: Style | None = None) -> Strip:
    """A strip of the runs; `base` lies below every tone, `over` (a background) above."""
    segments: list[Segment] = []
    texts: list[str] = []
    last: str | None = None

    def close() -> None:
        if texts and last is not None:
            style = base + tones.get(last)
            segments.append(Segment("".join(texts), style + over if over else style))
            texts.clear()

    for text, tone in runs:
        if text.isspace() and last is not None and not tone and over is None and last not in _UNDERLINED:
            tone = last  # blanks look the same in any colour: fewer segments cost less
        if tone != last:
            close()
            last = tone
        texts.append(text)
    close()
    return Strip(segments)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken at blanks where there are any; line feeds are kept."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line, cells = "", 0
        for word in _words(paragraph):
            size = cell_len(word)
            if cells + size <= width:
                line, cells = line + word, cells + size
                continue
            if line.strip():
                lines.append(line.rstrip())
            word = word.lstrip() if line else word
            size = cell_len(word)
            while size > width > 0:
                head = set_cell_size(word, width)
                # A wide character at the edge was replaced by a blank: keep it for the next line.
                taken = len(head) if word.startswith(head) else len(head) - 1
                taken = max(1, taken)
                lines.append(word[:taken])
                word = word[taken:]
                size = cell_len(word)
            line, cells = word, size
        lines.append(line.rstrip())
    return lines


def _words(text: str) -> Iterable[str]:
    """Words, each with the blanks before it."""
    start = 0
    for index in range(1, len(text)):
        if text[index] == " " and text[index - 1] != " ":
            yield text[start:index]
            start = index
    if text:
        yield text[start:]


def bar_runs(share: float | None, width: int, tone: str, glyphs: Glyphs) -> list[Run]:
    """A progress bar of exactly `width` cells."""
    from app.formatting import bar

    done, rest = bar(share, width, glyphs)
    return [(done, tone), (rest, "faint")]
