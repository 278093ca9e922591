"""What sampled values make of a possible reference: how much they add to what names say, and that in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

_TRUE_HIT_RATES = ((0.998, 0.75), (0.95, 0.15), (0.75, 0.07), (0.4, 0.03))
"""(share of values found, how common) among real references: most are clean, some hold many orphans."""

_MOST_VALUES = 40
"""Values that count: more of them add no certainty, because errors of a column are not independent."""

_MOST_SUPPORT, _MOST_DOUBT = 9.0, -7.0
"""Limits in nats of what values may add to, or take from, what names say."""

Pair = tuple[str, str, str, str]
"""(source table, source column, target table, target column)."""


@dataclass(frozen=True, slots=True)
class PairEvidence:
    """What sampled values say about one pair.

    `chance` is the share of values that would be found if the column held unrelated values of its own range.
    `reach` is the largest value as a share of the largest key, None for keys that are no numbers.
    `rows`/`rows_found` weigh the values by the rows that hold them.
    `scope_checked`/`scope_agreed`: rows whose project, company or the like could be compared with the target's.
    """

    sampled: int
    found: int
    chance: float
    target_rows: int
    target_unique: bool = True
    reach: float | None = None
    scope: str = ""
    scope_checked: int = 0
    scope_agreed: int = 0
    source_unique: bool | None = None
    type_value: str | None = None
    rows: int = 0
    rows_found: int = 0

    @property
    def orphan_share(self) -> float | None:
        """Share of the rows with a sampled value whose value no row of the target has."""
        if self.rows:
            return (self.rows - self.rows_found) / self.rows
        return None if not self.sampled else (self.sampled - self.found) / self.sampled

    @property
    def share(self) -> float:
        """Share found: of the distinct values, or midway to that of the rows where the strays are rare.

        A column of thirty projects and thirty stray numbers in ten thousand rows is a clean reference.
        """
        distinct = self.found / self.sampled if self.sampled else 0.0
        by_rows = self.rows_found / self.rows if self.rows else distinct
        return max(distinct, (distinct + by_rows) / 2)


def weigh(found: PairEvidence) -> tuple[float, list[str]]:
    """What sampled values add to the log odds of a reference, and that in words."""
    if not found.sampled:
        return 0.0, ["values: the column holds none, so only its name speaks"]
    said = []
    if not found.target_rows:
        return -3.0, [f"values: {found.sampled:,} distinct ones, but the target has no rows"]
    count = min(found.sampled, _MOST_VALUES)
    hits, misses = found.share * count, (1 - found.share) * count
    chance = min(max(found.chance, 1e-6), 0.9999)
    as_reference = math.log(
        sum(
            share * math.exp(hits * math.log(rate) + misses * math.log1p(-rate))
            for rate, share in _TRUE_HIT_RATES
        )
    )
    as_chance = hits * math.log(chance) + misses * math.log1p(-chance)
    gain = as_reference - as_chance
    if found.share < 0.5 and found.sampled >= 5:
        gain = min(gain, -2.0) - 3.0 * (1 - found.share)
    orphans = found.orphan_share or 0.0
    rows = f", {orphans:.1%} of the rows are orphans" if found.rows and orphans else ""
    said.append(f"values: {found.found:,} of {found.sampled:,} distinct sampled ones exist there{rows}")
    if chance >= 0.5:
        said.append(f"by chance alone {chance:.0%} would, so this proves little")
    elif found.share >= 0.5:
        said.append("by chance hardly any would" if chance < 0.01 else f"by chance {chance:.0%} would")
    if found.reach is not None and chance >= 0.5 and found.sampled >= 8:
        if found.reach < 0.1:
            gain -= 1.5
            said.append(f"they use only the lowest {found.reach:.0%} of the keys")
        elif 0.7 <= found.reach <= 1.0:
            gain += 0.7
            said.append("they spread over all the keys")
    if chance >= 0.5 and found.share < 0.97 and found.sampled >= 20:
        # Among serial numbers strays are what chance leaves, not what a reference loses.
        gain -= 1.5
    if not found.target_unique:
        gain -= 4.0
        said.append("the target's column is not unique")
    if found.scope_checked >= 5 and found.scope_agreed >= 0.9 * found.scope_checked:
        # Agreement speaks for a reference; without it the shared column may just be no scope.
        gain += 1.5
        share = found.scope_agreed / found.scope_checked
        said.append(
            f"scope: {found.scope} is the same on both rows for {share:.0%} of {found.scope_checked:,}"
        )
    return min(max(gain, _MOST_DOUBT), _MOST_SUPPORT), said
