"""Feeding through a network and a Vespa that fail: nothing is lost, nothing is taken for what it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from faults import (
    Answer,
    Cut,
    Delay,
    Fault,
    FaultProxy,
    Hang,
    Reset,
    always,
    every,
    first,
    never,
    writes,
)

from ingestion import errors
from ingestion.vespa import client, feeding, visiting
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation

ACCEPTED = Verdict.ACCEPTED


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(feeding, "LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(feeding, "BLOCKED_WAIT_S", 0.01)
    monkeypatch.setattr(client, "CLIENT_TIMEOUT_S", 0.2)


@pytest.fixture
async def proxy(vespa_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(vespa_url) as started:
        yield started


@pytest.fixture
async def session(proxy: FaultProxy, namespace: str) -> AsyncIterator[client.VespaSession]:
    async with client.VespaSession(client.build(proxy.url), namespace=namespace) as opened:
        yield opened


def put(key: str, seq: int = 7) -> Operation:
    return Operation("put", client.RECORD, f"t:{key}", seq, {"doc_id": f"t:{key}", "source_table": "t"})


def remove(key: str, seq: int = 8) -> Operation:
    return Operation("remove", client.RECORD, f"t:{key}", seq)


async def stored(session: client.VespaSession) -> dict[str, int]:
    """Key → read_seq of every document in the index."""
    return {r.key: r.read_seq async for page in visiting.records_of_table(session, "t") for r in page}


@pytest.mark.parametrize(
    "fault",
    [
        Answer(429),
        Answer(503),
        Answer(503, html=True),
        Answer(502, html=True),
        Answer(504),
        Answer(507),
        Answer(500, acted=True),
        Answer(504, acted=True),
        Reset(),
        Reset(acted=True),
        Cut(0),
        Cut(20),
        Cut(90),
        Delay(0.02),
        Hang(),
    ],
    ids=repr,
)
async def test_every_document_arrives_and_is_told_as_accepted(
    fault: Fault, proxy: FaultProxy, session: client.VespaSession
) -> None:
    proxy.plan = writes(every(7, fault))
    keys = [str(number) for number in range(30)]
    outcomes = await Feeder(session).feed([put(key) for key in keys])
    assert [outcome.verdict for outcome in outcomes] == [ACCEPTED] * 30
    outcomes = await Feeder(session).feed([remove(key) for key in keys[:5]])
    assert [outcome.verdict for outcome in outcomes] == [ACCEPTED] * 5
    assert await stored(session) == dict.fromkeys(keys[5:], 7)


async def test_faults_of_all_kinds_in_turn_keep_the_order_of_one_id(
    proxy: FaultProxy, session: client.VespaSession
) -> None:
    faults = (Answer(429), Reset(acted=True), Answer(503), Cut(10), Answer(504, acted=True), Reset())
    proxy.plan = writes(every(2, *faults))
    outcomes = await Feeder(session).feed([put("one", seq) for seq in range(1, 9)])
    assert [outcome.verdict for outcome in outcomes] == [ACCEPTED] * 8
    assert await stored(session) == {"one": 8}


async def test_an_older_reading_stays_superseded_although_its_answer_was_lost(
    proxy: FaultProxy, session: client.VespaSession
) -> None:
    await Feeder(session).feed([put("1", 9)])
    proxy.plan = writes(first(Reset(acted=True), Answer(504)))
    (outcome,) = await Feeder(session).feed([put("1", 8)])
    assert outcome.verdict is Verdict.SUPERSEDED
    assert await stored(session) == {"1": 9}


async def test_finding_out_what_became_of_a_lost_answer_may_fail_too(
    proxy: FaultProxy, session: client.VespaSession
) -> None:
    # The put is done but not heard of, the second one meets our own read_seq, and so do the questions after it.
    proxy.plan = first(Reset(acted=True), Answer(412), Answer(503), Cut(20), Answer(429))
    (outcome,) = await Feeder(session).feed([put("1")])
    assert outcome.verdict is ACCEPTED
    assert proxy.exchanges >= 6


async def test_a_blocked_vespa_ends_the_feed_by_name_and_the_next_feed_completes_it(
    proxy: FaultProxy, session: client.VespaSession
) -> None:
    proxy.plan = writes(lambda exchange: Answer(507, "disk full") if exchange.number > 10 else None)
    keys = [str(number) for number in range(20)]
    with pytest.raises(errors.VespaBlocked, match="disk full"):
        await Feeder(session, deadline_s=0.05).feed([put(key) for key in keys])
    proxy.plan = never
    outcomes = await Feeder(session).feed([put(key, 8) for key in keys])
    assert [outcome.verdict for outcome in outcomes] == [ACCEPTED] * 20
    assert await stored(session) == dict.fromkeys(keys, 8)


async def test_a_vespa_that_goes_away_and_comes_back_takes_the_rest(
    proxy: FaultProxy, session: client.VespaSession
) -> None:
    told: list[float] = []
    feeder = Feeder(session, on_backoff=lambda reason, wait_s: told.append(wait_s))
    proxy.down()
    feed = asyncio.create_task(feeder.feed([put(str(number)) for number in range(30)]))
    while feeder.stats.retries < 30:
        await asyncio.sleep(0)
    await proxy.up()
    assert [outcome.verdict for outcome in await feed] == [ACCEPTED] * 30
    assert told[0] > 0
    assert told[-1] == 0


async def test_a_vespa_that_hangs_is_given_up_at_the_deadline_or_by_cancelling(
    proxy: FaultProxy, session: client.VespaSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.plan = writes(always(Hang()))
    feed = asyncio.create_task(Feeder(session).feed([put("1")]))
    while not proxy.exchanges:
        await asyncio.sleep(0)
    feed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feed
    with pytest.raises(errors.VespaUnavailable, match="timed out"):
        await Feeder(session, deadline_s=0.1).feed([put("1")])


async def test_reading_through_a_broken_network_is_an_error_with_a_next_step(
    proxy: FaultProxy, session: client.VespaSession
) -> None:
    await Feeder(session).feed([put("1")])
    for fault in (Reset(), Cut(30), Answer(503, html=True)):
        proxy.plan = always(fault)
        with pytest.raises(errors.VespaUnavailable) as caught:
            await stored(session)
        assert caught.value.hint
