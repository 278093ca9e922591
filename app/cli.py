"""The command line: parses, finds the command, and turns every outcome into an exit code.

Commands live in `app/commands/`, one module each, imported only when run: `--help` loads no driver.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from app import logs
from app.exit_codes import ExitCode, exit_code_for
from app.output import Output
from app.parser import build_parser
from ingestion import errors
from ingestion.settings import FIELDS, Settings, load

if TYPE_CHECKING:
    from app.progress_output import Steps


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a command: what was asked, the settings, and where text goes."""

    args: argparse.Namespace
    settings: Settings
    out: Output
    stop: asyncio.Event
    """Set by SIGINT or SIGTERM: end at the next checkpoint."""

    def steps(self) -> Steps:
        """Narrates the steps of something long, as `--progress` says."""
        from app.progress_output import Steps

        return Steps(self.out, self.args.progress or "auto")


Command = Callable[[Invocation], Awaitable[ExitCode]]


def run(argv: Sequence[str]) -> int:
    """Run one command line; its exit code. Never raises, never prints a traceback."""
    out = Output(as_json="--json" in argv)
    try:
        code = _run(argv, out)
    except BrokenPipeError:
        out.abandon()
        code = out.code_if_unread
    except KeyboardInterrupt:
        out.say("cancelled")
        code = ExitCode.CANCELLED
    return int(code)


def _run(argv: Sequence[str], out: Output) -> int:
    try:
        return _command(argv, out)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except _Usage as usage:
        code, message, hint = ExitCode.USAGE, usage.message, usage.hint
    except asyncio.CancelledError:
        out.say("cancelled")
        return ExitCode.CANCELLED
    except errors.IngestionError as error:
        code, message, hint = exit_code_for(error), str(error), error.hint
    except OSError as error:
        code = ExitCode.LOCAL
        message, hint = local_trouble(error)
    except Exception as error:
        logging.getLogger(logs.LOGGER).exception("internal error")
        code = ExitCode.INTERNAL
        message, hint = f"internal error: {type(error).__name__}: {error}", logs.where()
    out.error(message, hint, code)
    return code


def _command(argv: Sequence[str], out: Output) -> int:
    parser = build_parser(_usage)
    for word in argv:
        if not _is_text(word):
            _usage(f"{word!r} is not UTF-8 text", "Give it in UTF-8, or in plain ASCII.")
    try:
        args = parser.parse_args(list(argv))
    except SystemExit as done:  # --help and --version
        return ExitCode.DONE if not done.code else ExitCode.USAGE
    if args.completion:
        from app.completion import script

        out.document(script(args.completion, parser))
        return ExitCode.DONE
    name = args.command or "application"
    settings = load(_flags(args), config_file=args.config)
    logs.start(settings, to_screen=args.command is None, file_is_needed=name != "doctor")
    handler: Command = import_module(f"app.commands.{name}").run
    work = _with_signals(handler, args, settings, out)
    # Textual is written for asyncio's own loop; everything that moves rows and files gains from uvloop.
    on_screen = name == "application" or (name == "demo" and not args.headless and sys.stdin.isatty())
    return asyncio.run(work) if on_screen else uvloop_run(work)


def uvloop_run(work: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    """Run to the end on uvloop, an eighth less processor time for a job with files than asyncio's loop."""
    import uvloop

    return uvloop.run(work)


def _is_text(word: str) -> bool:
    """Whether the bytes of an argument could be read as UTF-8."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def local_trouble(error: OSError) -> tuple[str, str]:
    """What the machine refused, and the next step."""
    where = f": {error.filename}" if error.filename else ""
    hint = {
        errno.ENOSPC: "Free space on that disk, then try again; what was stored stays.",
        errno.EDQUOT: "Free space within your quota, then try again; what was stored stays.",
        errno.EMFILE: "Raise the limit of open files (`ulimit -n`), then try again.",
    }.get(error.errno or 0, "Choose another path, or make this one writable.")
    return f"{error.strerror or error}{where}", hint


async def _with_signals(
    handler: Command, args: argparse.Namespace, settings: Settings, out: Output
) -> ExitCode:
    """Run the command; the first signal asks it to stop, the second cancels it."""
    stop = asyncio.Event()
    work = asyncio.ensure_future(handler(Invocation(args, settings, out, stop)))
    graceful = getattr(args, "stops_gracefully", False)

    def on_signal() -> None:
        if graceful and not stop.is_set():
            out.say("stopping at the next checkpoint (press Ctrl-C again to stop at once)")
            stop.set()
        else:
            work.cancel()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What was ignored when we came stays ignored: nohup, and jobs that a script put in the background.
        if signal.getsignal(signum) is not signal.SIG_IGN:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signum, on_signal)
    return await work


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    flags = {spec.name: getattr(args, spec.name, None) for spec in FIELDS}
    if flags.get("database_url") == "-":
        flags["database_url"] = _asked_for()
    return flags


def _asked_for() -> str:
    """The database URL from the terminal without echo, or from a pipe."""
    if sys.stdin is not None and sys.stdin.isatty():
        import getpass

        try:
            answer = getpass.getpass("Database URL: ")
        except EOFError:
            answer = ""
    else:
        answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not answer.strip():
        raise errors.SettingsError(
            "no database URL was given", hint="Type it, or pipe it in: --database-url - reads one line."
        )
    return answer.strip()


class _Usage(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def _usage(message: str, hint: str) -> NoReturn:
    raise _Usage(message, hint)
