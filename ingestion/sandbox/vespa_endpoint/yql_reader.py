"""YQL read token by token: literals, `@parameters`, annotations and names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported

TOKEN = re.compile(
    r"""(?:\s|//[^\n]*|/\*.*?\*/)*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<long>-?[0-9]+[Ll]\b)
    | (?P<float>-?[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|-?\.[0-9]+(?:[eE][+-]?[0-9]+)?|-?[0-9]+[eE][+-]?[0-9]+)
    | (?P<int>-?[0-9]+)
    | (?P<word>[A-Za-z_][A-Za-z0-9_:\-]*(?:\.[A-Za-z_][A-Za-z0-9_:\-]*)*)
    | (?P<op><=|>=|!=|[()\[\]{},;*@=<>!|:+\-/])
    )""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
# Annotations that change neither matches nor BM25; everything else must be known or refused.
_HARMLESS = frozenset(
    {
        "filter",
        "ranked",  # false takes the item out of ranking
        "connectivity",
        "annotations",
        "origin",
        "weight",
        "significance",
        "label",
        "id",
        "targetHits",
        "totalTargetHits",
        "allowEmpty",
        "usePositionData",
    }
)
_RESERVED = frozenset({"where", "order", "limit", "offset", "timeout"})


# What these would switch off is how text is made into words; left on, they change nothing.
_LINGUISTIC = frozenset({"stem", "normalizeCase", "accentDrop", "implicitTransforms", "nfkc"})


class Reader:
    """The tokens of a statement, read from left to right. Every method raises QueryRefused saying where."""

    def __init__(self, text: str, parameters: Mapping[str, Any]) -> None:
        self.text, self.parameters = text, parameters
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while not _BLANK.match(text, position):
            match = TOKEN.match(text, position)
            if match is None:
                raise self.failure(f"unexpected '{text[position:].strip()[:20]}'")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            position = match.end()
        self.at = 0

    # -------------------------------------------------------------- literals

    def literal(self) -> str | int | float | bool:
        kind, text = self.take()
        if kind == "string":
            return unquote(text)
        if kind == "long":
            return int(text[:-1])
        if kind == "int":
            value = int(text)
            if not -(2**31) <= value < 2**31:
                raise self.failure(f"{text} does not fit 32 bits; write {text}L")
            return value
        if kind == "float":
            return float(text)
        if text == "@":
            found = self.parameter(self.name())
            return found if isinstance(found, int | float | bool) else str(found)
        if kind == "word" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise self.failure(f"expected a value, got '{text or 'the end'}'")

    def parameter(self, name: str) -> Any:
        if name not in self.parameters:
            raise QueryRefused(f"Query parameter '{name}' is not given, but YQL uses @{name}")
        return self.parameters[name]

    def number(self) -> int:
        value = self.literal()
        try:
            return int(value)
        except ValueError:
            raise self.failure(f"'{value}' is no whole number") from None

    def annotations(self) -> dict[str, Any]:
        """`{name: value, …}` or the older `[{name: value}]` before an item."""
        bracket = self.peek()[1] == "[" and self.tokens[self.at + 1 : self.at + 2] == [("op", "{")]
        if bracket:
            self.at += 1
        if not self.accept("{"):
            return {}
        found: dict[str, Any] = {}
        while not self.accept("}"):
            kind, name = self.take()
            name = unquote(name) if kind == "string" else name
            if name.endswith(":"):  # `name:` reads as one word
                name = name[:-1]
            else:
                name, colon, rest = name.partition(":")
                if colon:
                    if rest.lstrip("-").isdigit() and self.peek()[1].startswith("."):
                        rest += self.take()[1]  # `name:0.5` reads as `name:0` and `.5`
                    found[name] = _word_value(rest)
                    self.accept(",")
                    continue
                self.symbol(":")
            found[name] = self.json()
            self.accept(",")
        if bracket:
            self.symbol("]")
        return found

    def json(self) -> Any:
        """A literal, a list in brackets, or an object in braces."""
        if self.accept("["):
            items: list[Any] = []
            while not self.accept("]"):
                items.append(self.json())
                self.accept(",")
            return items
        if self.peek()[1] == "{":
            return self.annotations()
        return self.literal()

    def check(self, annotations: dict[str, Any], known: frozenset[str]) -> None:
        for name in annotations:
            on = name in _LINGUISTIC and annotations[name] is True
            if name not in known and name not in _HARMLESS and not on:
                raise unsupported(f"the annotation '{name}' here in YQL")

    # ---------------------------------------------------------------- tokens

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        kind, found = self.peek()
        if kind in ("word", "op") and found.lower() == text:
            self.at += 1
            return True
        return False

    def keyword(self, text: str) -> None:
        if not self.accept(text):
            raise self.failure(f"expected '{text}', got '{self.peek()[1] or 'the end'}'")

    symbol = keyword

    def name(self) -> str:
        kind, text = self.take()
        if kind != "word" or text.lower() in _RESERVED:
            raise self.failure(f"expected a name, got '{text or 'the end'}'")
        return text

    def failure(self, why: str) -> QueryRefused:
        return QueryRefused(f"Could not create query from YQL '{self.text}': {why}")


def as_text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _word_value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return float(text) if "." in text else int(text)
    return text


def unquote(text: str) -> str:
    return re.sub(
        r"\\(u[0-9A-Fa-f]{4}|.)",
        lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 5 else _ESCAPES.get(m[1], m[1]),
        text[1:-1],
        flags=re.DOTALL,
    )
