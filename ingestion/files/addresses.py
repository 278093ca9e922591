"""Which network addresses files may be fetched from: public ones, and those the operator named.

Names are checked where they are resolved and numbers where they stand; `files/http` checks once more who has
really answered. A name that changes its address between two look-ups gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from ingestion import errors

# What stands before the first slash of an ordinary URL; any other is taken apart as a whole.
_ORIGIN = re.compile(r"https?://[a-z0-9.:-]+/")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Ranges that carry an IPv4 address inside: NAT64, 6to4, Teredo (RFC 6052, 3056, 4380).
_TRANSLATED = tuple(
    ipaddress.ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


@lru_cache(maxsize=1024)
def is_public(address: str) -> bool:
    """Whether an IP address (text) belongs to the public internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be contacted. `allowed` holds `host:port` pairs that the operator named, whatever they are."""

    allow_private: bool = False
    allowed: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def of(cls, *, allow_private: bool, hosts: Iterable[str], urls: Iterable[str]) -> AddressPolicy:
        """From settings: `hosts` are `host` or `host:port`, `urls` are endpoints and targets of rewrites."""
        allowed: set[tuple[str, int | None]] = set()
        for host in hosts:
            parts = urlsplit(f"//{host}")
            allowed.add(((parts.hostname or host).lower(), parts.port))
        for url in urls:
            parts = urlsplit(url)
            allowed.add(((parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)))
        return cls(allow_private, frozenset(allowed))

    def names(self, host: str, port: int) -> bool:
        """Whether the operator named this host."""
        host = host.lower()
        return self.allow_private or (host, port) in self.allowed or (host, None) in self.allowed

    def permits(self, host: str, port: int, address: str) -> bool:
        """Whether `host` may be contacted at `address`."""
        return is_public(address) or self.names(host, port)

    def check_url(self, url: str) -> None:
        """Raise DownloadError for a scheme that is never fetched, and for a literal private address.

        Host names are judged when they are resolved, by `GuardedResolver`.
        """
        origin = _ORIGIN.match(url)
        scheme, host, port = _origin(origin[0] if origin else url)
        if scheme not in _DEFAULT_PORTS or not host:
            raise errors.DownloadError(
                f"{scheme or 'a URL without scheme'}: only http, https and S3 are fetched", cause="bad_url"
            )
        self.check_host(host, port)

    def check_host(self, host: str, port: int) -> None:
        """Raise DownloadError where `host` is itself an address that is not permitted."""
        if _is_literal(host) and not self.permits(host, port, host):
            raise refused(host)


class GuardedResolver(AbstractResolver):
    """Resolves names to permitted addresses only; raises DownloadError when none is left."""

    def __init__(self, policy: AddressPolicy, resolver: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        permitted = [r for r in found if self._policy.permits(host, port, r["host"])]
        if found and not permitted:
            raise refused(host)
        return permitted

    async def close(self) -> None:
        await self._resolver.close()


def refused(host: str) -> errors.DownloadError:
    """The error for a host that leads to a private address."""
    return errors.DownloadError(
        f"{host} leads to a private address",
        hint="Set PROCORE_ALLOW_PRIVATE_ADDRESSES if that is meant.",
        cause="private_address",
    )


def rewritten(url: str, rewrites: Mapping[str, str]) -> str:
    """The URL with the longest matching prefix replaced; a prefix ends where a host or path segment does."""
    for prefix in sorted(rewrites, key=len, reverse=True):
        bare = prefix.rstrip("/")
        if url.startswith(bare) and url[len(bare) : len(bare) + 1] in ("", "/", "?", "#"):
            return rewrites[prefix].rstrip("/") + url[len(bare) :]
    return url


@lru_cache(maxsize=256)  # thousands of files come from one store
def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL; raises DownloadError where it has none that can be read."""
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        return scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(scheme, 0)
    except ValueError as error:
        raise errors.DownloadError("the URL cannot be parsed", cause="bad_url") from error


@lru_cache(maxsize=256)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
