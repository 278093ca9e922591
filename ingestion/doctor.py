"""The prerequisites of a run, each checked on its own and told together with what to do about it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from ingestion import errors, inspecting
from ingestion.connections import Connections
from ingestion.files import paths
from ingestion.postgres import connection_url
from ingestion.reports import Check
from ingestion.settings import Settings
from ingestion.vespa.schemas import LOCAL_VERSION, required_vespa_version

OLDEST_POSTGRES, NEWEST_POSTGRES = 13, 18
LEAST_FREE_BYTES = 2**30
CLOCK_SKEW_S = 5.0
_DEPLOY = "Run `procore-ingest vespa deploy`."


async def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which a person would mend them; never raises for a finding."""
    connections = Connections(settings, logging.getLogger("procore_ingest"))
    try:
        source, vespa = await asyncio.gather(_source(connections), _vespa(connections))
        return [*_state(settings), *source, *vespa, *await asyncio.to_thread(_aws, settings)]
    finally:
        await connections.close()


def _state(settings: Settings) -> list[Check]:
    folder = settings.state_root
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        # Asked by doing: what root may do, and what a file system allows, no permission bit tells.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        said = f"{folder} cannot be written: {error.strerror or error}"
        return [
            Check("state: folder", "problem", said, "Make it writable, or choose another with --state-dir.")
        ]
    checks = [Check("state: folder", "ok", str(folder))]
    free = shutil.disk_usage(existing).free
    state, hint = ("ok", "") if free >= LEAST_FREE_BYTES else ("warning", "Free space or use another disk.")
    checks.append(Check("state: disk", state, f"{free / 2**30:,.1f} GiB free", hint))
    if settings.download_dir:
        downloads = Path(settings.download_dir).expanduser()
        try:
            paths.require_room(downloads)
            checks.append(Check("files: folder", "ok", str(downloads)))
        except errors.OutputError as error:
            checks.append(Check("files: folder", "problem", str(error), error.hint))
    exposed = connection_url.pgpass_is_exposed(os.environ)
    if exposed is not None:
        checks.append(
            Check(
                "settings: password file",
                "warning",
                f"{exposed} is readable by others and therefore ignored",
                f"Run `chmod 600 {exposed}`.",
            )
        )
    return checks


async def _source(connections: Connections) -> list[Check]:
    if not connections.is_configured:
        return [
            Check(
                "source: address",
                "problem",
                "no source database is named",
                "Set PROCORE_DATABASE_URL or --database-url, or try `procore-ingest demo`.",
            )
        ]
    try:
        info = await inspecting.source_info(connections)
        server = await (await connections.source()).server_info()
        tables = await (await connections.source()).execute(_TABLES)
    except errors.IngestionError as error:
        return [Check("source: connection", "problem", str(error), error.hint)]
    checks = [Check("source: connection", "ok", f"{info.database} on {info.host} as {info.user}")]
    major = server.version_num // 10000
    supported = OLDEST_POSTGRES <= major <= NEWEST_POSTGRES
    checks.append(
        Check(
            "source: version",
            "ok" if supported else "warning",
            f"PostgreSQL {info.server_version}" + (", a standby" if info.in_recovery else ""),
            "" if supported else f"Versions {OLDEST_POSTGRES} to {NEWEST_POSTGRES} are supported.",
        )
    )
    checks.append(
        Check(
            "source: read-only",
            "warning" if info.can_write else "ok",
            "our sessions are read-only; the role itself may write"
            if info.can_write
            else "our sessions are read-only, and so is the role",
            "A role with SELECT alone is safer." if info.can_write else "",
        )
    )
    unreadable = sum(1 for row in tables if not row["readable"])
    checks.append(
        Check(
            "source: rights",
            "warning" if unreadable or not tables else "ok",
            f"{len(tables) - unreadable} tables can be read, {unreadable} cannot",
            "GRANT SELECT on the others, or leave them out." if unreadable else "",
        )
    )
    skew = abs(server.now_s - time.time())
    checks.append(
        Check(
            "source: clock",
            "ok" if skew < CLOCK_SKEW_S else "warning",
            f"{skew:.1f} s apart from this machine's",
            "" if skew < CLOCK_SKEW_S else "Freshness is shown by the source's clock; nothing is lost by it.",
        )
    )
    return checks


async def _vespa(connections: Connections) -> list[Check]:
    try:
        info = await inspecting.vespa_info(connections)
    except errors.IngestionError as error:
        return [Check("vespa: connection", "problem", str(error), error.hint)]
    if not info.up:
        return [
            Check("vespa: connection", "problem", f"{info.url} answers, but is not up", "Wait, then retry.")
        ]
    checks = [Check("vespa: connection", "ok", f"{info.url}, namespace {info.namespace}")]
    checks.append(
        Check(
            "vespa: schema",
            "problem" if info.missing else "ok",
            f"missing: {', '.join(info.missing)}"
            if info.missing
            else f"complete; {info.records:,} records, {info.files:,} files",
            _DEPLOY if info.missing else "",
        )
    )
    checks += _vespa_version(info.vespa_version)
    deployed, needed = info.package_version, info.needed_version
    checks.append(
        Check(
            "vespa: package",
            "ok" if deployed >= needed else "problem",
            f"version {deployed or 'unknown'} is deployed, version {needed} is needed"
            if deployed < needed
            else f"version {deployed}",
            _DEPLOY if deployed < needed else "",
        )
    )
    return checks


def _vespa_version(version: str) -> list[Check]:
    """Whether it is new enough for the package; nothing where it does not say, as behind some proxies."""
    if LOCAL_VERSION in version:
        return [Check("vespa: version", "ok", "the local endpoint, for trying out")]
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        return []
    least = tuple(map(int, required_vespa_version.split(".")))
    if tuple(map(int, numbers.groups())) >= least:
        return [Check("vespa: version", "ok", version)]
    said = f"{version} is older than {required_vespa_version}, which the application package needs"
    return [Check("vespa: version", "problem", said, "Upgrade Vespa.")]


def _aws(settings: Settings) -> list[Check]:
    if not settings.s3_bucket:
        return [Check("files: S3", "ok", "no bucket is set; files come by their URLs only")]
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(
            profile_name=settings.s3_profile or None, region_name=settings.s3_region or None
        )
        found = session.get_credentials()
    except BotoCoreError as error:
        return [Check("files: S3", "problem", str(error), "Correct AWS_PROFILE, or the profile's files.")]
    if found is None:
        return [
            Check(
                "files: S3",
                "warning",
                f"bucket {settings.s3_bucket}, but no credentials",
                "Give AWS credentials in the usual places (environment, profile, role).",
            )
        ]
    return [Check("files: S3", "ok", f"bucket {settings.s3_bucket}, credentials found")]


_TABLES = """
SELECT c.oid::regclass::text AS name, has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
