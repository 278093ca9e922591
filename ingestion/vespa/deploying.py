"""Deploying the application package to a config server, and waiting until the application serves.

Uses the deploy API's `prepareandactivate` (Vespa documentation, "Deploy API"), the same call that the `vespa`
command line makes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp

from ingestion import errors
from ingestion.vespa.client import Answer, VespaSession, _json_object

DEPLOY_TIMEOUT_S = 120.0
SERVE_TIMEOUT_S = 300.0
POLL_S = 1.0


async def deploy(config_url: str, package: bytes) -> str:
    """Send the zipped package to the config server; its message.

    Raises errors.VespaUnavailable when no config server answers, errors.SchemaError when it refuses.
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
            http.post(url, data=package, headers={"Content-Type": "application/zip"}) as response,
        ):
            answer = Answer(response.status, _json_object(await response.read()))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.VespaUnavailable(
            f"no Vespa config server answers at {config_url}: {error or 'timed out'}",
            hint="Start Vespa, or give its config server (port 19071) with --config-server.",
        ) from error
    if answer.status != 200:
        raise errors.SchemaError(
            f"the config server refused the application package ({answer.status}): {answer.message}",
            hint="The message names the cause; `vespa package --output DIR` writes the package to look at.",
        )
    return answer.message


async def wait_until_serving(
    session: VespaSession,
    *,
    timeout_s: float = SERVE_TIMEOUT_S,
    on_wait: Callable[[float], None] | None = None,
) -> None:
    """Return once the application answers on its data plane; `on_wait` gets the seconds waited so far."""
    started = time.monotonic()
    while True:
        try:
            if (await session.request("GET", "/ApplicationStatus")).status == 200:
                return
        except errors.VespaUnavailable:
            pass
        waited = time.monotonic() - started
        if waited > timeout_s:
            raise errors.VespaUnavailable(
                f"the application was deployed but does not answer at {session.url} after {timeout_s:.0f} s",
                hint="Check the services on the Vespa nodes, or give the data plane's URL with --vespa-url.",
            )
        if on_wait is not None:
            on_wait(waited)
        await asyncio.sleep(POLL_S)
