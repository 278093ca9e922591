"""The ASGI application: routes by raw path, reads bodies, sends answers.

ASGI and not granian's own interface, because only ASGI hands on the path as it was sent, and an encoded
slash must not become another one.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ingestion.sandbox.vespa_endpoint.document_api import DocumentApi
from ingestion.sandbox.vespa_endpoint.node_state import NodeState
from ingestion.sandbox.vespa_endpoint.parameters import parse_query
from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.sandbox.vespa_endpoint.responses import Request, Response, json_response
from ingestion.sandbox.vespa_endpoint.search_api import SearchApi
from ingestion.version import __version__
from ingestion.vespa.schemas import LOCAL_VERSION

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY_BYTES = 100 * 2**20
_VERSION = f"0.0.0-{LOCAL_VERSION}-{__version__}"
_STATUS_PAGE = b"<title>OK</title>\n"
_DOCUMENT_HANDLER = "com.yahoo.document.restapi.resource.DocumentV1ApiHandler"
_SEARCH_HANDLER = "com.yahoo.search.handler.SearchHandler"


class HttpApp:
    """The endpoint's resources under one ASGI callable."""

    def __init__(self, documents: DocumentApi, search: SearchApi) -> None:
        self._documents, self._search = documents, search
        self._state = NodeState(_VERSION)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a bug becomes a 500 with its name, never a broken connection."""
        raw_path = scope["raw_path"].decode("ascii", "replace")
        body = _Body(scope, receive)
        request = Request(
            method=scope["method"],
            raw_path=raw_path,
            parameters=parse_query(scope["query_string"]),
            body=body.read,
            content_type=_header(scope, b"content-type"),
            accept=_header(scope, b"accept"),
        )
        try:
            response = await self._route(request)
        except Refused as problem:
            response = json_response(problem.status, {"pathId": raw_path, "message": str(problem)})
        except asyncio.CancelledError:
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            response = json_response(500, {"pathId": raw_path, "message": message})
        await body.drain()
        await _send(send, response)

    async def _route(self, request: Request) -> Response:
        path = request.raw_path
        if path.startswith("/document/v1/") or path == "/document/v1":
            return await self._documents.handle(request)
        if path.rstrip("/") == "/search":
            return await self._search.handle(request)
        if request.method not in ("GET", "HEAD"):
            return json_response(405, {"message": f"'{request.method}' not allowed at '{path}'"})
        if (state := self._state.answer(path)) is not None:
            return json_response(200, state)
        if path == "/status.html":
            return Response(200, _STATUS_PAGE, content_type=b"text/html")
        if path == "/ApplicationStatus":
            return json_response(200, _application_status())
        if path == "/":
            return json_response(200, {"handlers": _handlers()})
        return json_response(404, {"message": f"Nothing at '{path}'"})


def _application_status() -> dict[str, Any]:
    return {
        "application": {
            "vespa": {"version": _VERSION},
            "meta": {"name": "procore", "generation": 1},
        },
        "handlers": _handlers(),
        "searchChains": {},
    }


def _handlers() -> list[dict[str, Any]]:
    return [
        {
            "id": _DOCUMENT_HANDLER,
            "class": _DOCUMENT_HANDLER,
            "bundle": "procore-ingest",
            "serverBindings": ["http://*/document/v1/*", "http://*/document/v1/*/"],
        },
        {
            "id": _SEARCH_HANDLER,
            "class": _SEARCH_HANDLER,
            "bundle": "procore-ingest",
            "serverBindings": ["http://*/search/*"],
        },
    ]


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1").lower()
    return ""


class _Body:
    """A request's body, read at most once."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        # HTTP/2 needs neither header; without them an HTTP/1.1 request has no body.
        self._more = (
            scope["http_version"].startswith("2")
            or bool(_header(scope, b"transfer-encoding"))
            or _header(scope, b"content-length") not in ("", "0")
        )

    async def read(self) -> bytes:
        """The whole body, unpacked. Raises Refused: 413 beyond 100 MiB, 400 for what is not gzip."""
        parts: list[bytes] = []
        size = 0
        while self._more:
            part = await self._next()
            size += len(part)
            if size <= MAX_BODY_BYTES:
                parts.append(part)
            else:
                parts.clear()  # read on to the end, so that the client hears the answer
        if size > MAX_BODY_BYTES:
            raise _too_large()
        return _unpacked(parts[0] if len(parts) == 1 else b"".join(parts), self._scope)

    async def drain(self) -> None:
        """Read what nobody wanted: an answer before the end of a body would cost the client its connection."""
        while self._more:
            await self._next()

    async def _next(self) -> bytes:
        message = await self._receive()
        self._more = message.get("more_body", False)
        return bytes(message.get("body", b""))


def _unpacked(body: bytes, scope: Scope) -> bytes:
    encoding = _header(scope, b"content-encoding")
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise Refused(f"Unsupported content-encoding '{encoding}'", 415)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise Refused(f"The body is not valid gzip: {error}") from None
    if len(plain) > MAX_BODY_BYTES:
        raise _too_large()
    if not unpacker.eof:
        raise Refused("The body is not valid gzip: it ends too early")
    return plain


def _too_large() -> Refused:
    return Refused(f"Request content exceeds the limit of {MAX_BODY_BYTES} bytes", 413)


async def _send(send: Send, response: Response) -> None:
    headers = [*response.headers]
    if response.content_type:
        headers.insert(0, (b"content-type", response.content_type))
    if isinstance(response.body, bytes):
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
        return
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async for part in response.body:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
