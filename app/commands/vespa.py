"""`vespa`: write the application package, deploy it, or serve the local endpoint."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from app.cli import Invocation
from app.exit_codes import ExitCode


async def run(inv: Invocation) -> ExitCode:
    """Do the action named on the command line."""
    return await {"package": _package, "deploy": _deploy, "serve": _serve}[inv.args.action](inv)


async def _package(inv: Invocation) -> ExitCode:
    from ingestion.vespa import package

    folder = Path(inv.args.output)
    package.write(folder)
    inv.out.say(f"wrote the application package (version {package.PACKAGE_VERSION}) to {folder}")
    inv.out.say(
        f"deploy it with `procore-ingest vespa deploy`, or to Vespa Cloud with `vespa deploy --wait 600 {folder}`"
    )
    if inv.out.as_json:
        inv.out.json({"output": folder, "package_version": package.PACKAGE_VERSION})
    return ExitCode.DONE


async def _deploy(inv: Invocation) -> ExitCode:
    from ingestion.vespa import client, deploying, package

    out, settings = inv.out, inv.settings
    host = urlsplit(settings.vespa_url).hostname or "localhost"
    config_server = inv.args.config_server or f"http://{host}:19071"
    out.say(f"deploying to {config_server}")
    message = await deploying.deploy(config_server, package.zip_bytes())
    out.say(message)
    vespa = client.build(
        settings.vespa_url,
        cert=settings.vespa_cert or None,
        key=settings.vespa_key or None,
        token=settings.vespa_token or None,
    )
    async with client.VespaSession(vespa, namespace=settings.namespace) as session:
        await deploying.wait_until_serving(
            session, on_wait=lambda waited: out.say(f"waiting until it serves ({waited:.0f} s)")
        )
    out.say(f"the application serves at {settings.vespa_url}")
    if out.as_json:
        out.json({"vespa_url": settings.vespa_url, "package_version": package.PACKAGE_VERSION})
    return ExitCode.DONE


async def _serve(inv: Invocation) -> ExitCode:
    from ingestion.sandbox.vespa_endpoint import process

    data = Path(inv.args.data).expanduser() if inv.args.data else inv.settings.state_root / "vespa-endpoint"
    endpoint = await asyncio.to_thread(process.start, data, inv.args.port)
    inv.out.say(f"local Vespa endpoint at {endpoint.url} (for trying out; Ctrl-C stops it), data in {data}")
    if inv.out.as_json:
        inv.out.json({"vespa_url": endpoint.url, "data": data, "pid": endpoint.pid})
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        inv.out.say("stopped")
        return ExitCode.DONE
    finally:
        endpoint.stop()
    return ExitCode.DONE
