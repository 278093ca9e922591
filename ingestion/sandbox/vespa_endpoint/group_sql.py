"""Expressions of a grouping as SQL over one document type.

Inside `group(…)` a document without a value has Vespa's undefined value; inside an aggregator it does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingestion.sandbox.vespa_endpoint import group_expressions as expressions
from ingestion.sandbox.vespa_endpoint.group_expressions import (
    LEAST,
    MOST,
    Attribute,
    Bucket,
    Call,
    Constant,
    Expression,
    FixedWidth,
    Predefined,
)
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.ranking import UNDEFINED
from ingestion.sandbox.vespa_endpoint.tables import tables_of
from ingestion.vespa.schemas import SCHEMAS, Schema


@dataclass(frozen=True, slots=True)
class GroupSql:
    """An expression in SQL; `kind` is long, double or string.

    `elements` is the table, called `e`, that has a row for each of a document's values where there are several.
    """

    sql: str
    kind: str
    elements: str = ""

    @property
    def join(self) -> str:
        """What follows the document's table in a FROM."""
        return f"JOIN {self.elements}" if self.elements else ""

    @property
    def exists(self) -> str:
        """A condition: the document has the value that its parameter says."""
        if not self.elements:
            return f"{self.sql} = ?"
        return f"EXISTS (SELECT 1 FROM (SELECT 1) JOIN {self.elements} WHERE {self.sql} = ?)"


def group_sql(expression: Expression, schema: Schema, score: str, *, undefined: bool) -> GroupSql | None:
    """The expression over `schema`, called `d`; None when the type has not all of its fields.

    `score` is the SQL of a document's relevance, `undefined` whether no value is Vespa's undefined one.
    Raises QueryRefused for what no type has or what cannot be grouped by.
    """
    return _Writer(schema, score, undefined).write(expression)


def identity(expression: Expression, value: Any, kind: str) -> dict[str, Any]:
    """How a group calls itself: `id`, and `value` or, for a bucket, `limits`."""
    if isinstance(expression, FixedWidth):
        end = value + expression.width
        if isinstance(end, int):
            end = min(end, MOST)
        return _limits("long" if isinstance(value, int) else "double", value, end)
    if isinstance(expression, Predefined):
        if value < 0:
            return {"id": "group:null"}
        bucket, kind = expression.buckets[value], expression.kind
        unbounded: dict[str, tuple[Any, Any]] = {
            "long": (LEAST, MOST),
            "double": ("-Infinity", "Infinity"),
            "string": ("", ""),
        }
        least, most = unbounded[kind]
        return _limits(
            kind,
            least if bucket.start is None else bucket.start,
            most if bucket.end is None else bucket.end,
        )
    return {"id": f"group:{kind}:{value}", "value": str(value)}


def _limits(kind: str, start: Any, end: Any) -> dict[str, Any]:
    return {"id": f"group:{kind}_bucket:{start}:{end}", "limits": {"from": str(start), "to": str(end)}}


class _Writer:
    def __init__(self, schema: Schema, score: str, undefined: bool) -> None:
        self.schema, self.score, self.undefined = schema, score, undefined

    def write(self, expression: Expression) -> GroupSql | None:
        if isinstance(expression, Constant):
            return _constant(expression)
        if isinstance(expression, Attribute):
            return self.attribute(expression)
        if isinstance(expression, FixedWidth):
            inner = self.write(expression.argument)
            if inner is not None:
                _numeric(inner, expression)
            return inner and GroupSql(
                f"vespa_bucket({inner.sql}, {expression.width!r})", inner.kind, inner.elements
            )
        if isinstance(expression, Predefined):
            return self.predefined(expression)
        return self.call(expression)

    # ------------------------------------------------------------ attributes

    def attribute(self, expression: Attribute) -> GroupSql | None:
        base, _, member = expression.name.partition(".")
        item = self.schema.field(base)
        if item is None:
            if not any(other.field(base) for other in SCHEMAS.values()):
                raise QueryRefused(f"Grouping by '{expression.label}': no such attribute", code=4)
            return None
        if item.kind == "map" and item.searchable:
            if expression.key is not None and not member:
                key = _text(expression.key)
                value = f"(SELECT m.value FROM json_each(d.body, '$.{base}') m WHERE m.key = {key})"
                return GroupSql(f"coalesce({value}, '')" if self.undefined else value, "string")
            if expression.key is None and member in ("key", "value"):
                elements = f"json_each(d.body, '$.{base}') e"
                return GroupSql(f"CAST(e.{member} AS TEXT) COLLATE BINARY", "string", elements)
        if expression.key is None and item.kind == "scalar" and item.attribute and not member:
            column = f'd."{item.name}"'
            kind = "string" if item.type == "string" else "double" if item.type == "double" else "long"
            if self.undefined:
                missing = UNDEFINED[item.type]
                column = f"coalesce({column}, {_text(missing) if isinstance(missing, str) else missing})"
            return GroupSql(column + (" COLLATE BINARY" if kind == "string" else ""), kind)
        for table in tables_of(self.schema.name).elements:
            if expression.key is None and table.field == base and (member or "item") in table.members:
                elements = f"{table.name} e ON e.key = d.key"
                return GroupSql(f'e."{member or "item"}" COLLATE BINARY', "string", elements)
        raise unsupported(
            f"grouping by '{expression.label}'; it takes attributes, searchable struct members and map values"
        )

    # ------------------------------------------------------------- functions

    def call(self, expression: Call) -> GroupSql | None:
        name = expression.function
        if name == "relevance":
            return GroupSql(self.score, "double")
        if name == "docidnsspecific":
            return GroupSql("substr(d.id, instr(d.id, ':') + 1)", "string")
        if name == "now":
            return GroupSql("CAST(strftime('%s', 'now') AS INTEGER)", "long")
        written = [self.write(argument) for argument in expression.arguments]
        parts = [part for part in written if part is not None]
        if len(parts) < len(written):
            return None
        elements = _one_table(parts, expression)
        if name == "strcat":
            return GroupSql(f"({' || '.join(_as_text(part) for part in parts)})", "string", elements)
        first = parts[0]
        if name == "tostring":
            return GroupSql(_as_text(first), "string", elements)
        if name == "strlen":
            return GroupSql(f"vespa_bytes({_as_text(first)})", "long", elements)
        if name in ("tolong", "todouble"):
            target = "INTEGER" if name == "tolong" else "REAL"
            return GroupSql(f"CAST({first.sql} AS {target})", name[2:], elements)
        for part in parts:
            _numeric(part, expression)
        if name == "neg":
            return GroupSql(f"vespa_number('sub', 0, {first.sql})", first.kind, elements)
        if name in expressions.TIME:
            unit = name.removeprefix("time.")
            kind = "string" if unit == "date" else "long"
            return GroupSql(f"vespa_time('{unit}', CAST({first.sql} AS INTEGER))", kind, elements)
        if name in expressions.MATH:
            return GroupSql(f"vespa_math('{name.removeprefix('math.')}', {first.sql})", "double", elements)
        kind = "double" if any(part.kind == "double" for part in parts) else "long"
        if name in expressions.BITWISE and kind == "double":
            raise QueryRefused(f"'{expression.label}' needs whole numbers")
        if name in expressions.MATH_OF_TWO:
            kind = "double"
        sql = first.sql
        for part in parts[1:]:
            sql = f"vespa_number('{name}', {sql}, {part.sql})"
        return GroupSql(sql, kind, elements)

    def predefined(self, expression: Predefined) -> GroupSql | None:
        inner = self.write(expression.argument)
        if inner is None:
            return None
        if (inner.kind == "string") != (expression.kind == "string"):
            raise unsupported(f"buckets of another type than their argument in '{expression.label}'")
        value = inner.sql
        if expression.kind == "long" and inner.kind == "double":
            value = f"CAST(round({value}) AS INTEGER)"
        cases = [f"WHEN {_inside(value, bucket)} THEN {at}" for at, bucket in enumerate(expression.buckets)]
        return GroupSql(f"(CASE {' '.join(cases)} ELSE -1 END)", "bucket", inner.elements)


def _constant(expression: Constant) -> GroupSql:
    if isinstance(expression.value, str):
        return GroupSql(_text(expression.value), "string")
    return GroupSql(repr(expression.value), "double" if isinstance(expression.value, float) else "long")


def _inside(value: str, bucket: Bucket) -> str:
    tests = []
    for operator, bound in ((">=", bucket.start), ("<", bucket.end)):
        if bound is not None:
            tests.append(f"{value} {operator} {_text(bound) if isinstance(bound, str) else repr(bound)}")
    return " AND ".join(tests) or "1"


def _one_table(parts: list[GroupSql], expression: Expression) -> str:
    tables = {part.elements for part in parts if part.elements}
    if len(tables) > 1:
        raise unsupported(f"several fields with many values in '{expression.label}'")
    return tables.pop() if tables else ""


def _numeric(part: GroupSql, expression: Expression) -> None:
    if part.kind not in ("long", "double"):
        raise unsupported(f"text as a number in '{expression.label}'")


def _as_text(part: GroupSql) -> str:
    return part.sql if part.kind == "string" else f"vespa_text({part.sql})"


def _text(value: str) -> str:
    if "\0" in value:
        raise QueryRefused("A text in a grouping cannot hold a zero character")
    return "'" + value.replace("'", "''") + "'"
