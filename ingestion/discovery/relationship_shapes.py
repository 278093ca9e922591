"""What a table's name and shape as a whole say about references that no column's own words name.

Links between two tables with numbered columns (`l_area_artist`: `entity0`, `entity1`), pointers of a table
that belongs to another one (`artist_redirect.new_id`, `comment_closure.ancestor`), and tables that extend
another row by row (`artist_meta.id`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from ingestion.discovery import relationship_words as words
from ingestion.discovery.relationship_keys import Entry, Vocabulary
from ingestion.discovery.relationship_parsing import REFERENCE_FAMILIES, compatible, type_family
from ingestion.schema_discovery import Column

_LINK_WORDS = words.stem_set("l link rel relation map mapping xref has to and of join assoc association")
_POINTERS = words.stem_set(
    "new old target source from to current previous origin destination src dst dest left right"
)
_BELONGING = words.stem_set(
    """alias archive audit closure containment deleted hierarchy history link log merge path redirect relation
    relationship tree version"""
)
_EXTENSIONS = words.stem_set(
    """data detail ext extension extra index info meta metadata profile raw search setting stat statistic summary
    counter preference"""
)
_NUMBERED = re.compile(r"^(.*?)_?(\d)_?(?:id)?$")


def shape_matches(entry: Entry, vocabulary: Vocabulary) -> Iterator[tuple[Column, Entry, float, str]]:
    """(column, target, score, why) for the references that the shape of one table suggests."""
    yield from _numbered_link(entry, vocabulary)
    yield from _pointers(entry, vocabulary)
    yield from _extension(entry, vocabulary)


def _numbered_link(entry: Entry, vocabulary: Vocabulary) -> Iterator[tuple[Column, Entry, float, str]]:
    """A table named after two others, and two columns that differ in their number only."""
    groups: dict[str, list[tuple[int, Column]]] = defaultdict(list)
    for column in entry.table.columns:
        found = _NUMBERED.match(column.name.lower())
        if found and type_family(column) in REFERENCE_FAMILIES and found[1]:
            groups[found[1]].append((int(found[2]), column))
    pairs = [sorted(group, key=lambda g: g[0]) for group in groups.values() if len(group) == 2]
    pairs = [pair for pair in pairs if pair[1][0] - pair[0][0] == 1]
    if not pairs:
        return
    named = _two_tables(entry, vocabulary)
    if named is None:
        return
    for pair in pairs:
        stem = entry.parsed[pair[0][1].name].stem
        if vocabulary.by_compact.get("".join(stem)):
            continue
        for (_, column), target in zip(pair, named, strict=True):
            yield column, target, 0.85, f"{entry.table.name} links two tables, and this column one of them"


def _two_tables(entry: Entry, vocabulary: Vocabulary) -> tuple[Entry, Entry] | None:
    parts = entry.words
    for head in (0, 1):
        if head and (not parts or parts[0] not in _LINK_WORDS):
            break
        rest = parts[head:]
        for cut in range(1, len(rest)):
            middle = cut + 1 if cut + 1 < len(rest) and rest[cut] in _LINK_WORDS else cut
            first, second = vocabulary.exactly(rest[:cut]), vocabulary.exactly(rest[middle:])
            if first is not None and second is not None:
                return first, second
    return None


def _pointers(entry: Entry, vocabulary: Vocabulary) -> Iterator[tuple[Column, Entry, float, str]]:
    """`new_id`, `parent`, `ancestor` of a table that has no key of its own but belongs to another one."""
    if any(key.generic or vocabulary.names_own_table(key.stem, entry) for key in entry.keys):
        return
    owner = _owner(entry, vocabulary, _BELONGING)
    if owner is None:
        return
    for column in entry.table.columns:
        if type_family(column) not in REFERENCE_FAMILIES:
            continue
        stem = entry.parsed[column.name].stem
        strong = entry.parsed[column.name].strong
        pointing = bool(stem) and all(w in words.SELF_WORDS or (strong and w in _POINTERS) for w in stem)
        if pointing and any(compatible(column, key.column, strong) for key in owner.keys):
            yield (
                column,
                owner,
                0.88,
                f"{entry.table.name} belongs to {owner.table.name}, whose rows it relates",
            )


def _extension(entry: Entry, vocabulary: Vocabulary) -> Iterator[tuple[Column, Entry, float, str]]:
    """The `id` of a table that adds to another one, in a database whose own ids make themselves."""
    key = next((k for k in entry.keys if k.generic), None)
    if key is None or key.column.default_value or key.column.identity or vocabulary.self_made_ids < 0.5:
        return
    owner = _owner(entry, vocabulary, _EXTENSIONS)
    if owner is None:
        return
    made = next((k for k in owner.keys if k.generic), None)
    if made is None or not (made.column.default_value or made.column.identity):
        return
    if compatible(key.column, made.column, True):
        why = f"{entry.table.name} extends {owner.table.name}, and its {key.column.name} does not make itself"
        yield key.column, owner, 0.88, why


def _owner(entry: Entry, vocabulary: Vocabulary, endings: frozenset[str]) -> Entry | None:
    """The table whose name, with words from `endings` behind it, is this one's."""
    parts = entry.raw_words
    for cut in range(len(parts) - 1, 0, -1):
        found = vocabulary.exactly(parts[:cut])
        if found is not None and found is not entry:
            # Between the owner's name and the ending one word may say what is redirected (`area_gid_redirect`).
            rest = parts[cut:]
            return found if rest[-1] in endings and len(rest) <= 2 else None
    return None
