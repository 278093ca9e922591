"""The plan being edited: patterns and single tables, always resolved against the tables there are.

Pure: every change gives a new draft. Patterns are kept as long as they say what is meant, so that a plan file
written today also takes the tables of tomorrow.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ingestion.plan import Plan


def _hits(pattern: str, name: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """`plan` with the names of all tables; `included` is what it takes of them."""

    plan: Plan
    names: tuple[str, ...] = ()
    included: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Every cell of a list asks for this: resolved once, when the draft is made.
        taken = frozenset(
            name
            for name in self.names
            if any(_hits(p, name) for p in self.plan.include)
            and not any(_hits(p, name) for p in self.plan.exclude)
        )
        object.__setattr__(self, "included", taken)

    def with_names(self, names: Sequence[str]) -> PlanDraft:
        """The same plan over another schema; single names that are gone are dropped."""
        known = set(names)
        keep = [
            tuple(p for p in patterns if p == "*" or p in known or any(_hits(p, n) for n in names))
            for patterns in (self.plan.include, self.plan.exclude)
        ]
        return PlanDraft(replace(self.plan, include=keep[0], exclude=keep[1]), tuple(names))

    def include_pattern(self, pattern: str) -> PlanDraft:
        """Take what the pattern matches: exclusions of those tables end."""
        matched = {name for name in self.names if _hits(pattern, name)}
        return self.set_included(self.included | matched, hint=pattern)

    def exclude_pattern(self, pattern: str) -> PlanDraft:
        """Leave out what the pattern matches; the pattern stays in the plan."""
        exclude = tuple(p for p in self.plan.exclude if not _hits(pattern, p))
        return self._with(self.plan.include, (*exclude, pattern))

    def toggle(self, names: Iterable[str]) -> PlanDraft:
        """Take them all when one of them is out, else leave them all out."""
        chosen = frozenset(names) & frozenset(self.names)
        included = self.included
        return self.set_included(included - chosen if chosen <= included else included | chosen)

    def take_all(self) -> PlanDraft:
        return self._with(("*",), ())

    def take_none(self) -> PlanDraft:
        return self._with((), ())

    def invert(self) -> PlanDraft:
        return self.set_included(frozenset(self.names) - self.included)

    def set_included(self, wanted: Iterable[str], hint: str = "") -> PlanDraft:
        """Exactly these tables, said with as many of the present patterns as still hold."""
        wanted = frozenset(wanted) & frozenset(self.names)
        everything = frozenset(self.names)
        if wanted == everything:
            return self.take_all()
        if not wanted:
            return self.take_none()
        include = [p for p in self.plan.include if any(_hits(p, n) for n in wanted)]
        exclude = [p for p in self.plan.exclude if not any(_hits(p, n) for n in wanted)]
        if hint and hint not in include and "*" not in include:
            include.append(hint)
        covered = {n for n in self.names if any(_hits(p, n) for p in include)}
        include += sorted(wanted - covered)
        # A single name inside a wider pattern says nothing.
        include = [p for p in include if not any(q != p and _hits(q, p) for q in include)]
        covered |= wanted
        left_out = {n for n in covered - wanted if not any(_hits(p, n) for p in exclude)}
        exclude += sorted(left_out)
        if len(exclude) > len(wanted):
            include, exclude = sorted(wanted), []
        return self._with(tuple(include), tuple(exclude))

    def toggle_mask(self, column: str) -> PlanDraft:
        """Mask `table.column` in the index, or no longer; a name with glob characters means only itself."""
        name = "".join(f"[{char}]" if char in "*?[" else char for char in column)
        mask = tuple(glob for glob in self.plan.mask if glob != name)
        if len(mask) == len(self.plan.mask):
            mask = (*mask, name)
        return replace(self, plan=replace(self.plan, mask=mask))

    def masks(self, column: str) -> bool:
        """Whether the plan's globs mask `table.column`."""
        return any(_hits(glob, column) for glob in self.plan.mask)

    def options(
        self,
        *,
        download_files: bool | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        file_workers: int | None = None,
    ) -> PlanDraft:
        """The same selection with other numbers; None keeps what is set."""
        return replace(
            self,
            plan=self.plan.override(
                download_files=download_files,
                batch_size=batch_size,
                workers=workers,
                file_workers=file_workers,
            ),
        )

    def _with(self, include: tuple[str, ...], exclude: tuple[str, ...]) -> PlanDraft:
        return replace(self, plan=replace(self.plan, include=include, exclude=exclude))
