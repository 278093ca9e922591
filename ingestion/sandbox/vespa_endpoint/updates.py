"""Update operations (`assign`, `add`, `remove`, `match`, arithmetic, field paths) turned into changes.

The format of https://docs.vespa.ai/en/reference/schemas/document-json-format.html#update-operations.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ingestion.sandbox.vespa_endpoint.field_values import (
    Guard,
    element_parser,
    literal_body,
    parse_value,
    read_body,
    read_guard,
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
    fields = body.get("fields")
    if not isinstance(fields, dict):
        raise Refused("An update must hold an object 'fields' with operations by field")
    # A string field keeps the exact text of a decimal or very long number.
    fields = _exact(fields, literal_body(raw)["fields"])
    changes: list[Change] = []
    for name, operations in fields.items():
        if not isinstance(operations, dict):
            raise Refused(f"Expected an object of operations for field '{name}', such as {{\"assign\": …}}")
        for operation, value in operations.items():
            changes.append(_change(schema, name, operation, value))
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
    if operation == "assign":
        return _assign_path(schema, item, steps, value) if steps else _assign(schema, item, value)
    if operation == "remove" and len(steps) == 1 and item.kind == "map":
        return _map_remove(item, str(steps[0]))
    if steps:
        raise Refused(f"'{operation}' on the field path '{path}' is not supported by the local endpoint")
    if operation == "add":
        return _add(schema, item, value)
    if operation == "remove":
        return _remove(item, value)
    if operation == "match":
        return _match(schema, item, value)
    if operation in _ARITHMETIC:
        return _arithmetic(item, operation, value)
    raise Refused(f"Unknown update operation '{operation}' for field '{item.name}'")


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
    if item.kind == "scalar" or len(steps) > 2 or (item.kind == "array") != isinstance(steps[0], int):
        raise Refused(f"The field path {[item.name, *steps]} does not fit {item.name} of type {item.type}")
    struct = schema.struct(item.element_type)
    member = steps[1] if len(steps) == 2 else None
    if member is None:
        parsed = element_parser(schema, item)(value)
    elif struct is None or struct.member(str(member)) is None:
        raise Refused(f"No member '{member}' in {item.name} of type {item.type}")
    else:
        parsed = element_parser(schema, item)({str(member): value})[str(member)]

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
            elements[position][str(member)] = parsed

    return change


def _add(schema: Schema, item: Field, value: Any) -> Change:
    if item.kind != "array":
        raise Refused(f"'add' needs an array or weighted set; {item.name} is {item.type}")
    parsed = parse_value(schema, item, value)
    return lambda fields: fields.setdefault(item.name, []).extend(parsed)


def _remove(item: Field, value: Any) -> Change:
    if item.kind == "scalar" or not isinstance(value, list | dict):
        raise Refused(f"'remove' needs the keys or elements to take out of {item.name}")
    gone = list(value)

    def change(fields: dict[str, Any]) -> None:
        held = fields.get(item.name)
        if isinstance(held, dict):
            for key in gone:
                held.pop(key, None)
        elif isinstance(held, list):
            fields[item.name] = [element for element in held if element not in gone]

    return change


def _map_remove(item: Field, key: str) -> Change:
    def change(fields: dict[str, Any]) -> None:
        fields.get(item.name, {}).pop(key, None)

    return change


def _match(schema: Schema, item: Field, value: Any) -> Change:
    """`{"match": {"element": KEY_OR_INDEX, "assign": …}}`, the older form of a field path."""
    if not isinstance(value, dict) or "element" not in value or "assign" not in value or len(value) != 2:
        raise Refused(
            f"'match' on {item.name} needs 'element' and 'assign'; the local endpoint takes no other"
        )
    element = value["element"]
    return _assign_path(
        schema, item, (int(element) if item.kind == "array" else str(element),), value["assign"]
    )


def _arithmetic(item: Field, operation: str, value: Any) -> Change:
    if item.type not in ("int", "long", "double"):
        raise Refused(f"'{operation}' needs a number field; {item.name} is {item.type}")
    try:
        operand = float(value)
    except (TypeError, ValueError):
        raise Refused(f"'{operation}' on {item.name} needs a number") from None
    exact: int | float = int(operand) if operand.is_integer() and item.type != "double" else operand

    def change(fields: dict[str, Any]) -> None:
        held = fields.get(item.name, _MISSING)
        if held is _MISSING:
            return
        if operation == "divide" and exact == 0:
            raise Refused(f"Cannot divide {item.name} by zero")
        result = _ARITHMETIC[operation](held, exact)
        fields[item.name] = result if item.type == "double" else int(result)

    return change
