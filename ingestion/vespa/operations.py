"""Document operations, and the document/v1 requests that they are."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import orjson

from ingestion.vespa.client import SERVER_TIMEOUT_S, VespaSession, target_of

COMPRESS_ABOVE_BYTES = 2048
_MOST_QUERIES = 256
_OWN = ("read_seq", "source")
"""Fields of every document that the feeding gives it."""


class Operation(NamedTuple):
    """One put or remove; it takes effect only where the stored `read_seq` is smaller than its own.

    A tuple, because one is made of every row.
    """

    kind: Literal["put", "remove"]
    doc_type: str
    user_id: str
    read_seq: int
    fields: dict[str, Any] | None = None
    encoded: bytes = b""
    """Instead of `fields`: they as a JSON object that is not empty."""


class Request(NamedTuple):
    """An operation as it is sent."""

    method: str
    target: str
    body: bytes | None
    gzipped: bool


class Requests:
    """Makes the requests of one session."""

    def __init__(self, session: VespaSession) -> None:
        self._session = session
        self._is_local = session.is_local
        self._common: dict[tuple[str, str, int], tuple[str, bytes]] = {}

    def of(self, operation: Operation) -> Request:
        """The request that the operation is."""
        path = self._session.document_path(operation.doc_type, operation.user_id)
        query, own = self._common_to(operation.kind, operation.doc_type, operation.read_seq)
        if operation.kind == "remove":
            return Request("DELETE", path + query, None, False)
        if operation.encoded:
            body = b'{"fields":%b%b' % (operation.encoded[:-1], own)
        else:
            fields = {name: value for name, value in (operation.fields or {}).items() if name not in _OWN}
            body = b'{"fields":%b%b' % (orjson.dumps(fields)[:-1], own if fields else own[1:])
        gzipped = len(body) > COMPRESS_ABOVE_BYTES and not self._is_local
        return Request("POST", path + query, _gzip(body) if gzipped else body, gzipped)

    def _common_to(self, kind: str, doc_type: str, read_seq: int) -> tuple[str, bytes]:
        """The query of a request and the end of its body, kept: a batch has one read number."""
        known = self._common.get((kind, doc_type, read_seq))
        if known is None:
            params = {"condition": f"{doc_type}.read_seq < {read_seq}", "timeout": f"{SERVER_TIMEOUT_S}s"}
            if kind == "put":
                params["create"] = "true"
            own = orjson.dumps({"read_seq": read_seq, "source": self._session.namespace})
            known = target_of("", params), b",%b}" % own[1:]
            if len(self._common) >= _MOST_QUERIES:
                self._common.clear()
            self._common[kind, doc_type, read_seq] = known
        return known


def chains(operations: Sequence[Operation]) -> Iterable[Sequence[int]]:
    """The operations' numbers, those on one id together."""
    if len({(operation.doc_type, operation.user_id) for operation in operations}) == len(operations):
        return [(index,) for index in range(len(operations))]
    chains: dict[tuple[str, str], list[int]] = {}
    for index, operation in enumerate(operations):
        chains.setdefault((operation.doc_type, operation.user_id), []).append(index)
    return chains.values()


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
