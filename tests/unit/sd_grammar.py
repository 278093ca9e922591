"""A small parser of Vespa's schema language, as strict as the reference about what may stand where.

https://docs.vespa.ai/en/reference/schemas/schemas.html: "Elements", and the element's own section for its
body. Only elements that our package uses are known; anything else is an error, not skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
PRIMITIVES = {"string", "int", "long", "double", "float", "byte", "bool"}

# Section "field": names kept for other purposes.
RESERVED_FIELDS = {
    "attribute", "body", "case", "context", "documentid", "else", "header", "hit", "host", "if", "index",
    "position", "reference", "relevancy", "sddocname", "summary", "switch", "tokenize",
}  # fmt: skip
# Section "array<struct>": they implement maps.
RESERVED_MEMBERS = RESERVED_FIELDS | {"key", "value"}

# Which blocks may stand in which; "struct-field" has no dictionary, no index and no struct.
_BLOCKS = {
    "": {"schema"},
    "schema": {"document", "fieldset", "rank-profile", "document-summary"},
    "document": {"struct", "field"},
    "struct": {"field"},
    "field": {"attribute", "match", "dictionary", "struct-field"},
    "struct-field": {"attribute", "match"},
    "rank-profile": {"first-phase", "match-features"},
    "first-phase": {"expression"},
    "document-summary": {"summary"},
}
# Which lines may stand in which block.
_LINES = {
    "field": r"indexing: (index|attribute|summary)( \| (index|attribute|summary))*|index: enable-bm25|rank: filter",
    "struct-field": r"indexing: attribute",
    "attribute": r"fast-search",
    "match": r"cased",
    "dictionary": r"btree|cased",
    "fieldset": r"fields: \w+(, \w+)*",
    "expression": r"0|(bm25|attribute)\(\w+\)",
    "match-features": r"(bm25|attribute)\(\w+\)",
    "document-summary": r"from-disk",
    "summary": r"source: \w+|dynamic",
}
_NAMED = {"schema", "document", "struct", "field", "struct-field", "fieldset", "rank-profile", "document-summary",
          "summary"}  # fmt: skip
_OPENING = re.compile(r"(?P<kind>[a-z-]+)(?P<rest>[^{}]*)\{(?P<closed>\})?\Z")
_REST = re.compile(r"(?P<name>[\w-]+)(?: type (?P<type>[\w<>,]+)| inherits (?P<inherits>[\w-]+))?\Z")


@dataclass(slots=True)
class Block:
    """One element with its body; `lines` are the settings in it that are no blocks."""

    kind: str
    name: str = ""
    type: str = ""
    inherits: str = ""
    lines: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def all(self, kind: str) -> list[Block]:
        """The blocks of that kind in it, in order."""
        return [block for block in self.blocks if block.kind == kind]

    def walk(self) -> Iterator[Block]:
        """It and every block in it, at any depth."""
        yield self
        for block in self.blocks:
            yield from block.walk()

    def setting(self, name: str) -> list[str]:
        """The values of `name: a | b` or of the block `name { a b }`; empty where it is not set."""
        for line in self.lines:
            if line.startswith(f"{name}: "):
                return re.split(r" \| |, ", line.removeprefix(f"{name}: "))
        return [line for block in self.all(name) for line in block.lines]


def parse(text: str) -> Block:
    """The schema in the text. Raises AssertionError with the line that the reference does not allow."""
    root = Block("")
    stack = [root]
    for number, line in enumerate((line.strip() for line in text.splitlines()), 1):
        where = f"line {number}, in {stack[-1].kind or 'the file'}: {line!r}"
        opening = _OPENING.match(line)
        if line == "}":
            assert len(stack) > 1, where
            stack.pop()
        elif opening:
            assert opening["kind"] in _BLOCKS.get(stack[-1].kind, ()), where
            block = _block(opening["kind"], opening["rest"].strip(), where)
            stack[-1].blocks.append(block)
            if not opening["closed"]:
                stack.append(block)
        else:
            assert re.fullmatch(_LINES.get(stack[-1].kind, r"(?!)"), line), where
            stack[-1].lines.append(line)
    assert stack == [root], f"not closed: {stack[-1].kind} {stack[-1].name}"
    (schema,) = root.blocks
    return schema


def _block(kind: str, rest: str, where: str) -> Block:
    if kind not in _NAMED:
        assert rest == "", where
        return Block(kind)
    named = _REST.match(rest)
    assert named is not None, where
    assert (kind == "field") == bool(named["type"]), where
    assert not named["inherits"] or kind == "rank-profile", where
    assert IDENTIFIER.match(named["name"]), where
    return Block(kind, named["name"], named["type"] or "", named["inherits"] or "")
