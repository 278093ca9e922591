"""Feeding over shared HTTP/2 connections: every operation has its own outcome, whatever befalls the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import errors
from ingestion.vespa import client, feeding, visiting
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.multiplexing import Channel, _status_of
from ingestion.vespa.operations import Operation

OK = b'{"pathId":"/document/v1/","id":"id:x"}'
COUNT = 200


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(feeding, "LONGEST_WAIT_S", 0.01)


def put(key: str, seq: int = 7, text: str = "") -> Operation:
    fields = {"doc_id": f"t:{key}", "source_table": "t", "content_text": text}
    return Operation("put", client.RECORD, f"t:{key}", seq, fields)


class Scripted:
    """An HTTP/2 server that counts what it takes; `script(n)` says what befalls the n-th request it is asked.

    Answers are a status, `"reset"`, `"refuse"`, `"leave"` (GOAWAY that takes nothing more) or `"cut"`. It speaks
    HTTP/1.1 on the same port for whoever goes on alone.
    """

    def __init__(self, script: Callable[[int], int | str]) -> None:
        self.script, self.asked, self.connections, self.alone = script, 0, 0, 0
        self.taken: set[str] = set()
        self.most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            start = await reader.readexactly(3)
            await (self._two(reader, writer, start) if start == b"PRI" else self._one(reader, writer, start))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: bytes) -> None:
        while True:
            head = start + await reader.readuntil(b"\r\n\r\n")
            start = b""
            size = next(
                (int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0
            )
            await reader.readexactly(size)
            self.alone += 1
            self.taken.add(head.split(b" ")[1].partition(b"?")[0].decode())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(OK), OK))

    async def _two(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: bytes) -> None:
        self.connections += 1
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        paths: dict[int, str] = {}
        data = start
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.headers is not None
                    assert event.stream_id is not None
                    paths[event.stream_id] = dict(event.headers)[b":path"].decode().partition("?")[0]
                    self.most = max(self.most, len(paths))
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id in paths:
                    path = paths.pop(event.stream_id)
                    self.asked += 1
                    what = self.script(self.asked)
                    if what == "cut":
                        return
                    if what == "leave":
                        connection.close_connection(last_stream_id=event.stream_id - 2)
                        writer.write(connection.data_to_send())
                        return
                    if what in ("reset", "refuse"):
                        code = (
                            h2.errors.ErrorCodes.REFUSED_STREAM
                            if what == "refuse"
                            else h2.errors.ErrorCodes.CANCEL
                        )
                        connection.reset_stream(event.stream_id, code)
                        continue
                    if what == 200:
                        self.taken.add(path)
                    connection.send_headers(
                        event.stream_id, [(":status", str(what)), ("x-padding", "y" * 40)]
                    )
                    connection.send_data(event.stream_id, OK, end_stream=True)
            writer.write(connection.data_to_send())
            await writer.drain()
            data = await reader.read(65536)


@asynccontextmanager
async def scripted(script: Callable[[int], int | str]) -> AsyncIterator[tuple[Scripted, client.VespaSession]]:
    served = Scripted(script)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client.VespaSession(client.build(url)) as session:
            yield served, session


@pytest.mark.parametrize("what", ["reset", "refuse", "leave", "cut", 429, 503, 504])
async def test_every_operation_is_accepted_whatever_befalls_some(what: int | str) -> None:
    async with scripted(lambda n: what if n % 50 == 7 else 200) as (served, session):
        feeder = Feeder(session)
        outcomes = await feeder.feed([put(str(number)) for number in range(COUNT)])
        assert [outcome.verdict for outcome in outcomes] == [Verdict.ACCEPTED] * COUNT
        assert len(served.taken) == COUNT
        assert feeder.stats.in_flight == 0


async def test_a_refused_operation_is_told_apart_from_those_beside_it() -> None:
    async with scripted(lambda n: {5: 400, 9: 412}.get(n, 200)) as (_, session):
        outcomes = await Feeder(session).feed([put(str(number)) for number in range(COUNT)])
    verdicts = [outcome.verdict for outcome in outcomes]
    assert (verdicts.count(Verdict.REFUSED), verdicts.count(Verdict.SUPERSEDED)) == (1, 1)
    assert verdicts.count(Verdict.ACCEPTED) == COUNT - 2


async def test_the_bound_on_operations_under_way_holds_over_shared_connections() -> None:
    async with scripted(lambda n: 200) as (served, session):
        await Feeder(session, max_in_flight=8).feed([put(str(number)) for number in range(COUNT)])
        assert (served.most <= 8, served.connections, served.alone) == (True, 1, 0)


async def test_a_document_too_large_to_share_goes_alone() -> None:
    async with scripted(lambda n: 200) as (served, session):
        large = put("large", text="x" * 200_000)
        outcomes = await Feeder(session).feed([large, *(put(str(number)) for number in range(COUNT))])
        assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
        assert (served.alone, len(served.taken)) == (1, COUNT + 1)


async def test_long_bodies_travel_compressed_over_shared_connections_to_a_distant_server(
    vespa_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.VespaSession, "is_local", False)
    sent: list[bool] = []
    send = Channel.send

    def noted(self: Channel, token: object, method: str, target: str, body: bytes, gzipped: bool) -> bool:
        sent.append(gzipped)
        return send(self, token, method, target, body, gzipped)

    monkeypatch.setattr(Channel, "send", noted)
    async with client.VespaSession(client.build(vespa_url), namespace=namespace) as session:
        operations = [put(str(number), text="word " * (number % 2 * 1000)) for number in range(COUNT)]
        outcomes = await Feeder(session).feed(operations)
        assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
        stored = await session.document(client.RECORD, "t:1")
    assert (sent.count(True), len(sent)) == (COUNT // 2, COUNT)
    assert stored is not None
    assert stored["content_text"] == "word " * 1000


async def test_a_server_that_is_gone_is_given_up_and_cancelling_leaves_nothing_under_way() -> None:
    async with scripted(lambda n: "cut") as (served, session):
        feeder = Feeder(session)
        task = asyncio.create_task(feeder.feed([put(str(number)) for number in range(COUNT)]))
        while not served.asked:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert feeder.stats.in_flight == 0
    with pytest.raises(errors.VespaUnavailable):
        await Feeder(session, deadline_s=0.05).feed([put(str(number)) for number in range(COUNT)])


async def test_several_callers_share_connections_and_each_gets_its_own_outcomes(
    vespa_url: str, namespace: str
) -> None:
    async with client.VespaSession(client.build(vespa_url), namespace=namespace) as session:
        feeder = Feeder(session)
        batches = [[put(f"{batch}-{number}") for number in range(COUNT)] for batch in range(3)]
        batches.append(
            [put("same", seq) for seq in range(1, 9)] + [put(f"last-{number}") for number in range(COUNT)]
        )
        for outcomes in await asyncio.gather(*(feeder.feed(batch) for batch in batches)):
            assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
        found = {r.key: r.read_seq async for page in visiting.records_of_table(session, "t") for r in page}
        assert len(found) == 4 * COUNT + 1
        assert found["same"] == 8
        older = await feeder.feed([put(f"0-{number}", 3) for number in range(COUNT)])
        assert {outcome.verdict for outcome in older} == {Verdict.SUPERSEDED}


@given(st.integers(200, 599), st.booleans(), st.sampled_from([b"", b"\x20", b"\x3f\xe1\x1f"]))
def test_the_status_is_read_as_any_server_may_write_it(status: int, by_name: bool, before: bytes) -> None:
    name = b"\x00\x07:status" if by_name else b"\x48"
    assert _status_of(before + name + b"\x03" + str(status).encode() + b"\x5a\x01x") == status
