"""Where the source database is: libpq's keywords from a URL, the environment, service and password files.

Resolution follows psql: the URL first, then the service that it or `PGSERVICE` names, then the `PG…`
variables, then libpq's defaults; the password file last. See
https://www.postgresql.org/docs/current/libpq-connect.html and libpq-envars, libpq-pgservice, libpq-pgpass.
Messages never repeat the URL: it may hold a password.
"""

from __future__ import annotations

import getpass
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from ingestion import errors

Keywords = dict[str, str]
"""libpq's own keywords: host, port, dbname, user, password, sslmode, …; several hosts joined by commas."""

DEFAULT_PORT = 5432

_VARIABLES = {
    "PGHOST": "host", "PGHOSTADDR": "hostaddr", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user",
    "PGPASSWORD": "password", "PGPASSFILE": "passfile", "PGSSLMODE": "sslmode", "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey", "PGSSLROOTCERT": "sslrootcert", "PGSSLCRL": "sslcrl",
    "PGAPPNAME": "application_name", "PGCONNECT_TIMEOUT": "connect_timeout", "PGOPTIONS": "options",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
}  # fmt: skip
_ALIASES = {"database": "dbname", "ssl": "sslmode"}
_KNOWN = frozenset(_VARIABLES.values()) | {
    "service", "sslpassword", "sslcompression", "sslnegotiation", "ssl_min_protocol_version", "sslcertmode",
    "ssl_max_protocol_version", "sslsni", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "tcp_user_timeout", "gssencmode", "krbsrvname", "gsslib", "gssdelegation",
    "channel_binding", "require_auth", "requirepeer", "client_encoding", "fallback_application_name",
    "load_balance_hosts", "replication", "statement_timeout",
}  # fmt: skip
_SOCKET_FOLDERS = ("/var/run/postgresql", "/run/postgresql", "/tmp")
_URL = re.compile(r"^postgres(?:ql)?://", re.IGNORECASE)
_HINT = "Write it as postgresql://USER@HOST:PORT/DATABASE, percent-encoded; .pgpass may hold the password."


def parse(text: str) -> Keywords:
    """The keywords that a libpq URL, or a libpq `key=value` string, sets; raises SettingsError."""
    text = text.strip()
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+]{0,30})://", text)
    if scheme and not _URL.match(text):
        raise errors.SettingsError(
            f"the database URL begins with {scheme.group(1)}://, the source must be PostgreSQL", hint=_HINT
        )
    keywords = _parse_url(text) if _URL.match(text) else _parse_pairs(text)
    for name in keywords:
        if name not in _KNOWN:
            raise errors.SettingsError(f"the database URL has an unknown parameter {name!r}", hint=_HINT)
    return keywords


def resolve(url: str | None, env: Mapping[str, str]) -> Keywords:
    """All keywords, the password included, as psql would resolve them; raises SettingsError."""
    keywords = parse(url) if url else {}
    service = keywords.pop("service", "") or env.get("PGSERVICE", "")
    if service:
        keywords = {**_read_service(service, env), **keywords}
    for variable, name in _VARIABLES.items():
        if env.get(variable):
            keywords.setdefault(name, env[variable])
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    keywords.setdefault("user", _os_user())
    keywords.setdefault("dbname", keywords["user"])
    keywords.setdefault("host", keywords.get("hostaddr") or _default_host(keywords.get("port", "")))
    if "password" not in keywords:
        password = _password_from_file(keywords, Path(keywords.get("passfile") or home / ".pgpass"))
        if password is not None:
            keywords["password"] = password
    for name, file in (
        ("sslrootcert", "root.crt"),
        ("sslcert", "postgresql.crt"),
        ("sslkey", "postgresql.key"),
    ):
        default = home / ".postgresql" / file
        if name not in keywords and default.is_file():
            keywords[name] = str(default)
    return keywords


def is_configured(env: Mapping[str, str]) -> bool:
    """Whether the environment alone says which database is meant."""
    return any(
        env.get(name) for name in ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE", "PGPORT", "PGUSER")
    )


def hosts(keywords: Mapping[str, str]) -> list[tuple[str, int]]:
    """(host or socket folder, port) of each host, in order; raises SettingsError for an unusable port."""
    names = (
        keywords.get("host") or keywords.get("hostaddr") or _default_host(keywords.get("port", ""))
    ).split(",")
    ports = keywords.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise errors.SettingsError(
            f"the database URL names {len(names)} hosts but {len(ports)} ports",
            hint="Give one port, or one each.",
        )
    default = _default_host("")
    return [(name or default, _port(port)) for name, port in zip(names, ports, strict=True)]


def seconds(name: str, text: str) -> float:
    """The value of a keyword that counts seconds; 0 means no limit. Raises SettingsError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise errors.SettingsError(
            f"{name} in the database URL is not a number of seconds", hint=f"{name}=30"
        )
    return seconds or 1e6


def _parse_url(url: str) -> Keywords:
    rest = _URL.sub("", url, count=1)
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    userinfo, at, hostspec = authority.rpartition("@")
    if not at and "@" in path:
        # An unescaped slash in the password: libpq reads it as the host's end, and so do we, but say so.
        raise errors.SettingsError("the database URL has an unescaped / before its @", hint="Write / as %2F.")
    keywords: Keywords = {}
    user, colon, password = userinfo.partition(":")
    if user:
        keywords["user"] = _decoded(user)
    if colon:
        keywords["password"] = _decoded(password)
    if hostspec:
        names, ports = zip(*map(_host_and_port, hostspec.split(",")), strict=True)
        if any(names):
            keywords["host"] = ",".join(names)
        if any(ports):
            keywords["port"] = ",".join(ports)
    if slash and path:
        keywords["dbname"] = _decoded(path)
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise errors.SettingsError("a parameter of the database URL has no value", hint=_HINT)
        name = _decoded(name)
        if name == "ssl" and value == "true":
            value = "require"
        keywords[_ALIASES.get(name, name)] = _decoded(value)
    return {name: value for name, value in keywords.items() if value}


def _host_and_port(spec: str) -> tuple[str, str]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", spec)
    if bracketed:
        return bracketed.group(1), bracketed.group(2) or ""
    name, _, port = spec.partition(":")
    return _decoded(name), port


def _parse_pairs(text: str) -> Keywords:
    keywords: Keywords = {}
    pattern = re.compile(r"\s*([A-Za-z_]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?=\s|$)", re.DOTALL)
    position = 0
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise errors.SettingsError("the database URL cannot be read", hint=_HINT)
        value = match.group(2)
        value = value[1:-1] if value.startswith("'") else value
        name = match.group(1)
        keywords[_ALIASES.get(name, name)] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        position = match.end()
    if not keywords:
        raise errors.SettingsError("the database URL is empty", hint=_HINT)
    return {name: value for name, value in keywords.items() if value}


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise errors.SettingsError("the database URL has a broken percent-encoding", hint="Write % as %25.")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise errors.SettingsError("the database URL's percent-encoding is not UTF-8", hint=_HINT) from error


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        # Not repeated: what stands where a port belongs may be the rest of an unescaped password.
        raise errors.SettingsError("the port in the database URL is not a number from 1 to 65535", hint=_HINT)
    return int(text)


def _default_host(port: str) -> str:
    wanted = f".s.PGSQL.{port or DEFAULT_PORT}"
    for folder in _SOCKET_FOLDERS:
        if os.path.exists(os.path.join(folder, wanted)):
            return folder
    return "localhost"


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise errors.SettingsError(
            "no database user given", hint="Name one in the URL or in PGUSER."
        ) from error


def _read_service(service: str, env: Mapping[str, str]) -> Keywords:
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    user_file = Path(env["PGSERVICEFILE"]) if env.get("PGSERVICEFILE") else home / ".pg_service.conf"
    files = [user_file]
    if env.get("PGSYSCONFDIR"):
        files.append(Path(env["PGSYSCONFDIR"]) / "pg_service.conf")
    for file in files:
        found = _service_section(file, service)
        if found is not None:
            return found
    raise errors.SettingsError(
        f"database service {service!r} is not defined in {' or '.join(map(str, files))}",
        hint="Add a section of that name, or unset PGSERVICE.",
    )


def service_names(env: Mapping[str, str]) -> list[str]:
    """Names of the services that PostgreSQL's service files define; empty where there is no file."""
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    files = [Path(env.get("PGSERVICEFILE") or home / ".pg_service.conf")]
    if env.get("PGSYSCONFDIR"):
        files.append(Path(env["PGSYSCONFDIR"]) / "pg_service.conf")
    found = [line[1:-1] for file in files for _, line in _lines(file) if re.fullmatch(r"\[.+\]", line)]
    return list(dict.fromkeys(found))


def _service_section(file: Path, service: str) -> Keywords | None:
    section: Keywords | None = None
    for number, line in _lines(file):
        if line.startswith("["):
            if section is not None:
                break
            section = {} if line == f"[{service}]" else None
        elif section is not None:
            name, equals, value = line.partition("=")
            name = _ALIASES.get(name.strip(), name.strip())
            if not equals or name not in _KNOWN or name == "service":
                raise errors.SettingsError(
                    f"{file} line {number} is no parameter of a service", hint="Write it as keyword=value."
                )
            section.setdefault(name, value.strip())
    return section


def _password_from_file(keywords: Mapping[str, str], file: Path) -> str | None:
    """The first matching line's password; a file that others may read is ignored, as libpq does."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode) or (os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO)):
        return None
    wanted_hosts = {"localhost" if host.startswith("/") else host: port for host, port in hosts(keywords)}
    for host, port in wanted_hosts.items():
        wanted = (host, str(port), keywords["dbname"], keywords["user"])
        for _, line in _lines(file, strip=False):
            fields = _fields(line)
            if len(fields) == 5 and all(f in ("*", w) for f, w in zip(fields[:4], wanted, strict=True)):
                return fields[4]
    return None


def _fields(line: str) -> list[str]:
    fields: list[str] = []
    current, escaped = "", False
    for char in line:
        if escaped:
            current, escaped = current + char, False
        elif char == "\\":
            escaped = True
        elif char == ":" and len(fields) < 4:
            fields.append(current)
            current = ""
        else:
            current += char
    return [*fields, current]


def pgpass_is_exposed(env: Mapping[str, str]) -> Path | None:
    """The password file, if it exists but others may read it, so that it is ignored."""
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    file = Path(env.get("PGPASSFILE") or home / ".pgpass")
    try:
        mode = file.stat().st_mode
    except OSError:
        return None
    return file if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO) else None


def _lines(file: Path, *, strip: bool = True) -> Iterator[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip() if strip else line.rstrip("\r")
        if line and not line.startswith("#"):
            yield number, line
