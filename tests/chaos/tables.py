"""The kinds of table that a run syncs, with their first rows, and what a hostile writer does to each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Rng = random.Random
Statement = tuple[str, tuple[Any, ...]]

_TEXTS = ("plain", "ünïcødé ✓", "line\nbreak", "", " padded ", "quote\"d 'it'", "50%_\\x", "🏗 site")
# Small pages, so that few rows fill several blocks and updates move between them.
_LOOSE = "WITH (fillfactor = 10, autovacuum_enabled = off)"


@dataclass(frozen=True, slots=True)
class Kind:
    """`key` are the columns by which documents are named, none where only their content tells rows apart."""

    name: str
    ddl: tuple[str, ...]
    columns: tuple[str, ...]
    key: tuple[str, ...]
    fill: tuple[str, ...]
    identity: str = "ctid"
    """An expression that names one row for the writer."""
    dirty: bool = False
    """Whether keys may repeat or be NULL."""
    stamped: bool = True
    partitioned: bool = False


def _loose(name: str, columns: str, extra: str = "") -> str:
    return f"CREATE TABLE {name} ({columns}) {extra}{_LOOSE}"


def _fill(name: str, select: str, rows: int) -> str:
    return f"INSERT INTO {name} SELECT {select} FROM generate_series(1, {rows}) AS i"


_STAMP = "timestamp '2026-01-01' + i * interval '1 hour'"
_WORD = "'value ' || i || ' ' || md5(i::text)"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        # As in a mirror: `id` without an index, so block ranges.
        Kind(
            "blocks",
            (_loose("blocks", "id bigint, v text, n integer, ok boolean, updated_at timestamp"),),
            ("id", "v", "n", "ok", "updated_at"),
            ("id",),
            (_fill("blocks", f"i, {_WORD}, i % 7, i % 2 = 0, {_STAMP}", 60),),
        ),
        Kind(
            "dirty",
            (_loose("dirty", "id bigint, v text, n integer, updated_at timestamptz"),),
            ("id", "v", "n", "updated_at"),
            ("id",),
            (
                _fill("dirty", f"i, {_WORD}, i % 7, {_STAMP}", 80),
                "INSERT INTO dirty VALUES (NULL, 'no key', 1, NULL), (3, 'another 3', 1, now())",
                "INSERT INTO dirty VALUES (40, 'another 40', 2, NULL)",
                "INSERT INTO dirty SELECT * FROM dirty WHERE id = 7",
            ),
            dirty=True,
        ),
        # A key that two rows may share although an index serves it.
        Kind(
            "indexed",
            (_loose("indexed", "id integer, v text, n integer, updated_at timestamp"),
             "CREATE INDEX indexed_id ON indexed (id)"),
            ("id", "v", "n", "updated_at"),
            ("id",),
            (
                _fill("indexed", f"i, {_WORD}, i, {_STAMP}", 60),
                "INSERT INTO indexed VALUES (5, 'another 5', 0, NULL), (NULL, 'no key', 0, NULL)",
            ),
            dirty=True,
        ),
        Kind(
            "pages",
            (_loose("pages", "id bigint PRIMARY KEY, v text, n numeric(12, 3), updated_at timestamptz"),),
            ("id", "v", "n", "updated_at"),
            ("id",),
            (_fill("pages", f"i * 10, {_WORD}, i / 8.0, {_STAMP}", 60),),
        ),
        Kind(
            "composite",
            (
                _loose(
                    "composite",
                    'a integer, "b:k" text, v text, n integer, updated_at timestamp, PRIMARY KEY (a, "b:k")',
                ),
            ),
            ("a", "b:k", "v", "n", "updated_at"),
            ("a", "b:k"),
            (_fill("composite", f"i / 4, 'k:' || i % 4 || 'ü/~', {_WORD}, i, {_STAMP}", 50),),
        ),
        Kind(
            "plain",
            (_loose("plain", "id bigint, v text, n integer"),),
            ("id", "v", "n"),
            ("id",),
            (_fill("plain", f"i, {_WORD}, i", 50),),
            stamped=False,
        ),
        Kind(
            "heap",
            (_loose("heap", "v text, n integer"),),
            ("v", "n"),
            (),
            (_fill("heap", "'copy ' || i / 3, i % 2", 40),),
            dirty=True,
            stamped=False,
        ),
        Kind(
            "split",
            (
                "CREATE TABLE split (id bigint, region integer, v text, n integer, updated_at timestamp) "
                "PARTITION BY LIST (region)",
                f"CREATE TABLE split_0 PARTITION OF split FOR VALUES IN (0) {_LOOSE}",
                f"CREATE TABLE split_1 PARTITION OF split DEFAULT {_LOOSE}",
            ),
            ("id", "region", "v", "n", "updated_at"),
            ("id",),
            (_fill("split", f"i, i % 2, {_WORD}, i, {_STAMP}", 50),),
            partitioned=True,
        ),
        # Declared unique over two partitions.
        Kind(
            "ranged",
            (
                "CREATE TABLE ranged (id bigint, v text, n integer, updated_at timestamptz, PRIMARY KEY (id)) "
                "PARTITION BY RANGE (id)",
                f"CREATE TABLE ranged_a PARTITION OF ranged FOR VALUES FROM (MINVALUE) TO (25) {_LOOSE}",
                f"CREATE TABLE ranged_b PARTITION OF ranged FOR VALUES FROM (25) TO (MAXVALUE) {_LOOSE}",
            ),
            ("id", "v", "n", "updated_at"),
            ("id",),
            (_fill("ranged", f"i, {_WORD}, i, {_STAMP}", 50),),
            partitioned=True,
        ),
        # Rows that share a few files; `{files}` is where the store of this harness answers.
        Kind(
            "papers",
            (_loose("papers", "id bigint PRIMARY KEY, v text, n integer, document_url text"),),
            ("id", "v", "n", "document_url"),
            ("id",),
            (_fill("papers", f"i, {_WORD}, i, '{{files}}/doc-' || i % 12 || '.gif'", 30),),
            stamped=False,
        ),
    )
}  # fmt: skip

SHAPES: tuple[tuple[str, ...], ...] = (
    ("blocks", "heap", "pages"),
    ("dirty", "composite"),
    ("dirty", "split"),
    ("indexed", "plain"),
    ("blocks", "indexed", "heap"),
    ("pages", "dirty"),
    ("ranged", "split"),
    ("composite", "heap", "plain"),
    ("blocks", "dirty"),
    ("split", "heap"),
    ("papers",),
    ("papers", "blocks"),
)
"""Tables of one database; each is a template that runs clone."""


class Mischief:
    """Statements that change a table; ids are its own, so that equal seeds make equal statements."""

    def __init__(self, kind: Kind, rng: Rng) -> None:
        self.kind, self._rng = kind, rng
        self._fresh = 1000
        self._gone: list[int] = []
        self._swaps = 0

    def one(self) -> list[Statement]:
        """One change, or several that belong together."""
        return self._rng.choice(self._choices())()

    def _choices(self) -> list[Callable[[], list[Statement]]]:
        common = [self.insert, self.insert, self.update, self.update, self.update, self.delete, self.touch,
                  self.back, self.many]  # fmt: skip
        if self.kind.key:
            common += [self.rekey, self.reinsert]
        if self.kind.dirty:
            common += [self.copy, self.copy, self.uncopy]
            if self.kind.key:
                common += [self.double, self.null, self.unnull]
        if self.kind.name == "split":
            common += [self.move, self.move, self.swap]
        if self.kind.name == "papers":
            common += [self.refer, self.refer, self.refer, self.delete]
        return common

    def insert(self, key: int | None = None) -> list[Statement]:
        """A new row, mostly beyond all others, sometimes behind whatever a reader has passed."""
        if key is None:
            self._fresh += 1
            key = self._fresh if self._rng.random() < 0.6 else -self._fresh
        return [self._row(key)]

    def back(self) -> list[Statement]:
        """The key of a deleted row returns."""
        return (
            self.insert(self._rng.choice(self._gone)) if self._gone and not self.kind.dirty else self.insert()
        )

    def reinsert(self) -> list[Statement]:
        """The same row, deleted and inserted again as it was."""
        t, names = self.kind.name, self._names()
        where = self._some(1)
        return [
            (f"CREATE TEMP TABLE kept AS SELECT * FROM {t} WHERE {where}", ()),
            (f"DELETE FROM {t} WHERE {where}", ()),
            (f"INSERT INTO {t} ({names}) SELECT {names} FROM kept", ()),
            ("DROP TABLE kept", ()),
        ]

    def update(self) -> list[Statement]:
        """One to three rows get other values; the stamp is now, old, in the future or nothing."""
        sets = f"v = $1, n = {self._rng.randrange(100)}"
        if self.kind.stamped:
            sets += f", updated_at = {self._stamp()}"
        return [
            (
                f"UPDATE {self.kind.name} SET {sets} WHERE {self._some(self._rng.randint(1, 3))}",
                (self._text(),),
            )
        ]

    def touch(self) -> list[Statement]:
        """New row versions of equal rows."""
        return [(f"UPDATE {self.kind.name} SET n = n WHERE {self._some(4)}", ())]

    def many(self) -> list[Statement]:
        """A third of the table moves."""
        return [(f"UPDATE {self.kind.name} SET n = coalesce(n, 0) + 1 WHERE coalesce(n, 0)::int % 3 = "
                 f"{self._rng.randrange(3)}", ())]  # fmt: skip

    def delete(self) -> list[Statement]:
        return [(f"DELETE FROM {self.kind.name} WHERE {self._some(self._rng.randint(1, 2))}", ())]

    def rekey(self) -> list[Statement]:
        """A row takes a new key."""
        self._fresh += 1
        column = self.kind.key[0]
        return [(f"UPDATE {self.kind.name} SET {_ident(column)} = $1 WHERE {self._some(1)}", (self._fresh,))]

    def move(self) -> list[Statement]:
        """Rows change their partition."""
        return [(f"UPDATE split SET region = 1 - region WHERE {self._some(2)}", ())]

    def swap(self) -> list[Statement]:
        """A table is loaded, and takes a partition's place much later: no row version tells of it."""
        self._swaps += 1
        if self._swaps % 2:
            return [
                ("CREATE TABLE staged (LIKE split)", ()),
                ("INSERT INTO staged SELECT id, 0, 'swapped ' || id, 7, updated_at FROM split WHERE region = 0 "
                 f"AND id % 7 <> {self._rng.randrange(7)}", ()),
            ]  # fmt: skip
        return [
            ("ALTER TABLE split DETACH PARTITION split_0", ()),
            ("ALTER TABLE split ATTACH PARTITION staged FOR VALUES IN (0)", ()),
            ("DROP TABLE split_0", ()),
            ("ALTER TABLE staged RENAME TO split_0", ()),
        ]

    def refer(self) -> list[Statement]:
        """Rows name another file, or none."""
        name = f"replace(document_url, 'doc-', 'doc-{self._rng.randrange(3)}')"
        url = self._rng.choice((name, name, "regexp_replace(document_url, 'doc-.*', 'doc-5.gif')", "NULL"))
        return [(f"UPDATE papers SET document_url = {url} WHERE {self._some(2)}", ())]

    def copy(self) -> list[Statement]:
        """An identical copy of a row."""
        names = self._names()
        return [(f"INSERT INTO {self.kind.name} ({names}) SELECT {names} FROM {self.kind.name} "
                 f"WHERE {self._some(1)}", ())]  # fmt: skip

    def double(self) -> list[Statement]:
        """A differing row with the key of another."""
        return [(f"INSERT INTO {self.kind.name} (id, v, n) SELECT id, $1, -1 FROM {self.kind.name} "
                 f"WHERE {self._some(1)}", (self._text(),))]  # fmt: skip

    def uncopy(self) -> list[Statement]:
        """A key, or content, that several rows hold loses all but one of them."""
        t = self.kind.name
        group = "id" if self.kind.key else "v, n"
        return [(f"DELETE FROM {t} WHERE ctid IN (SELECT max(ctid) FROM {t} GROUP BY {group} HAVING count(*) > 1 "
                 "LIMIT 1)", ())]  # fmt: skip

    def null(self) -> list[Statement]:
        return [(f"UPDATE {self.kind.name} SET id = NULL WHERE {self._some(1)}", ())]

    def unnull(self) -> list[Statement]:
        self._fresh += 1
        return [(f"UPDATE {self.kind.name} SET id = {self._fresh} WHERE ctid IN (SELECT ctid FROM "
                 f"{self.kind.name} WHERE id IS NULL LIMIT 1)", ())]  # fmt: skip

    def rewrite(self) -> list[Statement]:
        """The whole table anew, as a copying tool that refreshes everything does: other files, same rows."""
        t, names = self.kind.name, self._names()
        return [
            (f"CREATE TEMP TABLE kept AS SELECT * FROM {t}", ()),
            (f"TRUNCATE {t}", ()),
            (f"INSERT INTO {t} ({names}) SELECT {names} FROM kept", ()),
            ("DROP TABLE kept", ()),
        ]

    def _row(self, key: int) -> Statement:
        t, number = self.kind.name, self._rng.randrange(100)
        match t:
            case "composite":
                return f'INSERT INTO {t} VALUES ($1, $2, $3, {number}, {self._stamp()}) ON CONFLICT DO NOTHING', (
                    key, f"k:{number}", self._text(),
                )  # fmt: skip
            case "heap":
                return f"INSERT INTO {t} VALUES ($1, {number % 3})", (f"copy {abs(key) % 20}",)
            case "split":
                return f"INSERT INTO {t} VALUES ($1, {number % 2}, $2, {number}, {self._stamp()})", (
                    key,
                    self._text(),
                )
        if t == "papers":
            url = "(SELECT max(document_url) FROM papers)"
            return f"INSERT INTO papers VALUES ($1, $2, 1, {url}) ON CONFLICT DO NOTHING", (key, self._text())
        stamp = f", updated_at = {self._stamp()}" if self.kind.stamped else ""
        extra = " ON CONFLICT (id) DO UPDATE SET n = 7" + stamp if t in ("pages", "ranged") else ""
        return f"INSERT INTO {t} (id, v, n) VALUES ($1, $2, {number}){extra}", (key, self._text())

    def _some(self, rows: int) -> str:
        """A condition that picks so many rows, wherever they stand."""
        skip = self._rng.randrange(40)
        t = self.kind.name
        if self.kind.partitioned:
            return f"id IN (SELECT id FROM {t} ORDER BY id OFFSET {skip} LIMIT {rows})"
        return f"ctid IN (SELECT ctid FROM {t} ORDER BY md5(v || coalesce(n, 0)) OFFSET {skip} LIMIT {rows})"

    def _stamp(self) -> str:
        return self._rng.choice(
            ("now()", "now()", "'2020-02-02 02:02:02.5'", "NULL", "now() + interval '3 days'", "'-infinity'")
        )

    def _text(self) -> str | None:
        return (
            self._rng.choice(_TEXTS) + f" {self._rng.randrange(10**6)}" if self._rng.random() < 0.95 else None
        )

    def _names(self) -> str:
        return ", ".join(map(_ident, self.kind.columns))


def _ident(name: str) -> str:
    return f'"{name}"'
