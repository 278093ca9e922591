"""The grouping language, as far as counting and summing by a field needs it.

    all(group(F) max(N) order(-count()) each(output(count(), xor(G))))      all(output(count(), max(F)))

https://docs.vespa.ai/en/reference/querying/grouping-language.html. What goes beyond is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported

DEFAULT_MAX_GROUPS = 10
"""Vespa's `grouping.defaultMaxGroups`: without `max(…)` only so many groups come back."""
GLOBAL_MAX_GROUPS = 10_000
"""Vespa's `grouping.globalMaxGroups`; it cannot be set by a request."""
AGGREGATORS = ("count", "sum", "min", "max", "xor", "avg")

_TOKEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*|-?[0-9]+|[(),+\-*/])")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`count()` or `xor(field)`; `label` is its key in the answer."""

    function: str
    field: str
    label: str

    @property
    def expression(self) -> str:
        """As written: what it is called without `as`."""
        return f"{self.function}({self.field})"


@dataclass(frozen=True, slots=True)
class GroupOrder:
    """One key of `order(…)`."""

    aggregate: Aggregate
    descending: bool


@dataclass(frozen=True, slots=True)
class Grouping:
    """One list of groups by `field`, or one set of sums over all matches when `field` is empty.

    `max_groups` None: the request's default; -1: no limit.
    """

    outputs: tuple[Aggregate, ...]
    field: str = ""
    label: str = ""
    max_groups: int | None = None
    order: tuple[GroupOrder, ...] = ()


def parse_grouping(text: str) -> tuple[Grouping, ...]:
    """The groupings of one `all(…)`; several when it holds several `all(…)`. Raises QueryRefused."""
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
        self.expect("(")
        field, label, max_groups = "", "", None
        order: tuple[GroupOrder, ...] = ()
        outputs: tuple[Aggregate, ...] = ()
        nested: list[Grouping] = []
        each = False
        while not self.accept(")"):
            word = self.take()
            if word == "group":
                self.expect("(")
                field = label = self.field_name()
                self.expect(")")
            elif word == "max":
                self.expect("(")
                max_groups = -1 if self.accept("inf") else self.integer()
                self.expect(")")
            elif word == "precision":
                self.expect("(")
                self.integer()  # we count exactly, so the sample size makes no difference
                self.expect(")")
            elif word == "order":
                order = self.order()
            elif word == "output":
                outputs = self.outputs()
            elif word == "each":
                outputs, each = self.each(), True
                if self.accept("as"):
                    self.expect("(")
                    label = self.take()
                    self.expect(")")
            elif word == "all":
                nested += self.all_operation()
            elif word == "":
                self.expect(")")
            else:
                raise unsupported(f"'{word}' in a grouping")
        if nested:
            if field or outputs:
                raise unsupported("a grouping that both groups and nests")
            return tuple(nested)
        if field and not each:
            raise unsupported("group(…) without each(…): the number of groups")
        if each and not field:
            raise unsupported("each(…) without group(…): grouping of single hits")
        if not outputs:
            raise QueryRefused(f"The grouping '{self.text}' outputs nothing")
        return (Grouping(outputs, field, label, max_groups, order),)

    def each(self) -> tuple[Aggregate, ...]:
        self.expect("(")
        outputs: tuple[Aggregate, ...] = ()
        while not self.accept(")"):
            word = self.take()
            if word != "output":
                raise unsupported(
                    f"'{word or 'the end'}' inside each(…): groups in groups and hits in groups"
                )
            outputs = (*outputs, *self.outputs())
        return outputs

    def outputs(self) -> tuple[Aggregate, ...]:
        self.expect("(")
        found = [self.output()]
        while self.accept(","):
            found.append(self.output())
        self.expect(")")
        return tuple(found)

    def output(self) -> Aggregate:
        aggregate = self.aggregate()
        if not self.accept("as"):
            return aggregate
        self.expect("(")
        label = self.take()
        self.expect(")")
        return Aggregate(aggregate.function, aggregate.field, label)

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
        field = "" if function == "count" else self.field_name()
        self.expect(")")
        return Aggregate(function, field, f"{function}({field})")

    def field_name(self) -> str:
        name = self.take()
        if not re.match(r"[A-Za-z_]", name) or self.peek() == "(":
            raise unsupported(f"the expression '{name}…' in a grouping; it takes plain field names")
        return name

    def integer(self) -> int:
        word = self.take()
        try:
            return int(word)
        except ValueError:
            raise QueryRefused(f"Could not parse grouping '{self.text}': '{word}' is no number") from None
