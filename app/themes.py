"""Our themes, and the tones that widgets paint with.

A *tone* is what a piece of text means (`good`, `muted`, `accent`); the theme says which colour that is.
Nothing is told by colour alone: every state has a glyph and a word too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

if TYPE_CHECKING:
    from textual.app import App

DARK = "site-night"
LIGHT = "site-day"

_DARK = Theme(
    name=DARK,
    dark=True,
    primary="#ff9057",
    secondary="#7cb7ff",
    accent="#7cb7ff",
    success="#5fd39a",
    warning="#f5c451",
    error="#ff7183",
    foreground="#dbe2ea",
    background="#0d1117",
    surface="#131922",
    panel="#1c2430",
    boost="#222c3a",
    variables={
        "muted": "#8794a5",
        "faint": "#4a5666",
        "line": "#2b3644",
        "line-focus": "#ff9057",
        "tab": "#2d3949",
        "cursor": "#263549",
        "cursor-idle": "#1a2330",
        "marked": "#3a2a20",
        "block-cursor-background": "#ff9057",
        "block-cursor-foreground": "#14100d",
        "block-cursor-text-style": "bold",
        "input-cursor-background": "#ff9057",
        "input-selection-background": "#7cb7ff 35%",
        "border": "#ff9057",
        "border-blurred": "#2b3644",
        "scrollbar": "#334155",
        "scrollbar-hover": "#4a5666",
        "scrollbar-active": "#ff9057",
        "scrollbar-background": "#131922",
        "scrollbar-background-hover": "#131922",
        "scrollbar-background-active": "#131922",
        "scrollbar-corner-color": "#131922",
    },
)

_LIGHT = Theme(
    name=LIGHT,
    dark=False,
    primary="#b8460a",
    secondary="#1a62b3",
    accent="#1a62b3",
    success="#14713f",
    warning="#855a00",
    error="#b8223a",
    foreground="#1f2630",
    background="#f4f1ea",
    surface="#fcfaf6",
    panel="#e9e4d9",
    boost="#ded7c8",
    variables={
        "muted": "#616b78",
        "faint": "#a39d8f",
        "line": "#cfc8b8",
        "line-focus": "#b8460a",
        "tab": "#fcfaf6",
        "cursor": "#dbe7f5",
        "cursor-idle": "#ebe7de",
        "marked": "#f7e3d2",
        "block-cursor-background": "#b8460a",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "input-cursor-background": "#b8460a",
        "input-selection-background": "#1a62b3 25%",
        "border": "#b8460a",
        "border-blurred": "#cfc8b8",
        "scrollbar": "#cfc8b8",
        "scrollbar-hover": "#a39d8f",
        "scrollbar-active": "#b8460a",
        "scrollbar-background": "#fcfaf6",
        "scrollbar-background-hover": "#fcfaf6",
        "scrollbar-background-active": "#fcfaf6",
        "scrollbar-corner-color": "#fcfaf6",
    },
)

OURS = (_DARK, _LIGHT)


@dataclass(frozen=True, slots=True)
class Tones:
    """Rich styles by meaning, for one theme. Backgrounds are left to the widget unless said."""

    text: Style
    strong: Style
    muted: Style
    faint: Style
    head: Style
    accent: Style
    link: Style
    key: Style
    good: Style
    warn: Style
    bad: Style
    info: Style
    cursor: Style
    """Background of the row under the cursor, in the focused list."""
    cursor_idle: Style
    marked: Style
    brand: Style
    tab: Style
    flagged: Style
    """The offending cell in a record: background and weight."""

    def get(self, name: str) -> Style:
        """The style of this name; unknown names read as plain text."""
        return getattr(self, name, self.text) if name else self.text


EMPTY = Tones(*[Style()] * len(fields(Tones)))
"""Tones before the first paint."""

_cache: dict[tuple[str, bool], Tones] = {}


def tones(app: App[object]) -> Tones:
    """The tones of the application's present theme; without colour, weight and reverse take their part."""
    key = (app.theme, app.no_color)
    found = _cache.get(key)
    if found is None:
        found = _cache[key] = _build(app)
    return found


def _build(app: App[object]) -> Tones:
    names = app.theme_variables

    def fore(name: str, fallback: str, **more: bool) -> Style:
        value = names.get(name) or names.get(fallback, "")
        try:
            return Style(color=Color.parse(value.split(" ")[0]).rich_color, **more)  # type: ignore[arg-type]
        except Exception:  # a foreign theme may hold `ansi_…` or `auto`: plain text is right then
            return Style(**more)  # type: ignore[arg-type]

    def back(name: str, fallback: str, **more: bool) -> Style:
        colour = fore(name, fallback).color
        return Style(bgcolor=colour, **more)  # type: ignore[arg-type]

    plain = app.no_color
    return Tones(
        text=fore("foreground", "foreground"),
        strong=fore("foreground", "foreground", bold=True),
        muted=fore("muted", "foreground-muted"),
        faint=fore("faint", "foreground-disabled"),
        head=fore("muted", "foreground-muted", bold=True),
        accent=fore("primary", "primary", bold=True),
        link=fore("secondary", "secondary", underline=plain),
        key=fore("primary", "primary", bold=True),
        good=fore("success", "success"),
        warn=fore("warning", "warning", bold=plain),
        bad=fore("error", "error", bold=True),
        info=fore("secondary", "secondary"),
        # One pair of shades for the whole line: reversed tones of their own would make patches of it.
        cursor=fore("foreground", "foreground") + back("surface", "surface") + Style(reverse=True)
        if plain
        else back("cursor", "boost"),
        cursor_idle=Style(underline=True) if plain else back("cursor-idle", "panel"),
        marked=Style(bold=True) if plain else back("marked", "panel"),
        brand=Style(bold=True, reverse=True)
        if plain
        else back("primary", "primary", bold=True) + Style(color=fore("background", "background").color),
        tab=Style(bold=True, reverse=True)
        if plain
        else back("tab", "panel", bold=True) + Style(color=fore("primary", "primary").color),
        flagged=Style(reverse=True, bold=True) if plain else back("marked", "panel", bold=True),
    )
