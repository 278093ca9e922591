"""Saved connections: names for a source and an index, kept in the user's configuration folder, never a secret.

A source is a PostgreSQL URL without a password, `service=NAME` of PostgreSQL's service file, or `$VARIABLE` of
the environment; Vespa's address is a URL or `$VARIABLE`. Passwords come from where psql takes them. The file is
TOML for people (mode 0600): what it holds is all that is known.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ingestion import errors
from ingestion.postgres import connection_url
from ingestion.settings import DEFAULT_VESPA_URL

VERSION = 1
DEFAULT_NAMESPACE = "procore"
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
_SERVICE = re.compile(r"service\s*=\s*([^\s=]+)")
_SECRETS = ("password", "sslpassword")


@dataclass(frozen=True, slots=True)
class SavedConnection:
    """One entry: references only. An empty `vespa` or `namespace` means the default."""

    name: str
    source: str
    vespa: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a connection comes to now; may hold a secret: for connecting, never for showing or storing."""

    database_url: str
    vespa_url: str
    namespace: str


def resolve(source: str, vespa: str, namespace: str, env: Mapping[str, str]) -> Addresses:
    """The addresses behind the references; raises errors.SettingsError naming a variable that is not set."""
    return Addresses(
        database_url=_value(source.strip(), env),
        vespa_url=_value(vespa.strip(), env) or DEFAULT_VESPA_URL,
        namespace=namespace.strip() or DEFAULT_NAMESPACE,
    )


def _value(text: str, env: Mapping[str, str]) -> str:
    variable = _VARIABLE.fullmatch(text)
    if variable is None:
        return text
    value = env.get(variable[1], "")
    if not value:
        raise errors.SettingsError(
            f"the environment variable {variable[1]} is not set",
            hint=f"Set it before starting: export {variable[1]}=…, or change the connection.",
        )
    return value


def complaint(source: str, vespa: str = "") -> str:
    """What is wrong with an address as it was typed; empty when nothing is. Never repeats a secret."""
    source, vespa = source.strip(), vespa.strip()
    if not source:
        return "Name a database: a URL, service=NAME or $VARIABLE."
    if not _VARIABLE.fullmatch(source):
        try:
            connection_url.parse(source)
        except errors.IngestionError as error:
            return f"{error}. {getattr(error, 'hint', '')}".strip()
    if vespa and not _VARIABLE.fullmatch(vespa) and urlsplit(vespa).scheme not in {"http", "https"}:
        return "Vespa's address begins with http:// or https://, or is a $VARIABLE."
    return ""


def holds_secret(source: str, vespa: str = "") -> bool:
    """Whether an address as typed carries a password, which will not be saved."""
    if not _VARIABLE.fullmatch(source.strip()) and set(_SECRETS) & set(connection_url.parse(source)):
        return True
    return _plain_url(vespa) != vespa.strip()


def without_secret(source: str) -> str:
    """The source as it may be stored: a URL or keywords without passwords, references as they are.

    Only for what `complaint` lets pass: where a URL's parts end is not known otherwise.
    """
    source = source.strip()
    if _VARIABLE.fullmatch(source):
        return source
    if "://" not in source:
        words = connection_url.parse(source)
        return " ".join(f"{name}={_quoted(value)}" for name, value in words.items() if name not in _SECRETS)
    head, mark, query = source.partition("?")
    scheme, slashes, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    plain = f"{scheme}{slashes}{user.partition(':')[0]}{at}{host}{slash}{path}"
    kept = [p for p in query.split("&") if p and unquote(p.partition("=")[0]).lower() not in _SECRETS]
    return plain + (mark + "&".join(kept) if kept else "")


def _quoted(value: str) -> str:
    if re.fullmatch(r"[^\s'\\]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _plain_url(url: str) -> str:
    """An http address without credentials and without its query, which may sign."""
    url = url.strip()
    if not url or _VARIABLE.fullmatch(url):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def shown(source: str) -> str:
    """The source for people, in one line: `reader at db.example/procore`, `service=prod`, `$PROD_URL`."""
    if _VARIABLE.fullmatch(source) or _SERVICE.fullmatch(source):
        return source
    try:
        words = connection_url.parse(source)
    except errors.IngestionError:
        return "an address that cannot be read"
    if "service" in words:
        return f"service={words['service']}"
    place = words.get("dbname", "")
    place += f" at {words.get('host') or 'localhost'}" + (f":{words['port']}" if words.get("port") else "")
    return place.strip() + (f" as {words['user']}" if words.get("user") else "")


# -- the file ----------------------------------------------------------------------------------------------------


class ConnectionBook:
    """The saved connections in one file; `path` None keeps them in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.problem = ""
        """Why the file could not be read; it is then never written over."""
        self._entries: list[SavedConnection] = []
        if path is not None and path.exists():
            try:
                self._entries = _entries_of(tomllib.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, errors.IngestionError) as error:
                self.problem = f"{path} cannot be used: {error}"

    @classmethod
    def default(cls) -> ConnectionBook:
        """In the user's configuration folder."""
        import platformdirs

        folder = platformdirs.user_config_dir("procore-ingest", appauthor=False)
        return cls(Path(folder) / "connections.toml")

    def entries(self) -> Sequence[SavedConnection]:
        """In the order of the file."""
        return tuple(self._entries)

    def find(self, name: str) -> SavedConnection | None:
        return next((entry for entry in self._entries if entry.name == name), None)

    def save(self, entry: SavedConnection, *, instead_of: str = "") -> SavedConnection:
        """Add the entry, or put it in the place of another; what is stored is returned, without any secret.

        Raises errors.SettingsError for a name that another entry has, errors.OutputError where the file cannot
        be written.
        """
        if wrong := complaint(entry.source, entry.vespa):
            raise errors.SettingsError(wrong, hint="Correct the address.")
        entry = replace(
            entry,
            name=" ".join(entry.name.split()),
            source=without_secret(entry.source),
            vespa=_plain_url(entry.vespa),
            namespace=entry.namespace.strip(),
        )
        if not entry.name:
            raise errors.SettingsError(
                "a saved connection needs a name", hint="Give it one, such as staging."
            )
        others = [known.name for known in self._entries if known.name != instead_of]
        if entry.name in others:
            raise errors.SettingsError(
                f"there is a connection {entry.name!r} already", hint="Choose another name, or edit that one."
            )
        names = [known.name for known in self._entries]
        at = names.index(instead_of) if instead_of in names else len(names)
        self._write([*self._entries[:at], entry, *self._entries[at + (instead_of in names) :]])
        return entry

    def delete(self, name: str) -> None:
        """Forget an entry; nothing else is touched."""
        self._write([entry for entry in self._entries if entry.name != name])

    def _write(self, entries: list[SavedConnection]) -> None:
        if self.problem:
            raise errors.OutputError(self.problem, hint="Correct or remove the file, then start again.")
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part = self.path.with_suffix(f".{os.getpid()}")
                part.unlink(missing_ok=True)
                handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(_toml(entries))
                part.replace(self.path)
            except OSError as error:
                raise errors.OutputError(
                    f"the connections cannot be written to {self.path}: {error.strerror or error}",
                    hint="Check the folder's rights and the disk.",
                ) from error
        self._entries = entries


def _toml(entries: Iterable[SavedConnection]) -> str:
    lines = ["# Saved connections of procore-ingest. References only: no password belongs here.",
             f"version = {VERSION}"]  # fmt: skip
    for entry in entries:
        lines += ["", "[[connection]]"]
        for field in ("name", "source", "vespa", "namespace"):
            if value := getattr(entry, field):
                # JSON's escapes are a subset of TOML's basic strings, but for U+007F.
                lines.append(f"{field} = " + json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f"))
    return "\n".join(lines) + "\n"


def _entries_of(members: Mapping[str, Any]) -> list[SavedConnection]:
    if members.get("version") != VERSION:
        raise errors.SettingsFileError(f"its version is {members.get('version')!r}, not {VERSION}")
    entries = []
    for item in members.get("connection", ()):
        texts = {field: item.get(field, "") for field in ("name", "source", "vespa", "namespace")}
        if not all(isinstance(text, str) for text in texts.values()) or not (
            texts["name"] and texts["source"]
        ):
            raise errors.SettingsFileError("each connection needs a name and a source")
        if wrong := complaint(texts["source"], texts["vespa"]):
            raise errors.SettingsFileError(f"connection {texts['name']!r}: {wrong}")
        # Somebody may have written a password in by hand: it is used by nobody and never shown.
        entries.append(SavedConnection(**{**texts, "source": without_secret(texts["source"])}))
    return entries
