"""JSON values turned into field values, by the schema, as Vespa's document parser does it.

Rules of https://docs.vespa.ai/en/reference/schemas/document-json-format.html: a scalar's text is parsed
by the field's type, null members are skipped, empty fields are not stored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from ingestion.sandbox.vespa_endpoint.document_path import check_text
from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.vespa.schemas import SCHEMAS, Field, Schema, Struct

Parser = Callable[[Any], Any]

_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
# Bytes that only occur in a body holding an escape or a non-character: such bodies are checked string
# by string, all others (nearly all) by this one scan.
_SUSPECT = re.compile(rb"\\u|\xef\xb7|\xef\xbf|\xed[\xa0-\xbf]|[\xf0-\xf4].\xbf", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Guard:
    """What a body says beside its fields: parameters of the same names say it too, and win."""

    condition: str | None = None
    create: bool = False


NO_GUARD = Guard()


class Number(str):
    """A JSON number, kept as its text: what a string field stores."""

    __slots__ = ()


class _NeedsText(Exception):
    """A float or boolean met a string field: only the literal text tells what Vespa would store."""


def read_body(raw: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object of a request body, and whether its strings must be checked for code points.

    Raises Refused (400) for what is not one JSON object in UTF-8.
    """
    if not raw.strip():
        raise Refused("expected start of root object, got null")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refused(f"failed parsing document: {error}") from None
    if not isinstance(body, dict):
        raise Refused(f"expected start of root object, got {token(body)}")
    return body, _SUSPECT.search(raw) is not None


def read_put(schema: Schema, raw: bytes, id: str = "") -> tuple[dict[str, Any], Guard]:
    """The fields of a put, typed and normalised, and the condition its body holds.

    Raises Refused (400) naming the document `id` and the field.
    """
    body, suspect = read_body(raw)
    guard = read_guard(body)
    try:
        return put_fields(schema, body, suspect, id), guard
    except _NeedsText:
        return put_fields(schema, literal_body(raw), suspect, id), guard


def read_guard(body: Mapping[str, Any]) -> Guard:
    """`condition` and `create` of a body; other members mean nothing, as in Vespa. Raises Refused (400)."""
    if len(body) == 1:
        return NO_GUARD
    condition, create = body.get("condition"), body.get("create", False)
    if condition is not None and not isinstance(condition, str):
        raise Refused(f"expected string value for condition, got {token(condition)}")
    if not isinstance(create, bool):
        raise Refused(f"failed parsing document: Current token ({token(create)}) not of boolean type")
    return Guard(condition, create)


def body_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The object `fields` of a put or an update. Raises Refused (400) without one."""
    if "fields" not in body:
        raise Refused('document is missing the required "fields" field')
    fields = body["fields"]
    if not isinstance(fields, dict):
        raise Refused(f"Expected start of JSON object, got {token(fields)}")
    return fields


def literal_body(raw: bytes) -> dict[str, Any]:
    """The body again, with every number as a `Number`."""
    body: dict[str, Any] = json.loads(raw, parse_int=Number, parse_float=Number)
    return body


def put_fields(schema: Schema, body: Mapping[str, Any], suspect: bool, id: str = "") -> dict[str, Any]:
    """The normalised fields of a put's body."""
    fields = body_fields(body)
    parsers = _parsers(schema.name)
    out: dict[str, Any] = {}
    for name, value in fields.items():
        parser = parsers.get(name)
        if parser is None:
            raise unknown_field(schema, name)
        if value is None:
            continue
        try:
            parsed = parser(value)
        except Refused as problem:
            of_type = f"could not parse field '{name}' of type '{schema.by_name[name].type_name}'"
            raise Refused(f"Error in document '{id}' - {of_type}: {problem}") from None
        if parsed == "" or parsed == {} or parsed == []:
            continue
        if suspect:
            check_value(parsed, name)
        out[name] = parsed
    return out


def parse_value(schema: Schema, item: Field, value: Any, raw: bytes | None = None) -> Any:
    """One whole field value, for updates; numbers in string fields keep the text of their JSON number."""
    try:
        parsed = _parsers(schema.name)[item.name](value)
    except _NeedsText:
        parsed = _parsers(schema.name)[item.name](_as_text(value))
    check_value(parsed, item.name)
    return parsed


def element_parser(schema: Schema, item: Field) -> Parser:
    """The parser of one array element or map value of `item`."""
    inner = _element(schema, item.element_type)

    def parse(value: Any) -> Any:
        try:
            parsed = inner(value)
        except _NeedsText:
            parsed = inner(_as_text(value))
        check_value(parsed, item.name)
        return parsed

    return parse


def check_value(value: Any, name: str) -> None:
    """Refuse (400) code points that Vespa does not take, in strings, map keys and members."""
    if isinstance(value, str):
        check_text(value, f"field '{name}'")
    elif isinstance(value, dict):
        for key, member in value.items():
            check_text(key, f"field '{name}'")
            check_value(member, name)
    elif isinstance(value, list):
        for member in value:
            check_value(member, name)


def unknown_field(schema: Schema, name: str) -> Refused:
    """The refusal of a field that the document type has not."""
    known = ", ".join(item.name for item in schema.fields)
    return Refused(
        f"No field '{name}' in the structure of type '{schema.name}', which has the fields: [{known}]"
    )


@cache
def _parsers(type_name: str) -> dict[str, Parser]:
    schema = SCHEMAS[type_name]
    return {item.name: _field_parser(schema, item) for item in schema.fields}


def _field_parser(schema: Schema, item: Field) -> Parser:
    element = _element(schema, item.element_type)
    if item.kind == "scalar":
        return element
    if item.kind == "map":
        return lambda value: _map(value, element)
    return lambda value: _array(value, element)


def _element(schema: Schema, type_name: str) -> Parser:
    struct = schema.struct(type_name)
    if struct is not None:
        parsers = {member.name: _SCALARS[member.type] for member in struct.fields}
        return lambda value: _struct(value, struct, parsers)
    return _SCALARS[type_name]


def _map(value: Any, element: Parser) -> dict[str, Any]:
    if type(value) is list:
        value = dict(_entry(member) for member in value)
    if type(value) is not dict:
        raise Refused(f"Expected start of JSON object, got {token(value)}")
    # A null inside a map is no null: it becomes the text "null".
    return {
        key: member if type(member) is str else element("null" if member is None else member)
        for key, member in value.items()
    }


def _entry(value: Any) -> tuple[str, Any]:
    """One entry of a map in its older form, `[{"key": …, "value": …}]`."""
    if type(value) is not dict:
        raise Refused(f"Expected start of JSON object, got {token(value)}")
    if value.keys() != {"key", "value"}:
        raise Refused("Missing key or value for map entry.")
    return _string(value["key"]), value["value"]


def _array(value: Any, element: Parser) -> list[Any]:
    if type(value) is not list:
        raise Refused(f"Expected start of array, got {token(value)}")
    out = []
    for member in value:
        if member is None:
            raise Refused("Illegal null value for array entry")
        out.append(element(member))
    return out


def _struct(value: Any, struct: Struct, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    if type(value) is not dict:
        raise Refused(f"Expected start of JSON object, got {token(value)}")
    out = {}
    for name, member in value.items():
        parser = parsers.get(name)
        if parser is None:
            known = ", ".join(parsers)
            raise Refused(
                f"No field '{name}' in the structure of type '{struct.name}', which has the fields: [{known}]"
            )
        if member is not None:
            out[name] = parser(member)
    return out


def _string(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        raise _NeedsText
    raise Refused(f"Expected a single value, got {_kind(value)}")


def _integer(type_name: str) -> Parser:
    low, high = _RANGES[type_name]

    def parse(value: Any) -> int:
        if type(value) is not int:
            if isinstance(value, str) and _INTEGER.match(value):
                value = int(value)
            elif isinstance(value, list | dict):
                raise Refused(f"Expected a single value, got {_kind(value)}")
            else:
                raise Refused(f"For input string: {_quoted(value)}")
        if not low <= value <= high:
            raise Refused(f"For input string: {_quoted(value)}")
        return int(value)

    return parse


def _double(value: Any) -> float | str:
    if isinstance(value, list | dict | bool):
        raise Refused(f"For input string: {_quoted(value)}")
    try:
        number = float(value)
    except ValueError:
        raise Refused(f"For input string: {_quoted(value)}") from None
    # JSON has no NaN; Vespa renders it as this text.
    return number if math.isfinite(number) else str(value)


def _bool(value: Any) -> bool:
    if isinstance(value, list | dict):
        raise Refused(f"Expected a single value, got {_kind(value)}")
    return value is True or (isinstance(value, str) and value.lower() == "true")


_SCALARS: dict[str, Parser] = {
    "string": _string,
    "int": _integer("int"),
    "long": _integer("long"),
    "double": _double,
    "bool": _bool,
}


def _as_text(value: Any) -> Any:
    if isinstance(value, float):
        return Number(json.dumps(value))
    if isinstance(value, list):
        return [_as_text(member) for member in value]
    if isinstance(value, dict):
        return {key: _as_text(member) for key, member in value.items()}
    return value


def token(value: Any) -> str:
    """What Vespa's messages call a JSON value."""
    if isinstance(value, bool):
        return "VALUE_TRUE" if value else "VALUE_FALSE"
    for kind, name in _TOKENS:
        if isinstance(value, kind):
            return name
    return "VALUE_NULL"


_TOKENS: tuple[tuple[type, str], ...] = (
    (dict, "START_OBJECT"),
    (list, "START_ARRAY"),
    (Number, "VALUE_NUMBER_FLOAT"),
    (str, "VALUE_STRING"),
    (int, "VALUE_NUMBER_INT"),
    (float, "VALUE_NUMBER_FLOAT"),
)


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else token(value)


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return '"' + (text if len(text) <= 80 else text[:77] + "...") + '"'
