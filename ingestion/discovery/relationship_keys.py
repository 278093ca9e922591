"""What tables and columns are called: their words, the columns that may be keys, other names a table goes by.

The vocabulary of one database, read from its catalog alone, and the ground on which `relationship_names`
matches. Built once, in time linear in the columns.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ingestion.discovery import relationship_words as words
from ingestion.discovery.relationship_parsing import REFERENCE_FAMILIES, ParsedName, parse_words, type_family
from ingestion.discovery.relationship_splitting import Splitter
from ingestion.schema_discovery import Column, Table

_NOISE_FIRST = frozenset(
    {"tbl", "tb", "t", "table", "dim", "fact", "fct", "lkp", "lu", "lookup", "stg", "mst", "d", "f"}
)
_NOISE_LAST = frozenset({"tbl", "table", "dim", "fact", "master", "mst", "lookup", "lkp"})

_RARE = 3
"""Columns of one name in more tables than that are no table's own."""

_SUFFIXES = sorted(words.KEY_WORDS, key=len, reverse=True)


@dataclass(frozen=True, slots=True)
class Key:
    """A column by which rows of a table may be named; `likely` is the chance that it is the table's key.

    `stem` holds its words without `id` and the like; `generic` keys (`id`, `code`) are named for no table.
    """

    column: Column
    stem: tuple[str, ...]
    likely: float
    generic: bool
    declared: bool = False
    composite: tuple[str, ...] = ()
    proven: bool = False
    """Its values were looked at and found to be distinct."""


@dataclass(slots=True)
class Entry:
    """A table as the matcher sees it: its words, other words it goes by, its possible keys."""

    table: Table
    words: tuple[str, ...]
    raw_words: tuple[str, ...]
    keys: list[Key] = field(default_factory=list)
    aliases: list[tuple[str, ...]] = field(default_factory=list)
    column_prefix: str = ""
    namespace: str = ""
    """First word that several tables share and that is no table: a part of an application."""
    parsed: dict[str, ParsedName] = field(default_factory=dict)

    @property
    def core(self) -> tuple[str, ...]:
        """The words without those at the end that add nothing: `aircraft` of `aircrafts_data`."""
        end = len(self.words)
        while end > 1 and self.words[end - 1] in words.CONTAINERS:
            end -= 1
        return self.words[:end]


class Vocabulary:
    """The names of a set of tables, indexed by the words they end in, begin with, and run together."""

    def __init__(self, tables: Sequence[Table], unique: Mapping[tuple[str, str], bool] | None = None) -> None:
        """`unique` says of (table, column)s whether their values were found to be distinct."""
        self._unique = unique or {}
        self.entries: dict[str, Entry] = {}
        self.by_last: dict[str, list[tuple[tuple[str, ...], Entry, float]]] = defaultdict(list)
        self.by_first: dict[str, list[Entry]] = defaultdict(list)
        self.by_compact: dict[str, list[tuple[Entry, float]]] = defaultdict(list)
        self.by_compact_end: dict[str, list[tuple[Entry, float]]] = defaultdict(list)
        self.by_key_name: dict[str, list[tuple[Entry, Key]]] = defaultdict(list)
        self.by_letter: dict[str, list[tuple[tuple[str, ...], Entry]]] = defaultdict(list)
        self.people: list[tuple[Entry, float]] = []
        self._owners: dict[str, set[str]] = defaultdict(set)
        prefixes = {table.name: _column_prefix(table) for table in tables}
        self.splitter = Splitter(
            [table.relname or table.name for table in tables],
            [c.name.removeprefix(prefixes[t.name]).lstrip("_") for t in tables for c in t.columns],
            {table.schema for table in tables},
        )
        raw_names = {table.name: self.splitter.stems(table.relname or table.name) for table in tables}
        shared, whole = _shared_prefixes(raw_names), set(raw_names.values())
        spaces = _namespaces({n: _without_noise(raw, shared) for n, raw in raw_names.items()})
        for table in tables:
            raw = raw_names[table.name]
            plain = _without_noise(raw, shared)
            # `edit_data` stays what it is where there is an `edit`.
            plain = raw if plain != raw and plain in whole else plain
            space = plain[0] if len(plain) > 1 and plain[0] in spaces else ""
            entry = Entry(table, plain, raw, column_prefix=prefixes[table.name], namespace=space)
            self.entries[table.name] = entry
            self._owners["".join(entry.words)].add(table.name)
            self._owners["".join(entry.raw_words)].add(table.name)
        ends = {name[i:] for name in self._owners for i in range(len(name) - 2)}
        for entry in self.entries.values():
            self._read_columns(entry, ends)
        self._column_names = Counter(name for entry in self.entries.values() for name in entry.parsed)
        for entry in self.entries.values():
            self._find_keys(entry)
        self._settle_shared_keys()
        claimed = Counter(k.stem for e in self.entries.values() for k in e.keys if k.likely >= 0.5)
        for entry in self.entries.values():
            self._index(entry, claimed)
        self._find_people()
        generic = [k.column for e in self.entries.values() for k in e.keys if k.generic]
        made = sum(bool(c.default_value or c.identity) for c in generic)
        self.self_made_ids = made / len(generic) if generic else 0.0
        """Share of the `id`s that get their value from a sequence or another default."""

    def exactly(self, stems: tuple[str, ...]) -> Entry | None:
        """The one table of exactly these words, None if there is none or several."""
        names = self._owners.get("".join(stems), ())
        return self.entries[next(iter(names))] if len(names) == 1 else None

    # ---- what a table and its columns are called -------------------------------------------------

    def keys(self, table: str) -> list[Key]:
        """Possible keys of a table, likeliest first."""
        return self.entries[table].keys

    def parsed(self, table: str, column: str) -> ParsedName:
        return self.entries[table].parsed[column]

    def _read_columns(self, entry: Entry, ends: set[str]) -> None:
        for column in entry.table.columns:
            parts = self.splitter.split(column.name)
            parsed = parse_words(parts, entry.column_prefix)
            if any(part.isdigit() for part in parts):
                parsed = self._with_number(column.name, parsed)
            if parsed.key_word in words.WEAK_KEY_WORDS:
                parsed = self._named_like_a_table(parsed)
            if not parsed.key_word and len(parsed.stem) == 1:
                parsed = _split_key_word(parsed, ends)
            entry.parsed[column.name] = parsed

    def _named_like_a_table(self, parsed: ParsedName) -> ParsedName:
        """`pusher_api_key` is one of the `api_keys` where there is such a table, and no `pusher_api`."""
        stem = (*parsed.stem, words.singular(parsed.key_word))
        if any("".join(stem[i:]) in self._owners for i in range(len(stem) - 1)):
            return ParsedName(stem, "", (*parsed.words, parsed.key_word))
        return parsed

    def _with_number(self, name: str, parsed: ParsedName) -> ParsedName:
        """`region_2_id` is a second region, unless there is a table `region_2`."""
        parts = self.splitter.split(name)
        while parts and (parts[-1] in words.STRONG_KEY_WORDS):
            parts.pop()
        stem = tuple(words.singular(part) for part in parts)
        return ParsedName(stem, parsed.key_word, tuple(parts)) if "".join(stem) in self._owners else parsed

    def _find_keys(self, entry: Entry) -> None:
        table = entry.table
        primary = next((i.columns for i in table.indexes if i.is_primary), None)
        singles = {
            i.columns[0]
            for i in table.indexes
            if i.is_unique and not i.is_partial and len(i.columns) == 1 and not i.is_primary
        }
        proven_id = table.key_columns[0] if table.key_basis == "proven_id" and table.key_columns else None
        found: list[Key] = []
        weak: set[str] = set()
        for position, column in enumerate(table.columns):
            if type_family(column) not in REFERENCE_FAMILIES:
                continue
            parsed = entry.parsed[column.name]
            own = bool(parsed.stem) and self.names_own_table(parsed.stem, entry)
            generic = not parsed.stem and bool(parsed.key_word)
            declared = primary == [column.name]
            likely = 0.0
            composite: tuple[str, ...] = ()
            if declared:
                likely = 1.0
            elif primary and len(primary) > 1 and column.name in primary:
                if own and parsed.key_word:
                    likely, composite = 0.9, tuple(primary)
            elif column.name in singles or column.name == proven_id:
                likely = 0.96 if generic and not primary else 0.9 if not primary else 0.6
            elif primary and len(primary) == 1:
                likely = 0.0
            elif (column.default_value or "").startswith("nextval(") or column.identity:
                likely = 0.95
            elif generic and parsed.key_word in words.STRONG_KEY_WORDS:
                likely = 0.93 if parsed.key_word != "id" else 0.96
            elif own and parsed.key_word:
                likely = 0.93 if position == 0 else 0.3 if self._is_link_part(parsed.stem, entry) else 0.75
            elif generic and (position == 0 or parsed.key_word == "code"):
                likely = 0.7
            elif (position == 0 and parsed.strong and not column.is_nullable) or (
                position == 0 and own and not column.is_nullable
            ):
                likely = 0.5
            elif parsed.strong and not column.is_nullable and not primary:
                likely = 0.2
                weak.add(column.name)
            likely = self._by_values(table.name, column.name, likely) if not declared else likely
            proven = self._unique.get((table.name, column.name), False)
            if likely and not declared and not own and self.names_other_table(parsed.stem, entry):
                # Named after another table: a reference, or one row for each row there.
                likely *= 0.6 if proven else 0.3 if column.name in singles else 0.0
            if likely >= 0.15:
                key = Key(column, parsed.stem, likely, generic, declared, composite, proven)
                found.append(key)
        found.sort(key=lambda k: -k.likely)
        entry.keys = _without_rivals(found, weak, singles)
        if not found and not primary:
            # Named after another table, so no target as yet; but its values may turn out to be distinct.
            first = next((c for c in table.columns if type_family(c) in REFERENCE_FAMILIES), None)
            if first is not None and first is table.columns[0] and entry.parsed[first.name].key_word:
                entry.keys = [Key(first, entry.parsed[first.name].stem, 0.1, False)]

    def _settle_shared_keys(self) -> None:
        """Of several tables with an equally named key, the one that it is named after has it.

        `emp_no` is the key of `employees`, and in `dept_emp` refers there.
        """
        owners: dict[str, list[tuple[Entry, Key]]] = defaultdict(list)
        for entry in self.entries.values():
            for key in entry.keys:
                if not key.generic and key.stem:
                    owners[key.column.name.lower()].append((entry, key))
        for sharing in owners.values():
            strengths = [self.home_strength(entry, key) for entry, key in sharing]
            best = max(strengths)
            singles = [(e, k) for e, k in sharing if k.declared]
            if len(sharing) < 2 or (not best and len(singles) != 1):
                continue
            for (entry, key), strength in zip(sharing, strengths, strict=True):
                if key.declared or key.proven or (best and strength == best):
                    continue
                others = [k for k in entry.keys if k is not key]
                # Without any other it still names the rows: `businessentityid` of an employee.
                alone = not others and not key.composite
                entry.keys = [replace(key, likely=min(key.likely, 0.35))] if alone else others

    def home_strength(self, entry: Entry, key: Key) -> int:
        """3 for a key named after the whole of its table's name, 2 if shortened, 1 if that adds a word, else 0."""
        if "".join(key.stem) in ("".join(entry.words), "".join(entry.raw_words)):
            return 3
        if self._is_short_for(key.stem, entry):
            return 2
        return 1 if key.stem == entry.core else 0

    def _by_values(self, table: str, column: str, likely: float) -> float:
        """What the column's values make of the chance that it is a key."""
        unique = self._unique.get((table, column))
        if unique is None or not likely:
            return likely
        return max(likely, 0.9 if likely >= 0.3 else 0.8) if unique else likely * 0.5

    def names_own_table(self, stem: tuple[str, ...], entry: Entry) -> bool:
        """Whether a column of `entry` with this stem is named after the table itself."""
        joined = "".join(stem)
        if "".join(entry.words) == joined or "".join(entry.raw_words) == joined:
            return True
        if len(stem) < len(entry.words) and entry.words[-len(stem) :] == stem:
            # `subscriber_id` of `changeset_subscribers` is a person, `item_id` of `order_items` its own id.
            link = bool(self._owners.get("".join(entry.words[: -len(stem)])))
            elsewhere = stem[-1] in words.PERSON_ROLES or self._shortens_a_table(stem)
            return not self._owners.get(joined) and not (link and elsewhere)
        left_out = len(stem) >= 2 and stem[0] == entry.words[0] and stem[-1] == entry.words[-1]
        if entry.core == stem or (left_out and is_subsequence(stem, entry.words)):
            return not self._owners.get(joined)
        return self._is_short_for(stem, entry)

    def _shortens_a_table(self, stem: tuple[str, ...]) -> bool:
        return len(stem) == 1 and any(
            len(e.words) == 1
            and e.words[0][:1] == stem[0][:1]
            and words.abbreviates(stem[0], e.words[0]) >= 0.6
            for e in self.entries.values()
        )

    def _is_short_for(self, stem: tuple[str, ...], entry: Entry) -> bool:
        """`emp` of `employees`; a word that is a table of its own is short for nothing."""
        if len(stem) != 1 or len(entry.words) != 1 or self._owners.get(stem[0]):
            return False
        return len(stem[0]) <= 6 and words.abbreviates(stem[0], entry.words[0]) >= 0.6

    def _is_link_part(self, stem: tuple[str, ...], entry: Entry) -> bool:
        """Whether the words before `stem` in the table's name are a table: `event_id` in `episode_event`."""
        before = entry.words[: len(entry.words) - len(stem)]
        return bool(before) and bool(self._owners.get("".join(before)))

    def _index(self, entry: Entry, claimed: Counter[tuple[str, ...]]) -> None:
        names: dict[tuple[str, ...], float] = {entry.words: 1.0}
        if entry.raw_words != entry.words:
            names.setdefault(entry.raw_words, 1.0)
        if entry.core != entry.words and not self.names_other_table(entry.core, entry):
            # `movie_info` has a `movie_id` itself, so it is none of the movies.
            own = {key.column.name for key in entry.keys if key.likely >= 0.5}
            beside = any(
                p.stem == entry.core and p.key_word and c not in own for c, p in entry.parsed.items()
            )
            if not beside and claimed[entry.core] <= (entry.core in {key.stem for key in entry.keys}):
                names.setdefault(entry.core, 0.9)
        for key in entry.keys:
            if not key.stem or key.generic:
                continue
            self.by_key_name[key.column.name.lower()].append((entry, key))
            # A key that is named after no other table is another name of its own.
            if key.likely >= 0.5 and claimed[key.stem] == 1 and not self.ends_in_other_table(key.stem, entry):
                names.setdefault(key.stem, self._as_name(entry, key))
        entry.aliases = list(names)
        for alias, weight in names.items():
            if not alias:
                continue
            self.by_last[alias[-1]].append((alias, entry, weight))
            joined = "".join(alias)
            self.by_compact[joined].append((entry, weight))
            for start in range(1, len(joined) - 3):
                self.by_compact_end[joined[start:]].append((entry, weight))
            self.by_letter[alias[-1][0]].append((alias, entry))
        if entry.words:
            self.by_first[entry.words[0]].append(entry)

    def _as_name(self, entry: Entry, key: Key) -> float:
        """How well the table goes by the name of its key."""
        own = entry.parsed[key.column.name].key_word or self.home_strength(entry, key)
        # The `gid` of a redirect, which many tables have, is what is redirected and no name for redirects.
        usual = not own and self._column_names[key.column.name] > _RARE
        return 0.5 if usual else 0.97 if key.likely >= 0.9 else 0.85

    def is_surrogate(self, entry: Entry, key: Key) -> bool:
        """Whether the key's own name says that it is an id, so neither a code nor a number."""
        return entry.parsed[key.column.name].strong

    def names_other_table(self, stem: tuple[str, ...], entry: Entry) -> bool:
        """Whether another table has exactly this name."""
        return bool(self._owners.get("".join(stem), set()) - {entry.table.name})

    def ends_in_other_table(self, stem: tuple[str, ...], entry: Entry) -> bool:
        return any(self.names_other_table(stem[start:], entry) for start in range(len(stem)))

    def _find_people(self) -> None:
        for entry in self.entries.values():
            if not entry.words or not entry.keys:
                continue
            weight = words.PEOPLE_TABLES.get(entry.words[-1], 0.0)
            if not weight:
                continue
            # `users` before `company_users` before `admin_github_users`; links between tables hold no people.
            weight *= 0.93 ** (len(entry.words) - 1)
            own = {key.column.name for key in entry.keys if key.likely >= 0.9 and not key.composite}
            links = sum(
                1 for name, key in entry.parsed.items() if key.strong and key.stem and name not in own
            )
            if len(entry.words) > 1 and links >= 2 and links * 2 >= len(entry.table.columns) + len(own):
                weight *= 0.4
            self.people.append((entry, weight))
        if max((weight for _, weight in self.people), default=0.0) < 0.55:
            # No users, no staff: then the people are the editors, authors, players that have a table.
            for entry in self.entries.values():
                if len(entry.words) == 1 and entry.words[0] in words.PERSON_ROLES and entry.keys:
                    self.people.append((entry, 0.55))
        self.people.sort(key=lambda pair: -pair[1])


def _without_rivals(found: list[Key], weak: set[str], singles: set[str]) -> list[Key]:
    """Drop what only might be a key beside a better one: `event_id` in `processed_events`, which has an `id`."""
    if not found:
        return found
    best = found[0]
    if any(k.likely >= 0.5 for k in found if k.column.name not in weak):
        found = [k for k in found if k.column.name not in weak]
    if best.likely < 0.9:
        return found
    sure = best.declared or best.generic
    return [k for k in found if k is best or k.column.name in singles or (k.likely > 0.5 and not sure)]


def is_subsequence(short: Iterable[str], long: Iterable[str]) -> bool:
    rest = iter(long)
    return all(word in rest for word in short)


def _column_prefix(table: Table) -> str:
    """The first word that nearly all columns of a table begin with: `l` of `l_orderkey`; empty for none."""
    firsts = Counter(parts[0] for c in table.columns if len(parts := words.split_words(c.name)) > 1)
    if not firsts or len(table.columns) < 3:
        return ""
    first, count = firsts.most_common(1)[0]
    own = words.singular(first) in words.stems(table.relname or table.name)
    return first if count >= 0.8 * len(table.columns) and (len(first) <= 4 or own) else ""


def _shared_prefixes(names: Mapping[str, tuple[str, ...]]) -> set[str]:
    """First words that nearly all tables of the database have; they tell nothing apart (`wp`, `app`)."""
    firsts = Counter(parts[0] for parts in names.values() if len(parts) > 1)
    return {first for first, count in firsts.items() if len(names) >= 5 and count >= 0.8 * len(names)}


def _namespaces(names: Mapping[str, tuple[str, ...]]) -> set[str]:
    """First words of several tables that are no table themselves: the parts of an application (`auth`, `blog`)."""
    firsts = Counter(parts[0] for parts in names.values() if len(parts) > 1)
    alone = {parts[0] for parts in names.values() if len(parts) == 1}
    return {first for first, count in firsts.items() if count >= 3 and first not in alone}


def _without_noise(parts: tuple[str, ...], shared: set[str]) -> tuple[str, ...]:
    if len(parts) > 1 and (parts[0] in _NOISE_FIRST or parts[0] in shared):
        parts = parts[1:]
    if len(parts) > 1 and parts[-1] in _NOISE_LAST:
        parts = parts[:-1]
    return parts


def _split_key_word(parsed: ParsedName, ends: set[str]) -> ParsedName:
    """`customerid` amid names with separators: a key word run together with (the end of) a table's name.

    `ends` holds every ending of a table's name of three letters or more.
    """
    word = parsed.words[0] if parsed.words else ""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            rest = words.singular(word[: -len(suffix)])
            if any(rest[i:] in ends for i in range(len(rest) - 2)):
                return ParsedName((rest,), suffix, (word[: -len(suffix)],))
    return parsed
