"""A request's raw path turned into a document id, or into the set of documents it names.

Rules of https://docs.vespa.ai/en/schemas/documents.html#document-ids and of the path parsing of
/document/v1: segments are decoded one by one and joined, so `%2F` and `/` address the same document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_plus

from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.vespa.schemas import CLUSTER, SCHEMAS, Schema

PREFIX = "/document/v1"
MAX_ID_CHARS = 65_536
AVAILABLE = (
    "/document/v1/",
    "/document/v1/{namespace}/{documentType}/docid/",
    "/document/v1/{namespace}/{documentType}/group/{group}/",
    "/document/v1/{namespace}/{documentType}/number/{number}/",
    "/document/v1/{namespace}/{documentType}/docid/{*}",
    "/document/v1/{namespace}/{documentType}/group/{group}/{*}",
    "/document/v1/{namespace}/{documentType}/number/{number}/{*}",
)

_ILLEGAL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufdd0-\ufddf"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class DocumentPath:
    """What a path addresses: everything (`schema` None), a type in a namespace (`user` None), or a document."""

    raw: str
    namespace: str = ""
    schema: Schema | None = None
    user: str | None = None

    @property
    def key(self) -> str:
        """Namespace and user part: unique within a document type."""
        return f"{self.namespace}:{self.user}"

    @property
    def id(self) -> str:
        """The document id, `id:NAMESPACE:TYPE::USER`."""
        name = self.schema.name if self.schema else ""
        return f"id:{self.namespace}:{name}::{self.user}"


def parse_path(raw: str) -> DocumentPath:
    """The path's meaning. Raises Refused: 404 for no such resource, 400 for what Vespa cannot read."""
    rest = raw[len(PREFIX) :].rstrip("/")
    if not rest:
        return DocumentPath(raw)
    # Every segment is read before the path is looked up: an empty one is 400, wherever it stands.
    parts = [_segment(part) for part in rest[1:].split("/")]
    if len(parts) < 3 or parts[2] not in ("docid", "group", "number"):
        raise not_found(raw)
    if parts[2] != "docid":
        raise Refused(f"'{parts[2]}' ids need streaming search; this application's types are indexed")
    namespace, type_name = parts[0], parts[1]
    schema = SCHEMAS.get(type_name)
    if schema is None and len(parts) == 3:
        known = "', '".join(SCHEMAS)
        raise Refused(f"There is no document type '{type_name}' in cluster '{CLUSTER}', only '{known}'")
    if schema is None:
        raise Refused(f"Document type {type_name} does not exist")
    if ":" in namespace:
        raise Refused(f"Document id namespace '{namespace}' cannot hold ':'")
    if len(parts) == 3:
        return DocumentPath(raw, namespace, schema)
    user = "/".join(parts[3:])
    if len(user) > MAX_ID_CHARS:
        raise Refused(f"Document id is longer than {MAX_ID_CHARS} characters: {len(user)}")
    check_text(user, "document id")
    return DocumentPath(raw, namespace, schema, user)


def check_text(text: str, what: str) -> None:
    """Raise Refused (400) when `text` holds a code point that Vespa does not take."""
    match = _ILLEGAL.search(text)
    if match is not None:
        raise Refused(
            f"The string field value contains illegal code point 0x{ord(match[0]):X} (in {what})",
        )


def not_found(raw: str) -> Refused:
    """404 for a path that no resource answers."""
    return Refused(f"Nothing at '{raw}'. Available paths are:\n" + "\n".join(AVAILABLE), 404)


@lru_cache(maxsize=1024)
def _segment(part: str) -> str:
    plain = part.replace("%3A", ":")
    if "%" not in plain and "+" not in plain and plain.strip("."):
        return plain  # nearly all of ours
    if _BROKEN_ESCAPE.search(part):
        raise Refused(f"Illegal hex characters in escape (%) pattern in path segment '{part}'")
    text = unquote_plus(part)
    if text in ("", ".", ".."):
        raise Refused(f'path segments cannot be "", ".", or "..", but got: \'{text}\'')
    return text
