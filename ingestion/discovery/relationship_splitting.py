"""Words of names that are run together: `salesorderheaderid` → sales order header id.

The lexicon is the database's own: words that stand alone somewhere, names of tables, what columns are called
before `id`; with the commonest nouns and role words of business databases to part the rest. Databases whose
names have separators are left as they are.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from ingestion.discovery import relationship_words as words

_COMMON = words.word_set(
    """account action activity address agent amount answer approval area article artist assembly asset author
    balance bank base batch bill billing board body book branch budget building bundle business cancel candidate
    card cart category change channel charge chart city class client code color column comment company contact
    content contract cost country coupon course create created credit culture currency customer data date day
    delivery department description detail device direction discount district division document domain driver
    email employee end entity entry event exchange expense facility factor fare feature file first flight form
    from game group head header history home hour image index industry info inventory invoice issue item job
    journal key label language last league lesson level line link list loan location log mail main manager map
    market material max media member menu message method min mode model modified month name new node note number
    object offer office option order organization origin owner package page parent part party password patient
    payment pay period permission person phone photo place plan player point policy position post price priority
    process product profile program project property province purchase quantity question queue quota race rate
    rating reason receipt record reference region release report request reservation resource result review
    reviewer role room round route routing rule sale sales sample schedule school score season section sector
    segment series service session set setting shift ship shipping shop size source special stage standing start
    state statistic status step stock stop store street student style subject supplier support system table tag
    target task tax team template term territory test text theme ticket time title to token topic total tour
    track transaction transfer type unit update updated user value vehicle vendor venue version view visit volume
    warehouse week weight word work year zone"""
)
_QUALIFYING = words.word_set(
    """active actual alternate approved assigned assignee author buyer by changed checked closed creator current
    default deleted driver edited entered final invited issued last main managed new next old opened owned
    parent posted previous primary received recipient recorded rep reported requested requester resolved
    reviewed secondary seller sender sent shipped source submitted supervisor target verified via"""
)
"""Words that say in which role, or when; alone they are hardly ever a table."""

_SUFFIXES = sorted(words.KEY_WORDS - {"pk", "sk", "fk", "rk", "cd", "idx", "ident"}, key=len, reverse=True)
_LEAST_ATOM = 3
_LEAST_REST = 4
_LEAST_BEGUN = 3
_LONGEST = 60
_SEPARATED_SHARE = 0.6


class Splitter:
    """Splits the names of one database; the same name always gives the same words."""

    def __init__(self, tables: Sequence[str], columns: Iterable[str], schemas: Iterable[str] = ()) -> None:
        """`columns` without the prefix that all columns of their table share."""
        self._columns = list(columns)
        self._tables, self._schemas = list(tables), list(schemas)
        self._known: dict[str, tuple[str, ...]] = {}

    def split(self, name: str) -> list[str]:
        """Lower-case words of a name, those run together parted where the database does so throughout."""
        parts = words.split_words(name)
        if not self.is_compact:
            return parts
        found: list[str] = []
        for part in parts:
            found += self._pieces(part)
        return found

    def stems(self, name: str) -> tuple[str, ...]:
        return tuple(words.singular(word) for word in self.split(name))

    @cached_property
    def is_compact(self) -> bool:
        """Whether long names of this database are mostly one word."""
        long = [name for name in {*self._tables, *self._columns} if len(name) >= 10]
        separated = sum(len(words.split_words(name)) > 1 for name in long)
        return bool(long) and separated < _SEPARATED_SHARE * len(long)

    @cached_property
    def _lexicon(self) -> frozenset[str]:
        """Atoms of this database: candidates that are not themselves made of shorter ones."""
        counts: Counter[str] = Counter()
        for name in (*self._tables, *self._schemas):
            counts.update(words.split_words(name))
        for name in self._columns:
            for part in words.split_words(name):
                counts[_without_key_word(part)] += 1
        atoms = {a for a in (_COMMON | _QUALIFYING | words.KEY_WORDS) if len(a) >= 2}
        atoms |= self._fronts(counts, atoms)
        for candidate in sorted(counts, key=lambda c: (len(c), c)):
            if _LEAST_ATOM <= len(candidate) <= _LONGEST and candidate.isalpha():
                pieces = _cheapest(candidate, atoms)
                if len(pieces) < 2 or any(p not in atoms and words.singular(p) not in atoms for p in pieces):
                    atoms.add(candidate)
                    atoms.add(words.singular(candidate))
        return frozenset(atoms)

    def _fronts(self, counts: Counter[str], atoms: set[str]) -> set[str]:
        """Beginnings that several names share before words that are known or a table: `drug` of `drugconcept`."""
        tables = {part for name in (*self._tables, *self._schemas) for part in words.split_words(name)}
        known = atoms | {t for t in tables if len(t) >= _LEAST_REST} | {words.singular(t) for t in tables}
        fronts: set[str] = set()
        for candidate in counts:
            if candidate in known or len(candidate) > _LONGEST or not candidate.isalpha():
                continue
            pieces = _cheapest(candidate, known)
            if len(pieces) > 1 and not _is_atom(pieces[0], known) and len(pieces[0]) >= _LEAST_ATOM:
                fronts.add(pieces[0])
        ordered = sorted(counts)
        return {front for front in fronts if _begun_with(front, ordered) >= _LEAST_BEGUN}

    def _pieces(self, part: str) -> tuple[str, ...]:
        known = self._known.get(part)
        if known is None:
            plain = len(part) < 5 or len(part) > _LONGEST or not part.isalpha()
            known = (part,) if plain else _cheapest(part, self._lexicon)
            self._known[part] = known
        return known


def _begun_with(front: str, ordered: Sequence[str]) -> int:
    """How many of the names, in order, begin so."""
    return bisect.bisect_left(ordered, front + "\uffff") - bisect.bisect_left(ordered, front)


def _without_key_word(part: str) -> str:
    for suffix in _SUFFIXES:
        if part.endswith(suffix) and len(part) - len(suffix) >= _LEAST_ATOM:
            return part[: -len(suffix)]
    return part


def _cheapest(text: str, atoms: frozenset[str] | set[str]) -> tuple[str, ...]:
    """The split into fewest known words; letters of no known word stay together and cost more than any.

    A split that leaves unknown letters anywhere but at the very front is not made.
    """
    best: list[tuple[float, tuple[str, ...]]] = [(0.0, ())]
    for end in range(1, len(text) + 1):
        options: list[tuple[float, tuple[str, ...]]] = [(3.0 + 0.5 * end, (text[:end],))]
        for start in range(max(0, end - 24), end):
            piece = text[start:end]
            if _is_atom(piece, atoms):
                cost, before = best[start]
                options.append((cost + (1.0 if len(piece) > 3 else 1.4), (*before, piece)))
        best.append(min(options, key=lambda option: (option[0], len(option[1]))))
    return best[-1][1]


def _is_atom(piece: str, atoms: frozenset[str] | set[str]) -> bool:
    if len(piece) < 2:
        return False
    return piece in atoms or (len(piece) > 3 and piece.endswith("s") and words.singular(piece) in atoms)
