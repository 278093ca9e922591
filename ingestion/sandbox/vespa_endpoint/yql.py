"""YQL parsed into a tree.

The grammar of https://docs.vespa.ai/en/reference/querying/yql.html, as far as `query_tree` can express it;
every other construct is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ingestion.sandbox.vespa_endpoint.grouping import Grouping, parse_grouping
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.query_tree import (
    AllOf,
    AnyOf,
    Compare,
    Constant,
    In,
    Node,
    Not,
    OrderBy,
    Phrase,
    SameElement,
    Select,
    Term,
    UserText,
)
from ingestion.sandbox.vespa_endpoint.simple_query import parse_simple
from ingestion.vespa.schemas import SCHEMAS, Schema

_TOKEN = re.compile(
    r"""(?:\s|//[^\n]*|/\*.*?\*/)*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<long>-?[0-9]+[Ll]\b)
    | (?P<float>-?[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|-?\.[0-9]+(?:[eE][+-]?[0-9]+)?|-?[0-9]+[eE][+-]?[0-9]+)
    | (?P<int>-?[0-9]+)
    | (?P<word>[A-Za-z_][A-Za-z0-9_:\-]*(?:\.[A-Za-z_][A-Za-z0-9_:\-]*)*)
    | (?P<op><=|>=|!=|[()\[\]{},;*@=<>!|:+\-/])
    )""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_COMPARISONS = ("=", "<", "<=", ">", ">=")
_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_BOUNDS = {"closed": (">=", "<="), "open": (">", "<"), "leftOpen": (">", "<="), "rightOpen": (">=", "<")}
_LEAST = -(2**63)
# Annotations that never change which documents match; everything else must be known or refused.
_HARMLESS = frozenset(
    {
        "filter",
        "ranked",
        "weight",
        "significance",
        "label",
        "id",
        "targetHits",
        "totalTargetHits",
        "allowEmpty",
        "usePositionData",
    }
)
_RESERVED = frozenset({"where", "order", "limit", "offset", "timeout"})


def parse_yql(text: str, parameters: Mapping[str, Any], user: UserText) -> Select:
    """The statement's tree, with `@name` taken from `parameters` and `userQuery()` from `user`.

    Raises QueryRefused naming what is wrong or not supported.
    """
    statement, groupings = _split_groupings(text)
    return _Parser(statement, parameters, user).statement(groupings)


def _split_groupings(text: str) -> tuple[str, tuple[tuple[Grouping, ...], ...]]:
    """The statement and the grouping requests behind its first `|` that is not inside a string."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            break
        if match["op"] == "|":
            parts = text[match.end() :].rstrip().removesuffix(";").split("|")
            return text[: match.start()], tuple(parse_grouping(part.strip()) for part in parts)
        position = match.end()
    return text, ()


class _Parser:
    def __init__(self, text: str, parameters: Mapping[str, Any], user: UserText) -> None:
        self.text, self.parameters, self.user = text, parameters, user
        self.schemas: list[Schema] = list(SCHEMAS.values())
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while not _BLANK.match(text, position):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.failure(f"unexpected '{text[position:].strip()[:20]}'")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            position = match.end()
        self.at = 0

    # ------------------------------------------------------------- statement

    def statement(self, groupings: tuple[tuple[Grouping, ...], ...]) -> Select:
        self.keyword("select")
        fields = self.fields()
        sources = self.sources()
        named = set(sources) & set(SCHEMAS) or set(SCHEMAS)
        self.schemas = [
            schema
            for name, schema in SCHEMAS.items()
            if name in named and name in (self.user.restrict or named)
        ]
        where: Node = Constant(True)
        if self.accept("where"):
            where = self.expression()
        else:
            raise self.failure("expected 'where'")
        order: tuple[OrderBy, ...] = ()
        if self.accept("order"):
            self.keyword("by")
            order = self.order()
        limit = self.number() if self.accept("limit") else None
        offset = self.number() if self.accept("offset") else None
        timeout = self.number() if self.accept("timeout") else None
        self.accept(";")
        if self.peek()[0] != "end":
            raise self.failure(f"unexpected '{self.peek()[1]}'")
        return Select(fields, sources, where, order, limit, offset, timeout, groupings)

    def fields(self) -> tuple[str, ...] | None:
        if self.accept("*"):
            return None
        names = [self.name()]
        while self.accept(","):
            names.append(self.name())
        return tuple(names)

    def sources(self) -> tuple[str, ...]:
        self.keyword("from")
        if self.accept("sources"):
            if self.accept("*"):
                return ()
            names = [self.name()]
            while self.accept(","):
                names.append(self.name())
            return tuple(names)
        if self.peek()[1] == "(":
            raise unsupported("sub-selects in YQL")
        return (self.name(),)

    def order(self) -> tuple[OrderBy, ...]:
        keys = []
        while True:
            if self.peek()[1] in ("{", "["):
                raise unsupported("annotations (sort functions, locales) in 'order by'")
            kind, _ = self.peek()
            name = _unquote(self.take()[1]) if kind == "string" else self.name()
            descending = self.accept("desc")
            if not descending:
                self.accept("asc")
            keys.append(OrderBy(name, descending))
            if not self.accept(","):
                return tuple(keys)

    # ----------------------------------------------------------- expressions

    def expression(self) -> Node:
        items = [self.conjunction()]
        while self.accept("or"):
            items.append(self.conjunction())
        return items[0] if len(items) == 1 else AnyOf(tuple(items))

    def conjunction(self) -> Node:
        items = [self.unary()]
        while self.accept("and"):
            items.append(self.unary())
        return items[0] if len(items) == 1 else AllOf(tuple(items))

    def unary(self) -> Node:
        if self.accept("!"):
            self.symbol("(")
            node = self.expression()
            self.symbol(")")
            return Not(node)
        annotations = self.annotations()
        if self.accept("("):
            node = self.expression() if not annotations else self.annotated(annotations)
            self.symbol(")")
            return node
        return self.annotated(annotations)

    def annotated(self, annotations: dict[str, Any]) -> Node:
        annotations = annotations or self.annotations()
        kind, text = self.peek()
        if kind in ("int", "long", "float"):
            self.check(annotations, frozenset())
            return self.reversed_comparison()
        if kind != "word":
            raise self.failure(f"expected a condition, got '{text or 'the end'}'")
        if text.lower() in ("true", "false") and self.tokens[self.at + 1 : self.at + 2] != [("op", "(")]:
            self.at += 1
            return Constant(text.lower() == "true")
        if self.tokens[self.at + 1 : self.at + 2] == [("op", "(")]:
            return self.function(annotations)
        self.check(annotations, frozenset())
        return self.condition()

    def reversed_comparison(self) -> Node:
        """`500 >= price`."""
        value = self.literal()
        op = self.take()[1]
        if op not in _MIRRORED or isinstance(value, str):
            raise self.failure(f"expected a comparison after '{value}', got '{op or 'the end'}'")
        return Compare(self.name(), _MIRRORED[op], value)

    def function(self, annotations: dict[str, Any]) -> Node:
        name = self.take()[1]
        if name == "range":
            self.check(annotations, frozenset({"bounds"}))
            return self.range(str(annotations.get("bounds", "closed")))
        self.symbol("(")
        if name == "userQuery":
            self.check(annotations, frozenset())
            self.symbol(")")
            return parse_simple(self.user.text, self.user.type, self.user.default_index, self.schemas)
        if name == "userInput":
            self.check(annotations, frozenset({"grammar", "defaultIndex", "language"}))
            text = str(self.literal())
            self.symbol(")")
            grammar = str(annotations.get("grammar", "weakAnd"))
            index = str(annotations.get("defaultIndex", self.user.default_index))
            return parse_simple(text, grammar, index, self.schemas)
        if name == "weakAnd":
            self.check(annotations, frozenset())
            items = [self.expression()]
            while self.accept(","):
                items.append(self.expression())
            self.symbol(")")
            return items[0] if len(items) == 1 else AnyOf(tuple(items))
        raise unsupported(f"'{name}(…)' in YQL")

    def range(self, kind: str) -> Node:
        if kind not in _BOUNDS:
            raise self.failure(f"'{kind}' is none of the bounds {', '.join(_BOUNDS)}")
        above, below = _BOUNDS[kind]
        self.symbol("(")
        field = self.name()
        bounds = []
        for _ in range(2):
            self.symbol(",")
            bounds.append(self.bound())
        self.symbol(")")
        parts: list[Node] = []
        # Without a bound on either side, a document still needs a value.
        if bounds[0] is not None or bounds[1] is None:
            parts.append(
                Compare(field, ">=", _LEAST) if bounds[0] is None else Compare(field, above, bounds[0])
            )
        if bounds[1] is not None:
            parts.append(Compare(field, below, bounds[1]))
        return AllOf(tuple(parts))

    def bound(self) -> int | float | None:
        negative = self.accept("-")
        if self.accept("infinity"):
            return None
        value = self.literal()
        if isinstance(value, str | bool):
            raise self.failure(f"'{value}' is no number")
        return -value if negative else value

    def condition(self) -> Node:
        field = self.name()
        kind, op = self.take()
        word = op.lower()
        if kind == "op" and op in _COMPARISONS:
            value = self.literal()
            if isinstance(value, str):
                raise self.failure(
                    f"'{op}' compares numbers and booleans; use contains for the text in {field}"
                )
            return Compare(field, op, value)
        if word == "in":
            return In(field, self.values())
        if word == "not" and self.accept("in"):
            return Not(In(field, self.values()))
        if word == "contains":
            return self.contains(field)
        if word in ("matches", "like", "not", "is") or op in ("!=", "["):
            raise unsupported(f"'{field} {op} …' in YQL")
        raise self.failure(f"expected an operator after '{field}', got '{op or 'the end'}'")

    def contains(self, field: str) -> Node:
        annotations = self.annotations()
        grouped = self.accept("(")
        annotations = annotations or (self.annotations() if grouped else {})
        kind, _ = self.peek()
        node: Node
        if kind == "word":
            self.check(annotations, frozenset())
            node = self.contains_function(field, self.take()[1])
        else:
            self.check(annotations, frozenset({"prefix"}))
            value = self.literal()
            node = Term(field, _text(value), prefix=annotations.get("prefix") is True)
        if grouped:
            self.symbol(")")
        return node

    def contains_function(self, field: str, name: str) -> Node:
        self.symbol("(")
        if name == "phrase":
            found = [_text(self.literal())]
            while self.accept(","):
                found.append(_text(self.literal()))
            self.symbol(")")
            return Phrase(field, tuple(found))
        if name == "sameElement":
            items = [self.expression()]
            while self.accept(","):
                items.append(self.expression())
            self.symbol(")")
            terms = [term for item in items for term in (item.items if isinstance(item, AllOf) else (item,))]
            if not all(isinstance(term, Term) for term in terms):
                raise unsupported("anything but 'contains' and 'and' inside sameElement(…)")
            return SameElement(field, tuple(term for term in terms if isinstance(term, Term)))
        raise unsupported(f"'contains {name}(…)' in YQL")

    def values(self) -> tuple[str | int, ...]:
        if self.accept("@"):
            return tuple(self.list_parameter(self.name()))
        self.symbol("(")
        found: list[str | int] = []
        while True:
            if self.accept("@"):
                found += self.list_parameter(self.name())
            else:
                value = self.literal()
                if isinstance(value, float):
                    raise self.failure("'in' takes whole numbers and strings")
                found.append(value)
            if not self.accept(","):
                break
        self.symbol(")")
        return tuple(found)

    def list_parameter(self, name: str) -> list[str | int]:
        """A parameter such as `1,2,3` or `"a", 'b'`: the list that stands for `@name` in `in (@name)`."""
        text = str(self.parameter(name)).strip()
        parts = re.findall(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,]+)\s*,?""", text)
        found: list[str | int] = []
        for part in (part.strip() for part in parts):
            if part[:1] in "\"'":
                found.append(_unquote(part))
            else:
                found.append(int(part) if re.fullmatch(r"-?[0-9]+", part) else part)
        return found

    # -------------------------------------------------------------- literals

    def literal(self) -> str | int | float | bool:
        kind, text = self.take()
        if kind == "string":
            return _unquote(text)
        if kind == "long":
            return int(text[:-1])
        if kind == "int":
            value = int(text)
            if not -(2**31) <= value < 2**31:
                raise self.failure(f"{text} does not fit 32 bits; write {text}L")
            return value
        if kind == "float":
            return float(text)
        if text == "@":
            found = self.parameter(self.name())
            return found if isinstance(found, int | float | bool) else str(found)
        if kind == "word" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise self.failure(f"expected a value, got '{text or 'the end'}'")

    def parameter(self, name: str) -> Any:
        if name not in self.parameters:
            raise QueryRefused(f"Query parameter '{name}' is not given, but YQL uses @{name}")
        return self.parameters[name]

    def number(self) -> int:
        value = self.literal()
        try:
            return int(value)
        except ValueError:
            raise self.failure(f"'{value}' is no whole number") from None

    def annotations(self) -> dict[str, Any]:
        """`{name: value, …}` or the older `[{name: value}]` before an item."""
        bracket = self.peek()[1] == "[" and self.tokens[self.at + 1 : self.at + 2] == [("op", "{")]
        if bracket:
            self.at += 1
        if not self.accept("{"):
            return {}
        found: dict[str, Any] = {}
        while not self.accept("}"):
            kind, name = self.take()
            name = _unquote(name) if kind == "string" else name
            if name.endswith(":"):  # `name:` reads as one word
                name = name[:-1]
            else:
                name, colon, rest = name.partition(":")
                if colon:
                    found[name] = _word_value(rest)
                    self.accept(",")
                    continue
                self.symbol(":")
            if self.peek()[1] in ("{", "["):
                raise unsupported(f"the annotation '{name}' in YQL")
            found[name] = self.literal()
            self.accept(",")
        if bracket:
            self.symbol("]")
        return found

    def check(self, annotations: dict[str, Any], known: frozenset[str]) -> None:
        for name in annotations:
            if name not in known and name not in _HARMLESS:
                raise unsupported(f"the annotation '{name}' here in YQL")

    # ---------------------------------------------------------------- tokens

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        kind, found = self.peek()
        if kind in ("word", "op") and found.lower() == text:
            self.at += 1
            return True
        return False

    def keyword(self, text: str) -> None:
        if not self.accept(text):
            raise self.failure(f"expected '{text}', got '{self.peek()[1] or 'the end'}'")

    symbol = keyword

    def name(self) -> str:
        kind, text = self.take()
        if kind != "word" or text.lower() in _RESERVED:
            raise self.failure(f"expected a name, got '{text or 'the end'}'")
        return text

    def failure(self, why: str) -> QueryRefused:
        return QueryRefused(f"Could not create query from YQL '{self.text}': {why}")


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _word_value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def _unquote(text: str) -> str:
    return re.sub(
        r"\\(u[0-9A-Fa-f]{4}|.)",
        lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 5 else _ESCAPES.get(m[1], m[1]),
        text[1:-1],
        flags=re.DOTALL,
    )
