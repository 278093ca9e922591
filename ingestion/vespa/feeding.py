"""Feeding: document operations with bounded concurrency, retries by status, and order kept per id.

Statuses are judged as Vespa's document/v1 reference describes them: 429 and 503 ask for patience, 504 and a
lost connection leave the outcome unknown, 507 blocks all feed, 400 and 413 are final. Concurrency follows
additive increase, multiplicative decrease. Where the server speaks HTTP/2, the operations of a batch share
connections; an operation that is not simply accepted there goes on by itself over HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ingestion import errors
from ingestion.vespa.client import Answer, VespaSession, answer_of, not_vespa
from ingestion.vespa.feed_group import Group
from ingestion.vespa.multiplexing import LARGEST_BODY_BYTES, LOST, UNPROCESSED, Multiplexer
from ingestion.vespa.operations import Operation, Request, Requests, chains
from ingestion.vespa.reaching import connection_faults, unreachable

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 8.0
BLOCKED_WAIT_S = 10.0
TELL_EVERY_S = 1.0
"""Many operations back off at once; who listens hears of it this often."""
_RETRIED = frozenset({408, 429, 500, 502, 503, 504, 507})
_OUTCOME_UNKNOWN = frozenset({408, 500, 502, 504})
_MOST_SERVER_FAULTS = 5
TOGETHER_FROM = 32
"""Operations of one call that are worth connections on which they share."""
_NEGOTIATE_AGAIN_S = 60.0
_IN_FLIGHT_PER_CONNECTION = 32
_MOST_UNPROCESSED = 8


class Verdict(Enum):
    ACCEPTED = "accepted"
    SUPERSEDED = "superseded"
    """A reading at least as new is stored already (412)."""
    REFUSED = "refused"
    """Vespa will never take this operation as it is (400, 413, …)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    status: int
    message: str = ""


_ACCEPTED = Outcome(Verdict.ACCEPTED, 200)


@dataclass(frozen=True, slots=True)
class FeedStats:
    """Since the feeder was made; latencies in seconds over the latest operations."""

    operations: int
    retries: int
    in_flight: int
    limit: int
    latency_p50_s: float
    latency_p95_s: float
    backoff_s: float
    latency_p99_s: float = 0.0
    backoffs: int = 0
    """How often Vespa began to ask for patience; `backoff_s` are the seconds of all waits together."""


OnBackoff = Callable[[str, float], None]
"""Called with a reason and the seconds to wait; seconds 0 means that Vespa takes operations again."""


class Feeder:
    """Sends operations and says what became of each; safe to share between tasks feeding different ids.

    `max_in_flight` bounds the requests under way over all callers. An operation is retried for at most
    `deadline_s` seconds. Cancelling `feed` stops it at once; operations under way may or may not have taken
    effect, and feeding them again is harmless.
    """

    def __init__(
        self,
        session: VespaSession,
        *,
        max_in_flight: int = 64,
        deadline_s: float = 120.0,
        on_backoff: OnBackoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self._most = max(1, max_in_flight)
        self._limit = float(min(self._most, 24))
        self._deadline_s = deadline_s
        self.on_backoff = on_backoff or (lambda reason, wait_s: None)
        self._clock = clock
        self._active = 0
        self._latencies: deque[float] = deque(maxlen=1000)
        self._operations = self._retries = 0
        self._backoff_s, self._backoffs = 0.0, 0
        self._backing_off = False
        self._told_at = -TELL_EVERY_S
        self._requests = Requests(session)
        self._shared: Multiplexer | None = None
        self._negotiate_at = 0.0
        self._opening: asyncio.Task[bool] | None = None
        self._groups: deque[Group] = deque()
        self._sharing = 0

    @property
    def stats(self) -> FeedStats:
        ordered = sorted(self._latencies)
        p50, p95, p99 = (ordered[int(len(ordered) * q)] if ordered else 0.0 for q in (0.5, 0.95, 0.99))
        return FeedStats(
            self._operations, self._retries, self._active, int(self._limit), p50, p95, self._backoff_s, p99,
            self._backoffs,
        )  # fmt: skip

    def narrow(self, max_in_flight: int) -> None:
        """Have no more operations under way from now on; those that are end first."""
        self._most = max(1, max_in_flight)
        self._limit = min(self._limit, float(self._most))

    async def feed(self, operations: Sequence[Operation]) -> list[Outcome]:
        """What became of each operation, in their order.

        Operations on one id are sent one after the other. Raises errors.VespaUnavailable (VespaBlocked for
        507) once an operation's deadline is spent; what was sent before then may have taken effect.
        """
        outcomes: list[Outcome | None] = [None] * len(operations)
        waiting = deque(chains(operations))
        if len(waiting) >= TOGETHER_FROM and await self._share():
            return await self._feed_together(operations, waiting)

        async def drain() -> None:
            while waiting:
                for index in waiting.popleft():
                    outcomes[index] = await self._settle(operations[index])
                if self._active > self._limit and self._active > 1:
                    return

        while waiting:
            places = max(1, int(self._limit) - self._active)
            await _all_or_first_error([self._spawn(drain()) for _ in range(min(places, len(waiting)))])
        return [outcome for outcome in outcomes if outcome is not None]

    async def document(
        self, doc_type: str, user_id: str, *, until: float | None = None
    ) -> dict[str, Any] | None:
        """The stored document's fields, None where there is none; asked as patiently as operations are sent."""
        until = self._clock() + self._deadline_s if until is None else until
        attempt = 0
        while True:
            try:
                return await self.session.document(doc_type, user_id)
            except errors.VespaUnavailable as error:
                attempt += 1
                self._retries += 1
                wait_s = self._slow_down(attempt, None, error)
                if self._clock() + wait_s > until:
                    raise
                await asyncio.sleep(wait_s)

    # -- together -----------------------------------------------------------------------------------------

    async def _share(self) -> bool:
        """Whether there are connections that operations can share."""
        if self._shared is not None and not self._shared.lacks:
            return True
        if self._clock() < self._negotiate_at:
            return False
        if self._shared is None:
            await self.session.open()
            self._shared = self.session.multiplexer(-(-self._most // _IN_FLIGHT_PER_CONNECTION))
        if self._shared is None:
            self._negotiate_at = float("inf")
            return False
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(
                self._shared.open(self._answered, self._send_more), name="negotiate HTTP/2"
            )
        if await asyncio.shield(self._opening):
            return True
        self._negotiate_at = self._clock() + _NEGOTIATE_AGAIN_S
        return False

    async def _feed_together(
        self, operations: Sequence[Operation], chains: deque[Sequence[int]]
    ) -> list[Outcome]:
        """`feed` over shared connections, for chains of operations on one id each."""
        loop = asyncio.get_running_loop()
        group = Group(operations, deque(c[0] for c in chains if len(c) == 1), loop.create_future())
        for chain in chains:
            if len(chain) > 1:
                group.alone(self._chain(group, chain))
        self._groups.append(group)
        self._send_more()
        try:
            await group.finished
        finally:
            if group in self._groups:
                self._groups.remove(group)
            if group.under_way and self._shared is not None:
                self._shared.forget(lambda token: token[0] is group)
            self._sharing -= group.under_way
            self._active -= group.under_way
            await _cancel(list(group.tasks))
        return [outcome for outcome in group.outcomes if outcome is not None]

    async def _chain(self, group: Group, chain: Sequence[int]) -> None:
        for index in chain:
            group.outcomes[index] = await self._settle(group.operations[index])

    async def _one(self, group: Group, index: int, answer: Answer | None) -> None:
        """An operation that was not simply accepted, from its first answer on."""
        fault = ConnectionError("the connection was lost") if answer is None else None
        group.outcomes[index] = await self._settle(group.operations[index], (answer, fault))

    async def _plain(self, group: Group, index: int) -> None:
        group.outcomes[index] = await self._settle(group.operations[index])

    def _send_more(self) -> None:
        """Fill the connections as far as the bound on operations under way allows; groups take turns."""
        shared, groups = self._shared, self._groups
        if shared is None:
            return
        room = int(self._limit) - self._active or (1 if not self._active else 0)
        sent = False
        while room > 0 and groups:
            group = groups[0]
            if not group.waiting:
                groups.popleft()
                continue
            index = group.waiting[0]
            request = group.ready.pop(index, None) or self._requests.of(group.operations[index])
            method, target, body, gzipped = request
            if body is not None and len(body) > LARGEST_BODY_BYTES:
                group.waiting.popleft()
                group.alone(self._plain(group, index))
            elif shared.send((group, index, time.perf_counter()), method, target, body, gzipped):
                group.waiting.popleft()
                group.under_way += 1
                self._sharing += 1
                self._active += 1
                sent = True
            else:
                group.ready[index] = request
                break
            room -= 1
        if sent:
            shared.flush()
        elif groups and not self._sharing:
            # Nothing is under way that could bring us back here: the connections are gone.
            self._send_alone()

    def _send_alone(self) -> None:
        """What waits goes its own way, for want of connections to share; later calls look for new ones."""
        while self._groups:
            group = self._groups.popleft()
            waiting, group.waiting = group.waiting, deque()
            if waiting:
                group.alone(self._the_rest(group, waiting))

    async def _the_rest(self, group: Group, waiting: deque[int]) -> None:
        if await self._share():
            group.waiting.extend(waiting)
            self._groups.append(group)
            self._send_more()
            return

        async def drain() -> None:
            while waiting:
                await self._plain(group, waiting.popleft())

        await _all_or_first_error(
            [self._spawn(drain()) for _ in range(max(1, min(int(self._limit), len(waiting))))]
        )

    def _answered(self, token: tuple[Group, int, float], status: int, body: bytes) -> None:
        group, index, sent = token
        group.under_way -= 1
        self._sharing -= 1
        self._active -= 1
        if status == 200 and b'"pathId"' in body:
            self._settled(time.perf_counter() - sent)
            group.outcomes[index] = _ACCEPTED
        elif status == UNPROCESSED and group.unprocessed < _MOST_UNPROCESSED * len(group.operations):
            group.unprocessed += 1
            group.waiting.append(index)
            if group not in self._groups:
                self._groups.append(group)
        else:
            group.alone(self._one(group, index, answer_of(status, body) if status > LOST else None))
        group.check()

    # -- one by one ---------------------------------------------------------------------------------------

    def _spawn(self, drain: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Counted when made and uncounted by callback: a task cancelled before its first step runs nothing.
        self._active += 1
        task = asyncio.create_task(drain, name="feed")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._active -= 1

    async def _settle(
        self, operation: Operation, first: tuple[Answer | None, BaseException | None] | None = None
    ) -> Outcome:
        """One operation to its end; `first` is what came of an attempt that was made already."""
        request = self._requests.of(operation)
        started = self._clock()
        attempt, server_faults, unsure = 0, 0, False
        while True:
            sent = time.perf_counter()
            answer, fault = first or await self._attempt(request)
            first = None
            if answer is not None and not _asks_for_another_try(answer):
                self._settled(time.perf_counter() - sent)
                return await self._judge(operation, answer, unsure, started + self._deadline_s)
            # A success in another's words is no acknowledgement: a page of a proxy, or half an answer.
            unsure = unsure or answer is None or answer.status in _OUTCOME_UNKNOWN or answer.status == 200
            if answer is not None and answer.status == 500:
                server_faults += 1
                if server_faults >= _MOST_SERVER_FAULTS:
                    return Outcome(Verdict.REFUSED, 500, answer.message)
            attempt += 1
            self._retries += 1
            wait_s = self._slow_down(attempt, answer, fault)
            if self._clock() - started + wait_s > self._deadline_s:
                raise self._given_up(answer, fault)
            await asyncio.sleep(wait_s)

    async def _attempt(self, request: Request) -> tuple[Answer | None, BaseException | None]:
        try:
            answer = await self.session.send(
                request.method, request.target, request.body, gzipped=request.gzipped
            )
        except connection_faults() as error:
            return None, error
        return answer, None

    def _settled(self, seconds: float) -> None:
        """An operation has got its last answer."""
        self._latencies.append(seconds)
        self._operations += 1
        self._speed_up()

    async def _judge(self, operation: Operation, answer: Answer, unsure: bool, until: float) -> Outcome:
        if answer.status == 200:
            return _ACCEPTED
        if answer.status == 412:
            # A remove of what is gone is refused too; and aiohttp sends a DELETE once more by itself when a
            # kept connection breaks, so that we need not know of an earlier attempt.
            if (unsure or operation.kind == "remove") and await self._took_effect(operation, until):
                return _ACCEPTED
            return Outcome(Verdict.SUPERSEDED, 412, answer.message)
        if answer.status in (401, 403):
            raise errors.VespaUnavailable(
                f"Vespa refuses the login ({answer.status}: {answer.message})",
                hint="Check the certificate and key, or the token.",
            )
        return Outcome(Verdict.REFUSED, answer.status, answer.message)

    async def _took_effect(self, operation: Operation, until: float) -> bool:
        """Whether our own earlier attempt, whose answer was lost, is what the condition ran into."""
        stored = await self.document(operation.doc_type, operation.user_id, until=until)
        if operation.kind == "remove":
            return stored is None
        return stored is not None and stored.get("read_seq") == operation.read_seq

    def _speed_up(self) -> None:
        if self._backing_off:
            self._backing_off = False
            self.on_backoff("Vespa takes operations again", 0.0)
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def _slow_down(self, attempt: int, answer: Answer | None, fault: BaseException | None) -> float:
        # Only the first of a wave of refusals halves, or one burst of 429 would end at a limit of one.
        if attempt == 1 and not self._backing_off:
            self._limit = max(1.0, self._limit / 2)
        self._backoffs += not self._backing_off
        self._backing_off = True
        if answer is not None and answer.status == 507:
            wait_s = BLOCKED_WAIT_S
        else:
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30))
        wait_s *= 0.5 + random.random() / 2
        self._backoff_s += wait_s
        reason = f"{answer.status} {answer.message}" if answer is not None else f"{fault or 'no answer'}"
        now = self._clock()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self.on_backoff(reason, wait_s)
        return wait_s

    def _given_up(self, answer: Answer | None, fault: BaseException | None) -> errors.VespaUnavailable:
        if answer is None:
            return unreachable(self.session.url, fault or TimeoutError())
        if answer.status == 507:
            return errors.VespaBlocked(
                f"Vespa refuses feed, a disk or memory limit is reached: {answer.message}",
                hint="Free or add space on the content nodes, then resume the job.",
            )
        if answer.status == 200:
            return not_vespa(self.session.url, answer)
        return errors.VespaUnavailable(
            f"Vespa stayed overloaded for {self._deadline_s:.0f} s ({answer.status}: {answer.message})",
            hint="Resume the job later, or feed with fewer workers.",
        )


def _asks_for_another_try(answer: Answer) -> bool:
    return answer.status in _RETRIED or (answer.status == 200 and not answer.is_of_document_api)


async def _all_or_first_error(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all; the first error, or our own cancellation, cancels the others and waits for their end."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        await _cancel(tasks)
        raise
    failed = next((t for t in done if not t.cancelled() and t.exception() is not None), None)
    if failed is not None:
        await _cancel(tasks)
        error = failed.exception()
        assert error is not None
        raise error


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
