"""Deploying the application package to a config server, and waiting until the application serves.

Uses `prepareandactivate` of the deploy API (https://docs.vespa.ai/en/reference/api/deploy-v2.html).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ingestion import errors
from ingestion.vespa.client import Answer, VespaSession, _json_object
from ingestion.vespa.schemas import PACKAGE_VERSION

DEPLOY_TIMEOUT_S = 120.0
SERVE_TIMEOUT_S = 300.0
POLL_S = 1.0
TELL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the config server said: its message, its warnings, and what must happen before all of it holds.

    `actions` are sentences such as "refeed: Field 'x' changed: add attribute aspect".
    """

    message: str
    warnings: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()


async def deploy(config_url: str, package: bytes, *, context: ssl.SSLContext | None = None) -> Deployment:
    """Send the zipped package to the config server, which validates and activates it; `context` is for https.

    Raises errors.VespaUnavailable when no config server answers, errors.IndexError when it refuses.
    """
    parts = urlsplit(config_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.SettingsError(
            f"the config server's URL {config_url!r} is not an http or https address",
            hint="Give one such as http://localhost:19071 with --config-server.",
        )
    url = f"{config_url.rstrip('/')}/application/v2/tenant/default/prepareandactivate"
    timeout = aiohttp.ClientTimeout(total=DEPLOY_TIMEOUT_S, connect=10)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as http,
            http.post(
                url, data=package, headers={"Content-Type": "application/zip"}, ssl=context or True
            ) as response,
        ):
            answer = Answer(response.status, _json_object(await response.read()))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.VespaUnavailable(
            f"no Vespa config server answers at {config_url}: {error or 'timed out'}",
            hint="Start Vespa, or give its config server (port 19071) with --config-server.",
        ) from error
    if answer.status != 200:
        raise errors.IndexError(
            f"the config server refused the application package ({answer.status}): {answer.message}",
            hint=_next_step(answer.status),
        )
    return Deployment(answer.message, tuple(_warnings(answer.body)), tuple(_actions(answer.body)))


def _next_step(status: int) -> str:
    """What to do about a refusal; the codes are those of Vespa's deploy API."""
    if status == 409:
        return "Another deployment was activated in between. Deploy again."
    if status >= 500:
        return "The package may be as it should. Look at the config server's log, and deploy again."
    return "The message names the cause; `vespa package --output DIR` writes the package to look at."


def _warnings(body: Mapping[str, Any]) -> Iterator[str]:
    for entry in body.get("log") or ():
        if isinstance(entry, dict) and entry.get("level") in ("WARNING", "ERROR", "SEVERE"):
            yield " ".join(str(entry.get("message", "")).split())


def _actions(body: Mapping[str, Any]) -> Iterator[str]:
    found = body.get("configChangeActions") or {}
    for kind in ("restart", "refeed", "reindex"):
        for action in found.get(kind) or ():
            yield from (f"{kind}: {' '.join(str(said).split())}" for said in action.get("messages") or [""])


async def wait_until_serving(
    session: VespaSession,
    *,
    needed: Mapping[str, list[str]],
    timeout_s: float = SERVE_TIMEOUT_S,
    poll_s: float = POLL_S,
    on_wait: Callable[[float], None] | None = None,
) -> None:
    """Return once the application answers on its data plane, knows every field of `needed`, and is our version.

    An application that was there before answers long before the new one is in place, so answering is not
    enough. `on_wait` gets the seconds waited so far, every ten seconds. Raises errors.VespaUnavailable after
    `timeout_s`, or at once when the data plane refuses the login.
    """
    started = told = time.monotonic()
    while True:
        lacking = await _lacking(session, needed)
        if not lacking:
            return
        now = time.monotonic()
        if now - started > timeout_s:
            raise errors.VespaUnavailable(
                f"the application was deployed but {lacking} at {session.url} after {timeout_s:.0f} s",
                hint="Check the services on the Vespa nodes, or give the data plane's URL with --vespa-url.",
            )
        if on_wait is not None and (told == started or now - told >= TELL_EVERY_S):
            told = now
            on_wait(now - started)
        await asyncio.sleep(poll_s)


async def _lacking(session: VespaSession, needed: Mapping[str, list[str]]) -> str:
    """What is still missing, as the middle of a sentence; empty when the application serves."""
    try:
        answer = await session.exchange("GET", "/ApplicationStatus")
    except (aiohttp.ClientError, TimeoutError, OSError):
        return "does not answer"
    if answer.status in (401, 403):
        raise errors.VespaUnavailable(
            f"the application was deployed, but its data plane at {session.url} refuses the login "
            f"({answer.status}: {answer.message})",
            hint="Check the certificate and key, or the token.",
        )
    if answer.status != 200:
        return f"is not up ({answer.status})"
    try:
        missing = await session.missing_fields(needed)
        if missing:
            return f"lacks {', '.join(missing[:5])}"
        if await session.package_version() < PACKAGE_VERSION:
            return f"does not serve package version {PACKAGE_VERSION} yet"
    except errors.VespaUnavailable:
        return "is not ready"
    return ""


async def deployed_version(session: VespaSession) -> int:
    """The package version that serves before a deployment; 0 where nothing of ours answers."""
    try:
        return await session.package_version()
    except errors.VespaUnavailable:
        return 0
