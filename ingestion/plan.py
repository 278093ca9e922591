"""A plan: what a job takes and how; read from and written to a small TOML file without URLs or secrets.

Globs are shell-style and case-sensitive against `Table.name`; exclude wins; a pattern that matches nothing is
an error with the nearest names.
"""

from __future__ import annotations

import fnmatch
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ingestion import errors

PLAN_VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """`database` is the source's name, for people; None in a number means the setting's value."""

    database: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    download_files: bool = False
    batch_size: int | None = None
    workers: int | None = None
    file_workers: int | None = None

    def to_toml(self) -> str:
        """The plan file's text; members without a value are left out."""
        lines = [f"version = {PLAN_VERSION}"]
        for spec in fields(self):
            value = getattr(self, spec.name)
            if value is not None:
                lines.append(f"{spec.name} = {_toml(value)}")
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> Plan:
        lists = {
            name: tuple(members[name]) for name in ("include", "exclude", "mask", "unmask") if name in members
        }
        return cls(**{**members, **lists})

    def override(self, **flags: Any) -> Plan:
        """This plan with each flag that was given (is not None) in place of its own value."""
        return replace(self, **{name: value for name, value in flags.items() if value is not None})


def read(path: Path) -> Plan:
    """The plan in a file.

    Raises errors.SettingsError naming the key for an unknown key, a wrong type or another version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.SettingsError(
            f"the plan {path} cannot be read: {error.strerror or error}", hint="Correct --plan."
        ) from error
    except UnicodeDecodeError as error:
        raise errors.SettingsError(
            f"the plan {path} is not TOML: {error}", hint="Correct the file."
        ) from error
    return parse(text, str(path))


def parse(text: str, path: str) -> Plan:
    """The plan that a file's text holds; `path` says in errors where it stood. Raises as `read` does."""
    try:
        members = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise errors.SettingsError(
            f"the plan {path} is not TOML: {error}", hint="Correct the file."
        ) from error
    version = members.pop("version", None)
    if version != PLAN_VERSION:
        raise errors.SettingsError(
            f"the plan {path} has version {version!r}; this program reads version {PLAN_VERSION}",
            hint="Write `version = 1`, or use the program that wrote the plan.",
        )
    kinds = {spec.name: spec for spec in fields(Plan)}
    for name, value in members.items():
        if name not in kinds:
            near = get_close_matches(name, kinds, 1)
            raise errors.SettingsError(
                f"the plan {path} has an unknown key {name!r}",
                hint=f"Did you mean {near[0]!r}?" if near else f"Its keys are {', '.join(kinds)}.",
            )
        if not _fits(name, value):
            raise errors.SettingsError(
                f"the plan {path}: {name} = {value!r} has the wrong type", hint="Correct it."
            )
    return Plan.from_dict(members)


def write(plan: Plan, path: Path) -> None:
    """Write the plan file; errors.OutputError where the path cannot be written."""
    try:
        path.write_text(plan.to_toml(), encoding="utf-8")
    except OSError as error:
        raise errors.OutputError(
            f"the plan cannot be written to {path}: {error.strerror or error}", hint="Choose another path."
        ) from error


def select(names: Sequence[str], include: Iterable[str], exclude: Iterable[str] = ()) -> list[str]:
    """The tables of `names` that the globs choose, in the order of `names`.

    Raises errors.SchemaError for a pattern that matches no table, with the nearest names.
    """
    wanted = _matching(names, include)
    unwanted = _matching(names, exclude)
    return [name for name in names if name in wanted and name not in unwanted]


def _matching(names: Sequence[str], patterns: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        # A table may itself be called with glob characters: its own name always means it.
        hits = {name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not hits and pattern != "*":
            near = get_close_matches(pattern.strip("*?"), names, 3, 0.5)
            raise errors.SchemaError(
                f"no table matches {pattern!r}",
                hint=f"Did you mean {', '.join(near)}?"
                if near
                else "`procore-ingest discover` lists the tables.",
            )
        found |= hits
    return found


def _fits(name: str, value: Any) -> bool:
    if name in ("include", "exclude", "mask", "unmask"):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if name == "download_files":
        return isinstance(value, bool)
    if name == "database":
        return isinstance(value, str)
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are a subset of TOML's basic strings, but for U+007F.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)
