"""The grammar of the command line, each command with examples; loads nothing but argparse."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from ingestion.settings import FIELDS
from ingestion.version import __version__

PROGRAM = "procore-ingest"
OnUsageError = Callable[[str, str], NoReturn]
_OWN_FLAGS = frozenset({"batch_size", "workers", "file_workers", "vespa_token"})
"""Settings whose flags belong to single commands, and the one that must never be an argument."""
SCREENS = ("connect", "schema", "plan", "run", "checkpoints", "jobs", "failures", "search", "help")


class Parser(argparse.ArgumentParser):
    """argparse that reports usage errors to us, with the nearest flags, and never exits on its own."""

    on_usage_error: OnUsageError

    def error(self, message: str) -> NoReturn:
        hint = f"`{self.prog} --help` shows what there is."
        wrong = re.search(r"unrecognized arguments: (\S+)", message)
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            near = get_close_matches(wrong.group(1).split("=")[0], sorted(_flags_below(self)), 2, 0.6)
        elif choice:
            near = get_close_matches(choice.group(1), re.findall(r"[\w-]+", choice.group(2)), 2, 0.6)
        else:
            near = []
        if near:
            hint = f"Did you mean {' or '.join(near)}?"
        self.on_usage_error(message, hint)


def _flags_below(parser: argparse.ArgumentParser) -> set[str]:
    """A subcommand hands words it does not know to the parser above it, which must know its flags to advise."""
    flags = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                flags |= _flags_below(child)
    return flags


def build_parser(on_usage_error: OnUsageError) -> Parser:
    """The whole grammar."""
    Parser.on_usage_error = staticmethod(on_usage_error)
    common = _common()
    parser = Parser(
        prog=PROGRAM,
        description="Explore a Procore PostgreSQL database and make all of it findable in Vespa.\n"
        "Without a command: the terminal application.",
        epilog=_examples(
            ("try it, nothing needed", "demo"),
            ("the application on your database", "--database-url postgresql://reader@db/procore"),
            ("everything, without a screen", "ingest --full --download-files"),
            ("what failed, and again", "failures list"),
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument(
        "--completion", choices=("bash", "zsh", "fish"), metavar="SHELL",
        help="print the completion script for bash, zsh or fish",
    )  # fmt: skip
    parser.add_argument("--screen", choices=SCREENS, metavar="NAME", help=f"open on: {', '.join(SCREENS)}")
    parser.add_argument("--table", metavar="T", help="open the screen on this table")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)

    def add(name: str, summary: str, *examples: tuple[str, str]) -> Parser:
        added: Parser = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=_examples(*examples),
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, parents=[_common(True)],
        )  # fmt: skip
        return added

    _demo(add)
    _discover(add)
    _ingest(add)
    _sync(add)
    _verify(add)
    _failures(add)
    _state(add)
    _search(add)
    _vespa(add)
    _sandbox(add)
    add(
        "doctor", "check settings, database, Vespa, state and disk, and say what to do",
        ("check everything", "doctor"), ("for a script", "doctor --json"),
    )  # fmt: skip
    return parser


Add = Callable[..., Parser]


def _common(below: bool = False) -> Parser:
    """Flags of every command; below the top they have no default, so as not to undo one given before it.

    Settings that few need are listed in the top help only, and work everywhere.
    """
    flags = Parser(add_help=False, argument_default=argparse.SUPPRESS if below else None)
    group = flags.add_argument_group("connection and output")

    def option(*names: str, **members: Any) -> None:
        group.add_argument(*names, **members)

    option("--database-url", metavar="URL", help="PostgreSQL of the source; - asks for it without echo")
    option("--vespa-url", metavar="URL", help="Vespa's data plane (default http://localhost:8080)")
    option("--namespace", metavar="NAME", help="Vespa document namespace, one per source (default procore)")
    option("--state-dir", metavar="DIR", help="folder of the state files")
    option("--config", metavar="FILE", help="settings file (TOML)")
    option("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    option("--log-format", metavar="FORMAT", help="text or json")
    option("--json", action="store_true", help="print one JSON object")
    option(
        "--progress", choices=("auto", "bar", "plain", "jsonl", "none"), metavar="HOW",
        help="auto, bar, plain, jsonl or none",
    )  # fmt: skip
    more = flags.add_argument_group("settings") if not below else flags
    for spec in FIELDS:
        flag = f"--{spec.name.replace('_', '-')}"
        if spec.name in _OWN_FLAGS or flag in flags._option_string_actions:
            continue
        members: dict[str, Any] = {"help": argparse.SUPPRESS if below else spec.help}
        if spec.kind == "switch":
            # Without a default of its own: a setting from elsewhere holds unless the flag is given.
            members |= {"action": "store_const", "const": True}
        else:
            members["metavar"] = spec.kind.upper()
        more.add_argument(flag, **members)
    return flags


def _demo(add: Add) -> None:
    demo = add(
        "demo",
        "try it all on a sample database, a local Vespa endpoint and a local file store",
        ("the application on the sample", "demo"),
        ("the whole job without a screen", "demo --headless"),
    )
    demo.add_argument("--scale", type=_positive_number, metavar="N", help="rows, 1 is about 48,000")
    demo.add_argument("--seed", type=_whole, metavar="S", help="other seeds give other data")
    demo.add_argument(
        "--headless", action="store_true", help="no screen: discover, ingest with files, verify, report"
    )
    demo.add_argument("--keep", action="store_true", help="leave the sandbox running afterwards")
    demo.set_defaults(stops_gracefully=True)


def _discover(add: Add) -> None:
    discover = add(
        "discover",
        "explain the database: tables, keys, implied relations, files, timestamps",
        ("read it here", "discover"),
        ("for a program", "discover --format json --output schema.json"),
        ("settle a reference", "discover --accept 'rfis.architect_id=vendors' --output schema.md"),
    )
    discover.add_argument("--format", choices=("json", "markdown", "both", "mermaid"), default="markdown")
    discover.add_argument("--output", metavar="F", help="file to write; with `both` its name without ending")
    discover.add_argument("--include-samples", action="store_true", help="first rows of each table")
    discover.add_argument(
        "--include-stats", action="store_true", help="null share, distinct values, extremes"
    )
    discover.add_argument("--schema", action="append", metavar="S", help="schema to look at, may be repeated")
    for verdict, what in (
        ("accept", "this column refers to that table; kept, and obeyed by every later run"),
        ("reject", "it does not; kept likewise"),
        ("forget", "take a verdict back"),
    ):
        discover.add_argument(
            f"--{verdict}", action="append", default=[], metavar="TABLE.COLUMN=TARGET", help=what
        )


def _ingest(add: Add) -> None:
    ingest = add(
        "ingest",
        "run a sync job",
        ("all tables with their files", "ingest --full --download-files"),
        ("some tables", "ingest --full --tables 'rfis,submittal*'"),
        ("go on after an interruption", "ingest --resume 20261123-101500-a1b2"),
    )
    kind = ingest.add_mutually_exclusive_group(required=True)
    kind.add_argument("--full", action="store_true", help="read every row")
    kind.add_argument("--incremental", action="store_true", help="read what changed since the last sync")
    kind.add_argument("--resume", metavar="JOB", help="go on with an interrupted job")
    _selection(ingest)
    ingest.add_argument("--plan", metavar="F", help="plan file; flags beat it")
    ingest.add_argument("--batch-size", type=_positive_whole, metavar="N", help="rows per batch")
    ingest.add_argument("--workers", type=_positive_whole, metavar="N", help="tables read at the same time")
    ingest.add_argument("--download-files", action="store_true", default=None, help="fetch the files too")
    ingest.add_argument(
        "--file-workers", type=_positive_whole, metavar="N", help="files fetched at the same time"
    )
    ingest.add_argument("--dry-run", action="store_true", help="say what would be done, write nothing")
    _deletes(ingest)
    ingest.set_defaults(stops_gracefully=True)


def _sync(add: Add) -> None:
    sync = add(
        "sync", "keep the index in step with the source",
        ("one cycle", "sync --once"), ("every five minutes", "sync --daemon --interval 300"),
        ("how fresh each table is", "sync --status"),
    )  # fmt: skip
    what = sync.add_mutually_exclusive_group(required=True)
    what.add_argument("--once", action="store_true", help="one incremental cycle")
    what.add_argument("--daemon", action="store_true", help="cycles until stopped")
    what.add_argument("--status", action="store_true", help="freshness of each table")
    sync.add_argument(
        "--interval", type=_positive_number, default=300.0, metavar="S", help="seconds between cycles"
    )
    _selection(sync)
    sync.add_argument("--download-files", action="store_true", default=None, help="fetch new files too")
    _deletes(sync)
    sync.set_defaults(stops_gracefully=True)


def _verify(add: Add) -> None:
    verify = add(
        "verify", "compare the source with the index",
        ("all tables", "verify"), ("mend what differs", "verify --repair"),
    )  # fmt: skip
    _selection(verify)
    verify.add_argument("--deep", action="store_true", help="visit every document: linear, slow, thorough")
    verify.add_argument("--repair", action="store_true", help="mend exactly what differs")
    _deletes(verify)


def _failures(add: Add) -> None:
    failures = add(
        "failures", "what failed, why, and again",
        ("clusters and items", "failures list"), ("one cause again", "failures retry --cause http_404"),
    )  # fmt: skip
    does = failures.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    summaries = {
        "list": "list failed records and files", "show": "one failure with its row and document",
        "retry": "read the rows again and index them", "export": "write failures as JSON lines",
        "dismiss": "set failures aside with a note",
    }  # fmt: skip
    for name, summary in summaries.items():
        action = does.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter, parents=[_common(True)],
            epilog=_examples((summary, _FAILURE_EXAMPLES[name])),
        )  # fmt: skip
        if name == "show":
            action.add_argument("id", type=_whole, metavar="ID")
            continue
        what = action.add_mutually_exclusive_group()
        what.add_argument("--records", action="store_true", help="records only")
        what.add_argument("--files", action="store_true", help="files only")
        what.add_argument("--warnings", action="store_true", help="warnings: indexed, with a replaced cell")
        action.add_argument("--table", metavar="GLOB", help="of these tables")
        action.add_argument("--cause", metavar="C", help="of this cause")
        if name in ("retry", "dismiss"):
            action.add_argument(
                "--id", type=_whole, action="append", metavar="ID", help="this failure, may be repeated"
            )
        if name == "list":
            action.add_argument("--limit", type=_positive_whole, default=50, metavar="N")
            action.add_argument("--after", type=_whole, metavar="ID", help="page on after this id")
            action.add_argument("--all", action="store_true", help="resolved and dismissed ones too")
        if name == "retry":
            action.add_argument(
                "--canary", action="store_true", help="try three first, go on if they succeed"
            )
        if name == "export":
            action.add_argument("--output", metavar="F", help="file to write (default: stdout)")
        if name == "dismiss":
            action.add_argument("--note", required=True, metavar="TEXT", help="why")


_FAILURE_EXAMPLES = {
    "list": "failures list --table photos --files", "show": "failures show 17",
    "retry": "failures retry --cause vespa_refused --canary",
    "export": "failures export --output failures.jsonl",
    "dismiss": "failures dismiss --cause null_key --note 'test rows'",
}  # fmt: skip


def _state(add: Add) -> None:
    checkpoints = add(
        "checkpoints", "how far each table is",
        ("list them", "checkpoints list"), ("forget one table's", "checkpoints clear rfis"),
    )  # fmt: skip
    does = checkpoints.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    does.add_parser("list", help="list checkpoints", allow_abbrev=False, parents=[_common(True)],
                    epilog=_examples(("list", "checkpoints list --json")),
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    clear = does.add_parser("clear", help="forget checkpoints; no document is touched", allow_abbrev=False,
                            parents=[_common(True)], epilog=_examples(("one table", "checkpoints clear rfis")),
                            formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    clear.add_argument(
        "table", nargs="?", metavar="TABLE", help="this table only; without it all, with --yes"
    )
    clear.add_argument("--yes", action="store_true", help="clear all without asking")
    jobs = add(
        "jobs", "running and past jobs",
        ("list them", "jobs list"), ("one in detail", "jobs show 20261123-101500-a1b2"),
    )  # fmt: skip
    does = jobs.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    does.add_parser("list", help="list jobs", allow_abbrev=False, parents=[_common(True)],
                    epilog=_examples(("list", "jobs list --json")),
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    show = does.add_parser("show", help="one job with its tables", allow_abbrev=False, parents=[_common(True)],
                           epilog=_examples(("one", "jobs show 20261123-101500-a1b2")),
                           formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    show.add_argument("job", metavar="JOB")


def _search(add: Add) -> None:
    search = add(
        "search", "ask the index",
        ("any of these words", "search 'fire damper'"), ("in one table", "search chiller --table rfis"),
    )  # fmt: skip
    search.add_argument("query", metavar="QUERY")
    search.add_argument("--table", metavar="T", help="in this table")
    search.add_argument("--project", type=_whole, metavar="N", help="in this project")
    search.add_argument("--limit", type=_hits, default=10, metavar="N", help="hits, 400 at most")
    search.add_argument("--offset", type=_skipped_hits, default=0, metavar="N", help="hits to pass over")
    show = add(
        "show", "one document with its relations and files",
        ("a record", "show rfis:562949953421399"), ("a table as the index explains it", "show schema:rfis"),
    )  # fmt: skip
    show.add_argument("doc_id", metavar="DOC_ID")
    show.add_argument(
        "--links",
        action="store_true",
        help="with --json: the document, its relations both ways and its files",
    )


def _vespa(add: Add) -> None:
    vespa = add(
        "vespa", "the application package and the local endpoint",
        ("write the package", "vespa package --output app"), ("deploy it", "vespa deploy"),
        ("a local endpoint to try with", "vespa serve --port 8080"),
    )  # fmt: skip
    does = vespa.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)

    def action(name: str, summary: str, example: str) -> argparse.ArgumentParser:
        return does.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False,
            parents=[_common(True)], epilog=_examples((summary, example)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    package = action("package", "write the application package", "vespa package --output app")
    package.add_argument("--output", required=True, metavar="DIR")
    deploy = action("deploy", "deploy it to a config server and wait until it serves", "vespa deploy")
    deploy.add_argument(
        "--config-server", default="", metavar="URL", help="default: Vespa's host, port 19071"
    )
    serve = action("serve", "serve the local endpoint until stopped", "vespa serve --data ./index")
    serve.add_argument("--port", type=_port, default=8080, metavar="P")
    serve.add_argument("--data", metavar="DIR", help="folder of its data")


def _sandbox(add: Add) -> None:
    sandbox = add(
        "sandbox", "the embedded services alone",
        ("start them, until `sandbox down`", "sandbox up"), ("their addresses", "sandbox status --json"),
    )  # fmt: skip
    does = sandbox.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    for name, summary in (
        ("up", "start them and return when they are ready"),
        ("down", "stop them; their data stays"),
        ("status", "what runs where"),
    ):
        action = does.add_parser(
            name, help=summary, allow_abbrev=False, parents=[_common(True)],
            epilog=_examples((summary, f"sandbox {name}")),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if name == "up":
            action.add_argument("--scale", type=_positive_number, metavar="N")
            action.add_argument("--seed", type=_whole, metavar="S")


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tables", action="append", type=_comma_list, metavar="GLOBS", help="these tables")
    parser.add_argument("--exclude", action="append", type=_comma_list, metavar="GLOBS", help="not these")


def _deletes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-mass-delete", action="store_true", help="delete even an implausible share of a table"
    )


def _comma_list(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        # Not all of them: a script's variable that happens to be empty must not mean everything.
        raise argparse.ArgumentTypeError("it names no table")
    return parts


def _whole(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if abs(number) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is beyond 64 bits")
    return number


def _positive_whole(text: str) -> int:
    number = _whole(text)
    if not 1 <= number <= 10**9:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to 1,000,000,000")
    return number


def _hits(text: str) -> int:
    """Vespa's own limits, as its query API documents them: 400 hits, offset 1,000."""
    number = _whole(text)
    if not 1 <= number <= 400:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to 400, Vespa's limit")
    return number


def _skipped_hits(text: str) -> int:
    number = _whole(text)
    if not 0 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 1,000, Vespa's limit")
    return number


def _port(text: str) -> int:
    number = _whole(text)
    if not 0 <= number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 1 to 65535, or 0 for any free one")
    return number


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _examples(*examples: tuple[str, str]) -> str:
    width = max((len(command) for _, command in examples), default=0)
    lines: Sequence[str] = [f"  {PROGRAM} {command:<{width}}  # {what}" for what, command in examples]
    return "examples:\n" + "\n".join(lines)
