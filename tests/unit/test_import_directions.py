"""Imports point one way: screens, bridge, service, the rest of the core. Read from the sources, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 500
OUTSIDE = ("asyncpg", "aiosqlite", "sqlite3", "aiohttp", "boto3", "botocore", "vespa", "textual", "rich")
_RENDERS = ("app.screens", "app.modals", "app.widgets")


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module; `eager` when it is loaded with the importing one, not inside a function."""

    name: str
    eager: bool
    only_for_types: bool


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    def uses(self, prefix: str) -> bool:
        """Whether it imports the module or one below it when it runs."""
        return any(_is_below(i.name, prefix) for i in self.imports if not i.only_for_types)


@cache
def sources() -> dict[str, Source]:
    found = {}
    for path in [*ROOT.glob("ingestion/**/*.py"), *ROOT.glob("app/**/*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = Source(name, path, tree, tuple(_imports(tree.body, eager=True, types=False)))
    return found


def _imports(body: list[ast.stmt], *, eager: bool, types: bool) -> Iterator[Import]:
    for node in body:
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, eager, types) for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield Import(module, eager, types)
                yield from (Import(f"{module}.{alias.name}", eager, types) for alias in names)
            case ast.If(test=test):
                yield from _imports(
                    node.body, eager=eager, types=types or "TYPE_CHECKING" in ast.unparse(test)
                )
                yield from _imports(node.orelse, eager=eager, types=types)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _imports(node.body, eager=False, types=types)
            case _:
                for part in ("body", "orelse", "finalbody"):
                    yield from _imports(getattr(node, part, []), eager=eager, types=types)
                for handler in getattr(node, "handlers", []):
                    yield from _imports(handler.body, eager=eager, types=types)


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def users_of(*modules: str) -> set[str]:
    """Names of our modules that import one of these when they run."""
    return {s.name for s in sources().values() if any(s.uses(module) for module in modules)}


def beyond(found: set[str], *allowed: str) -> set[str]:
    return {name for name in found if not any(_is_below(name, prefix) for prefix in allowed)}


def test_the_core_knows_neither_the_application_nor_its_toolkit() -> None:
    assert not {n for n in users_of("app", "textual", "rich", "textual_image") if _is_below(n, "ingestion")}


def test_only_the_state_knows_sqlite() -> None:
    # The local endpoint keeps its documents in a SQLite file of its own.
    allowed = ("ingestion.state", "ingestion.sandbox.vespa_endpoint")
    assert not beyond(users_of("sqlite3", "aiosqlite"), *allowed)


def test_only_vespas_folder_and_the_local_endpoint_know_vespas_http() -> None:
    knowing = {
        source.name
        for source in sources().values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "/document/v1/" in node.value
        if node.value not in _docstrings(source.tree)
    }
    assert "ingestion.vespa.client" in knowing
    assert not beyond(knowing, "ingestion.vespa", "ingestion.sandbox")


def _docstrings(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                found.add(str(statement.value.value))
    return found


@pytest.mark.parametrize(
    ("driver", "allowed"),
    [
        # The reader tells an unreadable page from other refusals.
        ("asyncpg", ("ingestion.db_connection", "ingestion.postgres.db_errors", "ingestion.postgres.transaction",
                     "ingestion.sync.source_reader", "ingestion.sandbox")),
        ("boto3", ("ingestion.files.s3", "ingestion.doctor")),
        ("aiohttp", ("ingestion.vespa", "ingestion.files.http", "ingestion.files.addresses", "ingestion.sandbox")),
        ("vespa", ("ingestion.vespa",)),
    ],
)  # fmt: skip
def test_each_driver_has_its_edge(driver: str, allowed: tuple[str, ...]) -> None:
    assert not beyond(users_of(driver), *allowed)


def test_screens_ask_the_bridge_and_nobody_else() -> None:
    core = (
        "service",
        "connections",
        "jobs",
        "job_runner",
        "sync_manager",
        "db_connection",
        "vespa",
        "state.store",
    )
    asking = {
        name
        for name in users_of(*(f"ingestion.{module}" for module in core), "app.application")
        if any(_is_below(name, folder) for folder in _RENDERS)
    }
    assert not asking


def test_only_the_bridge_knows_both_the_toolkit_and_running_jobs() -> None:
    both = users_of("textual") & users_of(
        "ingestion.service", "ingestion.jobs.launching", "ingestion.jobs.job_runner"
    )
    assert not both - {"app.bridge", "app.application"}


def test_commands_ask_the_service_and_no_part_behind_it() -> None:
    behind = ("connections", "job_runner", "sync_manager", "db_connection", "state.store", "source_reader")
    found = users_of(*(f"ingestion.{module}" for module in behind))
    assert not {name for name in found if _is_below(name, "app")}


def test_help_needs_no_driver() -> None:
    light = ("app.__main__", "app.cli", "app.parser", "app.output", "app.exit_codes", "app.logs", "app.completion",
             "ingestion.settings", "ingestion.errors", "ingestion.redaction", "ingestion.version")  # fmt: skip
    for name in light:
        for imported in sources()[name].imports:
            heavy = imported.eager and imported.name.split(".")[0] in OUTSIDE and not imported.only_for_types
            assert not heavy, (name, imported.name)


def test_the_core_never_prints() -> None:
    printing = {
        source.name
        for source in sources().values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    # Processes of the sandbox say on their own standard output where they listen.
    assert not beyond(printing, "ingestion.sandbox")


def test_errors_are_never_imported_by_name() -> None:
    assert not {
        s.name for s in sources().values() for i in s.imports if i.name.startswith("ingestion.errors.")
    }


def test_no_two_modules_need_each_other_to_load() -> None:
    graph = {
        name: {
            i.name
            for i in source.imports
            if i.eager
            and not i.only_for_types
            and i.name in sources()
            # `from package import module` inside that package loads the module, not what the package re-exports.
            and not _is_below(name, i.name)
        }
        for name, source in sources().items()
    }
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way[way.index(name) :], name))
        if name not in done:
            for needed in graph[name]:
                walk(needed, (*way, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_no_module_is_too_long_to_read() -> None:
    lengths = {s.name: s.path.read_text(encoding="utf-8").count("\n") for s in sources().values()}
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


def test_every_module_opens_with_its_promise() -> None:
    silent = {s.name for s in sources().values() if s.tree.body and ast.get_docstring(s.tree) is None}
    assert not silent
