"""How the words of a column fit the words of a table: the whole name, its end, a role before it.

Scores are the probabilities that a person would give who sees only the two names and where the column stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingestion.discovery import relationship_words as words
from ingestion.discovery.relationship_keys import Entry, Key, is_subsequence
from ingestion.discovery.relationship_parsing import ParsedName, compatible, type_family
from ingestion.schema_discovery import Column

RELATIVE = 0.985
"""Score of a table that begins with the same words as the source: `current_node_tags` → `current_nodes`."""

LEAST_LIKELY = 0.3
"""Columns that are less likely a key of their table are no targets."""

_MEASURES = words.word_set(
    """amount average avg balance bytes charge cost count counter days depth discount duration fee height hours
    index length level limit max maximum min minimum minutes months num number offset order percent position price
    priority qty quantity rank rate ratio score seconds sequence since size sort sum tax times total value version
    weeks weight width year years"""
)
_COUNTING = words.word_set("avg count max min n nb no nr num number qty quantity sum total")


@dataclass(frozen=True, slots=True)
class Ask:
    """One column with what its name was found to consist of."""

    source: Entry
    column: Column
    parsed: ParsedName

    @property
    def stem(self) -> tuple[str, ...]:
        return self.parsed.stem


@dataclass(frozen=True, slots=True)
class Fit:
    """A table whose last words a column's name ends in; `dropped` are words that the column leaves out."""

    target: Entry
    overlap: int
    score: float
    why: str
    dropped: tuple[str, ...] = ()
    is_exact: bool = False

    @property
    def is_weak(self) -> bool:
        """Whether the column leaves out words that nothing else supplies."""
        return bool(self.dropped) and self.score < RELATIVE * 0.98


def fit(ask: Ask, alias: tuple[str, ...], target: Entry) -> Fit:
    """How well the column fits `target`, called `alias`; both end in the same word."""
    best = _align(ask.stem, alias, ask.source.words, target)
    space = target.namespace
    if space and space == ask.source.namespace and alias[0] == space and len(alias) > 1:
        # Within one part of an application its prefix goes without saying.
        near = _align(ask.stem, alias[1:], (), target)
        if near.score > best.score and not near.dropped:
            best = replace(near, score=near.score * 0.99)
    plain = without_adjectives(ask.stem)
    if plain != ask.stem and best.score < 0.9:
        bare = fit(replace(ask, parsed=replace(ask.parsed, stem=plain)), alias, target)
        if bare.score * 0.97 > best.score:
            best = replace(bare, score=bare.score * 0.97, is_exact=False)
    if not best.is_exact and best.dropped and _stands_beside(ask, target):
        return replace(best, score=best.score * 0.25)
    if not ask.parsed.key_word and _is_loose(ask, best):
        return replace(best, score=best.score * 0.4)
    return best


def key_for(ask: Ask, target: Entry) -> tuple[Key, float] | None:
    """The likeliest key of `target` that the column can hold, and what doubts about it take off the score."""
    best: tuple[Key, float] | None = None
    for key in target.keys:
        if key.likely < LEAST_LIKELY or not compatible(ask.column, key.column, ask.parsed.strong):
            continue
        value = 0.6 + 0.4 * key.likely
        if type_family(ask.column) == "text" and not ask.parsed.strong:
            same_length = key.column.max_length == ask.column.max_length is not None
            value *= 0.98 if same_length or ask.parsed.key_word else 0.45
        if key.composite and not all(
            part in ask.source.parsed for part in key.composite if part != key.column.name
        ):
            # Half of a key names no row.
            value *= 0.05
        if best is None or value > best[1]:
            best = key, value
    return best


def is_measure(parsed: ParsedName) -> bool:
    """Whether a column without `id` reads like a figure: `num_created_nodes`, `total_cost`, `deaths`."""
    parts = parsed.words
    if not parts:
        return False
    if parts[0] in _COUNTING or parts[-1] in _MEASURES or "since" in parts:
        return True
    return parts[-1] != parsed.stem[-1] and parts[-1].endswith("s")


def without_adjectives(stem: tuple[str, ...]) -> tuple[str, ...]:
    start = 0
    while start < len(stem) - 1 and stem[start] in words.ADJECTIVES:
        start += 1
    return stem[start:]


def _stands_beside(ask: Ask, target: Entry) -> bool:
    """Whether `target` has the same column, which is no key of its own: then both refer to a third table."""
    if target is ask.source:
        return False
    keys = {key.column.name for key in target.keys if key.likely >= LEAST_LIKELY}
    return any(
        parsed.stem == ask.stem and bool(parsed.key_word) == bool(ask.parsed.key_word) and name not in keys
        for name, parsed in target.parsed.items()
    )


def _is_loose(ask: Ask, best: Fit) -> bool:
    """Whether a column without `id` names a table so loosely that it may as well be an attribute."""
    if best.dropped:
        return best.score < RELATIVE * 0.98 or (len(ask.stem) == 1 and is_measure(ask.parsed))
    if best.is_exact and (
        len(ask.stem) > 1 or ask.source.words[: len(best.target.words)] == best.target.words
    ):
        # `order` in `order_details` is the order, not a place in one.
        return False
    return is_measure(ask.parsed)


def _align(stem: tuple[str, ...], alias: tuple[str, ...], source: tuple[str, ...], target: Entry) -> Fit:
    shared = 0
    while shared < min(len(stem), len(alias)) and stem[-1 - shared] == alias[-1 - shared]:
        shared += 1
    role, dropped = stem[: len(stem) - shared], alias[: len(alias) - shared]
    table = target.table.name

    def result(score: float, why: str) -> Fit:
        return Fit(target, shared, score, why, dropped, not role and not dropped)

    if not role and not dropped:
        return result(0.97, f"it is the name of {table}")
    if not role:
        if source == dropped and _belongs_to(target, source):
            return result(0.5, f"it is {table}, whose rows belong to rows of this table")
        if source[: len(dropped)] == dropped:
            return result(RELATIVE, f"it is {table} without the words that both tables begin with")
        if len(source) > 1 and alias == (*stem, source[-1]):
            return result(0.9, f"it is {table} without the word that both tables end in")
        common = _common_prefix(dropped, source)
        if len(dropped) - common > 1:
            # `group_id` is hardly one of the `ci_resource_groups`, least of all where nothing else is of that part.
            return result(0.5, f"it is the end of {table}")
        near = common > 0 and common == len(dropped) - 1
        return result(
            (0.88 if near else 0.86) - 0.03 * (len(dropped) - 1 - common), f"it is the end of {table}"
        )
    if not dropped:
        if any(word in words.FOREIGN for word in role):
            return result(0.3, f"it may be {table}, or a number of another system")
        return result(max(0.955 - 0.01 * (len(role) - 1), 0.9), f"it is {table} in a role")
    if stem[0] == alias[0] and is_subsequence(stem, alias):
        return result(0.8, f"it is {table} with a word left out")
    if dropped == source:
        return result(0.88, f"it is {table}, which is named after this table, in a role")
    if source[: len(dropped)] == dropped:
        return result(0.6, f"it ends like {table}, which begins like this table")
    return result(0.3, f"it ends like {table}")


def _belongs_to(target: Entry, owner: tuple[str, ...]) -> bool:
    """Whether rows of `target` name a row of the table called `owner`, so that a row there has many of them."""
    return any(parsed.stem == owner and parsed.key_word for parsed in target.parsed.values())


def _common_prefix(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
