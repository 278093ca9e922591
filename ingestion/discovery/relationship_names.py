"""What names and types alone say: which table a column may point to, how likely, and why.

Nothing here reads a row. `NameMatcher(tables).candidates(table, column)` gives `NameMatch`es; their `score`
is the probability that a person who knows only the schema would give to the reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ingestion.discovery import relationship_words as words
from ingestion.discovery.relationship_alignment import RELATIVE, Ask, Fit, fit, key_for, without_adjectives
from ingestion.discovery.relationship_elements import Elements
from ingestion.discovery.relationship_keys import Entry, Key, Vocabulary
from ingestion.discovery.relationship_parsing import (
    REFERENCE_FAMILIES,
    ParsedName,
    compatible,
    parse_words,
    same_size,
    type_family,
)
from ingestion.discovery.relationship_shapes import shape_matches
from ingestion.schema_discovery import Column, Table

_MAX_ABBREVIATION_PAIRS = 2_000_000
_PREPOSITIONS = frozenset({"from", "to", "of", "for", "in"})
_AGENT_PREPOSITIONS = frozenset({"by", "via", "through", "from", "with", "to"})
_ROW_WORDS = frozenset({"to", "of", "in", "by", "from", "row", "for"})


@dataclass(frozen=True, slots=True)
class NameMatch:
    """One table that a column's name may mean; `score` is between 0 and 1."""

    table: str
    key: str
    score: float
    why: str


class NameMatcher:
    """Candidates for every column of a set of tables; built once, in time linear in the columns."""

    def __init__(self, tables: Sequence[Table], vocabulary: Vocabulary | None = None) -> None:
        self._words = vocabulary or Vocabulary(tables)
        self._budget = _MAX_ABBREVIATION_PAIRS
        self._known: dict[tuple[str, str], list[NameMatch]] = {}
        self._shapes: dict[tuple[str, str], list[NameMatch]] = {}
        self._elements: dict[tuple[str, str], Elements] = {}
        for entry in self._words.entries.values():
            for column, target, score, why in shape_matches(entry, self._words):
                found = self._shapes.setdefault((entry.table.name, column.name), [])
                found += self._match(Ask(entry, column, ParsedName(("*",), "id")), target, score, why)

    def keys(self, table: str) -> list[Key]:
        """Possible keys of a table, likeliest first."""
        return self._words.entries[table].keys

    def parsed(self, table: str, column: str) -> ParsedName:
        return self._words.entries[table].parsed[column]

    def add_elements(self, table: str, column: str, elements: Elements) -> None:
        """From now on this array or JSON column takes part with the ids that it holds."""
        self._elements[table, column] = elements

    def elements(self, table: str, column: str) -> Elements | None:
        """What an array or JSON column holds, where that is ids."""
        return self._elements.get((table, column))

    def held(self, table: Table, column: Column) -> Column:
        """The column as values see it: itself, or the ids that its arrays or JSON hold."""
        inside = self._elements.get((table.name, column.name))
        return inside.column if inside is not None else column

    def candidates(self, table: Table, column: Column) -> list[NameMatch]:
        """Tables that the column's name may mean, likeliest first, one entry a table; empty for none."""
        if type_family(self.held(table, column)) not in REFERENCE_FAMILIES:
            return []
        known = self._known.get((table.name, column.name))
        if known is None:
            known = self._known[table.name, column.name] = self._candidates(table, column)
        return known

    def _candidates(self, table: Table, column: Column) -> list[NameMatch]:
        entry = self._words.entries[table.name]
        held = self.held(table, column)
        ask = Ask(
            entry, held, entry.parsed[column.name] if held is column else self._parsed_inside(entry, held)
        )
        shaped = self._shapes.get((table.name, column.name), [])
        own = not ask.stem or self.is_own_key(table, column)
        best: dict[str, NameMatch] = {}
        for match in [*shaped, *([] if own else self._matches(ask))]:
            if match.table not in best or match.score > best[match.table].score:
                best[match.table] = match
        found = self._prefer_own_schema(entry, self._doubt_subtypes(ask, list(best.values())))
        return sorted(found, key=lambda m: (-m.score, m.table))

    def _parsed_inside(self, entry: Entry, held: Column) -> ParsedName:
        return parse_words(self._words.splitter.split(held.name), entry.column_prefix)

    def _doubt_subtypes(self, ask: Ask, found: list[NameMatch]) -> list[NameMatch]:
        """A key that several tables share: names do not tell a person from an employee, values do."""
        sharing = self._words.by_key_name.get(ask.column.name.lower(), ())
        owners = [e for e, k in sharing if k.likely >= 0.5 and not k.composite]
        home = self._words.exactly(ask.stem)
        if home in owners:
            # `user_profiles` extends the users; only what goes by another name may be a kind of its own.
            own = home.words
            owners = [
                e for e in owners if e is home or own not in (e.words[: len(own)], e.words[-len(own) :])
            ]
        if len(owners) < 3:
            return found
        names = {e.table.name for e in owners}
        return [replace(m, score=min(m.score, 0.8)) if m.table in names else m for m in found]

    def _prefer_own_schema(self, source: Entry, found: list[NameMatch]) -> list[NameMatch]:
        """Of equally named tables in several schemas, the one in the source's own schema."""
        tables = {m.table: self._words.entries[m.table].table for m in found}
        home = {t.relname for t in tables.values() if t.schema == source.table.schema}
        return [
            replace(m, score=m.score * 0.6)
            if tables[m.table].schema != source.table.schema and tables[m.table].relname in home
            else m
            for m in found
        ]

    def is_reference_like(self, table: Table, column: Column) -> bool:
        """Whether the name says that the column identifies something other than its own row."""
        inside = self.elements(table.name, column.name)
        if inside is not None:
            return not inside.embedded
        parsed = self.parsed(table.name, column.name)
        if type_family(column) not in REFERENCE_FAMILIES or not parsed.stem:
            return False
        return parsed.strong and not self.is_own_key(table, column)

    def is_own_key(self, table: Table, column: Column) -> bool:
        """Whether the column names the row that it stands in."""
        entry = self._words.entries[table.name]
        parsed = entry.parsed[column.name]
        key = next((k for k in entry.keys if k.column.name == column.name), None)
        if key is None:
            return False
        strength = self._words.home_strength(entry, key)
        if strength == 3 or key.composite or not parsed.stem:
            return key.generic or bool(key.composite) or bool(parsed.key_word) or key.likely >= 0.7
        if self._words.names_own_table(parsed.stem, entry) and key.likely >= 0.7:
            return True
        # `customer_type_id` of `customer_demographics`: named after nothing else that is there.
        sharing = [(e, k) for e, k in self._words.by_key_name.get(column.name.lower(), ()) if e is not entry]
        if any(self._words.home_strength(e, k) > strength for e, k in sharing):
            return False
        own = key is entry.keys[0] and key.likely >= 0.9 and (not sharing or key.declared or key.proven)
        return own and not self._words.ends_in_other_table(parsed.stem, entry)

    def polymorphic_type(self, table: Table, column: Column) -> Column | None:
        """The sibling `x_type` of `x_id`, where one is."""
        entry = self._words.entries[table.name]
        parsed = entry.parsed.get(column.name)
        if parsed is None or not parsed.stem or not parsed.strong:
            return None
        wanted = (*parsed.stem, words.singular("type"))
        for other in table.columns:
            if other.name == column.name or type_family(other) in ("int", "uuid", "bool", "boolean"):
                continue
            sibling = entry.parsed[other.name]
            if not sibling.key_word and sibling.stem == wanted:
                return other
        return None

    def tables_named(self, text: str, source: Table) -> list[str]:
        """Tables that a type's name may mean: `Post`, `App\\Models\\Post`, `work_order`; likeliest first."""
        name = re.split(r"[\\/.:]+", text.strip())[-1]
        stems = self._words.splitter.stems(name)
        if not stems:
            return []
        space = self._words.entries[source.name].namespace
        whole = [self._words.exactly(stems), self._words.exactly((space, *stems)) if space else None]
        found = [entry.table.name for entry in whole if entry is not None]
        ending = [
            e for alias, e, _ in self._words.by_last.get(stems[-1], ()) if alias[-len(stems) :] == stems
        ]
        return list(dict.fromkeys([*found, *(e.table.name for e in ending)]))[:4]

    # ---- the ways in which a name can mean a table -----------------------------------------------

    def _matches(self, ask: Ask) -> list[NameMatch]:
        found = list(self._by_words(ask))
        found += self._by_same_key(ask)
        found += self._by_self(ask)
        found += self._by_agent(ask)
        if max((m.score for m in found), default=0.0) < 0.85:
            found += self._by_role(ask)
        if max((m.score for m in found), default=0.0) < 0.5 and ask.parsed.key_word:
            found += self._by_compact_suffix(ask)
            found += self._by_abbreviation(ask)
            if not found:
                found += self._by_head(ask)
        kind = self.polymorphic_type(ask.source.table, ask.column)
        if kind is not None:
            open_kind = ask.stem[-1] in words.KINDS_OF_THINGS
            found = [
                replace(
                    m,
                    score=m.score * (0.85 if m.score >= 0.95 and not open_kind else 0.5),
                    why=f"{m.why}; {kind.name} may choose another table",
                )
                for m in found
            ]
        return found

    def _match(self, ask: Ask, target: Entry, score: float, why: str) -> Iterator[NameMatch]:
        """The match with the key of `target` that fits the column's type, if there is one."""
        best = key_for(ask, target)
        if best is None or (target is ask.source and best[0].column.name == ask.column.name):
            return
        score *= best[1]
        if target.table.schema != ask.source.table.schema:
            score *= 0.97
        if ask.parsed.key_word in words.LABELS and self._words.is_surrogate(target, best[0]):
            # The `post_number` of a notification is no `id` of a post.
            score *= 0.6
        if not ask.parsed.key_word:
            score *= 0.93
        elif not ask.parsed.strong and ask.parsed.key_word != "key":
            score *= 0.97
        yield NameMatch(target.table.name, best[0].column.name, min(score, 0.99), why)

    def _weak_match(self, ask: Ask, target: Entry, score: float, why: str) -> Iterator[NameMatch]:
        """As `_match`, for words that do not name the table: then the very type of its key has to speak for it."""
        for match in self._match(ask, target, score, why):
            key = target.table.column(match.key)
            yield match if same_size(ask.column, key) else replace(match, score=match.score * 0.55)

    def _by_words(self, ask: Ask) -> Iterator[NameMatch]:
        """The column's last words are those of a table."""
        stem = ask.stem
        if len(stem) > 1 and stem[-1] in _PREPOSITIONS and ask.parsed.key_word:
            # `issue_from_id`: which of two issues.
            plain = Ask(ask.source, ask.column, replace(ask.parsed, stem=stem[:-1]))
            yield from (replace(m, score=m.score * 0.97) for m in self._by_words(plain))
            return
        found: list[Fit] = []
        for alias, target, weight in self._words.by_last.get(stem[-1], ()):
            if target is ask.source:
                found += self._own_rows(ask, alias)
            else:
                one = fit(ask, alias, target)
                found.append(replace(one, score=one.score * weight))
        found = self._prefer_relatives(ask, found)
        longest = max((f.overlap for f in found if f.score >= 0.8), default=0)
        for one in found:
            score = one.score * (0.75 if one.overlap < longest else 1.0)
            if one.dropped and ask.parsed.key_word in words.LABELS:
                # The `label_code` of a label is no part of the name of a `release_label`.
                score *= 0.6
            match = self._weak_match if one.is_weak else self._match
            yield from match(ask, one.target, score, one.why)
        if len(stem) >= 2 and stem[-1] in words.SELF_WORDS and stem[:-1] == ask.source.words:
            yield from self._match(ask, ask.source, 0.93, f"it is another row of {ask.source.table.name}")
        if ask.parsed.key_word and not longest:
            yield from self._by_first_words(ask)

    def _own_rows(self, ask: Ask, alias: tuple[str, ...]) -> list[Fit]:
        """`parent_visit_detail_id` is a self reference, `visit_detail_type_id` is not one."""
        role = ask.stem[: max(0, len(ask.stem) - len(alias))]
        if not role or ask.stem[len(role) :] != alias:
            return []
        own = role[-1] in words.SELF_WORDS or role[0] in words.SELF_WORDS
        if not own and not ask.parsed.key_word:
            return []
        # A word that does not say how two rows relate may as well say whose number it is: `acme_order_id`.
        known = any(w in words.RELATING for w in role)
        foreign = any(w in words.FOREIGN for w in role)
        score = 0.3 if foreign else 0.95 if own else 0.84 if known else 0.5
        return [Fit(ask.source, len(alias), score, f"it is another row of {ask.source.table.name}")]

    def _prefer_relatives(self, ask: Ask, found: list[Fit]) -> list[Fit]:
        """Between `nodes` and `current_nodes`: the one that shares more of the source table's own name."""
        family = [f for f in found if f.dropped and f.score >= RELATIVE * 0.9 and key_for(ask, f.target)]
        exact = [f for f in found if f.is_exact]
        if not family:
            return found
        stem, columns = ask.stem, ask.source.parsed.values()
        named_apart = any(p.stem == (*f.dropped, *stem) for f in family for p in columns)
        if exact and (ask.source.words[: len(stem)] == stem or named_apart):
            # `editor_subscribe_artist.editor` is the editor, whatever else begins with his name.
            return [f if f.is_exact else replace(f, score=f.score * 0.6) for f in found]
        nearest = max(len(f.dropped) for f in family)
        return [
            f if f in family and len(f.dropped) == nearest else replace(f, score=f.score * 0.7) for f in found
        ]

    def _by_first_words(self, ask: Ask) -> Iterator[NameMatch]:
        """The column's words are how a table begins: `gpx_id` → `gpx_files`."""
        stem = ask.stem
        begun = [
            e
            for e in self._words.by_first.get(stem[0], ())
            if e is not ask.source and len(e.words) > len(stem) and e.words[: len(stem)] == stem
        ]
        shortest = min((len(e.words) for e in begun), default=0)
        leaders = [e for e in begun if len(e.words) == shortest]
        for target in begun:
            # `gpx_id` is one of the `gpx_files`, but `company_id` is none of the `company_users`.
            plain = all(word in words.CONTAINERS for word in target.words[len(stem) :])
            score = 0.35 if target not in leaders else 0.72 if plain and len(leaders) == 1 else 0.45
            if ask.column.name in target.parsed:
                # `movie_info` has a `movie_id` itself, so it is none of the movies.
                score *= 0.25
            yield from self._match(ask, target, score, f"{target.table.name} begins with it")

    def _by_head(self, ask: Ask) -> Iterator[NameMatch]:
        """The table comes first, its role behind: `partner_shipping_id`. A weak hint, for values to confirm."""
        stem = ask.stem
        for cut in range(len(stem) - 1, 0, -1):
            spaces = (stem[:cut], (ask.source.namespace, *stem[:cut]))
            for target in filter(None, (self._words.exactly(s) for s in spaces)):
                yield from self._match(ask, target, 0.5, f"it begins with the name of {target.table.name}")

    def _by_same_key(self, ask: Ask) -> Iterator[NameMatch]:
        """The column is called exactly like another table's key; without `id`, if that is known to be one."""
        known_only = not ask.parsed.key_word
        if known_only and len(ask.stem) < 2:
            return
        owners = [
            (e, k) for e, k in self._words.by_key_name.get(ask.column.name.lower(), ()) if e is not ask.source
        ]
        for target, key in owners:
            if not compatible(ask.column, key.column, ask.parsed.strong):
                continue
            if known_only and not (key.declared or key.proven):
                continue
            home = self._words.home_strength(target, key) >= 2
            score = (0.98 if home else 0.9 if len(owners) == 1 else 0.5) * key.likely
            if key.composite and not all(part in ask.source.parsed for part in key.composite):
                score *= 0.05
            if (
                not home
                and not (key.declared or key.proven)
                and self._words.names_other_table(key.stem, target)
            ):
                score *= 0.25
            why = f"{ask.column.name} is also the key of {target.table.name}"
            yield NameMatch(target.table.name, key.column.name, score, why)

    def _by_self(self, ask: Ask) -> Iterator[NameMatch]:
        """`parent_id`, `reports_to`: another row of the same table."""
        stem, entry = ask.stem, ask.source
        pure = all(w in words.SELF_WORDS or w in _ROW_WORDS for w in stem) and set(stem) & words.SELF_WORDS
        people = bool(entry.words) and entry.words[-1] in words.PEOPLE_TABLES
        boss = stem[-1] in words.HIERARCHY_ROLES or (stem[0] in words.HIERARCHY_ROLES and stem[-1] == "to")
        if (entry.table.name, ask.column.name) in self._shapes:
            return
        if pure and (ask.parsed.key_word or stem[0] == "parent"):
            yield from self._match(ask, entry, 0.93, f"it is another row of {entry.table.name}")
        elif people and boss:
            yield from self._match(
                ask, entry, 0.96, f"it is a person's superior, and {entry.table.name} holds people"
            )

    def _by_role(self, ask: Ask) -> Iterator[NameMatch]:
        """`created_by`, `assignee_id`: a person in a role, so a table of people."""
        role = _person_role(ask.parsed)
        if not role or any(word in words.FOREIGN for word in ask.stem):
            return
        staff = bool(set(ask.stem) & words.STAFF_ROLES)
        ranked = []
        for target, weight in self._words.people:
            if any(compatible(ask.column, key.column, ask.parsed.strong) for key in target.keys):
                near = staff and target.words[-1] in words.STAFF_TABLES
                ranked.append((target, max(weight, 0.97) if near else weight))
        top = max((weight for _, weight in ranked), default=0.0)
        # Persons beside employees: the word does not say which of them.
        unsure = sum(weight > 0.93 * top for _, weight in ranked) > 1
        for target, weight in ranked:
            score = role * (0.65 + 0.35 * weight) if weight == top else role * weight * weight / top * 0.6
            if unsure:
                score *= 0.7
            why = f"it is a person's role, and {target.table.name} holds people"
            yield from self._weak_match(ask, target, score, why)

    def _by_agent(self, ask: Ask) -> Iterator[NameMatch]:
        """`ship_via`, `supplied_by`: a verb and a preposition, and a table of those who do it."""
        stem = ask.stem
        if len(stem) < 2 or stem[-1] not in _AGENT_PREPOSITIONS:
            return
        for agent in words.agents(stem[-2]):
            for alias, target, weight in self._words.by_last.get(agent, ()):
                score = 0.9 * weight * (0.9 if len(alias) > 1 else 1.0)
                why = f"{target.table.name} are those who {stem[-2]}"
                yield from self._weak_match(ask, target, score, why)

    def _by_compact_suffix(self, ask: Ask) -> Iterator[NameMatch]:
        """Names run together: `billtoaddress` ends like `address`, `territory` is the end of `salesterritory`."""
        joined = "".join(ask.stem)
        if len(joined) < 4:
            return
        begins = {0: 0} | {end: n + 1 for n, end in enumerate(accumulate(map(len, ask.stem)))}
        for start in range(len(joined) - 3):
            rest = self._words.by_compact.get(joined[start:])
            if not rest:
                continue
            tail = ask.stem[begins[start] :] if start in begins else ()
            role = words.singular(joined[:start])
            for target, weight in rest:
                if tail and tail in (target.words, target.raw_words):
                    continue  # Its words have been looked at already, one by one.
                if target is not ask.source or start:
                    unsaid = role in words.FOREIGN or (target is ask.source and role not in words.RELATING)
                    score = (0.97 if start == 0 else 0.5 if unsaid else 0.85) * weight
                    yield from self._match(ask, target, score, f"it ends in the name of {target.table.name}")
            return
        for target, weight in self._words.by_compact_end.get(joined, ()):
            if target is not ask.source and target.words[-len(ask.stem) :] != ask.stem:
                yield from self._match(
                    ask, target, 0.75 * weight, f"the name of {target.table.name} ends in it"
                )

    def _by_abbreviation(self, ask: Ask) -> Iterator[NameMatch]:
        stem = without_adjectives(ask.stem)
        if self._words.exactly(stem[-1:]):
            return
        pool = self._words.by_letter.get(stem[-1][0], ())
        self._budget -= len(pool)
        if self._budget < 0:
            return
        for alias, target in pool:
            likeness = words.abbreviates(stem[-1], alias[-1]) or words.abbreviates(alias[-1], stem[-1])
            if not likeness or target is ask.source:
                continue
            pairs = list(zip(stem, alias, strict=False))
            whole = len(stem) == len(alias) and all(a == b or words.abbreviates(a, b) for a, b in pairs)
            if whole and any(a == b for a, b in pairs):
                score = max(likeness, 0.88)
            elif whole:
                score = likeness
            else:
                near = target.namespace and target.namespace == ask.source.namespace
                score = likeness * (0.85 ** (len(stem) + len(alias) - 2)) * (1.0 if near else 0.8)
            why = f"{stem[-1]} may be short for {target.table.name}"
            yield from self._weak_match(ask, target, score, why)


def _person_role(parsed: ParsedName) -> float:
    """How surely the column's words name a person in a role, 0 to 1."""
    stem = parsed.stem
    if set(stem) & words.MACHINES:
        return 0.0
    if stem[-1] == "by" and len(stem) > 1:
        return 0.95 if words.is_passive(stem[-2]) else 0.8
    if "by" in stem[1:-1] and stem[-1] in words.PERSON_ROLES:
        return 0.95
    if stem[-1] in ("to", "from") and len(stem) > 1 and parsed.key_word:
        return 0.93 if stem[-1] == "to" and stem[-2] in words.GIVEN_TO else 0.5
    if stem[-1] in words.PERSON_ROLES:
        return 0.93 if parsed.key_word else 0.85
    return 0.82 if parsed.key_word == "uid" else 0.0
