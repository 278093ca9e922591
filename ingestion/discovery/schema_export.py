"""A SchemaMap as JSON (loads back to an equal map), as Markdown for a newcomer, as a Mermaid ER diagram."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from enum import Enum
from functools import cache
from typing import Any

from ingestion import errors
from ingestion.schema_discovery import SchemaMap


def to_json(schema_map: SchemaMap) -> str:
    """The dataclasses field by field, enums by value, 2 spaces; tables by name, columns by position."""
    return json.dumps(_plain(_ordered(schema_map)), ensure_ascii=False, indent=2) + "\n"


def from_json(text: str) -> SchemaMap:
    """The map that `to_json` wrote. Unknown members are ignored; raises SchemaError for anything else."""
    try:
        data = json.loads(text)
        built = _build(SchemaMap, data)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise errors.SchemaError(
            f"this is not an exported schema map: {exc}",
            hint="Write one with `procore-ingest discover --format json --output FILE`.",
        ) from exc
    assert isinstance(built, SchemaMap)
    return built


def _ordered(schema_map: SchemaMap) -> SchemaMap:
    return dataclasses.replace(
        schema_map,
        tables=sorted(schema_map.tables, key=lambda t: t.name),
        views=sorted(schema_map.views, key=lambda t: t.name),
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _build(kind: Any, data: Any) -> Any:
    """`data` as the annotated type `kind`: dataclasses, enums, lists, dicts, optionals and plain values."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        return _build(next(a for a in typing.get_args(kind) if a is not type(None)), data)
    if origin is list:
        if not isinstance(data, list):
            raise TypeError(f"a list was expected, not {type(data).__name__}")
        return [_build(typing.get_args(kind)[0], item) for item in data]
    if origin is dict:
        return {key: _build(typing.get_args(kind)[1], item) for key, item in data.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(data, dict):
            raise TypeError(f"an object was expected, not {type(data).__name__}")
        hints = _hints(kind)
        return kind(**{name: _build(hints[name], data[name]) for name in hints if name in data})
    if kind is float and isinstance(data, int):
        return float(data)
    return data


def to_markdown(schema_map: SchemaMap) -> str:
    """Readable on its own: overview, contents, a section for each table, references with their evidence."""
    from ingestion.discovery import schema_markdown

    return schema_markdown.render(_ordered(schema_map))


def to_mermaid(schema_map: SchemaMap) -> str:
    """An entity relationship diagram: tables with their keys and references, asserted relations as lines."""
    from ingestion.discovery import schema_mermaid

    return schema_mermaid.render(_ordered(schema_map))
