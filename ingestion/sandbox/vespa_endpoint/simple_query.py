"""The simple query language of `query=…` and `userInput(…)`: words, "phrases", field:word, +a, -b, (a b), ranges.

https://docs.vespa.ai/en/reference/querying/simple-query-language.html. A person may write anything: what is no
syntax is words. Weights (`word!200`) change nothing here; sameElement, suffix and substring terms are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.query_tree import (
    AllOf,
    AnyOf,
    Compare,
    Constant,
    Node,
    Not,
    Phrase,
    Term,
)
from ingestion.vespa.schemas import SCHEMAS, Schema

TYPES = ("all", "any", "weakAnd", "phrase", "web")

_PART = re.compile(
    r"""\s*(?:(?P<close>\))|(?P<sign>[+-]?)(?:(?P<open>\()"""
    r"""|(?:(?P<field>[A-Za-z_][A-Za-z0-9_.]*):)?(?:"(?P<quoted>[^"]*)"?|(?P<word>[^\s()]+))))"""
)
_WEIGHT = re.compile(r"!+[0-9]*%?\Z")
_NUMBERS = ("int", "long", "double")
_SIDE = re.compile(r"([<>]?)(-?[0-9]+(?:\.[0-9]+)?)")
_RANGE = re.compile(r"\[(-?[0-9]+(?:\.[0-9]+)?)?;(-?[0-9]+(?:\.[0-9]+)?)?\]")
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The tokens of a text: runs of letters and digits."""
    return _WORD.findall(text)


def parse_simple(
    text: str, type: str, default_index: str, schemas: Sequence[Schema] = tuple(SCHEMAS.values())
) -> Node:
    """The tree of a user's text; what no document type of `schemas` has is no field, but words like any other.

    `all` wants every word, `any` and `weakAnd` one of them, `phrase` all in this order. A text without
    a word matches nothing, as in Vespa. Raises QueryRefused for other types.
    """
    if type not in TYPES:
        raise unsupported(f"query type '{type}' (it takes {', '.join(TYPES)})")
    if type == "phrase":
        found = words(text)
        return Phrase(default_index, tuple(found)) if found else Constant(False)
    required: list[Node] = []
    wanted: list[Node] = []
    unwanted: list[Node] = []
    group: tuple[str, list[Node]] | None = None
    for part in _PART.finditer(text):
        sign = part["sign"] or ""
        if part["open"] and group is None:
            group = (sign, [])
            continue
        node: Node | None = None
        if part["close"]:
            if group is None:
                continue
            (sign, inside), group = group, None
            node = _any(inside)
        elif not part["open"]:
            node = _term(part, default_index, schemas)
        if node is None:
            continue
        if group is not None:
            group[1].append(node)  # inside parentheses no term has a prefix
        else:
            (unwanted if sign == "-" else required if sign == "+" else wanted).append(node)
    if group is not None and (node := _any(group[1])):  # nobody closed it
        (unwanted if group[0] == "-" else required if group[0] == "+" else wanted).append(node)
    if not wanted and not required:
        if unwanted:
            raise QueryRefused("Can not search for only negative items")
        return Constant(False)
    if type in ("all", "web"):
        items: list[Node] = [*required, *wanted]
    else:
        items = [*required]
        if wanted and not required:
            items.append(AnyOf(tuple(wanted)) if len(wanted) > 1 else wanted[0])
    items += [Not(node) for node in unwanted]
    return items[0] if len(items) == 1 else AllOf(tuple(items))


def _any(nodes: Sequence[Node]) -> Node | None:
    if len(nodes) > 1:
        return AnyOf(tuple(nodes))
    return nodes[0] if nodes else None


def _term(part: re.Match[str], default_index: str, schemas: Sequence[Schema]) -> Node | None:
    """One term; None for what holds no word."""
    name, text = part["field"] or "", part["quoted"] if part["quoted"] is not None else part["word"]
    if name and not _is_field(name, schemas):
        name, text = "", f"{name}:{text}"
    if part["quoted"] is None:
        text = _WEIGHT.sub("", text)
    if name and text.startswith("{"):
        raise unsupported("sameElement in the simple query language")
    name = name or default_index
    numeric = _numeric(name, text, schemas)
    if numeric is not None:
        return numeric
    if part["quoted"] is None and "*" in (text[:1], text[-1:]) and _is_attribute(name, schemas):
        if text.startswith("*"):
            raise unsupported("suffix and substring terms in the simple query language")
        return Term(name, text[:-1], prefix=True)
    tokens = words(text)
    if not tokens:
        return None
    return Term(name, tokens[0]) if len(tokens) == 1 else Phrase(name, tuple(tokens))


def _is_attribute(name: str, schemas: Sequence[Schema]) -> bool:
    return any((item := schema.field(name)) and item.attribute for schema in schemas)


def _is_field(name: str, schemas: Sequence[Schema]) -> bool:
    base = name.partition(".")[0]
    return base in ("default", "sddocname") or any(schema.field(base) for schema in schemas)


def _numeric(name: str, text: str, schemas: Sequence[Schema]) -> Node | None:
    """What a number field is asked for: `5`, `>5`, `<5`, `[5;9]` with open ends; None for any other field.

    Raises QueryRefused for what is none of these.
    """
    if not any((item := schema.field(name)) and item.type in _NUMBERS for schema in schemas):
        return None
    if side := _SIDE.fullmatch(text):
        value = _number(side[2])
        return Compare(name, side[1] or "=", value)
    if both := _RANGE.fullmatch(text):
        tests: list[Node] = []
        if both[1]:
            tests.append(Compare(name, ">=", _number(both[1])))
        if both[2] or not both[1]:
            tests.append(Compare(name, "<=", _number(both[2] or str(2**63 - 1))))
        return tests[0] if len(tests) == 1 else AllOf(tuple(tests))
    raise QueryRefused(f"'{text}' is not an int item expression for the field '{name}'")


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)
