"""What is done to failures beyond looking at them: dialogs around retry, dismissal and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import formatting
from app.modals.ask import Choice, Choose, Prompt
from app.modals.confirm import Confirm
from app.modals.save import ENDINGS, ask_path
from ingestion.state.types import Failure, FailureFilter
from ingestion.transform import document_ids

if TYPE_CHECKING:
    from app.screens.base import BaseScreen
    from ingestion.reports import RetryReport


def tell_retry(screen: BaseScreen, report: RetryReport) -> None:
    """What came of a retry."""
    text = f"{report.tried} tried: {report.resolved} mended, {report.failed} failed again."
    for table in report.untried:
        text += f" {table.table} was not tried: {table.message}"
    screen.tell(text, severity="warning" if report.failed or report.untried else "information")


async def wants_the_rest(screen: BaseScreen, wanted: FailureFilter, report: RetryReport) -> bool:
    """After canaries that were all mended: whether to go on with the others of the filter."""
    rest = await screen.bridge.service.failures(wanted, None, 1)
    if not rest.total:
        tell_retry(screen, report)
        return False
    question = (
        f"All {report.resolved} canaries were mended. Retry the other "
        f"{formatting.count(rest.total)} of this cluster?"
    )
    answer = await screen.app.push_screen_wait(Confirm(question, "Retry the rest", asked_by=("n",)))
    return answer is True


async def dismiss(screen: BaseScreen, ids: tuple[int, ...]) -> bool:
    """Ask for a note and dismiss; whether anything was dismissed."""
    note = await screen.app.push_screen_wait(
        Prompt(
            f"Dismiss {formatting.plural(len(ids), 'failure')}",
            "Why? The note is kept with them; nothing is retried or deleted.",
            placeholder="known and accepted",
            check=lambda text: "" if text else "A note is needed.",
        )
    )
    if not note:
        return False
    try:
        done = await screen.bridge.service.dismiss(FailureFilter(kinds=None, ids=ids), note)
    except Exception as error:
        screen.tell_error(error, "Not dismissed")
        return False
    screen.tell(f"{formatting.plural(done, 'failure')} dismissed; o shows them.")
    return True


async def view_files(screen: BaseScreen, failure: Failure) -> None:
    """The files that the index has of the failure's record, the failed one first where it is named."""
    from app.modals.file_view import FileView

    doc_id = document_ids.doc_id(failure.table, failure.key)
    try:
        files = list(await screen.bridge.service.files_of(doc_id)) if failure.key else []
    except Exception as error:
        screen.tell_error(error, "The files could not be looked up")
        return
    if not files:
        screen.tell("The index has no files of this record.", severity="warning")
        return
    at = next((n for n, file in enumerate(files) if file.get("file_id") == failure.locator), 0)
    screen.app.push_screen(FileView(files, at))


async def export(screen: BaseScreen, wanted: FailureFilter) -> None:
    """Ask for form and file, then save what the filter matches."""
    form = await screen.app.push_screen_wait(
        Choose(
            "Export failures",
            [
                Choice("jsonl", "JSON lines", "One object a line."),
                Choice("csv", "CSV", "For a spreadsheet; formulas are made harmless."),
            ],
        )
    )
    if form is None:
        return
    path = await ask_path(screen, "Export failures", f"failures{ENDINGS[form]}")
    if path is None:
        return
    try:
        number = await screen.bridge.service.export_failures(wanted, path)
    except Exception as error:
        screen.tell_error(error, "Not exported")
    else:
        screen.tell(f"{formatting.plural(number, 'failure')} saved to {path}")
