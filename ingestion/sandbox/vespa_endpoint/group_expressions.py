"""Expressions of the grouping language: attributes, constants, functions and buckets, named as Vespa names them.

https://docs.vespa.ai/en/reference/querying/grouping-language.html#expressions. What an expression is called
is the label of its list of groups, with operators written as their functions: `a + b` is `add(a, b)`.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST, MOST = -(2**63), 2**63 - 1

NUMERIC = frozenset({"add", "sub", "mul", "div", "mod", "min", "max"})
"""Functions of at least two numbers, from left to right."""
BITWISE = frozenset({"and", "or", "xor"})
TIME = frozenset(
    f"time.{part}"
    for part in (
        "year",
        "monthofyear",
        "dayofmonth",
        "dayofweek",
        "dayofyear",
        "hourofday",
        "minuteofhour",
        "secondofminute",
        "date",
    )
)
MATH = frozenset(
    f"math.{name}"
    for name in (
        "exp",
        "log",
        "log1p",
        "log10",
        "sqrt",
        "cbrt",
        "floor",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
    )
)
MATH_OF_TWO = frozenset({"math.pow", "math.hypot"})
OF_NONE = frozenset({"relevance", "docidnsspecific", "now"})
OF_ONE = frozenset({"neg", "strlen", "tostring", "tolong", "todouble"}) | TIME | MATH
FUNCTIONS = NUMERIC | BITWISE | MATH_OF_TWO | OF_NONE | OF_ONE | {"strcat"}
OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod"}


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute, a member of a struct or map after a dot, or with `key` a map's value of that key."""

    name: str
    key: str | None = None

    @property
    def label(self) -> str:
        """As Vespa writes it."""
        return self.name if self.key is None else f"{self.name}{{{_quoted(self.key)}}}"


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or a text."""

    value: int | float | str

    @property
    def label(self) -> str:
        """As Vespa writes it."""
        return _quoted(self.value) if isinstance(self.value, str) else str(self.value)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of its arguments."""

    function: str
    arguments: tuple[Expression, ...] = ()

    @property
    def label(self) -> str:
        """As Vespa writes it."""
        return f"{self.function}({', '.join(argument.label for argument in self.arguments)})"


@dataclass(frozen=True, slots=True)
class FixedWidth:
    """Consecutive buckets of one width; a value belongs to the one that begins at or below it."""

    argument: Expression
    width: int | float

    @property
    def label(self) -> str:
        """As Vespa writes it."""
        return f"fixedwidth({self.argument.label}, {self.width})"


Bound = int | float | str | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """From `start` on and before `end`; None is no bound on that side."""

    start: Bound
    end: Bound

    @property
    def label(self) -> str:
        """As Vespa writes it."""
        start = "-inf" if self.start is None else Constant(self.start).label
        end = "inf" if self.end is None else Constant(self.end).label
        return f"bucket[{start}, {end}>"


@dataclass(frozen=True, slots=True)
class Predefined:
    """The first of some buckets that a value lies in; outside of all it belongs to the group of no value."""

    argument: Expression
    buckets: tuple[Bucket, ...]

    @property
    def label(self) -> str:
        """As Vespa writes it."""
        return f"predefined({', '.join(item.label for item in (self.argument, *self.buckets))})"

    @property
    def kind(self) -> str:
        """What its bounds are: `string`, `double` or `long`."""
        bounds = [bound for item in self.buckets for bound in (item.start, item.end) if bound is not None]
        if any(isinstance(bound, str) for bound in bounds):
            return "string"
        return "double" if any(isinstance(bound, float) for bound in bounds) else "long"


Expression = Attribute | Constant | Call | FixedWidth | Predefined


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
