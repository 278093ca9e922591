"""Documents in one SQLite file: written in group commits, read by several threads beside that.

The write-ahead log with `synchronous=NORMAL` keeps every committed transaction when the process is
killed; a power failure may take the last ones. That is the promise of a sandbox, not of a database.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from ingestion import errors
from ingestion.sandbox.vespa_endpoint import selection, sql_functions
from ingestion.sandbox.vespa_endpoint.operations import (
    APPLIED,
    CONDITION_NO_DOCUMENT,
    CONDITION_UNMET,
    Operation,
    Outcome,
)
from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.sandbox.vespa_endpoint.tables import TypeTables, all_ddl, tables_of
from ingestion.vespa.schemas import SCHEMAS

FILE_NAME = "documents.sqlite"
FORMAT_VERSION = 2
_CHECKPOINT_PAGES = 4000


class _State:
    """One document while a batch is applied: what is stored, and what shall be."""

    __slots__ = ("after", "before", "dirty", "key")

    def __init__(self, key: int | None, before: dict[str, Any] | None) -> None:
        self.key, self.before, self.after, self.dirty = key, before, before, False


class Store:
    """The documents. `apply` belongs to one thread; reading methods may be called from any."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE_NAME
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._conn = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._conn.execute("PRAGMA journal_mode = WAL")
        self._conn.execute("PRAGMA synchronous = NORMAL")
        self._conn.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._conn.execute("PRAGMA cache_size = -65536")
        self._prepare()
        self._next_key = {
            name: 1 + self._conn.execute(f"SELECT coalesce(max(key), 0) FROM {name}").fetchone()[0]
            for name in SCHEMAS
        }

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
            self._conn.close()

    def reader(self) -> sqlite3.Connection:
        """This thread's read-only connection; every statement on it sees all acknowledged documents."""
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            conn = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            conn.execute("PRAGMA cache_size = -32768")
            sql_functions.register(conn)
            with self._lock:
                self._readers.append(conn)
            self._local.conn = conn
        return conn

    def get(self, type_name: str, id: str) -> str | None:
        """The stored fields as JSON text, or None."""
        row = self.reader().execute(f"SELECT body FROM {type_name} WHERE id = ?", (id,)).fetchone()
        return None if row is None else row[0]

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Apply in order, in one transaction; when this returns, all of it survives the process.

        Raises sqlite3.Error with nothing applied.
        """
        by_type: dict[str, list[int]] = {}
        for position, operation in enumerate(operations):
            assert operation.path.schema is not None
            by_type.setdefault(operation.path.schema.name, []).append(position)
        outcomes: list[Outcome] = [APPLIED] * len(operations)
        self._conn.execute("BEGIN IMMEDIATE")
        try:
            for name, positions in by_type.items():
                states = self._load(name, {operations[i].path.key for i in positions})
                for i in positions:
                    outcomes[i] = _decide(operations[i], states[operations[i].path.key])
                self._save(tables_of(name), states)
            self._conn.execute("COMMIT")
        except BaseException:
            self._conn.execute("ROLLBACK")
            raise
        return outcomes

    # ------------------------------------------------------------------ inside

    def _prepare(self) -> None:
        version = self._conn.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT_VERSION):
            raise errors.StateError(
                f"{self.path} was written by another version (format {version}, this one writes {FORMAT_VERSION})",
                hint="Use a new folder, and feed again.",
            )
        for statement in all_ddl():
            self._conn.execute(statement)
        self._conn.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    def _load(self, name: str, ids: set[str]) -> dict[str, _State]:
        states = {id: _State(None, None) for id in ids}
        rows = self._conn.execute(
            f"SELECT d.id, d.key, d.body FROM json_each(?) j JOIN {name} d ON d.id = j.value",
            (orjson.dumps(list(ids)).decode(),),
        )
        for id, key, body in rows:
            states[id] = _State(key, orjson.loads(body))
        return states

    def _save(self, tables: TypeTables, states: dict[str, _State]) -> None:
        inserts: list[tuple[Any, ...]] = []
        updates: list[tuple[Any, ...]] = []
        removed: list[tuple[Any, ...]] = []
        text_out: list[tuple[Any, ...]] = []
        text_in: list[tuple[Any, ...]] = []
        elements_out: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in tables.elements}
        elements_in: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in tables.elements}
        for id, state in states.items():
            if not state.dirty:
                continue
            before, after = state.before or {}, state.after or {}
            key = state.key
            if key is None:
                if state.after is None:
                    continue
                key = self._next_key[tables.name]
                self._next_key[tables.name] = key + 1
                inserts.append((key, id, *tables.values(after), orjson.dumps(after).decode()))
            elif state.after is None:
                removed.append((key,))
            else:
                updates.append((*tables.values(after), orjson.dumps(after).decode(), key))
            old, new = tables.texts(before), tables.texts(after)
            if old != new:
                if any(old):
                    text_out.append((key, *old))
                if any(new):
                    text_in.append((key, *new))
            for table in tables.elements:
                if before.get(table.field) != after.get(table.field):
                    if table.field in before:
                        elements_out[table.name].append((key,))
                    elements_in[table.name].extend(table.rows(key, after))
        for statement, rows in (
            (tables.text_delete, text_out),
            (f"DELETE FROM {tables.name} WHERE key = ?", removed),
            (tables.update, updates),
            (tables.insert, inserts),
            (tables.text_insert, text_in),
            *((table.delete, elements_out[table.name]) for table in tables.elements),
            *((table.insert, elements_in[table.name]) for table in tables.elements),
        ):
            if rows:
                self._conn.executemany(statement, rows)


def _decide(operation: Operation, state: _State) -> Outcome:
    """Apply one operation to the document's state."""
    if operation.condition is not None:
        if state.after is None:
            if not operation.create:
                return Outcome(412, CONDITION_NO_DOCUMENT)
        elif not _holds(operation, state.after):
            return Outcome(412, CONDITION_UNMET)
    if operation.kind == "put":
        state.after, state.dirty = operation.fields, True
    elif operation.kind == "remove":
        state.after, state.dirty = None, True
    elif state.after is not None or operation.create:
        fields = orjson.loads(orjson.dumps(state.after or {}))
        try:
            for change in operation.changes:
                change(fields)
        except Refused as problem:
            return Outcome(problem.status, str(problem))
        state.after = {name: value for name, value in fields.items() if value not in ("", {}, [], None)}
        state.dirty = True
    return APPLIED


def _holds(operation: Operation, fields: dict[str, Any]) -> bool:
    path = operation.path
    assert path.schema is not None
    assert operation.condition is not None
    target = selection.Target(path.schema, path.namespace, path.user or "", fields)
    return selection.evaluate(operation.condition, target) is True
