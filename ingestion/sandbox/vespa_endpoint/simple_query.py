"""The simple query language of `query=…` and `userInput(…)`: words, "phrases", field:word, +word, -word.

https://docs.vespa.ai/en/reference/querying/simple-query-language.html; parentheses and weights are refused.
"""

from __future__ import annotations

import re

from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.query_tree import AllOf, AnyOf, Constant, Node, Not, Phrase, Term

TYPES = ("all", "any", "weakAnd", "phrase", "web")

_PART = re.compile(r'\s*([+-]?)(?:([A-Za-z_][A-Za-z0-9_.]*):)?(?:"([^"]*)"?|(\S+))')
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The tokens of a text: runs of letters and digits."""
    return _WORD.findall(text)


def parse_simple(text: str, type: str, default_index: str) -> Node:
    """The tree of a user's text.

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
    for sign, index, quoted, word in _PART.findall(text):
        if word.startswith("(") or (word.endswith(")") and "(" in text):
            raise unsupported("parentheses in the simple query language")
        tokens = words(quoted or word)
        if not tokens:
            continue
        name = index or default_index
        node: Node = Term(name, tokens[0]) if len(tokens) == 1 else Phrase(name, tuple(tokens))
        (unwanted if sign == "-" else required if sign == "+" else wanted).append(node)
    if not wanted and not required:
        if unwanted:
            raise QueryRefused("A query cannot consist of negative items only")
        return Constant(False)
    if type in ("all", "web"):
        items: list[Node] = [*required, *wanted]
    else:
        items = [*required]
        if wanted and not required:
            items.append(wanted[0] if len(wanted) == 1 else AnyOf(tuple(wanted)))
    items += [Not(node) for node in unwanted]
    return items[0] if len(items) == 1 else AllOf(tuple(items))
