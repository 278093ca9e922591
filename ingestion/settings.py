"""All settings in one frozen object: flags > environment > `.env` > settings file > `vespa`'s own > defaults.

`FIELDS` declares each setting once: its type, environment variables, default and help; the command line's
flags, the settings file's keys and the README's table come from it. `.env` is read from the current folder
only, so that no parent folder can change what a run does.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ingestion import errors
from ingestion.redaction import redact_text
from ingestion.vespa import cli_config

APP_NAME = "procore-ingest"
DEFAULT_VESPA_URL = "http://localhost:8080"
_MOST = 2**40
_LEAST = {
    "batch_size": 1, "workers": 1, "file_workers": 1, "max_in_flight": 1, "statement_timeout_s": 0,
    "max_file_size": 1,
}  # fmt: skip
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting: `env` are its environment variables, first one wins; `kind` how its text is read."""

    name: str
    env: tuple[str, ...]
    kind: str
    default: Any
    help: str
    secret: bool = False


FIELDS: tuple[SettingField, ...] = (
    SettingField("database_url", ("PROCORE_DATABASE_URL",), "text", "",
                 "PostgreSQL URL of the source; else libpq's PG… variables, PGSERVICE, .pgpass", secret=True),
    SettingField("vespa_url", ("VESPA_URL", "VESPA_LOCAL_URL"), "text", DEFAULT_VESPA_URL,
                 "Vespa's data plane"),
    SettingField("vespa_cert", ("VESPA_CERT", "VESPA_CLI_DATA_PLANE_CERT_FILE"), "text", "",
                 "PEM file of the client certificate for mTLS"),
    SettingField("vespa_key", ("VESPA_KEY", "VESPA_CLI_DATA_PLANE_KEY_FILE"), "text", "",
                 "PEM file of the certificate's key"),
    SettingField("vespa_ca_cert", ("VESPA_CA_CERT", "VESPA_CLI_DATA_PLANE_CA_CERT_FILE"), "text", "",
                 "PEM file of the authority that signed Vespa's certificate, where the system does not know it"),
    SettingField("vespa_token", ("VESPA_TOKEN", "VESPA_CLI_DATA_PLANE_TOKEN", "VESPA_CLOUD_SECRET_TOKEN"),
                 "text", "", "data plane token of Vespa Cloud", secret=True),
    SettingField("namespace", ("PROCORE_NAMESPACE",), "text", "procore",
                 "Vespa document namespace, one per source"),
    SettingField("state_dir", ("PROCORE_STATE_DIR",), "path", "",
                 "folder of the state files (default: the user's state folder)"),
    SettingField("download_dir", ("PROCORE_DOWNLOAD_DIR",), "path", "",
                 "folder of the downloaded files (default: files/ beside the state file)"),
    SettingField("log_level", ("LOG_LEVEL",), "text", "warning", "debug, info, warning or error"),
    SettingField("log_format", ("LOG_FORMAT",), "text", "text", "text or json"),
    SettingField("source_timezone", ("PROCORE_SOURCE_TIMEZONE",), "text", "UTC",
                 "zone of timestamps that carry none"),
    SettingField("statement_timeout_s", ("PROCORE_STATEMENT_TIMEOUT",), "number", 300,
                 "seconds a statement may take in the source database"),
    SettingField("batch_size", ("PROCORE_BATCH_SIZE",), "number", 1000, "rows per batch"),
    SettingField("workers", ("PROCORE_WORKERS",), "number", 2, "tables read at the same time"),
    SettingField("file_workers", ("PROCORE_FILE_WORKERS",), "number", 4, "files fetched at the same time"),
    SettingField("max_in_flight", ("PROCORE_MAX_IN_FLIGHT",), "number", 64,
                 "Vespa operations under way at the same time, at most"),
    SettingField("mask", ("PROCORE_MASK",), "list", (), "globs table.column whose values become [masked]"),
    SettingField("unmask", ("PROCORE_UNMASK",), "list", (),
                 "globs table.column that stay readable although they look secret"),
    SettingField("mask_personal", ("PROCORE_MASK_PERSONAL",), "switch", False,
                 "mask names, e-mail, phone, address and birth columns too"),
    SettingField("delete_share", ("PROCORE_DELETE_SHARE",), "share", 0.2,
                 "largest share of a table that a sync deletes without being told to"),
    SettingField("adopt_namespace", (), "switch", False,
                 "use a namespace that the index marks as another source's"),
    SettingField("s3_bucket", ("PROCORE_S3_BUCKET",), "text", "", "bucket of the files"),
    SettingField("s3_endpoint_url", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "text", "",
                 "S3 endpoint where it is not AWS"),
    SettingField("s3_region", ("AWS_REGION", "AWS_DEFAULT_REGION"), "text", "", "region of the bucket"),
    SettingField("s3_profile", ("AWS_PROFILE",), "text", "", "profile of the AWS configuration files"),
    SettingField("s3_path_style", ("PROCORE_S3_PATH_STYLE",), "switch", False, "name the bucket in the path"),
    SettingField("url_rewrites", ("PROCORE_URL_REWRITES",), "pairs", (),
                 "FROM=TO prefixes of file URLs, such as https://old.example=http://127.0.0.1:9000"),
    SettingField("allow_private_addresses", ("PROCORE_ALLOW_PRIVATE_ADDRESSES",), "switch", False,
                 "fetch files from private and loopback addresses too"),
    SettingField("max_file_size", ("PROCORE_MAX_FILE_SIZE",), "number", 100 * 2**20,
                 "bytes; larger files are skipped"),
    SettingField("exif_personal", ("PROCORE_EXIF_PERSONAL",), "switch", False,
                 "index where photos were taken and who owns them, as their EXIF says"),
)  # fmt: skip
_BY_NAME = {f.name: f for f in FIELDS}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run needs to know; secrets never show in its `repr`."""

    database_url: str = field(default="", repr=False)
    vespa_url: str = DEFAULT_VESPA_URL
    vespa_cert: str = ""
    vespa_key: str = ""
    vespa_ca_cert: str = ""
    vespa_token: str = field(default="", repr=False)
    namespace: str = "procore"
    state_dir: str = ""
    download_dir: str = ""
    log_level: str = "warning"
    log_format: str = "text"
    source_timezone: str = "UTC"
    statement_timeout_s: int = 300
    batch_size: int = 1000
    workers: int = 2
    file_workers: int = 4
    max_in_flight: int = 64
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    mask_personal: bool = False
    delete_share: float = 0.2
    adopt_namespace: bool = False
    s3_bucket: str = ""
    s3_endpoint_url: str = ""
    s3_region: str = ""
    s3_profile: str = ""
    s3_path_style: bool = False
    url_rewrites: tuple[tuple[str, str], ...] = ()
    allow_private_addresses: bool = False
    max_file_size: int = 100 * 2**20
    exif_personal: bool = False

    @property
    def state_root(self) -> Path:
        """The folder that holds one folder per source and index."""
        return Path(self.state_dir).expanduser() if self.state_dir else _default_state_dir()

    def aws_config(self) -> dict[str, str]:
        """boto3's client names plus `bucket` and `addressing_style`, members without a value left out.

        Keys come from AWS's usual places; they are never part of our settings.
        """
        config = {
            "bucket": self.s3_bucket,
            "endpoint_url": self.s3_endpoint_url,
            "region_name": self.s3_region,
            "profile_name": self.s3_profile,
            "addressing_style": "path" if self.s3_path_style else "",
        }
        return {name: value for name, value in config.items() if value}

    def to_dict(self) -> dict[str, Any]:
        """Plain members for another process, secrets included: send it over a pipe, never as an argument."""
        return {f.name: getattr(self, f.name) for f in dataclass_fields(self)}

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> Settings:
        """The settings that `to_dict` described."""
        values = dict(members)
        for name in ("mask", "unmask"):
            values[name] = tuple(values.get(name, ()))
        values["url_rewrites"] = tuple((a, b) for a, b in values.get("url_rewrites", ()))
        return cls(**values)


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    config_file: str | None = None,
    folder: Path | None = None,
) -> Settings:
    """Settings from all places; `flags` holds what the command line gave, None where a flag was not given.

    Raises errors.SettingsError naming the setting and the place for a value that cannot be used.
    """
    env = os.environ if environment is None else environment
    dotenv = _dotenv((folder or Path.cwd()) / ".env")
    file_values = _config_file(Path(config_file).expanduser()) if config_file else {}
    values: dict[str, Any] = {}
    for spec in FIELDS:
        given = (flags or {}).get(spec.name)
        if given is not None:
            values[spec.name] = _read(spec, given, f"--{spec.name.replace('_', '-')}")
            continue
        for place, source in (("environment", env), (".env", dotenv)):
            variable = next((name for name in spec.env if source.get(name)), None)
            if variable is not None:
                values[spec.name] = _read(spec, source[variable], f"{variable} ({place})")
                break
        else:
            if spec.name in file_values:
                values[spec.name] = _read(spec, file_values[spec.name], f"{config_file}: {spec.name}")
    values |= cli_config.completed(values, env)
    settings = Settings(**values)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if not _NAMESPACE.fullmatch(settings.namespace):
        raise errors.SettingsError(
            f"the namespace {settings.namespace!r} cannot be part of a document id",
            hint="Use 1 to 64 letters, digits, dots, dashes and underscores.",
        )
    if settings.log_level.lower() not in ("debug", "info", "warning", "error", "critical"):
        raise errors.SettingsError(
            f"the log level {settings.log_level!r} is unknown", hint="Use debug, info, warning or error."
        )
    if settings.log_format not in ("text", "json"):
        raise errors.SettingsError(
            f"the log format {settings.log_format!r} is unknown", hint="Use text or json."
        )
    for name, least in _LEAST.items():
        if not least <= getattr(settings, name) <= _MOST:
            raise errors.SettingsError(
                f"{name} must be from {least} to {_MOST:,}", hint=f"Correct --{name.replace('_', '-')}."
            )
    if not _is_zone(settings.source_timezone):
        raise errors.SettingsError(
            f"the time zone {settings.source_timezone!r} is unknown",
            hint="Give a name of the IANA database, such as America/Denver, or UTC, with --source-timezone.",
        )
    parts = urlsplit(settings.vespa_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.SettingsError(
            f"Vespa's URL {redact_text(settings.vespa_url)!r} is not an http or https address",
            hint="Give one such as http://localhost:8080 with --vespa-url or VESPA_URL.",
        )


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _read(spec: SettingField, value: Any, place: str) -> Any:
    try:
        return _READERS[spec.kind](value)
    except (TypeError, ValueError) as error:
        shown = "its value" if spec.secret else repr(value)
        raise errors.SettingsError(
            f"{place}: {shown} is not {_EXPECTED[spec.kind]}", hint=f"It is {spec.help}."
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str | Path):
        raise TypeError
    return str(value)


def _number(value: Any) -> int:
    if isinstance(value, bool | float):
        raise TypeError
    return int(value)


def _share(value: Any) -> float:
    share = float(value)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ValueError


def _list(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping) or not isinstance(value, str | Iterable):
        raise TypeError
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    if isinstance(value, Mapping):
        return tuple((str(a), str(b)) for a, b in value.items())
    pairs = []
    for part in _list(value) if isinstance(value, str) else value:
        before, separator, after = (
            part if isinstance(part, tuple) and len(part) == 3 else str(part).partition("=")
        )
        if not separator or not before or not after:
            raise ValueError
        pairs.append((before, after))
    return tuple(pairs)


_READERS = {
    "text": _text, "path": _text, "number": _number, "share": _share,
    "switch": _switch, "list": _list, "pairs": _pairs,
}  # fmt: skip
_EXPECTED = {
    "text": "text", "path": "a path", "number": "a whole number", "share": "a number from 0 to 1",
    "switch": "true or false", "list": "a list", "pairs": "a list of FROM=TO",
}  # fmt: skip


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise errors.SettingsFileError(
            f"{path} cannot be read: {error}", hint="Correct or remove it."
        ) from error


def _config_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.SettingsFileError(
            f"the settings file {path} cannot be read: {error.strerror or error}", hint="Correct --config."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.SettingsFileError(
            f"the settings file {path} is not TOML: {error}", hint="Correct it."
        ) from error
    for name in values:
        if name not in _BY_NAME:
            near = get_close_matches(name, _BY_NAME, 1)
            raise errors.SettingsError(
                f"the settings file {path} has an unknown key {name!r}",
                hint=f"Did you mean {near[0]!r}?" if near else "The README lists the keys.",
            )
    return values


def _default_state_dir() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_dir(APP_NAME, appauthor=False))
