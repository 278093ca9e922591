"""Who goes first when the processor is short: what a person looks at, before the work behind it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

NICENESS: Final = 10
_GROUP: Final = Path("/proc/self/autogroup")


def give_way() -> None:
    """Let processes of usual priority go first from now on, before this one and those that it starts."""
    with suppress(OSError):
        os.nice(max(0, NICENESS - os.nice(0)))
    give_way_as_a_session()


def give_way_as_a_session() -> None:
    """What a process inherited, for its session too: Linux weighs sessions, not processes (sched(7), autogroup)."""
    with suppress(OSError):
        if _GROUP.exists():
            _GROUP.write_text(str(os.nice(0)))
