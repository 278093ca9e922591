"""Whether the terminal is still there: not every session is told of its end by SIGHUP."""

from __future__ import annotations

import asyncio
import os
import sys

LOOK_S = 2.0
"""How often to look; what reads a terminal that is gone spins until somebody notices."""


async def until_gone() -> None:
    """Return once the terminal that standard input was at the start no longer answers; never without one."""
    if sys.__stdin__ is None or not os.isatty(terminal := sys.__stdin__.fileno()):
        await asyncio.Event().wait()
    while _answers(terminal):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(LOOK_S)


def _answers(terminal: int) -> bool:
    import termios

    try:
        termios.tcgetattr(terminal)
    except termios.error:
        return False
    return True
