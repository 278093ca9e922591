"""The guided way through an ingest: its steps, which of them are done, what comes next, and why.

Pure: `standing` turns facts into marks, `says` into a sentence. Nothing here has to be obeyed: every screen
opens at any time, and a step that somebody went past is marked as skipped, never asked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app import formatting

SCOPES = ("connect", "schema", "plan", "run", "verify")
"""The screens that show the guide."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step: `goal` is what the key for the next step would do, `done_by` the actions that are it."""

    name: str
    goal: str
    scope: str
    action: str
    done_by: frozenset[str] = frozenset()


STEPS: tuple[Step, ...] = (
    Step("connect", "connect", "connect", "app.go_connect"),
    Step("discover", "discover", "schema", "app.go_schema"),
    Step("choose", "choose", "plan", "app.go_plan"),
    Step(
        "preview", "preview a row", "plan", "plan.preview", frozenset({"plan.preview", "schema.preview"})
    ),
    Step("run", "run", "run", "plan.start"),
    Step("verify", "verify", "verify", "run.verify"),
    Step(
        "report", "save the report", "run", "run.report",
        frozenset({"run.report", "jobs.report", "verify.save"}),
    ),
)  # fmt: skip
NAMES = tuple(step.name for step in STEPS)
BY_NAME = {step.name: step for step in STEPS}
_STEP_OF_ACTION = {action: step.name for step in STEPS for action in step.done_by}


def step_done_by(action_id: str) -> str | None:
    """The step that this action is, None for most."""
    return _STEP_OF_ACTION.get(action_id)


@dataclass(frozen=True, slots=True)
class GuideFacts:
    """What the guide judges by. `taken` are steps that count as done because the user went through them."""

    configured: bool = False
    connected: bool = False
    connect_problem: bool = False
    tables: int | None = None
    relations: int = 0
    discovering: bool = False
    schema_problem: bool = False
    included: int = 0
    job: str = ""
    """Status of the watched job, empty without one."""
    job_active: bool = False
    verified: bool | None = None
    """Whether everything was equal; None before a verification."""
    verifying: bool = False
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Standing:
    """`marks` by step: done, next, open, skipped, busy, problem. `next` is None at the end of the way."""

    marks: tuple[str, ...]
    next: Step | None


def standing(facts: GuideFacts) -> Standing:
    """Where the user is. The next step is the first one behind the last that is done."""
    done = _done(facts)
    last = max((index for index, name in enumerate(NAMES) if name in done), default=-1)
    following = last + 1
    if facts.job_active:
        following = NAMES.index("run")
    marks = []
    for index, name in enumerate(NAMES):
        if (name == "connect" and facts.connect_problem) or (name == "discover" and facts.schema_problem):
            marks.append("problem")
        elif name in done:
            marks.append("done")
        elif name == "run" and facts.job_active:
            marks.append("busy")
        elif index < following:
            marks.append("skipped")
        elif index == following:
            under_way = {"discover": facts.discovering, "verify": facts.verifying}.get(name, False)
            marks.append("busy" if under_way else "next")
        else:
            marks.append("open")
    return Standing(tuple(marks), STEPS[following] if following < len(STEPS) else None)


def _done(facts: GuideFacts) -> set[str]:
    done = set(facts.taken)
    if facts.connected:
        done.add("connect")
    if facts.tables is None:
        done.discard("discover")
    elif facts.job:
        done.add("discover")
    if facts.job_active:
        return (done | {"choose"}) - {"run", "verify", "report"}
    if facts.job:
        done |= {"choose", "run"} if facts.job in {"completed", "partial"} else {"choose"}
    if facts.verified is not None and "run" in done:
        done.add("verify")
    return done


def step_of_screen(scope: str, place: Standing) -> Step:
    """The step that a screen stands for; Plan and Run stand for several, one after the other."""
    upcoming = place.next.name if place.next is not None else ""
    if scope == "plan" and upcoming in {"preview", "run"}:
        return BY_NAME[upcoming]
    if scope == "run" and upcoming in {"verify", "report"}:
        return BY_NAME[upcoming]
    if scope == "verify" and upcoming == "report":
        return BY_NAME["report"]
    return next(step for step in STEPS if step.scope == scope)


def says(step: Step, facts: GuideFacts) -> str:
    """One sentence or two about a step as things stand, short enough for 80 columns."""
    return _SAYS[step.name](facts)


def _choose_says(facts: GuideFacts) -> str:
    taken = f"{facts.included} of {facts.tables or 0} tables taken"
    return f"{taken}: space toggles, + and - take patterns."


def _connect_says(facts: GuideFacts) -> str:
    if facts.connected:
        return "Source and index answer. The source is only ever read."
    if facts.connect_problem:
        return "One side is not ready: its panel says why. t tests again."
    if facts.configured:
        return "Asking the source and the index who they are."
    return "Say where the rows are and where they go, or b for a sandbox."


def _discover_says(facts: GuideFacts) -> str:
    if facts.discovering:
        return "Reading tables, rows, keys, times, files and references."
    if facts.schema_problem:
        return "The schema could not be read. r tries again."
    if facts.tables is None:
        return "r reads tables, keys, times, files and references."
    found = f"{formatting.plural(facts.tables, 'table')}, {facts.relations:,} references"
    return f"{found}. Enter follows one, i says why."


def _run_says(facts: GuideFacts) -> str:
    if facts.job_active:
        return "p pauses, x stops at a checkpoint, d leaves it running."
    return "s starts. The job goes on when you leave, and can be stopped."


def _verify_says(facts: GuideFacts) -> str:
    if facts.verifying:
        return "Comparing source and index, table by table."
    if facts.verified is None:
        return "Each row is in the index or among the failures: is that so?"
    return "Everything is equal." if facts.verified else "Not everything is equal: m mends."


_SAYS: dict[str, Callable[[GuideFacts], str]] = {
    "connect": _connect_says,
    "discover": _discover_says,
    "choose": _choose_says,
    "preview": lambda facts: "v shows a row beside its exact document. Nothing is written.",
    "run": _run_says,
    "verify": _verify_says,
    "report": lambda facts: "w saves what was read, indexed and failed, and why.",
}


def hint(place: Standing, facts: GuideFacts, scope: str) -> str:
    """What the key for the next step does from this screen; empty where it does nothing."""
    if place.next is None:
        return "7 mends, 8 searches"
    step = after_here(place, scope)
    if step.name == "run" and facts.job_active:
        return "" if scope == "run" else "watch the job"
    return "" if step.scope == scope and scope in {"connect", "verify"} else step.goal


def after_here(place: Standing, scope: str) -> Step:
    """The step to go to from this screen: choosing has no end of its own, so going on from Plan ends it."""
    assert place.next is not None
    if place.next.name == "choose" and scope == "plan":
        return BY_NAME["preview"]
    return place.next
