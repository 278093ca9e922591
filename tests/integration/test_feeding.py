"""Feeding against a real HTTP server that misbehaves as Vespa can."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ingestion import errors
from ingestion.vespa import client, feeding
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation

ACKNOWLEDGED = {"pathId": "/document/v1/…", "id": "id:…"}

Respond = Callable[[str, int], web.StreamResponse | None]


class Scripted:
    """A server that answers what `respond(user_id, attempt)` says; None breaks the connection."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.seen: Counter[str] = Counter()
        self.order: list[str] = []
        self.at_once = self.most_at_once = 0
        self.bodies: dict[str, object] = {}
        self.queries: dict[str, str] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        user = request.path.rsplit("/", 1)[1]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if request.method == "GET":
                return web.json_response({**ACKNOWLEDGED, "fields": {"read_seq": 7}})
            self.seen[user] += 1
            self.order.append(user)
            self.queries[user] = unquote(request.query_string)
            if request.can_read_body:
                self.bodies[user] = await request.json()
            await asyncio.sleep(0)
            response = self.respond(user, self.seen[user])
            if response is None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return response
        finally:
            self.at_once -= 1


@asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[tuple[Scripted, client.VespaSession]]:
    script = Scripted(respond)
    app = web.Application(client_max_size=2**27)
    app.router.add_route("*", "/document/v1/{rest:.*}", script.handle)
    async with (
        TestServer(app) as server,
        client.VespaSession(client.build(str(server.make_url("/")))) as session,
    ):
        yield script, session


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(feeding, "LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(feeding, "BLOCKED_WAIT_S", 0.01)


def put(user: str, seq: int = 7) -> Operation:
    return Operation("put", "procore_record", user, seq, {"doc_id": user})


def ok(user: str, attempt: int) -> web.Response:
    return web.json_response(ACKNOWLEDGED)


def status(code: int, message: str = "no") -> web.Response:
    return web.json_response({"message": message}, status=code)


async def test_a_friendly_page_of_somebody_else_is_no_acknowledgement() -> None:
    def respond(user: str, attempt: int) -> web.Response:
        if attempt < 3:
            return web.Response(text="<html>Sign in to the network</html>", content_type="text/html")
        return web.json_response(ACKNOWLEDGED)

    async with serving(respond) as (script, session):
        (outcome,) = await Feeder(session).feed([put("a")])
        assert (outcome.verdict, script.seen["a"]) == (Verdict.ACCEPTED, 3)
        with pytest.raises(errors.VespaUnavailable, match="is not Vespa: <html>Sign in"):
            await Feeder(session, deadline_s=0.0).feed([put("b")])


async def test_outcomes_come_in_the_order_of_the_operations() -> None:
    def respond(user: str, attempt: int) -> web.Response:
        return {
            "a": web.json_response(ACKNOWLEDGED),
            "b": status(400, "bad field"),
            "c": status(412),
            "d": status(413),
        }[user]

    async with serving(respond) as (_, session):
        outcomes = await Feeder(session).feed([put(user) for user in "abcd"])
    assert [o.verdict for o in outcomes] == [
        Verdict.ACCEPTED, Verdict.REFUSED, Verdict.SUPERSEDED, Verdict.REFUSED
    ]  # fmt: skip
    assert outcomes[1].message == "bad field"


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, None])
async def test_what_may_pass_is_tried_again(code: int | None) -> None:
    def respond(user: str, attempt: int) -> web.Response | None:
        if attempt < 3:
            return None if code is None else status(code)
        return web.json_response(ACKNOWLEDGED)

    async with serving(respond) as (script, session):
        outcomes = await Feeder(session).feed([put("a"), put("b")])
    assert [o.verdict for o in outcomes] == [Verdict.ACCEPTED] * 2
    assert script.seen == {"a": 3, "b": 3}


@pytest.mark.parametrize("code", [400, 412, 413])
async def test_what_is_final_is_asked_once(code: int) -> None:
    async with serving(lambda user, attempt: status(code)) as (script, session):
        await Feeder(session).feed([put("a")])
    assert script.seen["a"] == 1


async def test_a_put_whose_answer_was_lost_is_not_taken_for_superseded() -> None:
    """The first attempt took effect, its answer was lost; the second runs into our own read_seq."""

    async with serving(lambda user, attempt: None if attempt == 1 else status(412)) as (_, session):
        mine, other = await Feeder(session).feed([put("a", seq=7), put("b", seq=6)])
    assert mine.verdict is Verdict.ACCEPTED
    assert other.verdict is Verdict.SUPERSEDED


@pytest.mark.parametrize(("code", "error"), [(429, errors.VespaUnavailable), (507, errors.VespaBlocked)])
async def test_patience_ends_at_the_deadline(code: int, error: type[Exception]) -> None:
    waits: list[tuple[str, float]] = []
    async with serving(lambda user, attempt: status(code, "limit reached")) as (script, session):
        feeder = Feeder(
            session, deadline_s=0.1, on_backoff=lambda reason, wait_s: waits.append((reason, wait_s))
        )
        with pytest.raises(error, match="limit reached"):
            await feeder.feed([put("a"), put("b")])
    assert waits
    assert all(wait > 0 for _, wait in waits)
    assert script.seen["a"] < 200


async def test_a_vespa_that_is_not_there_is_one_clear_error() -> None:
    async with client.VespaSession(client.build("http://127.0.0.1:1")) as session:
        with pytest.raises(errors.VespaUnavailable, match=r"127\.0\.0\.1:1") as caught:
            await Feeder(session, deadline_s=0.05).feed([put("a")])
    assert "--vespa-url" in caught.value.hint


async def test_requests_under_way_stay_within_the_limit_over_all_callers() -> None:
    async with serving(ok) as (script, session):
        feeder = Feeder(session, max_in_flight=4)
        await asyncio.gather(*(feeder.feed([put(f"{n}x{i}") for i in range(50)]) for n in range(3)))
    assert script.most_at_once <= 4 + 2  # a caller always keeps one of its own
    assert feeder.stats.operations == 150


async def test_operations_on_one_id_keep_their_order() -> None:
    bodies: list[int] = []

    def respond(user: str, attempt: int) -> web.Response:
        bodies.append(attempt)
        return status(429) if attempt in (1, 3) else web.json_response(ACKNOWLEDGED)

    async with serving(respond) as (script, session):
        operations = [Operation("put", "procore_record", "same", seq, {"n": seq}) for seq in range(1, 6)]
        outcomes = await Feeder(session).feed(operations)
        assert len(outcomes) == 5
    assert script.most_at_once == 1
    assert script.bodies["same"]["fields"]["n"] == 5  # type: ignore[index]


async def test_refusals_lower_the_limit_and_success_raises_it() -> None:
    async with serving(
        lambda u, attempt: status(429) if attempt == 1 else web.json_response(ACKNOWLEDGED)
    ) as (
        _,
        session,
    ):
        feeder = Feeder(session, max_in_flight=64)
        before = feeder.stats.limit
        await feeder.feed([put("a")])
        lowered = feeder.stats.limit
        await feeder.feed([put(str(i)) for i in range(400)])
    assert lowered < before
    assert feeder.stats.retries == 401


async def test_cancelling_a_feed_ends_it_at_once() -> None:
    async with serving(lambda user, attempt: status(503)) as (_, session):
        task = asyncio.create_task(Feeder(session, deadline_s=60).feed([put(str(i)) for i in range(20)]))
        while not any(t.get_name() == "feed" for t in asyncio.all_tasks()):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [t for t in asyncio.all_tasks() if t.get_name() == "feed" and not t.done()]


async def test_a_put_carries_condition_create_and_source() -> None:
    async with serving(ok) as (script, session):
        await Feeder(session).feed([put("a~20b", seq=9), Operation("remove", "procore_record", "gone", 9)])
    assert script.bodies["a~20b"] == {"fields": {"doc_id": "a~20b", "read_seq": 9, "source": "procore"}}
    assert "condition=procore_record.read_seq < 9" in script.queries["a~20b"]
    assert "create=true" in script.queries["a~20b"]
    assert "create" not in script.queries["gone"]


async def test_a_refused_login_stops_the_feed() -> None:
    async with serving(lambda user, attempt: status(401, "who are you")) as (_, session):
        with pytest.raises(errors.VespaUnavailable, match="who are you"):
            await Feeder(session).feed([put("a")])
