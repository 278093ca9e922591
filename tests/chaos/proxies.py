"""What befalls requests to Vespa and connections to PostgreSQL in a run: drawn from its seed, told by name."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.faults import Answer, Cut, Delay, Exchange, Fault, FaultProxy, Reset


@dataclass(slots=True)
class Faults:
    """One in about `every` occasions is hit, at most `budget` in all; `done` counts them by name."""

    rng: random.Random
    every: int
    budget: int
    done: Counter[str] = field(default_factory=Counter)

    def strikes(self) -> bool:
        if self.budget <= 0 or self.rng.random() * self.every >= 1:
            return False
        self.budget -= 1
        return True

    def told(self, name: str, fault: Fault) -> Fault:
        self.done[name] += 1
        return fault


def befall_vespa(proxy: FaultProxy, faults: Faults) -> None:
    """Resets, bursts of refusals, delays and broken answers, before or after Vespa did as it was asked."""
    burst: list[Fault] = []

    def plan(exchange: Exchange) -> Fault | None:
        rng = faults.rng
        if burst and exchange.method != "GET":
            return burst.pop()
        if not faults.strikes():
            return None
        kinds: list[tuple[str, Fault]] = [
            ("reset", Reset()),
            ("lost answer", Reset(acted=True)),
            ("cut answer", Cut(rng.randint(1, 250))),
            ("delay", Delay(0.02 + 0.06 * rng.random())),
            ("early 504", Answer(504)),
            ("late 504", Answer(504, acted=True)),
            ("one 500", Answer(500)),
            ("one 507", Answer(507)),
            # What a captive portal or a misled load balancer answers: nothing has been stored.
            ("page 200", Answer(200, html=True)),
            ("page 200 late", Answer(200, html=True, acted=True)),
        ]
        for status in (429, 502, 503):
            kinds.append((f"burst {status}", Answer(status)))
        name, fault = rng.choice(kinds)
        if name.startswith("burst"):
            burst.extend([fault] * rng.randint(1, 20))
        return faults.told(name, fault)

    proxy.plan = plan


def befall_postgres(proxy: FaultProxy, faults: Faults) -> None:
    """Connections that are refused, late, or end in the middle of whatever the server was saying."""

    def plan(exchange: Exchange) -> Fault | None:
        if not faults.strikes():
            return None
        kind = faults.rng.choice(("refused", "cut", "cut", "cut", "late"))
        if kind == "refused":
            return faults.told("connection refused", Reset())
        if kind == "late":
            return faults.told("connection late", Delay(0.03))
        # A handful of bytes is the handshake, tens of thousands are rows.
        return faults.told("connection cut", Cut(int(10 ** faults.rng.uniform(1, 5))))

    proxy.plan = plan
