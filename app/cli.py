"""The command line: parses, finds the command, and turns every outcome into an exit code.

Commands live in `app/commands/`, one module each, imported only when run: `--help` loads no driver.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from app.exit_codes import ExitCode, exit_code_for
from app.output import Output
from app.parser import build_parser
from ingestion import errors
from ingestion.settings import FIELDS, Settings, load


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a command: what was asked, the settings, and where text goes."""

    args: argparse.Namespace
    settings: Settings
    out: Output
    stop: asyncio.Event
    """Set by SIGINT or SIGTERM: end at the next checkpoint."""

    @property
    def quiet(self) -> bool:
        """Whether narration of progress is unwanted."""
        return (getattr(self.args, "progress", None) or "auto") in ("none", "jsonl")

    def step(self, name: str, done: int, total: int) -> None:
        """Narrate a step of something long."""
        self.out.say(f"{name} ({done}/{total})" if total else name)


Command = Callable[[Invocation], Awaitable[ExitCode]]


def run(argv: Sequence[str]) -> int:
    """Run one command line; its exit code. Never raises, never prints a traceback."""
    out = Output(as_json="--json" in argv)
    try:
        code = _run(argv, out)
    except _Usage as usage:
        out.error(usage.message, usage.hint, ExitCode.USAGE)
        code = ExitCode.USAGE
    except BrokenPipeError:
        _silence_stdout()
        code = ExitCode.DONE
    except KeyboardInterrupt:
        out.say("cancelled")
        code = ExitCode.CANCELLED
    return int(code)


def _run(argv: Sequence[str], out: Output) -> ExitCode:
    parser = build_parser(_usage)
    try:
        args = parser.parse_args(list(argv))
    except SystemExit as done:  # --help and --version
        return ExitCode.DONE if not done.code else ExitCode.USAGE
    if args.completion:
        from app.completion import script

        out.data(script(args.completion, parser))
        return ExitCode.DONE
    name = args.command or "application"
    settings = Settings()
    try:
        settings = load(_flags(args), config_file=args.config)
        log_path = _start_logging(settings, args)
        handler: Command = import_module(f"app.commands.{name}").run
        return asyncio.run(_with_signals(handler, args, settings, out))
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except asyncio.CancelledError:
        out.say("cancelled")
        return ExitCode.CANCELLED
    except errors.IngestionError as error:
        code = exit_code_for(error)
        out.error(str(error), error.hint, code)
        return code
    except OSError as error:
        out.error(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), "", ExitCode.LOCAL)
        return ExitCode.LOCAL
    except Exception as error:
        logging.getLogger("procore_ingest").exception("internal error")
        shown = f"{type(error).__name__}: {error}"
        out.error(f"internal error: {shown}", f"The log has the details: {log_path}", ExitCode.INTERNAL)
        return ExitCode.INTERNAL


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
        with suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(signum, on_signal)
    return await work


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    flags = {spec.name: getattr(args, spec.name, None) for spec in FIELDS}
    if flags.get("database_url") == "-":
        import getpass

        flags["database_url"] = getpass.getpass("Database URL: ")
    return flags


def _start_logging(settings: Settings, args: argparse.Namespace) -> Path:
    from app.logs import start

    return start(settings, to_screen=args.command is None)


class _Usage(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def _usage(message: str, hint: str) -> NoReturn:
    raise _Usage(message, hint)


def _silence_stdout() -> None:
    # Python flushes stdout at exit and would complain about the closed pipe once more.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
