"""Every action of the application, declared once.

Footer, help, command palette and confirmations are made from `ACTIONS`. A screen implements an action as
the method `do_<verb>` and says through `facts()` which of its `needs` are met; an action whose needs are
not met stays visible and, when asked for, says why not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from textual.binding import Binding


class Danger(Enum):
    """What an action may destroy, and so how it is confirmed; the key that asked never confirms."""

    NONE = "none"
    ASK = "ask"
    """A dialog whose default is to do nothing."""
    TYPED = "typed"
    """A word must be typed out."""


class Need(Enum):
    """What must be there for an action; the value is the sentence shown when it is not."""

    SCHEMA = "The schema is not known yet. Connect to a database on screen 1, then discover with r."
    ROW = "Nothing is selected here."
    TABLE = "Choose a table first."
    COLUMN = "Choose a column on the Columns tab first."
    RELATION = "Choose a relation on the Relations tab first."
    SAMPLES = "This table has no sample rows to step through."
    HISTORY = "There is nothing to go back to."
    DRIFT = "Nothing has changed since the discovery before this one, or this is the first."
    INCLUDED = "No table is included: press a to take all, or space on a table."
    JOB = "No job is open here. Start one on the Plan screen (3) or open one on Jobs (6)."
    ACTIVE_JOB = "This job is not running."
    IDLE = "A job is running already: watch it on the Run screen (4)."
    RESUMABLE = "Only a job that was stopped or interrupted can be resumed."
    FAILURES = "There are no open failures here."
    FINISHED = "The job is still running: wait for its end, or stop it first."
    DIFFERENCES = "There is nothing to repair: verify first, or everything is equal."
    VERIFIED = "Nothing has been verified yet."
    RECORD = "Open a record first."
    FILES = "This record has no files."
    SOURCE = "There is nothing to test yet: add a connection with a, or bring up the sandbox with b."
    SAVED = "Only a saved connection can be deleted."


@dataclass(frozen=True, slots=True)
class Action:
    """`rank` orders the footer, the smallest first; 0 keeps the action out of it."""

    id: str
    keys: tuple[str, ...]
    label: str
    help: str
    rank: int = 0
    needs: tuple[Need, ...] = ()
    danger: Danger = Danger.NONE
    question: str = ""

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.id.partition(".")[2]

    def disabled_reason(self, facts: Iterable[Need]) -> str | None:
        """The first need that is not met, in words; None when the action can be done."""
        met = frozenset(facts)
        return next((need.value for need in self.needs if need not in met), None)


SCREENS: tuple[tuple[str, str, str], ...] = (
    ("connect", "Connect", "Which database, which index, and what we may do there."),
    ("schema", "Schema", "Tables, columns, samples, relations and files of the source."),
    ("plan", "Plan", "What to take, what it will cost, and what leaving a table out means."),
    ("run", "Run", "The job: one live line per table, totals, log."),
    ("checkpoints", "Checkpoints", "How far each table is synced, and how fresh it is."),
    ("jobs", "Jobs", "Every job so far: what it read, indexed, failed and skipped."),
    ("failures", "Failures", "Records and files that failed, by cause, with retry."),
    ("search", "Search", "Ask the index; follow relations and files."),
    ("help", "Help", "Every screen, every action, every key."),
)
"""Name, label and one sentence of each screen, in the order of the number keys."""

SCREEN_NAMES = tuple(name for name, _, _ in SCREENS)


def _navigation() -> tuple[Action, ...]:
    return tuple(
        Action(f"app.go_{name}", (str(number),), label, text)
        for number, (name, label, text) in enumerate(SCREENS, start=1)
    )


_A, _N = Action, Need

ACTIONS: tuple[Action, ...] = (
    *_navigation(),
    _A("app.context_help", ("question_mark", "f1"), "Help", "The keys of this screen.", 1),
    _A("app.palette", ("ctrl+p", "colon"), "Palette", "Find any action, screen or table by name.", 90),
    _A("app.next_theme", ("ctrl+t",), "Theme", "Change between the dark and the light theme."),
    _A("app.guide_next", ("greater_than_sign",), "Next step", "Go on to the next step of the guide.", 89),
    _A("app.guide_back", ("less_than_sign",), "Step back", "Go back to the step before."),
    _A("app.guide", ("ctrl+g",), "Guide", "Show the guide's steps, or leave their lines to the screen."),
    _A("app.zoom", ("z",), "Zoom", "The panel you are in over the whole screen, and back."),
    _A("app.snapshot", ("f12",), "Snapshot", "Save this screen as an SVG picture."),
    _A("app.quit_asked", ("q", "ctrl+q"), "Quit", "Leave; a running job goes on unless you stop it.", 91),
    # -- connect
    _A("connect.use", ("enter",), "Use", "Connect to what the cursor stands on.", 1, (_N.ROW,)),
    _A("connect.add", ("a",), "Add", "Name a database and an index; save them if you like.", 2),
    _A("connect.sandbox", ("b",), "Sandbox", "Bring up the sample database, a local Vespa endpoint and a "
       "file store, and connect to them.", 3, danger=Danger.ASK,
       question="Leave this connection for the sandbox? Nothing is lost: enter on its line comes back to it."),
    _A("connect.test", ("t",), "Test", "Test the source database and Vespa again.", 4, (_N.SOURCE,)),
    _A("connect.next", ("n",), "Schema", "Go on: explore the schema.", 5),
    _A("connect.edit", ("e",), "Edit", "Change this connection, or type other addresses.", 6),
    _A("connect.delete", ("x",), "Delete", "Forget this saved connection.", 7, (_N.SAVED,), Danger.ASK,
       "Forget this saved connection? The database and the index are not touched."),
    _A("connect.test_source", ("d",), "Test source", "Test the source database alone.", 0, (_N.SOURCE,)),
    _A("connect.test_vespa", ("v",), "Test Vespa", "Test Vespa alone.", 0, (_N.SOURCE,)),
    # -- schema
    _A("schema.filter", ("slash",), "Filter", "Narrow the list; letters may be left out (cmtitm).", 2),
    _A("schema.open", ("enter",), "Open", "Follow the relation, or open the table, column or value "
       "under the cursor.", 3),
    _A("schema.back", ("backspace",), "Back", "Return to the table you came from.", 4, (_N.HISTORY,)),
    _A("schema.next_tab", ("right_square_bracket",), "Next tab", "Columns, relations, samples, files.", 5),
    _A("schema.previous_tab", ("left_square_bracket",), "Previous tab", "The tab to the left."),
    _A("schema.next_sample", ("n",), "Next row", "The next sample row.", 6, (_N.TABLE,)),
    _A("schema.previous_sample", ("p",), "Previous row", "The sample row before.", 0, (_N.TABLE,)),
    _A("schema.evidence", ("i",), "Why?", "What speaks for and against this implied relation; accept or "
       "reject it.", 7, (_N.RELATION,)),
    _A("schema.preview", ("v",), "Preview", "A row beside the exact document it becomes.", 8, (_N.TABLE,)),
    _A("schema.toggle", ("space",), "In plan", "Take this table into the plan, or leave it out.", 9,
       (_N.TABLE,)),
    _A("schema.statistics", ("s",), "Statistics", "Share of NULL, distinct values, extremes of the columns.", 10,
       (_N.TABLE,)),
    _A("schema.drift", ("d",), "Changes", "What changed since the discovery before this one.", 11, (_N.DRIFT,)),
    _A("schema.mask", ("m",), "Mask", "Mask this column in the plan, so that its values never reach the index.", 0,
       (_N.COLUMN,)),
    _A("schema.discover", ("r",), "Discover", "Read the schema from the database again.", 12),
    _A("schema.export", ("e",), "Export", "Save the schema as JSON, Markdown or a Mermaid diagram.", 13,
       (_N.SCHEMA,)),
    _A("schema.copy", ("y",), "Copy", "Copy the table's name.", 14, (_N.TABLE,)),
    # -- plan
    _A("plan.toggle", ("space",), "Toggle", "Include or exclude the table, or all marked ones.", 2,
       (_N.SCHEMA,)),
    _A("plan.start", ("s",), "Start", "Choose full, incremental or dry run, and start the job.", 3,
       (_N.SCHEMA, _N.INCLUDED, _N.IDLE)),
    _A("plan.include_glob", ("plus",), "Include", "Include tables by a pattern such as budget_*.", 4,
       (_N.SCHEMA,)),
    _A("plan.exclude_glob", ("minus",), "Exclude", "Exclude tables by a pattern such as *_events.", 5,
       (_N.SCHEMA,)),
    _A("plan.take_all", ("a",), "All", "Include every table.", 6, (_N.SCHEMA,)),
    _A("plan.take_none", ("n",), "None", "Exclude every table.", 7, (_N.SCHEMA,)),
    _A("plan.invert", ("i",), "Invert", "Swap included and excluded.", 0, (_N.SCHEMA,)),
    _A("plan.filter", ("slash",), "Filter", "Narrow the list of tables.", 8),
    _A("plan.files", ("f",), "Files", "Download the files that rows refer to, or not.", 9),
    _A("plan.options", ("o",), "Options", "Batch size, tables and files at a time.", 10),
    _A("plan.save", ("w",), "Save", "Write the plan to a file that `ingest --plan` runs verbatim.", 11,
       (_N.SCHEMA,)),
    _A("plan.load", ("l",), "Load", "Read a plan file.", 12, (_N.SCHEMA,)),
    _A("plan.dry_run", ("d",), "Dry run", "Try the first rows of every table; nothing is written.", 13,
       (_N.SCHEMA, _N.INCLUDED)),
    _A("plan.preview", ("v",), "Preview", "A row of this table beside the document it becomes.", 14,
       (_N.TABLE,)),
    # -- run
    _A("run.pause", ("p",), "Pause", "Pause the job at the next batch, or let it go on.", 2,
       (_N.ACTIVE_JOB,)),
    _A("run.stop", ("x",), "Stop", "Stop at the next checkpoint; the job can be resumed.", 3,
       (_N.ACTIVE_JOB,), Danger.ASK,
       "Stop this job at its next checkpoint? What is done stays done, and the job can be resumed."),
    _A("run.resume", ("c",), "Resume", "Go on with a stopped or interrupted job.", 4, (_N.RESUMABLE,)),
    _A("run.skip", ("s",), "Skip table", "Leave the table under the cursor out of this job.", 5,
       (_N.ACTIVE_JOB, _N.ROW), Danger.ASK, "Leave this table out of the running job?"),
    _A("run.sort", ("o",), "Sort", "Order by what matters, name, failures or rate.", 6),
    _A("run.problems", ("e",), "Problems", "Show only tables with failures or warnings.", 7),
    _A("run.filter", ("slash",), "Filter", "Narrow the tables.", 8),
    _A("run.log_level", ("l",), "Log", "Log: everything, warnings, errors.", 9),
    _A("run.log_filter", ("L",), "Filter log", "Only the lines of the log with certain words."),
    _A("run.failures", ("f",), "Failures", "The failures of the table under the cursor.", 10, (_N.ROW,)),
    _A("run.verify", ("v",), "Verify", "Compare source and index, table by table.", 11, (_N.FINISHED,)),
    _A("run.report", ("w",), "Report", "Save this job's report as Markdown or JSON.", 12, (_N.JOB,)),
    _A("run.detach", ("d",), "Detach", "Close the application; the job goes on.", 13, (_N.ACTIVE_JOB,)),
    # -- verify
    _A("verify.again", ("r",), "Again", "Compare counts, keys and digests again.", 2),
    _A("verify.deep", ("d",), "Deep", "Compare every document with its row.", 3),
    _A("verify.repair", ("m",), "Mend", "Feed what is missing or different, remove what is extra.", 4,
       (_N.DIFFERENCES,), Danger.ASK,
       "Repair the differences? Missing and different records are fed again, extra ones removed."),
    _A("verify.save", ("w",), "Save", "Save the report as Markdown or JSON.", 5, (_N.VERIFIED,)),
    _A("verify.close", ("escape",), "Close", "Back to the screen you came from.", 6),
    # -- checkpoints
    _A("checkpoints.filter", ("slash",), "Filter", "Narrow the list.", 2),
    _A("checkpoints.open", ("enter",), "Table", "Open the table on the Schema screen.", 3, (_N.ROW,)),
    _A("checkpoints.history", ("h",), "History", "What the latest jobs did to this table.", 3, (_N.ROW,)),
    _A("checkpoints.clear", ("x",), "Clear", "Forget this table's checkpoint: its next sync reads all of it.",
       4, (_N.ROW, _N.IDLE), Danger.TYPED,
       "The next sync of this table reads every row again. Nothing leaves the index."),
    _A("checkpoints.clear_all", ("X",), "Clear all", "Forget every checkpoint.", 5, (_N.ROW, _N.IDLE),
       Danger.TYPED, "The next sync reads every row of every table again. Nothing leaves the index."),
    _A("checkpoints.sort", ("o",), "Sort", "Order by name, freshness or failures.", 6),
    _A("checkpoints.reload", ("r",), "Reload", "Read the checkpoints again.", 7),
    # -- jobs
    _A("jobs.open", ("enter",), "Open", "Open the job on the Run screen.", 2, (_N.ROW,)),
    _A("jobs.resume", ("c",), "Resume", "Go on with a stopped or interrupted job.", 3,
       (_N.RESUMABLE, _N.IDLE)),
    _A("jobs.failures", ("f",), "Failures", "The failures of this job.", 4, (_N.ROW,)),
    _A("jobs.verify", ("v",), "Verify", "Compare source and index.", 5, (_N.IDLE,)),
    _A("jobs.report", ("w",), "Report", "Save this job's report as Markdown or JSON.", 6, (_N.ROW,)),
    _A("jobs.copy", ("y",), "Copy id", "Copy the job's id.", 7, (_N.ROW,)),
    _A("jobs.reload", ("r",), "Reload", "Read the jobs again.", 8),
    # -- failures
    _A("failures.retry", ("t",), "Retry", "Retry this failure, or the marked ones.", 2,
       (_N.FAILURES, _N.ROW)),
    _A("failures.retry_cluster", ("c",), "Cluster", "Retry everything that failed for this cause.", 3,
       (_N.FAILURES, _N.ROW), Danger.ASK, "Retry every failure of this cluster?"),
    _A("failures.retry_all", ("A",), "All", "Retry every open failure that the filter shows.", 4,
       (_N.FAILURES,), Danger.ASK, "Retry every open failure that the filter shows?"),
    _A("failures.canary", ("n",), "Canary", "Retry three of this cluster first, then decide.", 5,
       (_N.FAILURES, _N.ROW)),
    _A("failures.mark", ("space",), "Mark", "Mark for retry or dismissal; shift+arrows mark a range.", 6,
       (_N.ROW,)),
    _A("failures.dismiss", ("d",), "Dismiss", "Take off the list with a note; nothing is retried.", 7,
       (_N.FAILURES, _N.ROW)),
    _A("failures.kind", ("m",), "Kind", "Records, files or warnings.", 8),
    _A("failures.status", ("o",), "Status", "Open, resolved or dismissed.", 9),
    _A("failures.filter", ("slash",), "Filter", "By part of a table's name, or table:key.", 10),
    _A("failures.open", ("enter",), "Open", "Go into the cluster, then into the failure.", 11, (_N.ROW,)),
    _A("failures.view", ("v",), "View files", "The fetched files of this failure's record: photos, PDFs' text.",
       0, (_N.ROW,)),
    _A("failures.back", ("backspace", "escape"), "Back", "To the list, then to the clusters."),
    _A("failures.export", ("e",), "Export", "Save what the filter shows as JSON lines or CSV.", 12),
    _A("failures.copy", ("y",), "Copy", "Copy table, key and message.", 13, (_N.ROW,)),
    _A("failures.reload", ("r",), "Reload", "Read the failures again."),
    # -- search
    _A("search.query", ("slash",), "Query", "Type a query.", 2),
    _A("search.open", ("enter",), "Open", "Open the record, or follow the relation or file.", 3),
    _A("search.back", ("backspace",), "Back", "Return to the record or results you came from.", 4,
       (_N.HISTORY,)),
    _A("search.view", ("v",), "View", "The record's fetched files: photos, and the text of PDFs.", 4,
       (_N.FILES,)),
    _A("search.table", ("t",), "Table", "Only records of one table.", 5),
    _A("search.project", ("o",), "Project", "Only records of one project.", 6),
    _A("search.clear", ("x",), "Clear", "Drop both filters.", 7),
    _A("search.copy", ("y",), "Copy id", "Copy the document's id.", 8, (_N.RECORD,)),
    _A("search.source", ("s",), "Schema", "The record's table on the Schema screen.", 9, (_N.RECORD,)),
    # -- help
    _A("help.filter", ("slash",), "Filter", "Find an action by its name, key or help.", 2),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}


def of_scope(scope: str) -> tuple[Action, ...]:
    """The actions of a screen (or of `app`), in the order declared."""
    return tuple(action for action in ACTIONS if action.scope == scope)


def bindings(scope: str) -> list[Binding]:
    """Textual's bindings of a scope; each performs its action by id."""
    return [
        Binding(key, f"perform('{action.id}')", action.label, show=False, tooltip=action.help)
        for action in of_scope(scope)
        for key in action.keys
    ]


_KEY_NAMES = {
    "question_mark": "?", "colon": ":", "slash": "/", "plus": "+", "minus": "-", "left_square_bracket": "[",
    "right_square_bracket": "]", "greater_than_sign": ">", "less_than_sign": "<",
    "backspace": "bksp", "escape": "esc", "space": "space", "enter": "enter",
}  # fmt: skip


def key_name(key: str) -> str:
    """A key as it is written for people: `?`, `^p`, `space`, `X`."""
    if key.startswith("ctrl+"):
        return "^" + key[5:]
    return _KEY_NAMES.get(key, key.replace("shift+", "⇧"))


def keys_text(action: Action, *, all_keys: bool = False) -> str:
    """The action's first key, or all of them."""
    return " ".join(key_name(key) for key in (action.keys if all_keys else action.keys[:1]))
