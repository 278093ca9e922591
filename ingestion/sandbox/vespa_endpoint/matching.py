"""A query tree turned into SQL for one document type: what matches, and what of it is ranked text.

A field that only other document types have matches nothing here; one that none has is an error, as in
Vespa. Attributes match whole values, exactly where the field is cased and else without regard to case;
indexed text matches by stemmed words.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.query_tree import (
    AllOf,
    AnyOf,
    Compare,
    Constant,
    Fuzzy,
    In,
    Matches,
    Near,
    Node,
    Not,
    Phrase,
    Rank,
    SameElement,
    Term,
    Unranked,
)
from ingestion.sandbox.vespa_endpoint.simple_query import words
from ingestion.sandbox.vespa_endpoint.tables import TypeTables, tables_of
from ingestion.vespa.schemas import SCHEMAS, Field, Schema

Sql = tuple[str, list[Any]]

NEVER: Sql = ("0", [])
ALWAYS: Sql = ("1", [])
_NUMBERS = ("int", "long", "double", "bool")
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")


@dataclass(slots=True)
class Match:
    """SQL over the type's table, called `d`; `texts` are the FTS expressions that count for ranking."""

    schema: Schema
    where: str = "1"
    parameters: list[Any] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def match(node: Node, schema: Schema) -> Match:
    """What of `schema` the tree matches. Raises QueryRefused for fields and forms that cannot be searched."""
    builder = _Builder(schema)
    where, parameters = builder.node(node, True)
    return Match(schema, where, parameters, builder.texts)


def scores(conn: sqlite3.Connection, found: Match) -> Sql | None:
    """A sub-select (key, score) with Vespa's BM25 of the ranked texts; None when there are none.

    FTS5 has Vespa's term frequency part (k1 1.2, b 0.75) but another weight for rare words, which also
    drops to nothing for words in more than half of the documents; it is exchanged here.
    """
    if not found.texts:
        return None
    text = tables_of(found.schema.name).text
    indexed = conn.execute(f"SELECT count(*) FROM {text}_docsize").fetchone()[0]
    parts: list[str] = []
    parameters: list[Any] = []
    for expression in dict.fromkeys(found.texts):
        (holding,) = conn.execute(
            f"SELECT count(*) FROM {text} WHERE {text} MATCH ?", (expression,)
        ).fetchone()
        rarity = (indexed - holding + 0.5) / (holding + 0.5)
        theirs = max(math.log(rarity), 0.0) or 1e-6
        factor = -math.log(1 + rarity) / theirs
        # The limit keeps SQLite from merging this into the sum around it, where bm25() cannot be called.
        parts.append(
            "SELECT * FROM (SELECT rowid AS key, "
            f"bm25({text}) * ? AS score FROM {text} WHERE {text} MATCH ? LIMIT -1)"
        )
        parameters += [factor, expression]
    return f"(SELECT key, sum(score) AS score FROM ({' UNION ALL '.join(parts)}) GROUP BY key)", parameters


class _Builder:
    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.tables: TypeTables = tables_of(schema.name)
        self.texts: list[str] = []

    def node(self, node: Node, ranked: bool) -> Sql:
        if isinstance(node, Constant):
            return ALWAYS if node.value else NEVER
        if isinstance(node, AllOf):
            return self.junction(" AND ", [self.node(item, ranked) for item in node.items])
        if isinstance(node, AnyOf):
            return self.junction(" OR ", [self.node(item, ranked) for item in node.items])
        if isinstance(node, Not):
            where, parameters = self.node(node.item, False)
            return f"NOT coalesce({where}, 0)", parameters
        if isinstance(node, SameElement):
            return self.same_element(node)
        if isinstance(node, Rank):
            if ranked:
                for other in node.others:
                    self.node(other, True)  # its words count, what it matches does not
            return self.node(node.item, ranked)
        if isinstance(node, Unranked):
            return self.node(node.item, False)
        if isinstance(node, Term | Phrase | Near):
            return self.text(node, ranked)
        if isinstance(node, Matches):
            return self.matches(node)
        if isinstance(node, Fuzzy):
            return self.fuzzy(node)
        if isinstance(node, Compare):
            return self.compare(node)
        return self.membership(node)

    def junction(self, operator: str, parts: list[Sql]) -> Sql:
        return (
            "(" + operator.join(part[0] for part in parts) + ")",
            [parameter for part in parts for parameter in part[1]],
        )

    # ----------------------------------------------------------------- text

    def text(self, node: Term | Phrase | Near, ranked: bool) -> Sql:
        name = node.field
        if name == "sddocname":
            return ALWAYS if isinstance(node, Term) and node.text == self.schema.name else NEVER
        if name == "default":
            return self.full_text(self.schema.default_fieldset, node, ranked)
        item, member = self.resolve(name)
        if item is None:
            return NEVER
        if item.index:
            return self.full_text((item.name,), node, ranked)
        if isinstance(node, Near):
            raise unsupported(f"near(…) on '{name}', which is no indexed text (Vespa neither)")
        text = node.text if isinstance(node, Term) else " ".join(node.words)
        prefix = isinstance(node, Term) and node.prefix
        return self.attribute(item, member, text, prefix)

    def full_text(self, columns: tuple[str, ...], node: Term | Phrase | Near, ranked: bool) -> Sql:
        if isinstance(node, Term) and node.prefix:
            raise unsupported("prefix matching in indexed text (Vespa neither)")
        source = (node.text,) if isinstance(node, Term) else node.words
        tokens = [word for part in source for word in words(part)]
        if not tokens:
            return NEVER
        expression = "{" + " ".join(columns) + "} : "
        if isinstance(node, Near):
            if len(tokens) > 1 and node.distance < 1:
                return NEVER
            quoted = " ".join(f'"{token}"' for token in tokens)
            expression += f"NEAR({quoted}, {max(0, node.distance - 1)})"
        else:
            expression += f'"{" ".join(tokens)}"'
        if ranked:
            self.texts.append(expression)
        table = self.tables.text
        return f"d.key IN (SELECT rowid FROM {table} WHERE {table} MATCH ?)", [expression]

    def matches(self, node: Matches) -> Sql:
        try:
            re.compile(node.pattern)
        except re.error as error:
            raise QueryRefused(f"'{node.pattern}' is no regular expression: {error}") from None

        def test(column: str, cased: bool) -> Sql:
            pattern = node.pattern if cased else f"(?i:{node.pattern})"
            return f"vespa_matches(?, {column})", [pattern]

        return self.tested(node.field, "matches", test)

    def fuzzy(self, node: Fuzzy) -> Sql:
        def test(column: str, cased: bool) -> Sql:
            text = node.text if cased else node.text.lower()
            value = column if cased else f"vespa_lower({column})"
            return f"vespa_fuzzy({value}, ?, ?, ?)", [text, node.most, node.frozen]

        return self.tested(node.field, "fuzzy", test)

    def tested(self, name: str, what: str, test: Callable[[str, bool], Sql]) -> Sql:
        """Where a string attribute, or one element of it, passes a test of its column."""
        item, member = self.resolve(name)
        if item is None:
            return NEVER
        if item.index or item.type in _NUMBERS:
            raise QueryRefused(f"'{what}' needs a string attribute; '{name}' is none")
        if item.kind == "scalar":
            where, parameters = test(f'd."{item.name}"', item.cased)
            return f"coalesce({where}, 0)", parameters
        if item.kind == "map":
            where, parameters = test(f"j.{member}", False)
            return f"EXISTS (SELECT 1 FROM json_each(d.body, '$.{item.name}') j WHERE {where})", parameters
        where, parameters = test(f'"{member}"', item.cased and not item.searchable)
        return f"d.key IN (SELECT key FROM {self.element_table(item)} WHERE {where})", parameters

    def attribute(self, item: Field, member: str, text: str, prefix: bool) -> Sql:
        if item.kind == "scalar":
            if item.type in _NUMBERS:
                return f'd."{item.name}" = ?', [_number(item, text)]
            return _string_test(_column(item), text, prefix, item.cased)
        if item.kind == "map":
            return self.map_element(item, (Term(member, text, prefix),))
        where, parameters = _string_test(f'"{member}"', text, prefix, item.cased)
        return f"d.key IN (SELECT key FROM {self.element_table(item)} WHERE {where})", parameters

    def same_element(self, node: SameElement) -> Sql:
        item = self.field(node.field)
        if item is None:
            return NEVER
        if item.kind == "scalar" or (item.kind == "array" and not item.searchable):
            raise QueryRefused(
                f"sameElement needs a map or an array of structs; '{item.name}' is {item.type}"
            )
        self.check_field(item)
        if item.kind == "map":
            return self.map_element(item, node.terms)
        tests = [self.element_test(item, term, "") for term in node.terms]
        where, parameters = self.junction(" AND ", tests)
        return f"d.key IN (SELECT key FROM {self.element_table(item)} WHERE {where})", parameters

    def element_test(self, item: Field, node: Node, table: str) -> Sql:
        """A condition of sameElement on the columns of `table`, which holds one element a row."""
        if isinstance(node, AllOf | AnyOf):
            parts = [self.element_test(item, part, table) for part in node.items]
            return self.junction(" AND " if isinstance(node, AllOf) else " OR ", parts)
        if isinstance(node, Not):
            where, parameters = self.element_test(item, node.item, table)
            return f"NOT coalesce({where}, 0)", parameters
        assert isinstance(node, Term)  # the parser lets nothing else through
        self.check_member(item, node.field)
        return _string_test(f'{table}"{node.field}"', node.text, node.prefix)

    def map_element(self, item: Field, terms: tuple[Node, ...]) -> Sql:
        """Maps are read from the body; a text test on it, where exact enough, spares most of the reading."""
        tests = [self.element_test(item, term, "j.") for term in terms]
        where, parameters = self.junction(" AND ", tests)
        exists = f"EXISTS (SELECT 1 FROM json_each(d.body, '$.{item.name}') j WHERE {where})"
        likely = [
            pattern
            for term in terms
            if isinstance(term, Term) and (pattern := _body_pattern(term)) is not None
        ]
        narrowing = "".join("d.body LIKE ? AND " for _ in likely)
        return f"({narrowing}{exists})", [*likely, *parameters]

    # -------------------------------------------------------------- numbers

    def compare(self, node: Compare) -> Sql:
        item, _ = self.resolve(node.field)
        if item is None:
            return NEVER
        if item.kind != "scalar" or item.type not in _NUMBERS:
            raise QueryRefused(f"'{node.op}' compares numbers; '{item.name}' is {item.type}")
        value = int(node.value) if isinstance(node.value, bool) else node.value
        return f'd."{item.name}" {node.op} ?', [value]

    def membership(self, node: In) -> Sql:
        item, member = self.resolve(node.field)
        if item is None:
            return NEVER
        if item.index:
            raise unsupported(f"'in' on the indexed text '{item.name}' (Vespa neither)")
        if item.type in _NUMBERS:
            marks = ", ".join("?" * len(node.values))
            return f'd."{item.name}" IN ({marks})', [_number(item, str(value)) for value in node.values]
        if item.kind == "scalar" and (item.cased or all(str(value).isascii() for value in node.values)):
            marks = ", ".join("?" * len(node.values))
            return f"{_column(item)} IN ({marks})", [str(value) for value in node.values]
        tests = [self.attribute(item, member, str(value), False) for value in node.values]
        return self.junction(" OR ", tests) if tests else NEVER

    # --------------------------------------------------------------- fields

    def resolve(self, name: str) -> tuple[Field | None, str]:
        """The searchable field a query names, and the member after a dot (`item` for plain arrays)."""
        base, _, member = name.partition(".")
        item = self.field(base)
        if item is None:
            return None, ""
        self.check_field(item)
        if member:
            self.check_member(item, member)
        elif item.searchable:
            raise unsupported(f"searching all of '{name}'; name a member, or use sameElement")
        return item, member or "item"

    def field(self, name: str) -> Field | None:
        item = self.schema.field(name)
        if item is None and not any(schema.field(name) for schema in SCHEMAS.values()):
            raise QueryRefused(f"Field '{name}' does not exist.", code=4, summary="Invalid query parameter")
        return item

    def check_field(self, item: Field) -> None:
        if not (item.index or item.attribute or item.searchable):
            raise QueryRefused(
                f"Field '{item.name}' is neither an attribute nor an index: it cannot be searched."
            )

    def check_member(self, item: Field, member: str) -> None:
        if not any(found.name == member and found.attribute for found in item.searchable):
            raise QueryRefused(f"Field '{item.name}.{member}' does not exist or is no attribute.")

    def element_table(self, item: Field) -> str:
        return next(table.name for table in self.tables.elements if table.field == item.name)


def _column(item: Field) -> str:
    # Nearly all documents have the same source. Its index would attract the planner, which knows no
    # numbers, away from better ones; the plus takes it out of the choice.
    return f'+d."{item.name}"' if item.name == "source" else f'd."{item.name}"'


def _string_test(column: str, text: str, prefix: bool, cased: bool = False) -> Sql:
    if cased and prefix:
        return f"{column} GLOB ?", [re.sub(r"([*?\[])", r"[\1]", text) + "*"]
    if cased:
        return f"{column} = ?", [text]
    if prefix:
        escaped = re.sub(r"([\\%_])", r"\\\1", text)
        return f"{column} LIKE ? ESCAPE '\\'", [f"{escaped}%"]
    if text.isascii():
        return f"{column} = ? COLLATE NOCASE", [text]
    # NOCASE only folds ASCII; this test uses no index, which a sandbox can afford.
    return f"vespa_lower({column}) = ?", [text.lower()]


def _body_pattern(term: Term) -> str | None:
    """A LIKE pattern every body with this key or value fits; None where LIKE's folding would not do."""
    if not term.text.isascii():
        return None
    # `%` and `_` in the text only widen the pattern, and the exact test follows.
    quoted = orjson.dumps(term.text).decode()
    if term.prefix:
        return f"%{quoted[:-1]}%"
    return f"%{quoted}:%" if term.field == "key" else f"%:{quoted}%"


def _number(item: Field, text: str) -> int | float:
    if item.type == "bool":
        return int(text.lower() == "true")
    if item.type == "double":
        convert: Callable[[str], int | float] = float
    else:
        convert = int
        if not _INTEGER.match(text):
            raise QueryRefused(
                f"'{text}' is not an int item expression for field '{item.name}' of type {item.type}"
            )
    try:
        return convert(text)
    except ValueError:
        raise QueryRefused(f"'{text}' is no number for field '{item.name}'") from None
