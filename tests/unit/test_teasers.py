"""Dynamic summaries of the local endpoint: short, around what matched, nothing but the text and its marks."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ingestion.sandbox.vespa_endpoint.query_tree import AllOf, Not, Phrase, Term
from ingestion.sandbox.vespa_endpoint.teasers import LENGTH, asked_words, teaser

FIELDS = frozenset({"default", "content_text"})


def plain(marked: str) -> list[str]:
    return [part for part in re.sub("</?hi>", "", marked).split("<sep />") if part]


def test_matching_words_are_marked_whatever_their_ending() -> None:
    node = AllOf(
        (Term("default", "Pumps"), Phrase("content_text", ("fire", "damper")), Term("doc_id", "wall"))
    )
    asked = asked_words(node, FIELDS)
    assert teaser("A pump, fires, dampers, a wall.", asked) == (
        "A <hi>pump</hi>, <hi>fires</hi>, <hi>dampers</hi>, a wall."
    )


def test_words_that_must_not_match_are_not_marked() -> None:
    assert asked_words(Not(Term("default", "pump")), FIELDS) == frozenset()


def test_a_long_text_without_a_match_shows_its_beginning() -> None:
    assert teaser("word " * 500, frozenset({"none"})) == "word " * 50 + "word<sep />"


@given(st.lists(st.sampled_from(["pump", "wall", "steel", "x" * 40]), max_size=400))
def test_a_teaser_is_short_and_made_of_passages_of_the_text(found: list[str]) -> None:
    text = " ".join(found)
    marked = teaser(text, frozenset({"pump"}))
    at = 0
    for part in plain(marked):
        at = text.index(part, at) + len(part)
    assert sum(map(len, plain(marked))) <= max(LENGTH + 128, 0)
    if "pump" in found:
        assert "<hi>pump</hi>" in marked
