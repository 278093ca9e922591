"""Update operations (`assign`, `add`, `remove`, `match`, arithmetic, field paths) turned into changes.

The format of https://docs.vespa.ai/en/reference/schemas/document-json-format.html#update-operations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from ingestion.sandbox.vespa_endpoint.field_values import (
    Guard,
    body_fields,
    element_parser,
    literal_body,
    parse_value,
    read_body,
    read_guard,
    token,
    unknown_field,
)
from ingestion.sandbox.vespa_endpoint.operations import Change
from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.vespa.schemas import Field, Schema

_PATH = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)((?:\{[^}]*\}|\[[0-9]+\]|\.[A-Za-z_][A-Za-z0-9_]*)*)\Z")
_STEP = re.compile(r"\{([^}]*)\}|\[([0-9]+)\]|\.([A-Za-z_][A-Za-z0-9_]*)")
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "increment": lambda a, b: a + b,
    "decrement": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
}
_MISSING = object()


def read_update(schema: Schema, raw: bytes) -> tuple[tuple[Change, ...], Guard]:
    """The changes of an update's body, and the condition it holds. Raises Refused (400)."""
    body, _ = read_body(raw)
    guard = read_guard(body)
    # A string field keeps the exact text of a decimal or very long number.
    fields = _exact(body_fields(body), literal_body(raw)["fields"])
    changes: list[Change] = []
    for name, operations in fields.items():
        if not isinstance(operations, dict):
            raise Refused(f"Expected start of JSON object, got {token(operations)}")
        try:
            changes += [_change(schema, name, operation, value) for operation, value in operations.items()]
        except Refused as problem:
            raise Refused(f"Error in '{name}': {problem}") from None
    return tuple(changes), guard


def _exact(plain: Any, literal: Any) -> Any:
    """`plain` with its floats replaced by their text, which number fields parse again."""
    if isinstance(plain, dict):
        return {key: _exact(value, literal[key]) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_exact(*pair) for pair in zip(plain, literal, strict=True)]
    return literal if isinstance(plain, float) else plain


def _change(schema: Schema, path: str, operation: str, value: Any) -> Change:
    match = _PATH.match(path)
    if match is None:
        raise Refused(f"Cannot read the field path '{path}'")
    item = schema.field(match[1])
    if item is None:
        raise unknown_field(schema, match[1])
    steps = tuple(_step(found) for found in _STEP.finditer(match[2]))
    if steps:
        operation = operation.lower()
        if operation == "assign":
            return _assign_path(schema, item, steps, value)
        if operation == "remove":
            return _remove_path(schema, item, steps, value)
        raise Refused(f"Field path update type '{operation}' not supported.")
    if operation == "assign":
        return _assign(schema, item, value)
    if operation == "add":
        return _add(schema, item, value)
    if operation == "remove":
        return _remove(schema, item, value)
    if operation == "match":
        return _match(schema, item, value)
    if operation in _ARITHMETIC:
        return _arithmetic(item, operation, value)
    raise Refused(f"Operation '{operation}' not implemented.")


def _step(found: re.Match[str]) -> str | int:
    if found[1] is not None:
        return found[1].strip('"')
    return int(found[2]) if found[2] is not None else found[3]


def _assign(schema: Schema, item: Field, value: Any) -> Change:
    parsed = None if value is None else parse_value(schema, item, value)

    def change(fields: dict[str, Any]) -> None:
        if parsed is None:
            fields.pop(item.name, None)
        else:
            fields[item.name] = parsed

    return change


def _assign_path(schema: Schema, item: Field, steps: tuple[str | int, ...], value: Any) -> Change:
    """`map{key}`, `array[0]`, `array[0].member`: assign one element or one member of it."""
    member = _member_of(schema, item, steps)
    if value is None:
        raise Refused("assigning null to a field path is not supported by the local endpoint; remove it")
    if member is None:
        parsed = element_parser(schema, item)(value)
    else:
        parsed = element_parser(schema, item)({member: value})[member]

    def change(fields: dict[str, Any]) -> None:
        if item.kind == "map":
            fields.setdefault(item.name, {})[str(steps[0])] = parsed
            return
        elements, position = fields.get(item.name, []), steps[0]
        assert isinstance(position, int)
        if position >= len(elements):
            return  # Vespa leaves the document as it is
        if member is None:
            elements[position] = parsed
        else:
            elements[position][member] = parsed

    return change


def _remove_path(schema: Schema, item: Field, steps: tuple[str | int, ...], value: Any) -> Change:
    """`map{key}`, `array[0]`, `array[0].member`: take one element out, or one member of it."""
    member = _member_of(schema, item, steps)
    if isinstance(value, dict | list):
        raise Refused(f"Expected start of scalar value, got {token(value)}")

    def change(fields: dict[str, Any]) -> None:
        if item.kind == "map":
            fields.get(item.name, {}).pop(str(steps[0]), None)
            return
        elements, position = fields.get(item.name, []), steps[0]
        assert isinstance(position, int)
        if position >= len(elements):
            return
        if member is None:
            del elements[position]
        else:
            elements[position].pop(member, None)

    return change


def _member_of(schema: Schema, item: Field, steps: tuple[str | int, ...]) -> str | None:
    """The struct member that a field path ends in, None for a whole element. Raises Refused for a misfit."""
    if item.kind == "scalar" or len(steps) > 2 or (item.kind == "array") != isinstance(steps[0], int):
        raise Refused(f"The field path {[item.name, *steps]} does not fit {item.name} of type {item.type}")
    if len(steps) == 1:
        return None
    struct, member = schema.struct(item.element_type), str(steps[1])
    if struct is None or struct.member(member) is None:
        raise Refused(f"No member '{member}' in {item.name} of type {item.type}")
    return member


def _add(schema: Schema, item: Field, value: Any) -> Change:
    parsed = _elements(schema, item, value)
    return lambda fields: fields.setdefault(item.name, []).extend(parsed)


def _remove(schema: Schema, item: Field, value: Any) -> Change:
    gone = _elements(schema, item, value)

    def change(fields: dict[str, Any]) -> None:
        fields[item.name] = [element for element in fields.get(item.name, []) if element not in gone]

    return change


def _elements(schema: Schema, item: Field, value: Any) -> list[Any]:
    """The elements to add to an array, or to take out of it."""
    if item.kind != "array":
        # Vespa: one entry of a map is assigned or removed by its field path, `map{key}`.
        raise Refused(
            "Trying to add or remove from a field of a type the reader does not know how to handle: "
            f"{item.name} is {item.type}"
        )
    if not isinstance(value, list):
        raise Refused(f"Expected start of composite, got {token(value)}")
    parsed: list[Any] = parse_value(schema, item, value)
    return parsed


def _match(schema: Schema, item: Field, value: Any) -> Change:
    """`{"match": {"element": KEY_OR_INDEX, "assign": …}}`, the older form of a field path."""
    if not isinstance(value, dict):
        raise Refused(f"Expected object for match update, got {token(value)}")
    if item.kind == "scalar":
        raise Refused(f"Container type {item.type} not supported for match update.")
    if value.keys() != {"element", "assign"}:
        raise Refused(
            f"'match' on {item.name} needs 'element' and 'assign'; the local endpoint takes no other"
        )
    element: Any = value["element"]
    if item.kind == "array":
        try:
            element = int(str(element))
        except ValueError:
            raise Refused(f'For input string: "{element}"') from None
        if element < 0:
            raise Refused(f"{element} is no position in an array")
        return _assign_path(schema, item, (element,), value["assign"])
    return _assign_path(schema, item, (str(element),), value["assign"])


def _arithmetic(item: Field, operation: str, value: Any) -> Change:
    if item.type not in ("int", "long", "double"):
        raise Refused(f"'{operation}' needs a number field; {item.name} is {item.type}")
    try:
        operand = float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise Refused(f'For input string: "{value}"') from None
    if not math.isfinite(operand):
        raise Refused(f"'{operation}' on {item.name} by {value} has no result")
    exact: int | float = int(operand) if operand.is_integer() and item.type != "double" else operand

    def change(fields: dict[str, Any]) -> None:
        held = fields.get(item.name, _MISSING)
        if held is _MISSING:
            return
        if operation == "divide" and exact == 0:
            raise Refused(f"Cannot divide {item.name} by zero")
        result = _ARITHMETIC[operation](held, exact)
        fields[item.name] = result if item.type == "double" else _within(int(result), item.type)

    return change


def _within(value: int, type_name: str) -> int:
    """Beyond the type's range, the nearest end of it: what converting the result from a double gives."""
    bits = 31 if type_name == "int" else 63
    most: int = 2**bits
    return max(-most, min(most - 1, value))
