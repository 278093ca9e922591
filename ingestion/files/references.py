"""One text that may point at a file: is it a key, an S3 address or a URL, and which file does it name?

Pure functions. The forms of S3 addresses follow Amazon's documentation of virtual-hosted-style and
path-style requests and of its dual-stack, FIPS and acceleration endpoints; expiry follows its documentation of
presigned URLs (`X-Amz-Date`, `X-Amz-Expires`, and `Expires` of the older signature) and of CloudFront's (`Expires`,
or the date inside `Policy`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_NOTHING: Final = frozenset(
    {"", "null", "none", "nil", "undefined", "n/a", "na", "-", "{}", "[]", '""', "true", "false", "nan"}
)
_NUMBER = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\Z")
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,10})\Z")
# Access points and the like are no buckets: boto3 knows them by their ARN only.
_S3_ENDPOINT = (
    r"s3(?!-accesspoint|-outposts|-object-lambda|-control)(?:-[a-z0-9\-]+)?(?:\.dualstack)?"
    r"(?:\.(?!s3[.\-])[a-z0-9\-]+)?\.amazonaws\.com(?:\.cn)?\Z"
)
_S3_VIRTUAL_HOST = re.compile(rf"(?P<bucket>[a-z0-9][a-z0-9.\-]*?)\.{_S3_ENDPOINT}")
_S3_PATH_HOST = re.compile(_S3_ENDPOINT)
_S3_ARN = re.compile(r"arn:aws[a-z\-]*:s3:::([^/]+)/(.+)", re.DOTALL)
# RFC 6266: the extended form goes before the plain one, whichever stands first.
_DISPOSITION_NAMES = (
    re.compile(r"""filename\*\s*=\s*"?UTF-8'[^']*'([^";]+)""", re.IGNORECASE),
    re.compile(r"""filename\s*=\s*"([^"]+)\"""", re.IGNORECASE),
    re.compile(r"""filename\s*=\s*([^";]+)""", re.IGNORECASE),
)
_POLICY_ENDS = re.compile(r'"AWS:EpochTime"\s*:\s*([0-9]{1,12})')
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


@lru_cache(maxsize=64)  # one record's are asked for again and again
def parse_reference(text: str) -> Reference | None:
    """The file that `text` points at, or None where it points at none (empty, a number, `null`, prose)."""
    text = text.strip()
    if len(text) > LONGEST_REFERENCE or ((len(text) < 10 or "/" not in text) and _names_nothing(text)):
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


def _names_nothing(text: str) -> bool:
    return text.lower() in _NOTHING or _NUMBER.match(text) is not None


def _key_reference(text: str) -> Reference | None:
    if arn := _S3_ARN.match(text):
        return Reference(key=arn[2], bucket=arn[1], filename=last_segment(arn[2]))
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
    if path in ("", "/") and not query:
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
    if "disposition" in query or "rscd" in query:
        for name, value in parse_qsl(query):
            if name.lower().endswith("content-disposition") or name.lower() == "rscd":
                for pattern in _DISPOSITION_NAMES:
                    if match := pattern.search(value):
                        return unquote(match[1]).strip()
    # A last segment without an extension is an opaque id more often than a name.
    name = last_segment(path)
    if "%" in name:
        name = unquote(name)
    return name if _EXTENSION.search(name) else ""


def last_segment(path: str) -> str:
    """What follows the last `/`, trailing slashes aside; nothing is decoded."""
    return path.rstrip("/").rpartition("/")[2]


def extension(filename: str) -> str:
    """The lower-case extension without its dot; empty for none, for `.hidden` and for prose with a dot."""
    if "." not in filename:
        return ""
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


@lru_cache(maxsize=256)
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
    if "xpires" not in query and "se=" not in query and "Policy=" not in query:
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
            ends = datetime.fromisoformat(members["se"])
            # Azure's dates are UTC, also where they stand without a zone.
            return (ends if ends.tzinfo else ends.replace(tzinfo=UTC)).timestamp()
        if "policy" in members and "key-pair-id" in members:
            return _policy_ends(members["policy"])
    except (ValueError, OverflowError):
        return None
    return None


def _policy_ends(policy: str) -> float | None:
    """When CloudFront's custom policy ends; raises ValueError for one that is no base64."""
    text = policy.translate(str.maketrans("-_~", "+=/"))
    match = _POLICY_ENDS.search(base64.b64decode(text).decode("utf-8", "replace"))
    return float(match[1]) if match else None
