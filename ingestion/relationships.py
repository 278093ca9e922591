"""Implied references between tables: what names, types and values say together, and when to abstain.

For each column the tables it may point to compete with each other and with "none of them": names give the
odds before, values multiply them. What wins clearly is asserted, what leads is a candidate, and a column that
is called like a reference and leads nowhere is external. Works without any evidence, on names alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ingestion.discovery.relationship_elements import LIST, Elements
from ingestion.discovery.relationship_keys import Key
from ingestion.discovery.relationship_names import NameMatch, NameMatcher
from ingestion.discovery.relationship_parsing import compatible
from ingestion.discovery.relationship_weight import Pair, PairEvidence, weigh
from ingestion.schema_discovery import Column, Decisions, ExternalColumn, ImplicitRelationship, Table

ASSERT_AT = 0.7
"""Least probability of an asserted relation; `tests/benchmarks/relationships.py` shows what others would do."""

STAY_AT = 0.5
"""Least probability at which a relation that was asserted before still is: a guess that moves by a hair as rows
come must not have a table's documents made anew."""

CANDIDATE_AT = 0.15
_SHARPNESS = 1.5
"""Exponent of the odds that names give: above 1 a clear leader wins over near rivals."""


_ROLE_ENDS = (
    "_ids", "_IDs", "Ids", "IDs", "_uuids", "_id", "_ID", "Id", "ID", "_uuid", "_key", "_fk", "_code",
)  # fmt: skip


@dataclass(slots=True)
class Inference:
    """What was concluded; each list in the order of tables and columns."""

    relationships: list[ImplicitRelationship] = field(default_factory=list)
    candidates: list[ImplicitRelationship] = field(default_factory=list)
    external: list[ExternalColumn] = field(default_factory=list)
    rejected: list[ImplicitRelationship] = field(default_factory=list)

    def reject(self, relation: ImplicitRelationship) -> None:
        """File what the operator said is none, with what had spoken for it."""
        relation.evidence.insert(0, "rejected by the operator")
        self.rejected.append(relation)

    def settle_typed(self, relations: Sequence[ImplicitRelationship], decisions: Decisions) -> None:
        """Assert references that hold for rows of one type; one that the operator accepted keeps its type."""
        allowed = []
        for relation in relations:
            verdict = decisions.get((relation.source_table, relation.source_column, relation.target_table))
            if verdict is False:
                self.rejected = [r for r in self.rejected if not _same(r, relation)]
                self.reject(relation)
                continue
            if verdict:
                relation.basis, relation.confidence = "operator", 1.0
                relation.evidence.insert(0, "accepted by the operator")
                self.relationships = [r for r in self.relationships if not _same(r, relation)]
            allowed.append(relation)
        self.settle(allowed)

    def settle(self, relations: Sequence[ImplicitRelationship]) -> None:
        """Assert these; their columns are no candidates and no external ones any more."""
        columns = {(r.source_table, r.source_column) for r in relations}
        self.relationships += relations
        self.candidates = [c for c in self.candidates if (c.source_table, c.source_column) not in columns]
        self.external = [e for e in self.external if (e.table, e.column) not in columns]


@dataclass(slots=True)
class _Option:
    match: NameMatch
    weight: float
    evidence: PairEvidence | None
    reasons: list[str]
    probability: float = 0.0


@dataclass(frozen=True, slots=True)
class _Known:
    """All that a decision about one column rests on."""

    matcher: NameMatcher
    evidence: Mapping[Pair, PairEvidence]
    extra: Mapping[tuple[str, str], Sequence[NameMatch]]
    tested: Collection[tuple[str, str]]
    decisions: Mapping[tuple[str, str], Mapping[str, bool]]
    assert_at: float
    before: Collection[tuple[str, str, str]] = ()


def infer(
    tables: Sequence[Table],
    *,
    matcher: NameMatcher | None = None,
    declared: Sequence[ImplicitRelationship] = (),
    evidence: Mapping[Pair, PairEvidence] | None = None,
    extra: Mapping[tuple[str, str], Sequence[NameMatch]] | None = None,
    tested: Collection[tuple[str, str]] = (),
    decisions: Decisions | None = None,
    assert_at: float = ASSERT_AT,
    before: Collection[tuple[str, str, str]] = (),
) -> Inference:
    """Relations of `tables`. Declared foreign keys are taken as they are; `decisions` override everything.

    `extra` holds targets that only values suggest (no name does), by (table, column); `tested` the columns
    whose values were held against all tables, `before` what was asserted last time, as (table, column, target).
    """
    matcher = matcher or NameMatcher(tables)
    verdicts: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for (source, column_name, target), accepted in (decisions or {}).items():
        verdicts[source, column_name][target] = accepted
    known = _Known(matcher, evidence or {}, extra or {}, tested, verdicts, assert_at, before)
    result = Inference()
    for relation in declared:
        if is_allowed(relation, decisions or {}):
            result.relationships.append(relation)
        else:
            result.reject(relation)
    taken = {(r.source_table, r.source_column) for r in declared}
    for table in tables:
        chosen: dict[str, ImplicitRelationship] = {}
        for column in table.columns:
            if (table.name, column.name) in taken:
                continue
            winner = _settle(table, column, _options(table, column, known), known, result)
            if winner is not None:
                chosen[column.name] = winner
        _add_composite_members(table, chosen, matcher, result)
    by_name = {t.name: t for t in tables}
    _follow_namesakes(by_name, known, result)
    _add_accepted(by_name, matcher, result, decisions or {})
    _add_rejected(by_name, result, decisions or {})
    return result


def is_allowed(relation: ImplicitRelationship, decisions: Decisions) -> bool:
    """Whether the operator has not rejected this relation."""
    return decisions.get((relation.source_table, relation.source_column, relation.target_table)) is not False


def _options(table: Table, column: Column, known: _Known) -> list[_Option]:
    """The targets in question with their odds; probabilities are shares of all odds and of "none"."""
    matches = [("name", match) for match in known.matcher.candidates(table, column)]
    matches += [("values alone", match) for match in known.extra.get((table.name, column.name), ())]
    options = []
    for basis, match in matches:
        found = known.evidence.get((table.name, column.name, match.table, match.key))
        exponent = _SHARPNESS * _logit(match.score)
        reasons = [f"{basis}: {match.why}"]
        if found is not None:
            gain, said = weigh(found)
            exponent += gain
            reasons += said
        options.append(_Option(match, math.exp(min(exponent, 40.0)), found, reasons))
    _prefer_smallest(column.name, options)
    # Many weak likenesses are no more than one: they must not outvote the one strong name.
    weak = sum(option.weight for option in options if option.weight < 1)
    total = 1.0 + min(weak, 0.5) + sum(option.weight for option in options if option.weight >= 1)
    for option in options:
        option.probability = option.weight / max(total, 1.0 + option.weight)
    options.sort(key=lambda o: (-o.probability, o.match.table))
    return options


def _prefer_smallest(column: str, options: list[_Option]) -> None:
    """Of several tables that share the key's name and hold all values, the one with the fewest rows is nearest.

    An employee is a person is a party: what refers to employees is found in all three.
    """
    holding = [
        o
        for o in options
        if o.match.key.lower() == column.lower()
        and o.evidence
        and o.evidence.sampled
        and o.evidence.share >= 0.98
    ]
    if len(holding) < 2:
        return
    fewest = min(o.evidence.target_rows for o in holding if o.evidence)
    for option in holding:
        assert option.evidence is not None
        nearest = option.evidence.target_rows == fewest
        option.weight *= math.exp(2.0 if nearest else -2.0)
        if nearest:
            option.reasons.append(f"nearest: of {len(holding)} tables with this key it has the fewest rows")


def _settle(
    table: Table, column: Column, options: list[_Option], known: _Known, result: Inference
) -> ImplicitRelationship | None:
    """File the column under relationships, candidates or external columns; return what was asserted."""
    asserted = None
    verdicts = known.decisions.get((table.name, column.name), {})
    by_hand = any(verdicts.values())
    inside = known.matcher.elements(table.name, column.name)
    for rank, option in enumerate(options):
        verdict = verdicts.get(option.match.table)
        if by_hand and verdict is None:
            continue
        relation = _relation(table, column, option, known.matcher)
        if verdict is False:
            result.reject(relation)
            continue
        if verdict:
            relation.basis, relation.confidence = "operator", 1.0
            relation.evidence.insert(0, "accepted by the operator")
            result.relationships.append(relation)
            asserted = relation
        elif rank == 0 and option.probability >= _least(table, column, option, known):
            result.relationships.append(relation)
            asserted = relation
        elif option.probability >= CANDIDATE_AT and not (inside is not None and inside.embedded):
            result.candidates.append(relation)
    if asserted is None and not by_hand and known.matcher.is_reference_like(table, column):
        best = max((o.probability for o in options if verdicts.get(o.match.table) is not False), default=0.0)
        if best < CANDIDATE_AT:
            reason = _external_reason(table, column, options, known.matcher)
            tested = (table.name, column.name) in known.tested
            tested = tested or any(o.evidence is not None and o.evidence.sampled > 0 for o in options)
            result.external.append(ExternalColumn(table.name, column.name, reason, tested))
    return asserted


def _least(table: Table, column: Column, option: _Option, known: _Known) -> float:
    was = (table.name, column.name, option.match.table) in known.before
    return min(STAY_AT, known.assert_at) if was else known.assert_at


def _relation(table: Table, column: Column, option: _Option, matcher: NameMatcher) -> ImplicitRelationship:
    found = option.evidence
    unique = found.source_unique if found else None
    inside = matcher.elements(table.name, column.name)
    held = matcher.held(table, column)
    key_type = next(k.column for k in matcher.keys(option.match.table) if k.column.name == option.match.key)
    reasons = list(option.reasons)
    if inside is not None:
        reasons.append(f"inside: {'each value is ' if inside.how == LIST else ''}{inside.how}")
    if key_type.data_type != held.data_type:
        reasons.append(f"types: {held.data_type} against {key_type.data_type}")
    else:
        reasons.append(f"types: both {held.data_type}")
    type_column = matcher.polymorphic_type(table, column)
    return ImplicitRelationship(
        source_table=table.name,
        source_column=column.name,
        target_table=option.match.table,
        target_column=option.match.key,
        confidence=round(min(option.probability, 0.999), 3),
        evidence=reasons,
        orphan_share=None if found is None or found.orphan_share is None else round(found.orphan_share, 4),
        cardinality=_cardinality(unique, inside),
        relation=role_of(column.name),
        type_column=type_column.name if type_column and found and found.type_value is not None else None,
        type_value=found.type_value if found else None,
    )


def _cardinality(unique: bool | None, inside: Elements | None) -> str:
    if inside is not None:
        return "many_to_many" if inside.how == LIST else "many_to_one"
    return "" if unique is None else "one_to_one" if unique else "many_to_one"


def role_of(column: str) -> str:
    """The role that a column's name gives to its reference: `created_by_id` → `created_by`."""
    for suffix in _ROLE_ENDS:
        if column.endswith(suffix) and len(column) > len(suffix):
            return column[: -len(suffix)].rstrip("_")
    return column.strip("_") or column


def _external_reason(table: Table, column: Column, options: list[_Option], matcher: NameMatcher) -> str:
    typed = matcher.polymorphic_type(table, column)
    if typed is not None:
        return f"{typed.name} says which kind of thing it names, and no table of this database fits"
    tested = [o.evidence for o in options if o.evidence and o.evidence.sampled]
    named = " ".join(matcher.parsed(table.name, column.name).words).removesuffix(" ids")
    near = [o.match.table for o in options if o.match.score >= 0.3]
    if tested and near:
        count = max(e.sampled for e in tested)
        return f"its {count:,} sampled values are not keys of {' or '.join(near[:3])}, the nearest by name"
    return f"no table is called like {named!r}"


def _follow_namesakes(tables: Mapping[str, Table], known: _Known, result: Inference) -> None:
    """Columns without values follow those of the same name that have some.

    `company_id` of an empty table is no reference where all other `company_id`s were found to be none, and
    `contractor_id` refers to the vendors where another one's values did.
    """
    proven: dict[str, set[str]] = defaultdict(set)
    example: dict[str, str] = {}
    for relation in result.relationships:
        if relation.orphan_share is not None and relation.source_table != relation.target_table:
            proven[relation.source_column.lower()].add(relation.target_table)
            example.setdefault(relation.source_column.lower(), relation.source_table)
    for external in result.external:
        if external.tested:
            proven[external.column.lower()].add("")
            example.setdefault(external.column.lower(), external.table)
    for kept, asserted in ((result.relationships, True), (result.candidates, False)):
        dropped = set()
        for place, relation in enumerate(kept):
            name = relation.source_column.lower()
            weak = relation.confidence < 0.96 or not asserted
            if (
                relation.basis == "inferred"
                and relation.orphan_share is None
                and weak
                and proven.get(name) == {""}
            ):
                dropped.add(place)
                reason = f"as in {example[name]}, where its values are keys of no table"
                result.external.append(ExternalColumn(relation.source_table, relation.source_column, reason))
        kept[:] = [relation for place, relation in enumerate(kept) if place not in dropped]
    asserted_columns = {(r.source_table, r.source_column) for r in result.relationships}
    open_columns = {(e.table, e.column) for e in result.external if not e.tested}
    open_columns |= {(c.source_table, c.source_column) for c in result.candidates if c.orphan_share is None}
    followed = []
    for source, column in sorted(open_columns - asserted_columns):
        targets = proven.get(column.lower(), set())
        if len(targets) == 1 and "" not in targets:
            found = _like_namesake(
                tables, known, source, column, next(iter(targets)), example[column.lower()]
            )
            if found is not None:
                followed.append(found)
    result.settle(followed)


def _like_namesake(
    tables: Mapping[str, Table], known: _Known, source: str, name: str, target: str, example: str
) -> ImplicitRelationship | None:
    key = known.matcher.keys(target)[0].column
    rejected = known.decisions.get((source, name), {}).get(target) is False
    if rejected or source == target or not compatible(tables[source].column(name), key, True):
        return None
    return ImplicitRelationship(
        source,
        name,
        target,
        key.name,
        confidence=0.85,
        evidence=[f"namesake: in {example} the values of {name} are keys there"],
        relation=role_of(name),
    )


def _add_composite_members(
    table: Table, chosen: Mapping[str, ImplicitRelationship], matcher: NameMatcher, result: Inference
) -> None:
    """A reference to one part of a key of several columns takes the parts of the same name along."""
    for column_name, relation in chosen.items():
        target = relation.target_table
        key = next((k for k in matcher.keys(target) if k.column.name == relation.target_column), None)
        if key is None or not key.composite:
            continue
        for part in _other_parts(key, table, chosen):
            result.relationships.append(
                ImplicitRelationship(
                    table.name,
                    part,
                    target,
                    part,
                    confidence=relation.confidence,
                    evidence=[f"together with {column_name} it names the whole key of {target}"],
                    relation=relation.relation,
                )
            )


def _other_parts(key: Key, table: Table, chosen: Mapping[str, ImplicitRelationship]) -> list[str]:
    parts = [p for p in key.composite if p != key.column.name]
    return parts if all(table.has_column(p) and p not in chosen for p in parts) else []


def _add_accepted(
    tables: Mapping[str, Table], matcher: NameMatcher, result: Inference, decisions: Decisions
) -> None:
    """Relations that the operator accepted though nothing suggested them."""
    known = {(r.source_table, r.source_column, r.target_table) for r in result.relationships}
    for (source, column, target), accepted in decisions.items():
        if not accepted or (source, column, target) in known or source not in tables or target not in tables:
            continue
        if not tables[source].has_column(column):
            continue
        target_column = _key_of(tables[target], matcher)
        result.relationships.append(
            ImplicitRelationship(
                source,
                column,
                target,
                target_column,
                evidence=["accepted by the operator"],
                basis="operator",
                relation=role_of(column),
            )
        )
        result.relationships = [
            r
            for r in result.relationships
            if r.basis != "inferred" or (r.source_table, r.source_column) != (source, column)
        ]
        result.candidates = [
            c for c in result.candidates if (c.source_table, c.source_column) != (source, column)
        ]
        result.external = [e for e in result.external if (e.table, e.column) != (source, column)]


def _add_rejected(tables: Mapping[str, Table], result: Inference, decisions: Decisions) -> None:
    """Rejected references that nothing suggests any more stay listed, so that they can be taken back."""
    listed = {(r.source_table, r.source_column, r.target_table) for r in result.rejected}
    for (source, column, target), accepted in decisions.items():
        if accepted or (source, column, target) in listed:
            continue
        if source in tables and tables[source].has_column(column) and target in tables:
            key = next(iter(tables[target].key_columns), "id")
            result.reject(
                ImplicitRelationship(source, column, target, key, confidence=0.0, relation=role_of(column))
            )


def _key_of(table: Table, matcher: NameMatcher) -> str:
    """The column by which rows of `table` are most likely referred to."""
    keys = matcher.keys(table.name)
    if keys:
        return keys[0].column.name
    return next(iter(table.key_columns), "") or (table.columns[0].name if table.columns else "id")


def _same(one: ImplicitRelationship, other: ImplicitRelationship) -> bool:
    """Whether both lead from one column to one table."""
    return (one.source_table, one.source_column, one.target_table) == (
        other.source_table,
        other.source_column,
        other.target_table,
    )


def _logit(probability: float) -> float:
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(probability / (1 - probability))
