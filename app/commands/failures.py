"""`failures`: list, show, retry, export and dismiss what did not get through."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table
from ingestion import errors, failure_export
from ingestion.failures import advice_for, title_of
from ingestion.service import IngestService
from ingestion.state.types import FailureFilter

CANARIES = 3


async def run(inv: Invocation) -> ExitCode:
    """Do the action named on the command line."""
    action = {"list": _list, "show": _show, "retry": _retry, "export": _export, "dismiss": _dismiss}
    async with IngestService(inv.settings) as service:
        return await action[inv.args.action](inv, service)


def filter_of(inv: Invocation) -> FailureFilter:
    """The filter that the flags describe."""
    args = inv.args
    kinds = next(
        (
            (kind,)
            for kind, flag in (("record", args.records), ("file", args.files), ("warning", args.warnings))
            if flag
        ),
        # An id names its failure, whatever it is of.
        None if getattr(args, "id", None) else ("record", "file"),
    )
    return FailureFilter(
        kinds=kinds,
        tables=(args.table,) if args.table else None,
        causes=(args.cause,) if args.cause else None,
        statuses=None if getattr(args, "all", False) else ("open",),
        ids=tuple(args.id) if getattr(args, "id", None) else None,
    )


async def _list(inv: Invocation, service: IngestService) -> ExitCode:
    filter = filter_of(inv)
    page = await service.failures(filter, inv.args.after, inv.args.limit)
    if inv.out.as_json:
        items = [failure_export.to_dict(failure) for failure in page.items]
        inv.out.json({"total": page.total, "items": items, "next": page.next})
        return ExitCode.DONE
    if not page.items:
        inv.out.say("no failures here")
        return ExitCode.DONE
    clusters = await service.failure_clusters(filter)
    problems = [
        (title_of(c.cause), c.cause, c.count, ", ".join(c.tables[:4]), advice_for(c.cause)) for c in clusters
    ]
    inv.out.data(
        table(("problem", "cause", "count", "tables", "what to do"), problems, numbers=frozenset({2}))
    )
    listed = [(f"{f.id}", f.table, f.key or "(none)", f.stage, f.cause, f.message[:100]) for f in page.items]
    inv.out.data("\n" + table(("id", "table", "key", "stage", "cause", "message"), listed))
    more = f"; --after {page.next} shows more" if page.next is not None else ""
    inv.out.say(f"{page.total:,} in all{more}")
    return ExitCode.DONE


async def _show(inv: Invocation, service: IngestService) -> ExitCode:
    failure = await service.failure(inv.args.id)
    preview = None
    if failure.key:
        preview = await service.failure_preview(inv.args.id)
    found = {**failure_export.to_dict(failure), "advice": advice_for(failure.cause), "detail": failure.detail}
    if preview is not None:
        found |= {"row": preview.row, "document": preview.document}
    inv.out.json(found)
    return ExitCode.DONE


async def _retry(inv: Invocation, service: IngestService) -> ExitCode:
    report = await service.retry(filter_of(inv), canary=CANARIES if inv.args.canary else None)
    if inv.args.id and not report.tried and not report.untried:
        raise errors.SettingsError(
            f"none of these failures is open: {', '.join(map(str, inv.args.id))}",
            hint="`failures list` shows those that are.",
        )
    if inv.args.canary and report.failed == 0 and report.tried:
        inv.out.say(f"the first {report.tried} succeeded, going on with the rest")
        rest = await service.retry(filter_of(inv))
        tried, resolved, failed = report.tried + rest.tried, report.resolved + rest.resolved, rest.failed
        report = rest
    else:
        tried, resolved, failed = report.tried, report.resolved, report.failed
        if inv.args.canary and failed:
            inv.out.say("the first ones failed again, so the rest was not tried")
    for left in report.untried:
        inv.out.say(f"{left.table}: {left.failures:,} not tried: {left.message}")
    if inv.out.as_json:
        untried = [asdict(left) for left in report.untried]
        inv.out.json({"tried": tried, "resolved": resolved, "failed": failed, "untried": untried})
    else:
        standing = sum(left.failures for left in report.untried)
        more = f", {standing:,} not tried" if standing else ""
        inv.out.data(f"{tried:,} tried, {resolved:,} resolved, {failed:,} failed again{more}")
    if report.untried and not tried:
        return ExitCode.NOTHING
    return ExitCode.INCOMPLETE if failed or report.untried else ExitCode.DONE


async def _export(inv: Invocation, service: IngestService) -> ExitCode:
    filter = filter_of(inv)
    if inv.args.output:
        count = await service.export_failures(filter, Path(inv.args.output))
        inv.out.say(f"wrote {count:,} failures to {inv.args.output}")
        return ExitCode.DONE
    after: int | None = None
    while True:
        page = await service.failures(filter, after, 1000)
        for failure in page.items:
            inv.out.document(failure_export.to_line(failure))
        if page.next is None:
            return ExitCode.DONE
        after = page.next


async def _dismiss(inv: Invocation, service: IngestService) -> ExitCode:
    count = await service.dismiss(filter_of(inv), inv.args.note)
    inv.out.say(f"{count:,} failures set aside")
    if inv.out.as_json:
        inv.out.json({"dismissed": count})
    return ExitCode.DONE
