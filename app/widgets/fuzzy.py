"""Fuzzy matching of short names: letters in order, gaps allowed, word starts preferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def score(query: str, text: str) -> float:
    """0 where the letters of `query` do not all occur in order; larger is better.

    A plain substring always beats scattered letters; letters at word starts and in a row count more.
    """
    query, text = query.casefold(), text.casefold()
    if not query:
        return 1.0
    at = text.find(query)
    if at >= 0:
        start = at == 0 or not text[at - 1].isalnum()
        return 1000.0 + 100 * start + 100.0 * len(query) / max(1, len(text)) - min(at, 50)
    best = 0.0
    position, previous, total = -1, -2, 0.0
    for letter in query:
        if letter == " ":
            continue
        found = text.find(letter, position + 1)
        # A word start further on is worth more than the next letter inside a word.
        better = found
        while better > 0 and text[better - 1].isalnum():
            better = text.find(letter, better + 1)
        if better > 0 and found != previous + 1:
            found = better if better - found < 12 else found
        if found < 0:
            return 0.0
        starts = found == 0 or not text[found - 1].isalnum()
        total += 12 if starts else 8 if found == previous + 1 else 2
        position = previous = found
    best = total / (1 + len(text) / 40)
    return max(best, 0.1)


def ranked(query: str, items: Sequence[T], key: Callable[[T], str]) -> list[T]:
    """The items that match, best first; all of them in their own order for an empty query."""
    query = query.strip()
    if not query:
        return list(items)
    scored = [(score(query, key(item)), -index, item) for index, item in enumerate(items)]
    return [item for points, _, item in sorted(scored, key=lambda s: s[:2], reverse=True) if points > 0]
