"""What the Failures screen says: pure functions from failures and clusters to cells, lines and filters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from app import formatting
from app.formatting import Glyphs
from app.widgets.ink import Ink, crop, wrap
from app.widgets.row_list import Notice
from ingestion.failures import advice_for, title_of
from ingestion.state.types import Failure, FailureCluster, FailureFilter


def title(cause: str) -> str:
    """The cause in words, first letter large."""
    text = title_of(cause)
    return text[:1].upper() + text[1:]


def literal_glob(text: str) -> str:
    """A glob that matches exactly this text."""
    return re.sub(r"([*?\[])", r"[\1]", text)


def narrowed(base: FailureFilter, text: str, tables: Sequence[str]) -> FailureFilter:
    """The filter narrowed by what was typed: part of a table's name or a glob, or `table:key`."""
    if not text:
        return base
    table, colon, key = text.partition(":")
    if table in tables or colon:
        globs: tuple[str, ...] | None = (literal_glob(table),) if table else None
    else:
        globs = (table if any(c in table for c in "*?[") else f"*{table}*",)
    return replace(base, tables=globs, keys=(key,) if key else None)


def cluster_cells(cluster: FailureCluster, column: str, glyphs: Glyphs) -> Ink:
    if column == "count":
        return (formatting.short_count(cluster.count), "warn" if cluster.kind == "warning" else "bad")
    if column == "cause":
        mark = {"file": ("file ", "info"), "warning": ("warning ", "warn")}.get(cluster.kind, ("", ""))
        return [mark, (title(cluster.cause), "")]
    if column == "stage":
        return (cluster.stage, "muted")
    more = f" +{len(cluster.tables) - 1}" if len(cluster.tables) > 1 else ""
    first = formatting.one_line(cluster.tables[0], unicode=glyphs.unicode) if cluster.tables else ""
    return [(first, "muted"), (more, "faint")]


def failure_cells(failure: Failure, column: str, glyphs: Glyphs, now: float) -> Ink:
    unicode = glyphs.unicode
    if column == "table":
        return (formatting.one_line(failure.table, unicode=unicode), "muted")
    if column == "key":
        # A record's key tells little of a file that failed: its name says more.
        name = failure.detail.get("filename") if failure.kind == "file" and failure.detail else None
        if name:
            return formatting.one_line(str(name), unicode=unicode)
        if not failure.key:
            return ("(no key)", "faint")
        return formatting.one_line(failure.key, unicode=unicode)
    if column == "message":
        return [(formatting.one_line(failure.message, unicode=unicode), "muted")]
    if column == "attempts":
        return (str(failure.attempts), "warn" if failure.attempts > 1 else "faint")
    return (formatting.ago(failure.last_at, now, glyphs=glyphs).removesuffix(" ago"), "faint")


def times(failure: Failure) -> str:
    """Stage, tries, when last."""
    tries = formatting.plural(failure.attempts, "try", "tries")
    return f"{failure.stage}, {tries}, last {formatting.moment(failure.last_at)}"


def error_lines(failure: Failure, width: int, glyphs: Glyphs, rows: int = 3) -> list[Ink]:
    """What happened, and what to do about it, in `rows` lines at most."""
    message = formatting.one_line(failure.message, unicode=glyphs.unicode)
    name = failure.detail.get("filename") if failure.detail else None
    if name:
        message = f"{formatting.one_line(str(name), unicode=glyphs.unicode)}: {message}"
    warned = failure.kind == "warning"
    lead = f"{glyphs.warn if warned else glyphs.bad} {title(failure.cause)}: "
    first = wrap(lead + message, width)
    lines: list[Ink] = [[(lead, "warn" if warned else "bad"), (first[0].removeprefix(lead), "")]]
    if len(first) > 1:
        lines.append(("  " + " ".join(first[1:]), ""))
    if failure.status != "open":
        mark = formatting.state_mark(failure.status, glyphs)
        note = f" {failure.note}" if failure.note else ""
        lines.append([(f"{mark.glyph} {mark.word}", mark.tone), (note, "muted")])
    else:
        advice = wrap(advice_for(failure.cause), max(10, width - 2))
        room = max(1, rows - len(lines))
        if len(advice) > room:
            advice[room - 1] = crop(f"{advice[room - 1]} {advice[room]}", max(10, width - 2), glyphs.ellipsis)
        for number, line in enumerate(advice[:room]):
            lines.append([(f"{glyphs.arrow} " if not number else "  ", "accent"), (line, "muted")])
    return lines


def without_key(failure: Failure) -> Notice:
    """What stands for a row that cannot be asked for: it has no key."""
    place = (
        f"It stood at ctid {failure.locator} of {failure.table} when it was read. " if failure.locator else ""
    )
    return Notice("This row has no key, so it cannot be asked for", f"{place}Give it a key, then retry.")


def columns_at_fault(failure: Failure, columns: Mapping[str, object] | Iterable[str]) -> list[str]:
    """The columns that the failure names: by its locator, its detail, or words in its message."""
    names = set(columns)
    found = [failure.locator] if failure.locator in names else []
    named = failure.detail.get("column") if failure.detail else None
    if isinstance(named, str) and named in names and named not in found:
        found.append(named)
    if not found:
        quoted = re.findall(r"[`'\"]([A-Za-z_][A-Za-z0-9_]*)[`'\"]", failure.message)
        found = [word for word in dict.fromkeys(quoted) if word in names]
    if not found and failure.cause in {"null_key", "duplicate_key"} and "id" in names:
        found = ["id"]
    return found
