"""What the Run screen says about a job: pure functions from the view to cells and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import formatting
from app.formatting import Glyphs
from app.widgets.ink import Ink, Run, bar_runs, width_of
from app.widgets.row_list import ListColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.log_lines import LogLine
    from ingestion.run_view import ArrivalView, RunView, TableView

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
    idle = {"eta"} if view.finished else set()
    idle |= {
        name
        for name, number in (
            ("skipped", view.counts.skipped),
            ("warned", view.counts.warned),
            ("files", view.files.downloaded + view.files.failed),
        )
        if not number
    }
    return tuple(column for column in BOARD_COLUMNS if column.key not in idle)


def says(line: LogLine, words: Sequence[str]) -> bool:
    """Whether a line of the log holds every one of these words, in any case."""
    text = f"{line.table} {line.shown}".casefold()
    return all(word in text for word in words)


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
        name = formatting.middle(formatting.one_line(table.table, unicode=glyphs.unicode), width, glyphs)
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
    """What was fetched, since when, and how long it worked."""
    if view.started_at is None:
        return "not started yet"
    files = f"{formatting.size(view.files.size_bytes)} of files, " if view.files.size_bytes else ""
    worked = formatting.duration(view.worked_s)
    return f"{files}started {formatting.moment(view.started_at)}, worked {worked}"


def total_lines(view: RunView, width: int, glyphs: Glyphs, trouble: str = "") -> list[Ink]:
    """State and bar; counts and files; what is going on just now."""
    mark = formatting.state_mark(view.status, glyphs)
    counts = view.counts
    left = (
        f"  {formatting.eta(view.eta_s, exact=view.exact, glyphs=glyphs)} left"
        if view.eta_s is not None
        else ""
    )
    head: list[Run] = [
        (f"{mark.glyph} {mark.word} ", mark.tone),
        (f"{view.kind} ", "muted"),
        (f"{formatting.percent(view.share, glyphs=glyphs):>4}  ", "strong"),
    ]
    tail: list[Run] = [
        (f"  {formatting.count(counts.read)}", "strong"),
        (f" of {formatting.count(view.expected, exact=view.exact, glyphs=glyphs)} rows", "muted"),
        (f"  {formatting.rate(view.rate_per_s, glyphs=glyphs)}", "info" if not view.finished else "muted"),
        (left, "muted"),
    ]
    tone = "good" if view.status == "completed" else mark.tone
    bar = bar_runs(view.share, max(6, width - width_of((*head, *tail))), tone, glyphs)
    # Every figure where there is room, else those that are nought are left out.
    second = _figures(view, glyphs, "   ", all_of_them=True)
    if width_of(second) > width:
        second = _figures(view, glyphs, "  ", all_of_them=False)
    return [[*head, *bar, *tail], second, _note(view, glyphs, trouble)]


def _figures(view: RunView, glyphs: Glyphs, gap: str, *, all_of_them: bool) -> list[Run]:
    counts, files = view.counts, view.files
    out: list[Run] = []
    for number, word, tone in (
        (counts.indexed, "indexed", "good"), (counts.failed, "failed", "bad"),
        (counts.skipped, "skipped", "muted"), (counts.warned, "warned", "warn"),
        (counts.deleted, "deleted", "muted"),
    ):  # fmt: skip
        if number or word in {"indexed", "failed"} or (all_of_them and word != "deleted"):
            out += [(formatting.count(number), tone if number else "muted"), (f" {word}{gap}", "muted")]
    settled = files.downloaded + files.failed + files.skipped
    if files.found and not (
        files.downloaded or files.failed
    ):  # references that name no file are settled anyway
        out += [(formatting.count(files.found), "muted"), (" files seen, not fetched", "muted")]
    elif files.found:
        out += [("files ", "muted"), (formatting.count(files.downloaded), "info")]
        if all_of_them:
            out.append((f" of {formatting.count(files.found)}", "muted"))
        elif settled < files.found:
            out.append((f"/{formatting.count(files.found)}", "muted"))
        if files.failed:
            out.append((f" {glyphs.bad}{formatting.count(files.failed)}", "bad"))
    return out


def _note(view: RunView, glyphs: Glyphs, trouble: str) -> Ink:
    if trouble:
        return (f"{glyphs.warn} the state cannot be read just now: {formatting.redacted(trouble)}", "warn")
    for backoff in view.backoffs.values():
        wait = formatting.duration(backoff.wait_s)
        reason = formatting.one_line(backoff.reason, unicode=glyphs.unicode)
        return (f"{glyphs.warn} backing off: {backoff.service} asks us to wait {wait}: {reason}", "warn")
    if view.message:
        return (formatting.one_line(view.message, unicode=glyphs.unicode), "muted")
    if view.finished:
        return [
            ("v", "key"), (" verifies  ", "muted"), ("w", "key"), (" saves the report  ", "muted"),
            *([("f", "key"), (" shows a table's failures", "muted")] if view.counts.failed else []),
        ]  # fmt: skip
    return _at_work(view, glyphs)


def _at_work(view: RunView, glyphs: Glyphs) -> Ink:
    """How many tables at once, and how Vespa answers."""
    running = sum(t.state == "running" for t in view.tables.values())
    out: list[Run] = [(f"{formatting.plural(running, 'table')} at once", "muted")] if running else []
    if view.arriving is not None:
        out += _arriving(view.arriving, glyphs, first=not out)
    if view.load is not None:
        load = view.load
        out += [
            (f" {glyphs.dot} Vespa answers in ", "muted"), (_milliseconds(load.latency_p50_s), "info"),
            (", slowest 5 % ", "muted"), (_milliseconds(load.latency_p95_s), "info"),
            (f" {glyphs.dot} {load.requests} of {load.limit} requests", "muted"),
        ]  # fmt: skip
    return out


def _arriving(files: ArrivalView, glyphs: Glyphs, *, first: bool) -> list[Run]:
    """How many files at once, how fast, and how far the one is that takes longest."""
    gap = "" if first else f" {glyphs.dot} "
    out: list[Run] = [
        (f"{gap}{formatting.plural(files.under_way, 'file')} at ", "muted"),
        (f"{formatting.size(int(files.bytes_per_s))}/s", "info"),
    ]
    if files.expected_bytes and files.filename:
        name = formatting.one_line(files.filename, unicode=glyphs.unicode)
        share = formatting.percent(files.received_bytes / files.expected_bytes, glyphs=glyphs)
        out.append((f", {name} {share}", "muted"))
    return out


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:,.0f} ms"
