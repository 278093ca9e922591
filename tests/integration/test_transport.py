"""The lean HTTP client against servers that answer byte by byte what a test says, and break off where it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ingestion.vespa import client, transport
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation
from ingestion.vespa.transport import BadAnswer, ConnectionLost, Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Script:
    """Answers each request with the next pieces; `None` closes the connection, in the middle if need be."""

    def __init__(self, *answers: tuple[bytes | None, ...]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                await self.gate.wait()
                self.at_once -= 1
                for piece in self.answers.pop(0) if self.answers else (OK,):
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(script: Script, **options: float) -> AsyncIterator[Transport]:
    server = await asyncio.start_server(script.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = {"timeout_s": 5.0, "max_connections": 4, **options}
    opened = Transport("127.0.0.1", port, headers={"X-Own": "yes"}, **settings)  # type: ignore[arg-type]
    try:
        yield opened
    finally:
        await opened.close()
        script.gate.set()
        server.close()
        await asyncio.gather(*script.tasks)


def pieces(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[at : at + size] for at in range(0, len(data), size))


CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    + b'4\r\n{"a"\r\n3;x=y\r\n:1}\r\n0\r\nTrailer: 1\r\n\r\n'
)
FIXED = b'HTTP/1.1 412 Precondition Failed\r\ncontent-LENGTH:  7 \r\nX: y\r\n\r\n{"a":1}'
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + FIXED


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("answer", "status"), [(CHUNKED, 200), (FIXED, 412), (INTERIM, 412)], ids=["chunked", "fixed", "interim"]
)
async def test_an_answer_is_the_same_however_it_is_split(answer: bytes, status: int, size: int) -> None:
    script = Script(pieces(answer, size), pieces(answer, size))
    async with serving(script) as http:
        for _ in range(2):
            assert await http.request("POST", "/a?b=c", b"body") == (status, b'{"a":1}')
    assert script.connections == 1
    head, _, body = script.requests[1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Own: yes" in head
    assert body == b"body"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    ],
    ids=["close", "1.0"],
)
async def test_a_connection_that_the_server_will_close_is_not_used_again(answer: bytes, body: bytes) -> None:
    script = Script((answer,), (answer,))
    async with serving(script) as http:
        for _ in range(2):
            assert await http.request("GET", "/") == (200, body)
    assert script.connections == 2


async def test_a_body_without_length_ends_with_the_connection() -> None:
    script = Script((b"HTTP/1.1 200 OK\r\n\r\n<html>", b"</html>", None))
    async with serving(script) as http:
        assert await http.request("GET", "/") == (200, b"<html></html>")


async def test_answers_without_a_body_have_none() -> None:
    script = Script((b"HTTP/1.1 204 No Content\r\n\r\n",), (OK,))
    async with serving(script) as http:
        assert await http.request("DELETE", "/") == (204, b"")
        assert await http.request("GET", "/") == (200, b"{}")
    assert script.connections == 1


@pytest.mark.parametrize("answer", [b"", FIXED[:20], FIXED[:-1], CHUNKED[:-3], CHUNKED[:60]], ids=len)
async def test_half_an_answer_is_a_lost_connection(answer: bytes) -> None:
    script = Script((answer, None))
    async with serving(script) as http:
        with pytest.raises(ConnectionLost):
            await http.request("POST", "/", b"{}")
        assert await http.request("POST", "/", b"{}") == (200, b"{}")
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"x" * (transport.LONGEST_HEAD_BYTES + 1),
    ],
    ids=range(11),
)
async def test_what_is_not_http_is_said_so_and_costs_the_connection(answer: bytes) -> None:
    script = Script((answer,))
    async with serving(script) as http:
        with pytest.raises(BadAnswer):
            await http.request("POST", "/", b"{}")
        assert await http.request("POST", "/", b"{}") == (200, b"{}")
    assert script.connections == 2


async def test_a_kept_connection_that_the_server_closed_costs_a_get_nothing_and_a_post_an_error() -> None:
    script = Script((OK,), (None,), (OK,), (None,))
    async with serving(script) as http:
        await http.request("GET", "/")
        assert await http.request("GET", "/") == (200, b"{}")
        with pytest.raises(ConnectionLost):
            await http.request("POST", "/", b"{}")
    assert len(script.requests) == 4


async def test_bytes_after_an_answer_end_the_connection() -> None:
    script = Script((OK + b"HTTP/1.1 200 OK\r\n",), (OK,))
    async with serving(script) as http:
        assert await http.request("GET", "/") == (200, b"{}")
        assert await http.request("GET", "/") == (200, b"{}")
    assert script.connections == 2


async def test_no_more_connections_than_allowed_and_everyone_gets_a_turn() -> None:
    script = Script()
    script.gate.clear()
    async with serving(script, max_connections=3) as http:
        requests = asyncio.gather(*(http.request("POST", "/", b"{}") for _ in range(50)))
        while script.at_once < 3:
            await asyncio.sleep(0)
        script.gate.set()
        answers = await requests
    assert answers == [(200, b"{}")] * 50
    assert (script.connections, script.most_at_once) == (3, 3)


async def test_a_request_times_out_and_its_place_is_free_again() -> None:
    script = Script()
    script.gate.clear()
    async with serving(script, timeout_s=0.1, max_connections=1) as http:
        with pytest.raises(TimeoutError, match="no answer"):
            await http.request("GET", "/")
        script.gate.set()
        assert await http.request("GET", "/") == (200, b"{}")


async def test_cancelling_closes_the_connection_of_a_request_and_loses_no_place() -> None:
    script = Script()
    script.gate.clear()
    async with serving(script, max_connections=2) as http:
        tasks = [asyncio.create_task(http.request("POST", "/", b"{}")) for _ in range(6)]
        while script.at_once < 2:
            await asyncio.sleep(0)
        for task in tasks[:4]:
            task.cancel()
        ended = await asyncio.gather(*tasks[:4], return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError) for error in ended)
        script.gate.set()
        assert await asyncio.gather(*tasks[4:]) == [(200, b"{}")] * 2


async def test_closing_ends_requests_under_way_and_those_that_wait() -> None:
    script = Script()
    script.gate.clear()
    async with serving(script, max_connections=1) as http:
        tasks = [asyncio.create_task(http.request("GET", "/")) for _ in range(3)]
        while not script.at_once:
            await asyncio.sleep(0)
        await http.close()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, ConnectionLost) for error in ended), ended


async def test_a_large_body_arrives_whole() -> None:
    script = Script()
    body = bytes(range(256)) * 8192
    async with serving(script) as http:
        await http.request("POST", "/", body)
    assert script.requests[0].endswith(body)


async def test_a_server_that_is_not_there_is_the_oserror_that_says_so() -> None:
    http = Transport("127.0.0.1", 1, headers={}, max_connections=1, timeout_s=1)
    with pytest.raises(ConnectionRefusedError):
        await http.request("GET", "/")


def test_a_header_that_would_be_two_is_refused() -> None:
    with pytest.raises(ValueError, match="header"):
        Transport("h", 80, headers={"Authorization": "Bearer a\r\nX: y"}, max_connections=1, timeout_s=1)


async def test_both_transports_tell_the_same_of_every_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of operations does not depend on what carries them."""
    said = {"200": 200, "400": 400, "412": 412, "413": 413, "429": 429, "503": 503, "cut": 0, "html": 200}

    def answer(kind: str, attempt: int) -> web.StreamResponse | None:
        if kind in ("429", "503", "cut", "html") and attempt > 2:
            return web.json_response({"pathId": "/", "id": "id:a"})
        if kind == "cut":
            return None
        if kind == "html":
            return web.Response(text="<html>", content_type="text/html")
        return web.json_response({"pathId": "/", "message": kind}, status=said[kind])

    async def told(prefix: str) -> list[tuple[Verdict, int, str]]:
        seen: dict[str, int] = {}

        async def handle(request: web.Request) -> web.StreamResponse:
            user = request.path.rsplit("/", 1)[1]
            seen[user] = seen.get(user, 0) + 1
            await request.read()
            response = answer(user.partition("~")[0], seen[user])
            if response is None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return response

        app = web.Application()
        app.router.add_route("*", prefix + "/document/v1/{rest:.*}", handle)
        async with (
            TestServer(app) as server,
            client.VespaSession(client.build(str(server.make_url(prefix)))) as session,
        ):
            operations = [
                Operation("put", client.RECORD, f"{kind}~{number}", 7, {"doc_id": kind})
                for number in range(5)
                for kind in said
            ]
            outcomes = await Feeder(session).feed(operations)
        return [(outcome.verdict, outcome.status, outcome.message) for outcome in outcomes]

    monkeypatch.setattr("ingestion.vespa.feeding.FIRST_WAIT_S", 0.001)
    lean = await told("")
    general = await told("/behind/a/gateway")  # an address with a path is left to aiohttp
    assert lean == general
    assert [verdict for verdict, _, _ in lean[:4]] == [
        Verdict.ACCEPTED, Verdict.REFUSED, Verdict.SUPERSEDED, Verdict.REFUSED
    ]  # fmt: skip
