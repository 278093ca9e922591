"""YQL parsed into a tree.

The grammar of https://docs.vespa.ai/en/reference/querying/yql.html, as far as `query_tree` can express it;
every other construct is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ingestion.sandbox.vespa_endpoint.grouping import Grouping, parse_grouping
from ingestion.sandbox.vespa_endpoint.problems import unsupported
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
    OrderBy,
    Phrase,
    Rank,
    SameElement,
    Select,
    Term,
    Unranked,
    UserText,
)
from ingestion.sandbox.vespa_endpoint.simple_query import parse_simple, words
from ingestion.sandbox.vespa_endpoint.yql_reader import TOKEN, Reader, as_text, unquote
from ingestion.vespa.schemas import SCHEMAS, Schema

_COMPARISONS = ("=", "<", "<=", ">", ">=")
_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_BOUNDS = {"closed": (">=", "<="), "open": (">", "<"), "leftOpen": (">", "<="), "rightOpen": (">=", "<")}
_LEAST = -(2**63)


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
        match = TOKEN.match(text, position)
        if match is None:
            break
        if match["op"] == "|":
            parts = text[match.end() :].rstrip().removesuffix(";").split("|")
            return text[: match.start()], tuple(parse_grouping(part.strip()) for part in parts)
        position = match.end()
    return text, ()


class _Parser(Reader):
    def __init__(self, text: str, parameters: Mapping[str, Any], user: UserText) -> None:
        super().__init__(text, parameters)
        self.user = user
        self.schemas: list[Schema] = list(SCHEMAS.values())

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
            function = self.sort_function()
            kind, _ = self.peek()
            name = unquote(self.take()[1]) if kind == "string" else self.name()
            descending = self.accept("desc")
            if not descending:
                self.accept("asc")
            keys.append(OrderBy(name, descending, function == "raw"))
            if not self.accept(","):
                return tuple(keys)

    def sort_function(self) -> str:
        """`{function: "raw"}` or `"lowercase"`, which strings sort by unless said otherwise."""
        annotations = self.annotations()
        function = str(annotations.pop("function", "lowercase"))
        for name in annotations:
            raise unsupported(f"the annotation '{name}' in 'order by'")
        if function not in ("raw", "lowercase"):
            raise unsupported(f"the sort function '{function}' in 'order by'")
        return function

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
        return _ranked(self.plain_function(annotations), annotations)

    def plain_function(self, annotations: dict[str, Any]) -> Node:
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
            items = self.items()
            return items[0] if len(items) == 1 else AnyOf(items)
        if name == "rank":
            self.check(annotations, frozenset())
            items = self.items()
            return Rank(items[0], items[1:]) if len(items) > 1 else items[0]
        if name == "nonEmpty":
            self.check(annotations, frozenset())
            (*_, node) = self.items()
            if node == Constant(False):
                raise self.failure("nonEmpty(…) is about a query that is empty")
            return node
        if name in ("weightedSet", "dotProduct", "wand"):
            # Which documents match, weights only rank; none of our profiles asks for their scores.
            self.check(annotations, frozenset())
            field = self.name()
            self.symbol(",")
            values = self.weighted()
            self.symbol(")")
            return Unranked(AnyOf(tuple(Term(field, value) for value in values)))
        raise unsupported(f"'{name}(…)' in YQL")

    def items(self) -> tuple[Node, ...]:
        """Expressions up to the closing parenthesis."""
        found = [self.expression()]
        while self.accept(","):
            found.append(self.expression())
        self.symbol(")")
        return tuple(found)

    def weighted(self) -> list[str]:
        """The tokens of `{"a": 1, "b": 2}`, of `[[11, 1], [37, 2]]`, or of a parameter like one of them."""
        if self.accept("@"):
            text = str(self.parameter(self.name())).strip()
            inside = re.findall(r"""\[\s*([^\[\],]+?)\s*,[^\[\],]*\]""", text)
            inside = inside or [part.rpartition(":")[0] for part in text.strip("{}").split(",")]
            found = [part.strip().strip("\"'") for part in inside]
        elif self.peek()[1] == "[":
            found = [as_text(pair[0]) for pair in self.json() if isinstance(pair, list) and pair]
        else:
            held = self.json()
            found = [str(key) for key in held] if isinstance(held, dict) else []
        if not found or not all(found):
            raise self.failure("expected weighted tokens, as in {'a': 1, 'b': 2}")
        return found

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
        if word == "matches":
            self.check(self.annotations(), frozenset())
            return Matches(field, as_text(self.literal()))
        if word in ("like", "not", "is") or op in ("!=", "["):
            raise unsupported(f"'{field} {op} …' in YQL")
        raise self.failure(f"expected an operator after '{field}', got '{op or 'the end'}'")

    def contains(self, field: str) -> Node:
        annotations = self.annotations()
        grouped = self.accept("(")
        annotations = annotations or (self.annotations() if grouped else {})
        kind, text = self.peek()
        node: Node
        if kind == "word" and text.lower() not in ("true", "false"):
            node = self.contains_function(field, self.take()[1], annotations)
        else:
            known = frozenset({"prefix"})
            if not self.is_text(field):  # how words are made matters to text only
                known |= {"stem", "normalizeCase", "accentDrop", "implicitTransforms", "nfkc"}
            self.check(annotations, known)
            value = self.literal()
            node = Term(field, as_text(value), prefix=annotations.get("prefix") is True)
        if grouped:
            self.symbol(")")
        return _ranked(node, annotations)

    def is_text(self, field: str) -> bool:
        return field == "default" or any(
            (item := schema.field(field)) is not None and item.index for schema in self.schemas
        )

    def contains_function(self, field: str, name: str, annotations: dict[str, Any]) -> Node:
        known = {"near": {"distance"}, "onear": {"distance"}, "fuzzy": {"maxEditDistance", "prefixLength"}}
        self.check(annotations, frozenset(known.get(name, ())))
        self.symbol("(")
        if name == "sameElement":
            items = self.items()
            terms = tuple(
                term for item in items for term in (item.items if isinstance(item, AllOf) else (item,))
            )
            for term in terms:
                _check_element(term)
            return SameElement(field, terms)
        if name == "equiv":
            # Matches as `or` does; Vespa ranks its words as if they were one.
            parts = self.alternatives(field)
            return parts[0] if len(parts) == 1 else AnyOf(parts)
        if name == "alternatives":
            held = self.json()
            self.symbol(")")
            if not isinstance(held, dict) or not held:
                raise self.failure("alternatives(…) needs words and their exactness, as in {'a': 1.0}")
            return AnyOf(tuple(Term(field, str(word)) for word in held))
        if name == "text":
            found = words(as_text(self.literal()))
            self.symbol(")")
            if not found:
                return Constant(False)
            return (
                AnyOf(tuple(Term(field, word) for word in found)) if len(found) > 1 else Term(field, found[0])
            )
        if name == "phrase":
            return Phrase(field, self.texts())
        if name == "fuzzy":
            (text,) = self.texts()
            most, frozen = annotations.get("maxEditDistance", 2), annotations.get("prefixLength", 0)
            return Fuzzy(field, text, self.natural(most), self.natural(frozen))
        if name in ("near", "onear"):
            texts, distance = self.texts(), self.natural(annotations.get("distance", 2))
            if name == "near":
                return Near(field, texts, distance)
            if distance != len(texts) - 1:
                raise unsupported("'onear(…)' in YQL with a distance other than that of a phrase")
            return Phrase(field, texts)
        raise unsupported(f"'contains {name}(…)' in YQL")

    def natural(self, value: Any) -> int:
        if not isinstance(value, int) or value < 0:
            raise self.failure(f"'{value}' is no whole number of at least 0")
        return value

    def texts(self) -> tuple[str, ...]:
        """Literals up to the closing parenthesis."""
        found: list[str] = []
        while not found or self.accept(","):
            if self.peek()[1] == "!":
                raise unsupported("negative terms in near(…) in YQL")
            found.append(as_text(self.literal()))
        self.symbol(")")
        return tuple(found)

    def alternatives(self, field: str) -> tuple[Node, ...]:
        """Words and phrases up to the closing parenthesis."""
        found: list[Node] = []
        while not found or self.accept(","):
            if self.accept("phrase"):
                self.symbol("(")
                found.append(Phrase(field, self.texts()))
            else:
                found.append(Term(field, as_text(self.literal())))
        self.symbol(")")
        return tuple(found)

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
                found.append(unquote(part))
            else:
                found.append(int(part) if re.fullmatch(r"-?[0-9]+", part) else part)
        return found


def _ranked(node: Node, annotations: Mapping[str, Any]) -> Node:
    return Unranked(node) if annotations.get("ranked") is False else node


def _check_element(node: Node) -> None:
    """Refuse what sameElement cannot hold here: it takes `contains`, `and`, `or` and `!` of them."""
    if isinstance(node, AllOf | AnyOf):
        for item in node.items:
            _check_element(item)
    elif isinstance(node, Not):
        _check_element(node.item)
    elif not isinstance(node, Term):
        raise unsupported("anything but 'contains', 'and', 'or' and '!' inside sameElement(…)")
