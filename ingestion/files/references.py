"""One text that may point at a file: is it a key, an S3 address or a URL, and which file does it name?

Pure functions. The forms of S3 addresses follow Amazon's documentation of virtual-hosted-style and
path-style requests; expiry follows its documentation of presigned URLs (`X-Amz-Date`, `X-Amz-Expires`,
and `Expires` of the older signature).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_NOTHING: Final = frozenset({"", "null", "none", "nil", "undefined", "n/a", "na", "-", "{}", "[]", '""'})
_NUMBER = re.compile(r"[-+]?[0-9.]+\Z")
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,10})\Z")
_S3_VIRTUAL_HOST = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9.\-]*?)\.s3(?:[.\-](?:dualstack\.|accelerate\.)?[a-z0-9\-]*)?\.amazonaws\.com(?:\.cn)?\Z"
)
_S3_PATH_HOST = re.compile(r"s3(?:[.\-](?:dualstack\.)?[a-z0-9\-]+)?\.amazonaws\.com(?:\.cn)?\Z")
_DISPOSITION_NAME = re.compile(r"""filename\*?=(?:UTF-8'')?"?([^";]+)""", re.IGNORECASE)
# What nearly all are; anything else is taken apart by the standard library.
_PLAIN_URL = re.compile(
    r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::[0-9]{1,4})?(/[!-\"$->@-~]*)?(?:\?([!-\"$-~]*))?\Z"
)
_SIGNING = frozenset(
    {"sig", "signature", "token", "expires", "policy", "key-pair-id", "awsaccesskeyid", "se", "st"}
)
_SIGNING_PREFIXES: Final = ("x-amz-", "x-goog-", "response-content-")
LONGEST_REFERENCE: Final = 8192
"""Characters; anything longer is text that happens to sit in a file column (S3 keys end at 1024 bytes)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a text points at: `key` is empty for a pure URL, `url` for a pure key."""

    key: str = ""
    url: str = ""
    bucket: str = ""
    filename: str = ""


def parse_reference(text: str) -> Reference | None:
    """The file that `text` points at, or None where it points at none (empty, a number, `null`, prose)."""
    text = text.strip()
    if len(text) > LONGEST_REFERENCE or text.lower() in _NOTHING or _NUMBER.match(text):
        return None
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _key_reference(text)
    scheme = scheme.lower()
    if scheme in ("s3", "s3a", "s3n"):
        bucket, _, key = rest.partition("/")
        key = key.lstrip("/")
        return Reference(key=key, bucket=bucket, filename=last_segment(key)) if key else None
    if scheme in ("http", "https"):
        return parse_url_reference(text)
    if re.fullmatch(r"[a-z][a-z0-9+.\-]*", scheme):
        # ftp, file, javascript, …: kept, so that it fails visibly instead of vanishing.
        return Reference(url=text, filename=last_segment(rest))
    return _key_reference(text)


def _key_reference(text: str) -> Reference | None:
    key = text.lstrip("/")
    name = last_segment(key)
    return Reference(key=key, filename=name) if name else None


def parse_url_reference(url: str) -> Reference | None:
    """The file that an http(s) URL names; an S3 address also yields its bucket and key."""
    if plain := _PLAIN_URL.match(url):
        host, path, query = plain[1], plain[2] or "", plain[3] or ""
    else:
        try:
            parts = urlsplit(url)
            host, path, query = (parts.hostname or "").lower(), parts.path, parts.query
        except ValueError:
            return Reference(url=url)
    if not host:
        return None
    bucket, key = _s3_address(host, path)
    if key:
        return Reference(key=key, url=url, bucket=bucket, filename=last_segment(key))
    if path in ("", "/"):
        return None
    return Reference(url=url, filename=_url_filename(path, query))


def _s3_address(host: str, path: str) -> tuple[str, str]:
    if not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return "", ""
    if _S3_PATH_HOST.match(host):
        bucket, _, key = path.lstrip("/").partition("/")
        return bucket, unquote(key)
    if match := _S3_VIRTUAL_HOST.match(host):
        return match["bucket"], unquote(path[1:])
    return "", ""


def _url_filename(path: str, query: str) -> str:
    if "disposition" in query:
        for name, value in parse_qsl(query):
            if name.lower().endswith("content-disposition") and (match := _DISPOSITION_NAME.search(value)):
                return unquote(match[1]).strip()
    # A last segment without an extension is an opaque id more often than a name.
    name = unquote(last_segment(path))
    return name if _EXTENSION.search(name) else ""


def last_segment(path: str) -> str:
    """What follows the last `/`, trailing slashes aside; nothing is decoded."""
    return path.rstrip("/").rpartition("/")[2]


def extension(filename: str) -> str:
    """The lower-case extension without its dot; empty for none, for `.hidden` and for prose with a dot."""
    name = filename.strip()
    match = _EXTENSION.search(name)
    return match[1].lower() if match and match.start() > 0 else ""


@lru_cache(maxsize=64)
def unsigned(url: str) -> str:
    """The URL without fragment and signing parameters: equal before and after it was signed anew."""
    base, _, query = url.partition("#")[0].partition("?")
    if not query:
        return base
    # Nothing is decoded and written anew: what stays, stays byte for byte.
    kept = "&".join([part for part in query.split("&") if not _signs(part.partition("=")[0])])
    return f"{base}?{kept}" if kept else base


def _signs(name: str) -> bool:
    name = name.lower().replace("%2d", "-")
    return name in _SIGNING or name.startswith(_SIGNING_PREFIXES)


@lru_cache(maxsize=64)  # of one record's files the identities are asked for again and again
def file_identity(key: str, url: str, bucket: str = "") -> str:
    """32 hexadecimal digits that name a file wherever it is referenced: by its key, else by its URL."""
    identity = f"s3:{bucket}/{key}" if key else f"url:{unsigned(url)}"
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def expires_at(url: str) -> float | None:
    """When a URL stops working, in epoch seconds, as far as its own parameters tell; else None."""
    query = url.partition("?")[2].partition("#")[0]
    if "xpires" not in query and "se=" not in query:
        return None
    members = {name.lower(): value for name, value in parse_qsl(query)}
    try:
        for provider in ("x-amz", "x-goog"):
            if f"{provider}-date" in members and f"{provider}-expires" in members:
                signed = datetime.strptime(members[f"{provider}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return signed.timestamp() + int(members[f"{provider}-expires"])
        if "expires" in members:
            return float(int(members["expires"]))
        if "se" in members and "sig" in members:
            return datetime.fromisoformat(members["se"]).timestamp()
    except (ValueError, OverflowError):
        return None
    return None
