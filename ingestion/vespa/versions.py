"""What each version of the application package changed, and what deploying it over an older one asks for.

A version that only adds fields is deployed over any older one without more. Any other names the validations
of Vespa that must be overridden, and the document types to feed again
(https://docs.vespa.ai/en/reference/schemas/schemas.html#modifying-schemas).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One version; `overrides` are ids such as `field-type-change`, `feed_again` names document types."""

    version: int
    what: str
    overrides: tuple[str, ...] = ()
    feed_again: tuple[str, ...] = ()


CHANGES: tuple[Change, ...] = (
    Change(1, "records, files and tables"),
    # A summary field made from an indexed one is filled while indexing ("Changes that require reindexing").
    Change(
        2,
        "lean summaries with a snippet; tables say what their columns are for and who refers to them",
        overrides=("indexing-change",),
        feed_again=("procore_record", "procore_file", "procore_schema"),
    ),
)


def feed_again(deployed: int, needed: int, changes: Sequence[Change] = CHANGES) -> tuple[str, ...]:
    """Document types that must be fed again after `needed` is deployed over `deployed` (0: nothing was there)."""
    if deployed == 0:
        return ()
    named = [name for change in changes if deployed < change.version <= needed for name in change.feed_again]
    return tuple(dict.fromkeys(named))
