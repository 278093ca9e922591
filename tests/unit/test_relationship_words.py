"""Words inside names: splitting, singular forms, abbreviations, agents."""

from __future__ import annotations

import pytest

from ingestion.discovery.relationship_words import abbreviates, agents, singular, split_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("created_by_id", ["created", "by", "id"]),
        ("BusinessEntityID", ["business", "entity", "id"]),
        ("userId", ["user", "id"]),
        ("IDs", ["ids"]),
        ("HTTPRequestLog", ["http", "request", "log"]),
        ("ORDER_ID", ["order", "id"]),
        ("concept_id_1", ["concept", "id", "1"]),
        ("order__", ["order"]),
        ('we"ird name\n', ["we", "ird", "name"]),
        ("größe_id", ["größe", "id"]),
        ("顧客_id", ["顧客", "id"]),
        ("", []),
    ],
)
def test_names_are_split_at_every_common_border(name: str, words: list[str]) -> None:
    assert split_words(name) == words


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("category", "categories"), ("address", "addresses"), ("status", "statuses"), ("box", "boxes"),
        ("person", "people"), ("child", "children"), ("house", "houses"), ("cache", "caches"), ("bus", "buses"),
        ("employee", "employees"), ("photo", "photos"), ("company", "companies"), ("alias", "aliases"),
        ("index", "indices"), ("index", "indexes"), ("movie", "movies"), ("branch", "branches"), ("key", "keys"),
        ("analysis", "analyses"), ("menu", "menus"), ("area", "areas"), ("schema", "schemas"), ("leaf", "leaves"),
        ("license", "licenses"), ("size", "sizes"), ("course", "courses"), ("process", "processes"),
        ("bonus", "bonuses"), ("quiz", "quizzes"), ("hero", "heroes"), ("staff", "staff"), ("base", "bases"),
    ],
)  # fmt: skip
def test_singular_and_plural_meet(one: str, many: str) -> None:
    assert singular(one) == singular(many)


@pytest.mark.parametrize(
    ("a", "b"), [("status", "state"), ("news", "new"), ("address", "addres"), ("bus", "bu")]
)
def test_different_words_stay_apart(a: str, b: str) -> None:
    assert singular(a) != singular(b)


@pytest.mark.parametrize(
    ("short", "word"),
    [("dept", "department"), ("emp", "employee"), ("cust", "customer"), ("prod", "product")],
)
def test_common_abbreviations_are_known(short: str, word: str) -> None:
    assert abbreviates(short, singular(word)) >= 0.75


@pytest.mark.parametrize(("short", "word"), [("tm", "customer"), ("order", "order"), ("x", "xylophone")])
def test_chance_likenesses_are_no_abbreviations(short: str, word: str) -> None:
    assert abbreviates(short, singular(word)) == 0


@pytest.mark.parametrize(
    ("verb", "noun"),
    [("ship", "shipper"), ("shipped", "shipper"), ("supply", "supplier"), ("drive", "driver")],
)
def test_a_verb_leads_to_the_noun_of_who_does_it(verb: str, noun: str) -> None:
    assert singular(noun) in agents(verb)
