"""Dynamic summaries: the passages of a text around the words that a query asked for.

As https://docs.vespa.ai/en/querying/document-summaries.html#dynamic-snippets describes them: at most some
256 characters, matching words between `<hi>` and `</hi>`, gaps marked `<sep />`. Where exactly Vespa cuts is
not documented; here passages begin and end at words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ingestion.sandbox.vespa_endpoint.query_tree import AllOf, AnyOf, Near, Node, Phrase, Rank, Term, Unranked
from ingestion.sandbox.vespa_endpoint.simple_query import words

LENGTH = 256
_AROUND = 64
_MOST_PASSAGES = 3
_LONGEST_TEXT = 1_000_000
_GAP = "<sep />"
_WORD = re.compile(r"[^\W_]+")
_SUFFIX = re.compile(r"(?:ings?|ed|es|s|e)\Z")


def asked_words(node: Node, fields: frozenset[str]) -> frozenset[str]:
    """Stems of the words that the query wants to find in one of `fields`."""
    return frozenset(_stem(word) for text in _texts(node, fields) for word in words(text))


def teaser(text: str, asked: frozenset[str]) -> str:
    """The text's passages around the asked words; its beginning where none of them is in it."""
    text = text[:_LONGEST_TEXT]
    matches = [found.span() for found in _WORD.finditer(text) if _stem(found[0]) in asked] if asked else []
    if len(text) <= LENGTH:
        return _marked(text, 0, len(text), matches)
    if not matches:
        end = _word_end(text, LENGTH)
        return text[:end] + _GAP
    parts: list[str] = []
    last = 0
    for first, _ in matches:
        if parts and (first < last or len(parts) == _MOST_PASSAGES):
            continue
        start = max(last, _word_start(text, first - _AROUND))
        end = _word_end(text, start + 2 * _AROUND)
        if start > last or (not parts and start > 0):
            parts.append(_GAP)
        parts.append(_marked(text, start, end, matches))
        last = end
        if sum(map(len, parts)) >= LENGTH:
            break
    return "".join(parts) + (_GAP if last < len(text) else "")


def _texts(node: Node, fields: frozenset[str]) -> Iterator[str]:
    if isinstance(node, AllOf | AnyOf):
        for item in node.items:
            yield from _texts(item, fields)
    elif isinstance(node, Rank | Unranked):
        yield from _texts(node.item, fields)
    elif isinstance(node, Term) and node.field in fields:
        yield node.text
    elif isinstance(node, Phrase | Near) and node.field in fields:
        yield from node.words


def _stem(word: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))
    return _SUFFIX.sub("", plain) if len(plain) > 3 else plain


def _marked(text: str, start: int, end: int, matches: list[tuple[int, int]]) -> str:
    out, at = [], start
    for first, last in matches:
        if first >= start and last <= end:
            out += [text[at:first], "<hi>", text[first:last], "</hi>"]
            at = last
    return "".join([*out, text[at:end]])


def _word_start(text: str, at: int) -> int:
    if at <= 0:
        return 0
    space = text.find(" ", at, at + _AROUND)
    return at if space < 0 else space + 1


def _word_end(text: str, at: int) -> int:
    if at >= len(text):
        return len(text)
    space = text.rfind(" ", at - _AROUND, at)
    return at if space < 0 else space
