"""/document/v1: put, get, update, remove, visit, and update or remove by selection.

Bodies and status codes of https://docs.vespa.ai/en/reference/api/document-v1.html.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import orjson

from ingestion.sandbox.vespa_endpoint import selection, visiting
from ingestion.sandbox.vespa_endpoint.document_path import DocumentPath, parse_path
from ingestion.sandbox.vespa_endpoint.field_values import NO_GUARD, read_put
from ingestion.sandbox.vespa_endpoint.operations import Change, Kind, Operation, Outcome
from ingestion.sandbox.vespa_endpoint.parameters import Parameters
from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.sandbox.vespa_endpoint.responses import (
    JSON_LINES,
    Request,
    Response,
    json_response,
)
from ingestion.sandbox.vespa_endpoint.store import Store
from ingestion.sandbox.vespa_endpoint.updates import read_update
from ingestion.sandbox.vespa_endpoint.visiting import Render, Visit
from ingestion.sandbox.vespa_endpoint.writer import Writer
from ingestion.vespa.schemas import CLUSTER, SCHEMAS

DEFAULT_TIMEOUT_S = 175.0
_STREAM_PAGE = 1000
_REMOVE_PAGE = 250
_BUCKET_SPACES = ("default", "global")


class DocumentApi:
    """The handlers, over one store and its writer. Blocking reads run on `executor`."""

    def __init__(self, store: Store, writer: Writer, executor: Executor) -> None:
        self._store, self._writer, self._executor = store, writer, executor

    async def handle(self, request: Request) -> Response:
        """Answer any request below /document/v1."""
        try:
            path = parse_path(request.raw_path)
            parameters = Parameters(request.parameters, request.raw_path)
            timeout = parameters.seconds("timeout", DEFAULT_TIMEOUT_S)
            parameters.integer("tracelevel")
            parameters.text("route")
            if path.user is None:
                return await self._many(request, path, parameters, timeout)
            return await self._one(request, path, parameters)
        except Refused as problem:
            return json_response(problem.status, {"pathId": request.raw_path, "message": str(problem)})

    # ------------------------------------------------------------ one document

    async def _one(self, request: Request, path: DocumentPath, parameters: Parameters) -> Response:
        assert path.schema is not None
        method = request.method
        if method == "GET":
            return self._get(path, parameters)
        if method not in ("POST", "PUT", "DELETE"):
            return _other_method(request, ("GET", "POST", "PUT", "DELETE"))
        if parameters.flag("dryRun"):
            return _feed_response(path, Outcome())
        kind: Kind = "remove" if method == "DELETE" else "put"
        fields: dict[str, Any] | None = None
        changes: tuple[Change, ...] = ()
        guard = NO_GUARD
        if method == "POST":
            fields, guard = read_put(path.schema, await request.body(), path.id)
        elif method == "PUT":
            kind = "update"
            changes, guard = read_update(path.schema, await request.body())
        condition = parameters.text("condition") or guard.condition
        create = parameters.flag("create") if parameters.text("create") else guard.create
        outcome = await self._writer.submit(
            Operation(
                kind,
                path,
                fields=fields,
                changes=changes,
                condition=None if condition is None else selection.parse(condition),
                create=create,
            )
        )
        return _feed_response(path, outcome)

    def _get(self, path: DocumentPath, parameters: Parameters) -> Response:
        assert path.schema is not None
        parameters.disallow("dryRun")
        _check_cluster(parameters)
        names = parameters.text("fieldSet")
        render = visiting.field_set(names) if names else None
        head = orjson.dumps({"pathId": path.raw, "id": path.id})
        body = self._store.get(path.schema.name, path.key)
        if body is None:
            return Response(404, head)
        return Response(200, head[:-1] + b',"fields":' + _rendered(body, render) + b"}")

    # ---------------------------------------------------------- many documents

    async def _many(
        self, request: Request, path: DocumentPath, parameters: Parameters, timeout: float
    ) -> Response:
        methods = ("GET", "POST", "DELETE") if path.schema is None else ("GET", "POST", "PUT", "DELETE")
        if request.method not in methods:
            return _other_method(request, methods)
        parameters.disallow("dryRun")
        if request.method == "GET":
            return await self._visit(request, path, parameters, timeout)
        if request.method == "POST":
            return await self._copy(path, parameters, timeout)
        return await self._process(request, path, parameters, timeout)

    async def _visit(
        self, request: Request, path: DocumentPath, parameters: Parameters, timeout: float
    ) -> Response:
        streamed = parameters.flag("stream")
        parameters.positive("concurrency", 1)
        wanted = parameters.positive("wantedDocumentCount", 2**31 - 1 if streamed else 1)
        if path.schema is None and parameters.text("cluster") is None:
            raise Refused(
                "Must set 'cluster' parameter to a valid content cluster id "
                "when visiting at a root /document/v1/ level"
            )
        visit = _visit_of(path, parameters, wanted)
        for name in ("includeRemoves", "fromTimestamp", "toTimestamp"):
            if parameters.text(name) not in (None, "false", "0"):
                raise Refused(f"'{name}' is not supported by the local endpoint")
        names = parameters.text("fieldSet")
        render = visiting.field_set(names) if names else None
        deadline = time.monotonic() + max(0.5, timeout * 0.9 - 1)
        if streamed and request.prefers("application/jsonl"):
            return Response(200, self._lines(visit, render, deadline), JSON_LINES)
        if streamed:
            return Response(200, self._stream(path, visit, render, deadline))
        found, after = await self._page(visit, deadline)
        documents = b",".join([_document(item, render) for item in found])
        head = orjson.dumps({"pathId": path.raw})[:-1] + b',"documents":['
        return Response(200, head + documents + b"]" + _tail(len(found), after))

    async def _stream(
        self, path: DocumentPath, visit: Visit, render: Render | None, deadline: float
    ) -> AsyncIterator[bytes]:
        yield orjson.dumps({"pathId": path.raw})[:-1] + b',"documents":['
        count, after = 0, visit.after if visit.schemas else None
        async for found, following in self._pages(visit, deadline):
            after = following
            if found:
                yield (b"," if count else b"") + b",".join([_document(item, render) for item in found])
            count += len(found)
        yield b"]" + _tail(count, after)

    async def _lines(self, visit: Visit, render: Render | None, deadline: float) -> AsyncIterator[bytes]:
        """A stream as lines of JSON, with a continuation behind every page."""
        count, after = 0, visit.after if visit.schemas else None
        async for found, following in self._pages(visit, deadline):
            after = following
            count += len(found)
            lines = [_put_line(item, render) for item in found]
            if after is not None:
                lines.append(_continuation_line(visit, after))
            yield b"".join(lines)
        last = b'{"continuation":{"percentFinished":100.0}}\n'
        yield b'{"sessionStats":{"documentCount":%d}}\n' % count + (
            last if after is None else _continuation_line(visit, after)
        )

    async def _pages(
        self, visit: Visit, deadline: float
    ) -> AsyncIterator[tuple[list[visiting.Found], tuple[int, int] | None]]:
        """The pages of a stream, each with where to go on."""
        left, after = visit.wanted, visit.after if visit.schemas else None
        while after is not None and left > 0 and time.monotonic() < deadline:
            page = replace(visit, after=after, wanted=min(left, _STREAM_PAGE))
            found, after = await self._page(page, deadline)
            left -= len(found)
            yield found, after

    async def _page(
        self, visit: Visit, deadline: float
    ) -> tuple[list[visiting.Found], tuple[int, int] | None]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, visiting.page, self._store, visit, deadline)

    async def _copy(self, path: DocumentPath, parameters: Parameters, timeout: float) -> Response:
        """Copy documents of a selection to a cluster: there is one, so each is written as it is already."""
        _check_cluster_name(parameters.required("destinationCluster"))
        visit, deadline = _selected_visit(path, parameters, timeout)
        count, after = 0, visit.after if visit.schemas else None
        while after is not None and time.monotonic() < deadline:
            found, after = await self._page(replace(visit, after=after), deadline)
            count += len(found)
        return Response(200, orjson.dumps({"pathId": path.raw})[:-1] + _tail(count, after))

    async def _process(
        self, request: Request, path: DocumentPath, parameters: Parameters, timeout: float
    ) -> Response:
        """Update or remove all documents of a selection, for at most `timeChunk`."""
        if request.method == "PUT":
            parameters.required("cluster")  # asked for first here, and last in a removal
        visit, deadline = _selected_visit(path, parameters, timeout)
        condition = selection.parse(parameters.required("selection"))
        changes: tuple[Change, ...] = ()
        kind: Kind = "remove"
        if request.method == "PUT":
            assert path.schema is not None
            kind = "update"
            changes, _ = read_update(path.schema, await request.body())
        count, after = 0, visit.after if visit.schemas else None
        while after is not None and time.monotonic() < deadline:
            found, after = await self._page(replace(visit, after=after), deadline)
            outcomes = await asyncio.gather(
                *[
                    self._writer.submit(
                        Operation(
                            kind,
                            DocumentPath(path.raw, item.namespace, item.schema, item.user),
                            changes=changes,
                            condition=condition,
                        )
                    )
                    for item in found
                ]
            )
            count += len(found)
            for outcome in outcomes:
                if outcome.status not in (200, 412):
                    raise Refused(outcome.message, 500)
        return Response(200, orjson.dumps({"pathId": path.raw})[:-1] + _tail(count, after))


def _selected_visit(path: DocumentPath, parameters: Parameters, timeout: float) -> tuple[Visit, float]:
    """The visit of a selection that must be named, and when its `timeChunk` is over."""
    parameters.disallow("concurrency", "fieldSet", "route", "wantedDocumentCount")
    parameters.required("selection")
    parameters.required("cluster")
    visit = _visit_of(path, parameters, _REMOVE_PAGE)
    return visit, time.monotonic() + min(parameters.seconds("timeChunk", 60.0), timeout)


def _visit_of(path: DocumentPath, parameters: Parameters, wanted: int) -> Visit:
    _check_cluster(parameters)
    text = parameters.text("selection")
    node = None if text is None else selection.parse(text)
    slices, slice_id = parameters.integer("slices"), parameters.integer("sliceId")
    if (slices is None) != (slice_id is None):
        raise Refused("None or both of 'slices' and 'sliceId' must be set")
    if slices is not None and slice_id is not None and not (0 <= slice_id < slices):
        raise Refused(f"slices must be positive and sliceId in [0, slices): {slices}, {slice_id}")
    space = parameters.text("bucketSpace")
    if space is not None and space not in _BUCKET_SPACES:
        raise Refused(f"Bucket space '{space}' is not a known bucket space; expected one of {_BUCKET_SPACES}")
    schemas = (path.schema,) if path.schema is not None else tuple(SCHEMAS.values())
    token = parameters.text("continuation")
    return Visit(
        # No document type of ours is global, so that space is empty.
        schemas=() if space == "global" and path.schema is None else schemas,
        namespace=path.namespace or None,
        node=node,
        wanted=wanted,
        slices=slices or 1,
        slice_id=slice_id or 0,
        after=visiting.decode_continuation(token) if token else (0, 0),
    )


def _check_cluster(parameters: Parameters) -> None:
    name = parameters.text("cluster")
    if name is not None:
        _check_cluster_name(name)


def _check_cluster_name(name: str) -> None:
    if name != CLUSTER:
        raise Refused(f"Your Vespa deployment has no content cluster '{name}', only '{CLUSTER}'")


def _tail(count: int, after: tuple[int, int] | None) -> bytes:
    tail = b',"documentCount":%d' % count
    if after is not None:
        tail += b',"continuation":' + orjson.dumps(visiting.encode_continuation(after))
    return tail + b"}"


def _document(item: visiting.Found, render: Render | None) -> bytes:
    return b'{"id":' + orjson.dumps(item.id) + b',"fields":' + _rendered(item.body, render) + b"}"


def _put_line(item: visiting.Found, render: Render | None) -> bytes:
    return b'{"put":' + orjson.dumps(item.id) + b',"fields":' + _rendered(item.body, render) + b"}\n"


def _continuation_line(visit: Visit, after: tuple[int, int]) -> bytes:
    done = 100.0 * after[0] / len(visit.schemas)  # whole document types: an approximation, as Vespa's is
    token = visiting.encode_continuation(after)
    return orjson.dumps({"continuation": {"token": token, "percentFinished": done}}) + b"\n"


def _rendered(body: str, render: Render | None) -> bytes:
    return body.encode() if render is None else orjson.dumps(render(orjson.loads(body)))


def _feed_response(path: DocumentPath, outcome: Outcome) -> Response:
    answer = {"pathId": path.raw, "id": path.id}
    if outcome.message:
        answer["message"] = outcome.message
    return json_response(outcome.status, answer)


def _other_method(request: Request, allowed: tuple[str, ...]) -> Response:
    if request.method == "OPTIONS":
        return Response(204, b"", content_type=b"", headers=((b"allow", ",".join(allowed).encode()),))
    message = (
        f"'{request.method}' not allowed at '{request.raw_path}'. Allowed methods are: {', '.join(allowed)}"
    )
    return json_response(405, {"pathId": request.raw_path, "message": message})
