"""The grouping language, as far as counting and summing by a field needs it.

    all(group(F) max(N) order(-count()) output(count()) each(output(count(), xor(G)) group(H) each(…)))
    all(output(count(), max(F)))

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

    `max_groups` None: the request's default; -1: no limit. `outputs` belong to each group, `totals` to the
    list as a whole, whose count is the number of groups; `children` are groupings inside each group. Without
    `each` the groups themselves are not shown.
    """

    outputs: tuple[Aggregate, ...]
    field: str = ""
    label: str = ""
    max_groups: int | None = None
    order: tuple[GroupOrder, ...] = ()
    totals: tuple[Aggregate, ...] = ()
    children: tuple[Grouping, ...] = ()
    each: bool = True


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
        found, outputs = self.body()
        if outputs and not any(grouping.field for grouping in found):
            return (Grouping(outputs), *found)
        if not found:
            raise QueryRefused(f"The grouping '{self.text}' outputs nothing")
        return found

    def body(self) -> tuple[tuple[Grouping, ...], tuple[Aggregate, ...]]:
        """What stands in the parentheses of `all` or `each`: groupings, and outputs of this level itself."""
        field, label, max_groups = "", "", None
        order: tuple[GroupOrder, ...] = ()
        outputs: tuple[Aggregate, ...] = ()
        inside: tuple[tuple[Grouping, ...], tuple[Aggregate, ...]] | None = None
        nested: list[Grouping] = []
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
                outputs = (*outputs, *self.outputs())
            elif word == "each":
                if inside is not None:
                    raise unsupported("several each(…) of one group(…)")
                self.expect("(")
                inside = self.body()
                if any(item.function == "count" for grouping in inside[0] for item in grouping.totals):
                    # Whether Vespa counts documents or groups here is not documented.
                    raise unsupported(
                        "output(count()) beside group(…) inside each(…); put it outside all(group(…))"
                    )
                label = self.label() or label
            elif word == "all":
                nested += self.all_operation()
            elif word == "":
                self.expect(")")
            else:
                raise unsupported(f"'{word}' in a grouping")
        if not field:
            if inside is not None or max_groups is not None:
                raise unsupported("each(…) without group(…): grouping of single hits")
            return tuple(nested), outputs
        if nested:
            raise unsupported("a grouping that both groups and nests")
        if inside is None and not outputs:
            raise QueryRefused(f"The grouping '{self.text}' outputs nothing")
        children, each = inside or ((), ())
        if inside is not None and not (children or each):
            raise QueryRefused(f"The grouping '{self.text}' outputs nothing")
        found = Grouping(each, field, label, max_groups, order, outputs, children, inside is not None)
        return (found,), ()

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
        return Aggregate(aggregate.function, aggregate.field, label) if label else aggregate

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
