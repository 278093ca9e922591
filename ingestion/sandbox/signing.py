"""Signed URLs of the sandbox's file store: made by the sample, checked by the store.

A URL looks as Procore's do: `…/api/v5/files/{opaque}?companyId=X&projectId=Y&sig=Z`. The opaque part holds
the expiry and the key, so that the store needs no table of URLs; nothing that downloads may rely on that.
The signing key is public on purpose: it protects nothing but made-up files on the loopback interface.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

HOST: Final = "https://storage.procore.example"
PATH: Final = "/api/v5/files/"
_SANDBOX_KEY: Final = b"procore-ingest sandbox: signs made-up files only"

RefusalReason = Literal["expired", "bad_signature", "malformed"]


@dataclass(frozen=True, slots=True)
class Verified:
    """The URL is ours and still valid: it names `key` until `expires` (epoch seconds)."""

    key: str
    expires: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a URL opens nothing: `expired`, `bad_signature` or `malformed`."""

    reason: RefusalReason
    key: str = ""
    expires: int = 0


def sign(key: str, company_id: int | str, project_id: int | str, expires: int) -> str:
    """The signed URL of `key`, valid until `expires` (epoch seconds); equal arguments give an equal URL."""
    plain = f"{expires}:{key}".encode("utf-8", "surrogatepass")
    opaque = base64.urlsafe_b64encode(plain).rstrip(b"=").decode("ascii")
    signature = _signature(opaque, str(company_id), str(project_id))
    return f"{HOST}{PATH}{opaque}?companyId={company_id}&projectId={project_id}&sig={signature}"


def verify(path_and_query: str, now: float) -> Verified | Refused:
    """Check a signed URL's path and query (a whole URL will do) at `now` (epoch seconds)."""
    parts = urlsplit(path_and_query)
    if not parts.path.startswith(PATH):
        return Refused("malformed")
    opaque = parts.path[len(PATH) :]
    query = parse_qs(parts.query)
    expected = _signature(opaque, _first(query, "companyId"), _first(query, "projectId"))
    if not hmac.compare_digest(expected.encode(), _first(query, "sig").encode("utf-8", "replace")):
        return Refused("bad_signature")
    try:
        plain = base64.urlsafe_b64decode(opaque + "=" * (-len(opaque) % 4)).decode("utf-8", "surrogatepass")
        expiry, _, key = plain.partition(":")
        expires = int(expiry)
    except (binascii.Error, ValueError):
        return Refused("malformed")
    if expires <= now:
        return Refused("expired", key, expires)
    return Verified(key, expires)


def _signature(opaque: str, company_id: str, project_id: str) -> str:
    message = f"{opaque}\n{company_id}\n{project_id}".encode("utf-8", "surrogatepass")
    return hmac.digest(_SANDBOX_KEY, message, "sha256").hex()


def _first(query: dict[str, list[str]], name: str) -> str:
    return query.get(name, [""])[0]
