"""How fast rows settle, and how long the rest will take: rows and seconds of work, older ones weighing less."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

RATE_MEMORY_S: Final = 20.0
"""A batch weighs 1/e of a new one after this many seconds of work."""
SETTLED_BATCHES: Final = 4
SETTLED_S: Final = 3.0
"""Before so many batches and seconds of work nothing is said about the time left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Rows and seconds of work, older ones weighing less; their quotient is the rate.

    A quotient of two averages, unlike an average of quotients, is not thrown by batches that arrive together,
    as they do from parallel partitions. `mark_s` is the work clock at the last batch.
    """

    rows: float = 0.0
    seconds: float = 0.0
    mark_s: float = 0.0
    batches: int = 0
    worked_s: float = 0.0
    run_rows: int = 0

    def after(self, rows: int, clock_s: float) -> Pace:
        """With a batch of `rows` that was settled at `clock_s`."""
        gap = max(0.0, clock_s - self.mark_s)
        fade = math.exp(-gap / RATE_MEMORY_S)
        return Pace(
            rows=self.rows * fade + rows,
            seconds=self.seconds * fade + gap,
            mark_s=max(self.mark_s, clock_s),
            batches=self.batches + 1,
            worked_s=self.worked_s + gap,
            run_rows=self.run_rows + rows,
        )

    def rate(self, clock_s: float) -> float:
        """Rows a second as of `clock_s`; sinks when batches stay away for longer than usual."""
        if not self.batches:
            return 0.0
        usual = 2 * self.worked_s / self.batches
        idle = max(0.0, clock_s - self.mark_s - usual)
        fade = math.exp(-idle / RATE_MEMORY_S)
        seconds = self.seconds * fade + idle
        return self.rows * fade / seconds if seconds > 0 else 0.0

    def eta(self, remaining: int, clock_s: float) -> float | None:
        """Seconds until `remaining` rows are settled; None before the rate has settled, or when it is nought."""
        if remaining <= 0 or self.batches < SETTLED_BATCHES or self.worked_s < SETTLED_S:
            return None
        rate = self.rate(clock_s)
        return remaining / rate if rate > 1e-6 else None
