"""What a failure of PostgreSQL, of its driver or of the network means, and whether to try again.

Translation happens once, at the edge (`DatabaseConnection`); the original stays as `__cause__`. Error codes:
https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import socket
import ssl
from typing import Any

import asyncpg

from ingestion import errors
from ingestion.redaction import redact_text

DRIVER_ERRORS: tuple[type[BaseException], ...] = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError,
    asyncio.IncompleteReadError, ssl.SSLError,
)  # fmt: skip
"""All that asyncpg raises; never CancelledError."""

# Connection lost, server stopping or starting, recovery conflict, deadlock, no free connection or memory.
_TRANSIENT_CODES = ("08", "40001", "40P01", "53", "57P0", "25P03", "25P04", "72000")
_CLOSED = (
    "connection is closed",
    "closed in the middle",
    "connection was closed",
    # The pool took a broken connection back while a query of ours still held it.
    "released back to the pool",
    # The server said goodbye between two of our messages; the driver is at a loss what that answers.
    "cannot switch to state",
)
_REFUSED_TLS = "rejected SSL upgrade"


def is_transient(error: BaseException | None) -> bool:
    """Whether the same idempotent read may succeed a little later.

    Takes a driver's error or our translation of one.
    """
    if isinstance(error, errors.IngestionError):
        return is_transient(error.__cause__)
    if isinstance(error, ssl.SSLError) or (isinstance(error, OSError) and _REFUSED_TLS in str(error)):
        return False
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return True
    if isinstance(error, asyncpg.PostgresError):
        code: str = error.sqlstate or ""
        return code.startswith(_TRANSIENT_CODES)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _is_closed(error)
    return isinstance(error, OSError | TimeoutError | asyncio.IncompleteReadError)


def is_connection_lost(error: BaseException) -> bool:
    """Whether the session behind this error is gone, so that nothing more can be said on it."""
    if isinstance(error, asyncpg.PostgresError):
        return bool((error.sqlstate or "").startswith(("08", "57P0", "25P03", "25P04")))
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _is_closed(error)
    return True


def translate(error: BaseException, where: str, *, statement_timeout_s: float = 0) -> errors.IngestionError:
    """Our error for a driver's; `where` names the server for a person and holds no secret."""
    if isinstance(error, errors.IngestionError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, where, statement_timeout_s)
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return errors.SourceUnavailable(
            f"no server of {where} has the wanted role",
            hint="Check target_session_attrs in the database URL.",
        )
    if isinstance(error, asyncpg.ClientConfigurationError):
        return errors.SettingsError(
            f"the settings for {where} are unusable: {_said(error)}", hint="Check the URL."
        )
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        if _is_closed(error):
            return errors.SourceUnavailable(
                f"the connection to {where} was lost", hint="Check the server's log, then try again."
            )
        return errors.IngestionError(f"a query to {where} is wrong: {_said(error)}")
    return _of_network(error, where)


def _of_network(error: BaseException, where: str) -> errors.SourceUnavailable:
    unavailable = errors.SourceUnavailable
    text = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return unavailable(
            f"the certificate of {where} cannot be verified: {error.verify_message or 'unknown authority'}",
            hint="Name its authority with sslrootcert=FILE, or use sslmode=require to encrypt without verifying.",
        )
    if _REFUSED_TLS in text:
        return unavailable(
            f"{where} does not offer an encrypted connection",
            hint="If clear text is acceptable on this network, add sslmode=disable to the database URL.",
        )
    if isinstance(error, ssl.SSLError):
        return unavailable(
            f"the encrypted connection to {where} failed: {error.reason or 'TLS error'}",
            hint="Check sslmode, sslcert and sslkey in the database URL.",
        )
    if isinstance(error, TimeoutError):
        return unavailable(
            f"{where} did not answer in time",
            hint="Check host, port, firewall and VPN; connect_timeout in the URL sets the wait in seconds.",
        )
    if isinstance(error, socket.gaierror):
        return unavailable(f"the host of {where} is unknown", hint="Check the host name in the database URL.")
    number = getattr(error, "errno", None)
    if isinstance(error, ConnectionRefusedError) or "refused" in text or number == errno.ECONNREFUSED:
        return unavailable(
            f"{where} refuses connections",
            hint="Check that PostgreSQL runs there and that host and port are right.",
        )
    if isinstance(error, FileNotFoundError) or "No such file" in text:
        return unavailable(
            f"{where} has no PostgreSQL socket",
            hint="Check that PostgreSQL runs and that the folder and port are right.",
        )
    if isinstance(error, PermissionError):
        return unavailable(f"this user may not connect to {where}", hint="Check the socket's permissions.")
    if isinstance(error, builtins.ConnectionError | asyncio.IncompleteReadError):
        return unavailable(
            f"the connection to {where} was lost",
            hint="Check the network and the server's log, then try again.",
        )
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH) or "unreachable" in text:
        return unavailable(f"{where} is unreachable", hint="Check the network, VPN and firewall.")
    return unavailable(
        f"{where} cannot be reached: {redact_text(text) or type(error).__name__}", hint="Check the URL."
    )


def _of_server(error: Any, where: str, statement_timeout_s: float) -> errors.IngestionError:
    code: str = error.sqlstate or ""
    said = _said(error)
    unavailable = errors.SourceUnavailable
    if code == "28P01":
        return unavailable(
            f"{where} refuses the password", hint="Check user and password in the URL, PGPASSWORD or .pgpass."
        )
    if code.startswith("28"):
        if "no encryption" in said or "SSL off" in said:
            return unavailable(
                f"{where} accepts only encrypted connections: {said}",
                hint="Use sslmode=require in the database URL.",
            )
        return unavailable(
            f"{where} refuses the login: {said}", hint="Check the user and the server's pg_hba.conf."
        )
    if code == "3D000":
        return unavailable(f"{where}: {said}", hint="Check the database name in the URL.")
    if code == "53300":
        return unavailable(
            f"{where} has no free connection: {said}",
            hint="Use fewer workers, close other clients, or raise max_connections.",
        )
    if code == "25006":
        return errors.ConnectionError(
            f"refused to write to {where}: the source is only ever read ({said})",
            hint="Use a query that only reads.",
        )
    if code == "42501":
        return errors.SchemaError(
            f"no rights in {where}: {said}", hint="GRANT SELECT on it to the user of the database URL."
        )
    if code == "57014":
        limit = (
            f" after {statement_timeout_s:g} s" if "statement timeout" in said and statement_timeout_s else ""
        )
        return unavailable(
            f"{where} cancelled a query{limit}: {said}",
            hint="Raise statement_timeout in the database URL (seconds), or try when the server is less busy.",
        )
    if code == "40001":
        return unavailable(
            f"{where} cancelled a query for its recovery: {said}",
            hint="On a standby, raise max_standby_streaming_delay or set hot_standby_feedback.",
        )
    if code == "57P03":
        return unavailable(f"{where} is not ready: {said}", hint="Wait until it has started, then try again.")
    if code.startswith(("08", "57P")):
        return unavailable(
            f"the connection to {where} was lost: {said}", hint="Try again once the server is up."
        )
    if code.startswith(("42", "22", "0A", "3F", "2B")):
        return errors.SchemaError(
            f"{where} refuses a query: {said}",
            hint="Run `procore-ingest discover` again if the schema changed.",
        )
    return unavailable(f"{where} failed ({code or 'no code'}): {said}", hint="See the server's log.")


def _is_closed(error: BaseException) -> bool:
    text = str(error)
    return any(part in text for part in _CLOSED)


def _said(error: BaseException) -> str:
    message = getattr(error, "message", None) or str(error)
    return redact_text(str(message).strip().splitlines()[0] if str(message).strip() else type(error).__name__)
