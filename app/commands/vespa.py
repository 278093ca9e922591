"""`vespa`: write the application package, deploy it, or serve the local endpoint."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit

from app.cli import Invocation
from app.exit_codes import ExitCode
from ingestion import errors
from ingestion.vespa.cli_config import CLOUD_DOMAIN

_CLOUD_ONLY = "Vespa Cloud takes application packages from its own command line only"
_CLOUD_COMMANDS = (
    "procore-ingest vespa package --output app",
    "vespa config set target cloud",
    "vespa config set application TENANT.APPLICATION",
    "vespa auth login",
    "vespa auth cert app",
    "vespa deploy --wait 600 app",
)


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
    from ingestion.inspecting import needed_fields
    from ingestion.vespa import client, deploying, package, reaching, versions

    out, settings = inv.out, inv.settings
    host = urlsplit(settings.vespa_url).hostname or "localhost"
    if host.endswith(CLOUD_DOMAIN) and not inv.args.config_server:
        if out.as_json:
            raise errors.SettingsError(_CLOUD_ONLY, hint=f"Run `{'`, `'.join(_CLOUD_COMMANDS)}`.")
        out.say(f"{_CLOUD_ONLY}; nothing is deployed yet. Run:")
        out.data("\n".join(_CLOUD_COMMANDS))
        return ExitCode.USAGE
    vespa = client.build(
        settings.vespa_url,
        cert=settings.vespa_cert or None,
        key=settings.vespa_key or None,
        ca_cert=settings.vespa_ca_cert or None,
        token=settings.vespa_token or None,
    )
    config_server = inv.args.config_server or f"http://{f'[{host}]' if ':' in host else host}:19071"
    async with client.VespaSession(vespa, namespace=settings.namespace) as session:
        before = await deploying.deployed_version(session)
        again = versions.feed_again(before, package.PACKAGE_VERSION)
        replaced = f" over version {before}" if before else ""
        out.say(f"deploying package version {package.PACKAGE_VERSION}{replaced} to {config_server}")
        done = await deploying.deploy(config_server, package.zip_bytes(), context=reaching.ssl_context(vespa))
        for line in (done.message, *(f"warning: {text}" for text in done.warnings), *done.actions):
            out.say(line)
        await deploying.wait_until_serving(
            session,
            needed=needed_fields(),
            on_wait=lambda waited: out.say(f"waiting until it serves ({waited:.0f} s)"),
        )
    out.say(f"the application serves at {settings.vespa_url}")
    if again:
        out.say(f"feed again: {', '.join(again)} (`procore-ingest ingest --full`)")
    if out.as_json:
        out.json(
            {
                "vespa_url": settings.vespa_url,
                "package_version": package.PACKAGE_VERSION,
                "warnings": done.warnings,
                "actions": done.actions,
                "feed_again": again,
            }
        )
    return ExitCode.DONE


async def _serve(inv: Invocation) -> ExitCode:
    try:
        from ingestion.sandbox.vespa_endpoint.server import serve_until
    except ModuleNotFoundError as error:
        raise errors.SettingsError(
            f"the local endpoint needs the package {error.name}, which is not installed",
            hint="Install it with `pip install 'procore-ingest[sandbox]'`.",
        ) from error
    data = Path(inv.args.data).expanduser() if inv.args.data else inv.settings.state_root / "vespa-endpoint"

    def ready(port: int) -> None:
        url = f"http://127.0.0.1:{port}"
        inv.out.say(f"local Vespa endpoint at {url} (for trying out; Ctrl-C stops it), data in {data}")
        if inv.out.as_json:
            inv.out.json({"vespa_url": url, "data": data, "pid": os.getpid()})

    try:
        await serve_until(inv.stop, data, "127.0.0.1", inv.args.port, ready=ready)
    except asyncio.CancelledError:  # Ctrl-C is how this command ends
        inv.out.say("stopped")
    return ExitCode.DONE
