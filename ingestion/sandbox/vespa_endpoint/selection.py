"""Document selections (`procore_record.read_seq < 7 and id.namespace == "procore"`): parsed and evaluated.

The language of https://docs.vespa.ai/en/reference/writing/document-selector-language.html as far as a
single document decides it; variables, division and functions but `lowercase()` and `now()` are refused.
Evaluation is three-valued: None is Vespa's "invalid", which selects nothing and which `not` keeps.
"""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.sandbox.vespa_endpoint.selection_tree import (
    Arithmetic,
    Compare,
    Constant,
    FieldRef,
    IdRef,
    Junction,
    Literal,
    Node,
    Not,
    Now,
    Operand,
    TypeTest,
)
from ingestion.vespa.schemas import SCHEMAS, Schema

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>[+-]?(?:0x[0-9A-Fa-f]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<op>==|=~|!=|<=|>=|=|<|>|\(|\)|\.|\{|\}|\[|\]|[-+*/%$])
    )""",
    re.VERBOSE,
)
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "=", "=~")


@dataclass(frozen=True, slots=True)
class Target:
    """The document a selection is asked about; `fields` None stands for "not read yet"."""

    schema: Schema
    namespace: str
    user: str
    fields: Mapping[str, Any]


@lru_cache(maxsize=512)
def parse(text: str) -> Node:
    """The selection's tree. Raises Refused (400) naming what cannot be read."""
    parser = _Parser(text)
    node = parser.disjunction()
    parser.expect_end()
    return node


def evaluate(node: Node, target: Target) -> bool | None:
    """True, False, or None (invalid) of the selection for the document."""
    if isinstance(node, Compare):
        return _compare(node, target)
    if isinstance(node, TypeTest):
        return node.schema == target.schema.name
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Not):
        result = evaluate(node.item, target)
        return None if result is None else not result
    results = [evaluate(item, target) for item in node.items]
    decisive = node.op == "or"
    if decisive in results:
        return decisive
    return None if None in results else not decisive


def conjuncts(node: Node) -> Iterator[Node]:
    """The parts that must all hold; what an index can use."""
    if isinstance(node, Junction) and node.op == "and":
        for item in node.items:
            yield from conjuncts(item)
    else:
        yield node


def types_named(node: Node) -> set[str]:
    """Document types that the selection mentions."""
    if isinstance(node, TypeTest):
        return {node.schema}
    if isinstance(node, Not):
        return types_named(node.item)
    if isinstance(node, Junction):
        return set().union(*(types_named(item) for item in node.items))
    if isinstance(node, Compare):
        return _types_of(node.left) | _types_of(node.right)
    return set()


def _types_of(operand: Operand) -> set[str]:
    if isinstance(operand, Arithmetic):
        return _types_of(operand.left) | _types_of(operand.right)
    return {operand.schema} if isinstance(operand, FieldRef) else set()


# ---------------------------------------------------------------- evaluation


def _compare(node: Compare, target: Target) -> bool | None:
    left, right = _values(node.left, target), _values(node.right, target)
    if left is None or right is None:
        return None
    results = [_compare_values(a, node.op, b) for a in left for b in right]
    if True in results:
        return True
    return None if None in results else False


def _values(operand: Operand, target: Target) -> list[Any] | None:
    """The operand's values: one, or one per element of an array; None when it has no meaning here."""
    if isinstance(operand, Literal):
        return [operand.value]
    if isinstance(operand, Now):
        return [int(time.time())]
    if isinstance(operand, Arithmetic):
        left, right = _values(operand.left, target), _values(operand.right, target)
        if left is None or right is None:
            return None
        results = [_calculated(a, operand.op, b) for a in left for b in right]
        return None if None in results else results
    values: list[Any]
    if isinstance(operand, IdRef):
        values = [_id_part(operand.part, target)]
    else:
        if operand.schema != target.schema.name:
            return None
        values = [target.fields.get(operand.name)]
        for step in operand.path:
            values = [found for value in values for found in _step(value, step)]
        values = [found for value in values for found in (value if isinstance(value, list) else [value])]
        if not values:
            values = [None]
    if operand.lowercase:
        values = [value.lower() if isinstance(value, str) else value for value in values]
    return values


def _calculated(left: Any, op: str, right: Any) -> Any:
    """The result, None where there is none."""
    if isinstance(left, str) and isinstance(right, str) and op == "+":
        return left + right
    numbers = [
        value for value in (left, right) if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) < 2:
        return None
    if op == "%":
        if not (isinstance(left, int) and isinstance(right, int) and right):
            return None
        rest = abs(left) % abs(right)  # the sign is that of the number divided
        return -rest if left < 0 else rest
    return left + right if op == "+" else left - right if op == "-" else left * right


def _step(value: Any, step: str | int) -> list[Any]:
    if isinstance(value, dict):
        return [value.get(str(step))]
    if isinstance(value, list):
        if isinstance(step, int):
            return [value[step]] if step < len(value) else [None]
        return [found for member in value for found in _step(member, step)]
    return [None]


def _id_part(part: str, target: Target) -> str:
    if part == "namespace":
        return target.namespace
    if part == "type":
        return target.schema.name
    if part == "specific":
        return target.user
    if part == "scheme":
        return "id"
    return f"id:{target.namespace}:{target.schema.name}::{target.user}"


def _compare_values(left: Any, op: str, right: Any) -> bool | None:
    if left is None or right is None:
        same = left is None and right is None
        return same if op in ("==", "=") else (not same if op == "!=" else None)
    if op == "=~" or (op == "=" and isinstance(right, str)):
        if not isinstance(left, str) or not isinstance(right, str):
            return None
        if op == "=~":
            return re.search(right, left) is not None
        return _glob(right).match(left) is not None
    if isinstance(left, str) != isinstance(right, str):
        return None
    return _OPERATORS[op](left, right)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


@lru_cache(maxsize=128)
def _glob(pattern: str) -> re.Pattern[str]:
    # Only `*` and `?` are special in a selection, so `[` is made harmless.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


# ------------------------------------------------------------------- parsing


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, value: str) -> bool:
        kind, text = self.peek()
        if kind in ("word", "op") and (text.lower() if kind == "word" else text) == value:
            self.at += 1
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.accept(value):
            raise self.failure(f"expected '{value}', got '{self.peek()[1] or 'the end'}'")

    def expect_end(self) -> None:
        if self.peek()[0] != "end":
            raise self.failure(f"unexpected '{self.peek()[1]}'")

    def failure(self, why: str) -> Refused:
        return Refused(f"Failed to parse selection '{self.text}': {why}")

    def disjunction(self) -> Node:
        items = [self.conjunction()]
        while self.accept("or"):
            items.append(self.conjunction())
        return items[0] if len(items) == 1 else Junction("or", tuple(items))

    def conjunction(self) -> Node:
        items = [self.negation()]
        while self.accept("and"):
            items.append(self.negation())
        return items[0] if len(items) == 1 else Junction("and", tuple(items))

    def negation(self) -> Node:
        if self.accept("not"):
            return Not(self.negation())
        if self.peek() == ("op", "(") and not self.is_operand():
            self.at += 1
            node = self.disjunction()
            self.expect(")")
            return node
        return self.comparison()

    def is_operand(self) -> bool:
        """Whether what stands in the parentheses here is calculated or compared with something behind them."""
        depth = 0
        for at in range(self.at, len(self.tokens)):
            kind, text = self.tokens[at]
            depth += (text == "(") - (text == ")") if kind == "op" else 0
            if depth == 0:
                kind, text = self.tokens[at + 1] if at + 1 < len(self.tokens) else ("end", "")
                return (kind == "op" and text in (*_COMPARISONS, *"+-*/%")) or (
                    kind == "number" and text[0] in "+-"
                )
        return False

    def comparison(self) -> Node:
        start = self.at
        left = self.sum()
        kind, op = self.peek()
        if kind == "op" and op in _COMPARISONS:
            self.at += 1
            right = self.sum()
            if op == "=~":
                self.check_regex(right)
            return Compare(left, op, right)
        if isinstance(left, Literal) and isinstance(left.value, bool):
            return Constant(left.value)
        if self.at == start + 1 and self.tokens[start][1] in SCHEMAS:
            return TypeTest(self.tokens[start][1])
        raise self.failure(f"expected a comparison after '{self.tokens[start][1]}'")

    def sum(self) -> Operand:
        found = self.product()
        while True:
            kind, text = self.peek()
            if kind == "op" and text in "+-":
                self.at += 1
                found = Arithmetic(found, text, self.product())
            elif kind == "number" and text[0] in "+-":  # `now()-60` reads as `now()` and `-60`
                found = Arithmetic(found, "+", self.product())
            else:
                return found

    def product(self) -> Operand:
        found = self.operand()
        while self.peek()[0] == "op" and self.peek()[1] in "*%/":
            op = self.take()[1]
            if op == "/":
                raise self.failure("division is not supported by the local endpoint")
            found = Arithmetic(found, op, self.operand())
        return found

    def check_regex(self, operand: Operand) -> None:
        if isinstance(operand, Literal) and isinstance(operand.value, str):
            try:
                re.compile(operand.value)
            except re.error as error:
                raise self.failure(f"bad regular expression: {error}") from None

    def operand(self) -> Operand:
        kind, text = self.take()
        if kind == "string":
            return Literal(re.sub(r"\\(.)", _unescape, text[1:-1]))
        if kind == "number":
            return Literal(_number(text))
        if (kind, text) == ("op", "("):
            found = self.sum()
            self.expect(")")
            return found
        if kind != "word":
            what = "variables are" if text == "$" else f"'{text or 'the end'}' is"
            raise self.failure(f"{what} not supported here by the local endpoint")
        lowered = text.lower()
        if lowered in ("true", "false", "null"):
            return Literal({"true": True, "false": False, "null": None}[lowered])
        if lowered == "now" and self.accept("("):
            self.expect(")")
            return Now()
        if lowered == "id":
            return self.id_reference()
        if text not in SCHEMAS:
            raise self.failure(f"document type '{text}' does not exist")
        if self.peek() != ("op", "."):
            return FieldRef(text, "")
        return self.field_reference(SCHEMAS[text])

    def id_reference(self) -> Operand:
        ref = IdRef()
        while self.accept("."):
            part = self.take()[1].lower()
            if part == "lowercase":
                self.expect("(")
                self.expect(")")
                ref = replace(ref, lowercase=True)
            elif part in ("namespace", "type", "specific", "scheme") and not ref.part:
                ref = replace(ref, part=part)
            else:
                raise self.failure(f"id.{part} is not supported by the local endpoint")
        return ref

    def field_reference(self, schema: Schema) -> Operand:
        self.expect(".")
        name = self.take()[1]
        if schema.field(name) is None:
            raise self.failure(f"field '{name}' not found in document type '{schema.name}'")
        ref = FieldRef(schema.name, name)
        while True:
            if self.accept("{"):
                kind, key = self.take()
                key = re.sub(r"\\(.)", _unescape, key[1:-1]) if kind == "string" else key
                ref = replace(ref, path=(*ref.path, key))
                self.expect("}")
            elif self.accept("["):
                kind, index = self.take()
                if kind != "number":
                    raise self.failure(
                        f"'{index or 'the end'}' is no array index; variables are not supported"
                    )
                ref = replace(ref, path=(*ref.path, int(_number(index))))
                self.expect("]")
            elif self.accept("."):
                member = self.take()[1]
                if self.accept("("):
                    if member.lower() != "lowercase":
                        raise self.failure(f"function {member}() is not supported by the local endpoint")
                    self.expect(")")
                    ref = replace(ref, lowercase=True)
                else:
                    ref = replace(ref, path=(*ref.path, member))
            else:
                return ref


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise Refused(f"Failed to parse selection '{text}': unexpected '{text[position:].strip()[:20]}'")
        yield str(match.lastgroup), match[str(match.lastgroup)]
        position = match.end()


def _unescape(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}.get(match[1], match[1])


def _number(text: str) -> int | float:
    try:
        return int(text, 0) if re.fullmatch(r"[+-]?(0x[0-9A-Fa-f]+|[0-9]+)", text) else float(text)
    except ValueError:
        # A leading zero, which Python's int(…, 0) refuses.
        return int(text)
