"""What the Run screen says about a job: pure functions from the view to cells and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import formatting
from app.formatting import Glyphs
from app.widgets.ink import Ink, Run, bar_runs
from app.widgets.row_list import ListColumn

if TYPE_CHECKING:
    from ingestion.run_view import RunView, TableView

SORTS = ("matters", "name", "failures", "rate")

BOARD_COLUMNS = (
    ListColumn("state", "State", 11),
    ListColumn("name", "Table", flex=3, minimum=16, maximum=44),
    ListColumn("bar", "", flex=1, minimum=6, maximum=40),
    ListColumn("share", "%", 4, right=True, drop=8),
    ListColumn("done", "Done / total", flex=1, minimum=13, maximum=19, right=True),
    ListColumn("rate", "Rate", 8, right=True, drop=2),
    ListColumn("eta", "Left", 7, right=True, drop=3),
    ListColumn("failed", "Failed", 6, right=True),
    ListColumn("skipped", "Skipped", 7, right=True, drop=5),
    ListColumn("warned", "Warned", 6, right=True, drop=7),
    ListColumn("files", "Files", 6, right=True, drop=4),
)


def board_columns(view: RunView) -> tuple[ListColumn, ...]:
    """The board's columns, without those that would stay empty."""
    idle = {
        name
        for name, number in (
            ("skipped", view.counts.skipped),
            ("warned", view.counts.warned),
            ("files", view.files.downloaded + view.files.failed),
        )
        if not number
    }
    return tuple(column for column in BOARD_COLUMNS if column.key not in idle)


def is_problem(table: TableView) -> bool:
    """Whether somebody should look at this table."""
    return bool(table.counts.failed or table.counts.warned or table.files.failed) or table.state == "failed"


def sorted_tables(view: RunView, order: str) -> list[TableView]:
    """The tables in one of the orders of `SORTS`."""
    if order == "name":
        return sorted(view.tables.values(), key=lambda t: t.table)
    if order == "failures":
        return sorted(view.tables.values(), key=lambda t: (-t.counts.failed - t.files.failed, t.table))
    if order == "rate":
        return sorted(view.tables.values(), key=lambda t: (-t.rate_per_s, t.order))
    return view.sorted_tables()


def board_cells(table: TableView, column: str, width: int, glyphs: Glyphs) -> Ink:
    mark = formatting.state_mark(table.state, glyphs)
    over = table.state in {"completed", "partial", "skipped", "failed", "cancelled"}
    if column == "state":
        return [(f"{mark.glyph} ", mark.tone), (mark.word, mark.tone if mark.tone != "good" else "muted")]
    if column == "name":
        name = formatting.one_line(table.table, unicode=glyphs.unicode)
        if table.message:
            return [(name, ""), (f"  {formatting.one_line(table.message, unicode=glyphs.unicode)}", "faint")]
        return (name, "strong" if table.state in {"running", "paused"} else "muted" if over else "")
    if column == "bar":
        if table.state == "skipped":
            return ""
        tone = {"completed": "good", "partial": "warn"}.get(table.state, mark.tone)
        return bar_runs(table.share, width, tone if tone != "muted" else "faint", glyphs)
    if column == "share":
        return (formatting.percent(table.share, glyphs=glyphs), "muted")
    if column == "done":
        return _done_cell(table, width, over, glyphs)
    if column == "rate":
        return (formatting.rate(table.rate_per_s, glyphs=glyphs), "faint" if over else "info")
    if column == "eta":
        if over or table.state == "pending":
            return ""
        return (formatting.eta(table.eta_s, exact=table.exact, glyphs=glyphs), "muted")
    return _count_cell(table, column, glyphs)


def _done_cell(table: TableView, width: int, over: bool, glyphs: Glyphs) -> Ink:
    done, total = table.counts.read, table.total
    for write in (formatting.count, formatting.short_count):
        whole = write(total, exact=table.exact, glyphs=glyphs)
        if over and done == total:
            return (whole, "muted")
        part = write(done)
        if len(part) + len(whole) + 3 <= width:
            break
    return [(part, "" if done else "faint"), (" / ", "faint"), (whole, "muted")]


def _count_cell(table: TableView, column: str, glyphs: Glyphs) -> Ink:
    counts, files = table.counts, table.files
    if column == "files":
        if files.failed:
            return (f"{glyphs.bad}{formatting.short_count(files.failed)}", "bad")
        return (formatting.short_count(files.downloaded) if files.downloaded else "", "muted")
    number = {"failed": counts.failed, "skipped": counts.skipped, "warned": counts.warned}[column]
    if not number:
        return (glyphs.dot, "faint")
    text = formatting.short_count(number)
    return (text, {"failed": "bad", "warned": "warn"}.get(column, "muted"))


def times(view: RunView, now: float) -> str:
    """Since when, and how long it worked."""
    if view.started_at is None:
        return "not started yet"
    return f"started {formatting.moment(view.started_at)}, worked {formatting.duration(view.worked_s)}"


def total_lines(view: RunView, width: int, glyphs: Glyphs, trouble: str = "") -> list[Ink]:
    """State and bar; rates and what is left; counts and files."""
    mark = formatting.state_mark(view.status, glyphs)
    counts, files = view.counts, view.files
    share = view.share
    left = (
        f"  {formatting.eta(view.eta_s, exact=view.exact, glyphs=glyphs)} left"
        if view.eta_s is not None
        else ""
    )
    head: list[Run] = [
        (f"{mark.glyph} {mark.word} ", mark.tone),
        (f"{view.kind} ", "muted"),
        (f"{formatting.percent(share, glyphs=glyphs):>4}  ", "strong"),
    ]
    tail: list[Run] = [
        (f"  {formatting.count(counts.read)}", "strong"),
        (f" of {formatting.count(view.expected, exact=view.exact, glyphs=glyphs)} rows", "muted"),
        (f"  {formatting.rate(view.rate_per_s, glyphs=glyphs)}", "info" if not view.finished else "muted"),
        (left, "muted"),
    ]
    used = sum(len(text) for text, _ in (*head, *tail))
    tone = "good" if view.status == "completed" else mark.tone
    bar = bar_runs(share, max(6, width - used), tone, glyphs)
    gap = "   " if width >= 90 else "  "
    second: list[Run] = [
        (formatting.count(counts.indexed), "good"), (f" indexed{gap}", "muted"),
        (formatting.count(counts.failed), "bad" if counts.failed else "muted"), (f" failed{gap}", "muted"),
        (formatting.count(counts.skipped), "muted"), (f" skipped{gap}", "muted"),
        (formatting.count(counts.warned), "warn" if counts.warned else "muted"), (" warned", "muted"),
    ]  # fmt: skip
    if counts.deleted:
        second += [(f"   {formatting.count(counts.deleted)} deleted", "muted")]
    settled = files.downloaded + files.failed + files.skipped
    if files.found and not settled:
        second += [
            ("   ", ""),
            (formatting.count(files.found), "muted"),
            (" files seen, not fetched", "muted"),
        ]
    elif files.found:
        second += [
            (f"{gap}files ", "muted"), (formatting.count(files.downloaded), "info"),
            (f" of {formatting.count(files.found)}", "muted"),
            (f" {glyphs.bad}{formatting.count(files.failed)}" if files.failed else "", "bad"),
            (f"  {formatting.size(files.size_bytes)}" if files.size_bytes and width >= 90 else "", "faint"),
        ]  # fmt: skip
    lines: list[Ink] = [[*head, *bar, *tail], second]
    note = _note(view, glyphs, trouble)
    # On short screens there are two lines only: what needs attention goes before what is usual.
    lines.append(note)
    return lines


def _note(view: RunView, glyphs: Glyphs, trouble: str) -> Ink:
    if trouble:
        return (f"{glyphs.warn} the state cannot be read just now: {formatting.redacted(trouble)}", "warn")
    for backoff in view.backoffs.values():
        wait = formatting.duration(backoff.wait_s)
        reason = formatting.one_line(backoff.reason, unicode=glyphs.unicode)
        return (f"{glyphs.warn} {backoff.service} asks us to wait {wait}: {reason}", "warn")
    if view.message:
        return (formatting.one_line(view.message, unicode=glyphs.unicode), "muted")
    if view.finished:
        return [
            ("v", "key"), (" verifies  ", "muted"), ("w", "key"), (" saves the report  ", "muted"),
            *([("f", "key"), (" shows a table's failures", "muted")] if view.counts.failed else []),
        ]  # fmt: skip
    running = [t.table for t in view.tables.values() if t.state == "running"]
    return [(f"reading {', '.join(running[:4])}" if running else "", "faint")]
