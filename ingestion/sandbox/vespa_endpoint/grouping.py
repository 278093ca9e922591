"""The grouping language, as far as attributes and functions of them go.

    all(group(F) max(N) order(-count()) output(count()) each(output(count(), xor(G)) group(H) each(…)))
    all(group(fixedwidth(F, 10)) each(max(3) each(output(summary()))))
    all(output(count(), max(F)))

https://docs.vespa.ai/en/reference/querying/grouping-language.html. What goes beyond is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ingestion.sandbox.vespa_endpoint import group_expressions as expressions
from ingestion.sandbox.vespa_endpoint.group_expressions import (
    Attribute,
    Bound,
    Bucket,
    Call,
    Constant,
    Expression,
    FixedWidth,
    Predefined,
)
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported

DEFAULT_MAX_GROUPS = 10
"""Vespa's `grouping.defaultMaxGroups`: without `max(…)` only so many groups come back."""
DEFAULT_MAX_HITS = 10
"""Vespa's `grouping.defaultMaxHits`, of each list of hits."""
GLOBAL_MAX_GROUPS = 10_000
"""Vespa's `grouping.globalMaxGroups`; it cannot be set by a request."""
AGGREGATORS = ("count", "sum", "min", "max", "xor", "avg", "stddev")

_TOKEN = re.compile(
    r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[A-Za-z_][A-Za-z0-9_.]*|[0-9]+(?:\.[0-9]+)?|[(),+\-*/%<>{}]|\[|\])"""
)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`count()` or `xor(field)`; `label` is its key in the answer."""

    function: str
    argument: Expression | None
    label: str

    @property
    def expression(self) -> str:
        """As written: what it is called without `as`."""
        return f"{self.function}({self.argument.label if self.argument else ''})"


@dataclass(frozen=True, slots=True)
class GroupOrder:
    """One key of `order(…)`."""

    aggregate: Aggregate
    descending: bool


@dataclass(frozen=True, slots=True)
class HitList:
    """The best hits of a group, or of all matches; `summary` None is the request's own."""

    label: str = "hits"
    max_hits: int | None = None
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class Grouping:
    """One list of groups by an expression, or one set of sums over all matches when `by` is None.

    `max_groups` None: the request's default; -1: no limit. `outputs` belong to each group, `totals` to the
    list as a whole, whose count is the number of groups; `children` and `hits` are inside each group. Without
    `each` the groups themselves are not shown.
    """

    outputs: tuple[Aggregate, ...]
    by: Expression | None = None
    label: str = ""
    max_groups: int | None = None
    order: tuple[GroupOrder, ...] = ()
    totals: tuple[Aggregate, ...] = ()
    children: tuple[Grouping, ...] = ()
    each: bool = True
    hits: tuple[HitList, ...] = ()


@dataclass(frozen=True, slots=True)
class _Content:
    """What stands in the parentheses of `all` or `each`."""

    groupings: tuple[Grouping, ...] = ()
    outputs: tuple[Aggregate, ...] = ()
    hits: tuple[HitList, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.groupings or self.outputs or self.hits)


def parse_grouping(text: str) -> tuple[Grouping, ...]:
    """The groupings of one `all(…)`; several when it holds several `all(…)`. Raises QueryRefused."""
    if text.startswith(("{", "[")):
        raise unsupported("continuations and other annotations of a grouping")
    parser = _Parser(text)
    parser.expect("all")
    found = parser.all_operation()
    parser.expect_end()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise unsupported(f"'{text[position:].strip()[:20]}' in a grouping")
            self.tokens.append(match[1])
            position = match.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise QueryRefused(
                f"Could not parse grouping '{self.text}': expected '{token}', got '{self.peek() or 'the end'}'"
            )

    def expect_end(self) -> None:
        if self.peek() == "where":
            raise unsupported("'where' in a grouping")
        if self.peek():
            raise QueryRefused(f"Could not parse grouping '{self.text}': unexpected '{self.peek()}'")

    def all_operation(self) -> tuple[Grouping, ...]:
        content = self.content()
        if content.empty:
            raise self.outputs_nothing()
        if content.hits or (content.outputs and not any(item.by for item in content.groupings)):
            return (Grouping(content.outputs, hits=content.hits), *content.groupings)
        return content.groupings

    def content(self) -> _Content:
        """What stands in the parentheses of `all` or `each`: groupings, hits, and outputs of this level."""
        self.expect("(")
        by: Expression | None = None
        most: int | None = None
        order: tuple[GroupOrder, ...] = ()
        outputs: tuple[Aggregate, ...] = ()
        inside: list[tuple[_Content, str]] = []
        hits: list[HitList] = []
        nested: list[Grouping] = []
        while not self.accept(")"):
            word = self.take()
            if word == "group":
                self.expect("(")
                by = self.expression()
                self.expect(")")
            elif word == "max":
                self.expect("(")
                most = -1 if self.accept("inf") else self.integer()
                self.expect(")")
            elif word == "precision":
                self.expect("(")
                self.integer()  # we count exactly, so the sample size makes no difference
                self.expect(")")
            elif word == "order":
                order = self.order()
            elif word == "output":
                outputs = (*outputs, *self.outputs())
            elif word == "each" and by is None:
                hits.append(self.hit_list(most))
            elif word == "each":
                content = self.content()
                inside.append((content, self.label()))
            elif word == "all":
                nested += self.all_operation()
            elif word == "":
                self.expect(")")
            else:
                raise unsupported(f"'{word}' in a grouping")
        if by is None:
            if (most is not None and not hits) or order:
                raise unsupported("max(…) and order(…) in a grouping without group(…)")
            return _Content(tuple(nested), outputs, tuple(hits))
        if nested:
            raise unsupported("a grouping that both groups and nests")
        if any(content.empty for content, _ in inside) or not (inside or outputs):
            raise self.outputs_nothing()
        for item in outputs:
            if item.function != "count":
                raise QueryRefused(f"Can not aggregate '{item.expression}' on list of groups.")
        if not inside:
            return _Content((Grouping((), by, by.label, most, order, outputs, each=False),))
        return _Content(
            tuple(
                Grouping(
                    content.outputs,
                    by,
                    label or by.label,
                    most,
                    order,
                    () if number else outputs,
                    content.groupings,
                    hits=content.hits,
                )
                for number, (content, label) in enumerate(inside)
            )
        )

    def hit_list(self, most: int | None) -> HitList:
        """`each(output(summary(NAME)))` where nothing is grouped: single hits."""
        words = ("(", "output", "(", "summary", "(")
        if tuple(self.tokens[self.at : self.at + len(words)]) != words:
            raise unsupported("anything but output(summary()) in each(…) without group(…): it is about hits")
        self.at += len(words)
        name = None if self.peek() == ")" else self.take()
        for _ in range(3):
            self.expect(")")
        return HitList(self.label() or "hits", most, name)

    def outputs_nothing(self) -> QueryRefused:
        return QueryRefused(f"The grouping '{self.text}' outputs nothing")

    def label(self) -> str:
        if not self.accept("as"):
            return ""
        self.expect("(")
        label = self.take()
        self.expect(")")
        return label

    def outputs(self) -> tuple[Aggregate, ...]:
        self.expect("(")
        found = [self.output()]
        while self.accept(","):
            found.append(self.output())
        self.expect(")")
        return tuple(found)

    def output(self) -> Aggregate:
        aggregate = self.aggregate()
        label = self.label()
        return Aggregate(aggregate.function, aggregate.argument, label) if label else aggregate

    def order(self) -> tuple[GroupOrder, ...]:
        self.expect("(")
        keys = []
        while True:
            descending = self.accept("-")
            if not descending:
                self.accept("+")
            keys.append(GroupOrder(self.aggregate(), descending))
            if not self.accept(","):
                break
        self.expect(")")
        return tuple(keys)

    def aggregate(self) -> Aggregate:
        function = self.take()
        if function not in AGGREGATORS:
            raise unsupported(f"'{function}' as an aggregator (it takes {', '.join(AGGREGATORS)})")
        self.expect("(")
        argument = None if function == "count" else self.expression()
        self.expect(")")
        return Aggregate(function, argument, f"{function}({argument.label if argument else ''})")

    # ----------------------------------------------------------- expressions

    def expression(self) -> Expression:
        return self.chain(("+", "-"), lambda: self.chain(("*", "/", "%"), self.operand))

    def chain(self, operators: tuple[str, ...], part: Callable[[], Expression]) -> Expression:
        found = part()
        while self.peek() in operators:
            function = expressions.OPERATORS[self.take()]
            found = Call(function, (found, part()))
        return found

    def operand(self) -> Expression:
        if self.accept("("):
            found = self.expression()
            self.expect(")")
            return found
        if self.accept("-"):
            inner = self.operand()
            if isinstance(inner, Constant) and not isinstance(inner.value, str):
                return Constant(-inner.value)
            return Call("neg", (inner,))
        word = self.take()
        if word[:1] in ('"', "'"):
            return Constant(_unquoted(word))
        if word[:1].isdigit():
            return Constant(_number(word))
        if not re.match(r"[A-Za-z_]", word):
            raise QueryRefused(
                f"Could not parse grouping '{self.text}': '{word or 'the end'}' is no expression"
            )
        if self.peek() == "(":
            return self.call(word)
        if self.accept("{"):
            key = self.take()
            if key[:1] not in ('"', "'"):
                raise unsupported(f"'{word}{{{key}…}}' in a grouping; it takes a key in quotes")
            self.expect("}")
            if self.peek().startswith("."):
                raise unsupported(f"members of the values of '{word}' in a grouping")
            return Attribute(word, _unquoted(key))
        return Attribute(word)

    def call(self, name: str) -> Expression:
        if name == "fixedwidth":
            return self.fixed_width()
        if name == "predefined":
            return self.predefined()
        if name not in expressions.FUNCTIONS:
            raise unsupported(f"the expression '{name}(…)' in a grouping")
        self.expect("(")
        arguments: list[Expression] = []
        while not self.accept(")"):
            if arguments:
                self.expect(",")
            arguments.append(self.expression())
        fits = {
            name in expressions.OF_NONE: len(arguments) == 0,
            name in expressions.OF_ONE: len(arguments) == 1,
            name in expressions.MATH_OF_TWO: len(arguments) == 2,
        }.get(True, len(arguments) >= 2 or name == "strcat")
        if not fits:
            raise QueryRefused(f"'{name}' does not take {len(arguments)} arguments in a grouping")
        return Call(name, tuple(arguments))

    def fixed_width(self) -> Expression:
        self.expect("(")
        argument = self.expression()
        self.expect(",")
        width = self.take()
        if not width[:1].isdigit() or not (value := _number(width)):
            raise QueryRefused(f"'{width}' is no width for fixedwidth(…)")
        self.expect(")")
        return FixedWidth(argument, value)

    def predefined(self) -> Expression:
        self.expect("(")
        argument = self.expression()
        buckets: list[Bucket] = []
        while self.accept(","):
            buckets.append(self.bucket())
        self.expect(")")
        kinds = {
            str if isinstance(bound, str) else float
            for item in buckets
            for bound in (item.start, item.end)
            if bound is not None
        }
        if not buckets or len(kinds) > 1:
            raise QueryRefused("predefined(…) needs buckets, all of numbers or all of strings")
        return Predefined(argument, tuple(buckets))

    def bucket(self) -> Bucket:
        self.expect("bucket")
        opening = self.take()
        start = self.bound()
        alone = not self.accept(",")
        end = None if alone else self.bound()
        closing = self.take()
        if opening not in ("(", "[", "<") or closing not in (")", "]", ">"):
            raise QueryRefused(f"Could not parse grouping '{self.text}': a bucket is bucket(from, to)")
        if alone:
            return Bucket(start, _next(start))
        if opening == "<" and start is not None:
            start = _next(start)
        if closing == "]" and end is not None:
            end = _next(end)
        return Bucket(start, end)

    def bound(self) -> Bound:
        negative = self.accept("-")
        word = self.take()
        if word == "inf":
            return None
        if word[:1] in ('"', "'") and not negative:
            return _unquoted(word)
        if not word[:1].isdigit():
            raise QueryRefused(f"'{word}' is no bound of a bucket in a grouping")
        return -_number(word) if negative else _number(word)

    def integer(self) -> int:
        word = ("-" if self.accept("-") else "") + self.take()
        try:
            return int(word)
        except ValueError:
            raise QueryRefused(f"Could not parse grouping '{self.text}': '{word}' is no number") from None


def _number(word: str) -> int | float:
    return float(word) if "." in word else int(word)


def _next(bound: Bound) -> Bound:
    """The least value above: what makes an open end closed, and the other way round."""
    if isinstance(bound, int):
        return bound + 1
    if isinstance(bound, str):
        return bound + " "
    if bound is None:
        raise QueryRefused("A bucket of one value cannot be without bounds")
    return math.nextafter(bound, math.inf)


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1])
