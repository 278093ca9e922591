"""How the connection to PostgreSQL is encrypted: libpq's `sslmode` as an SSL context.

See https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION. One difference on purpose:
without `sslmode` encryption is required, where libpq would silently fall back to clear text.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from ingestion import errors

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def ssl_argument(
    sslmode: str, sslrootcert: str | None = None, sslcert: str | None = None, sslkey: str | None = None
) -> ssl.SSLContext | bool | str:
    """What asyncpg takes as `ssl`; raises SettingsError for an unknown mode or an unreadable file."""
    if sslmode == "disable":
        return False
    if sslmode in ("allow", "prefer"):
        return sslmode
    if sslmode not in MODES:
        raise errors.SettingsError(f"sslmode {sslmode!r} is unknown", hint=f"Use one of {', '.join(MODES)}.")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    if sslmode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = _verifying(sslrootcert)
        context.check_hostname = sslmode == "verify-full"
    if sslcert:
        try:
            context.load_cert_chain(sslcert, sslkey or None, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise errors.SettingsError(
                f"the client certificate {sslcert} or its key cannot be loaded: {type(error).__name__}",
                hint="Check sslcert and sslkey; a key with a passphrase is not supported.",
            ) from error
    return context


def _verifying(sslrootcert: str | None) -> ssl.SSLContext:
    if not sslrootcert:
        raise errors.SettingsError(
            "verifying the server's certificate needs a root certificate",
            hint="Add sslrootcert=FILE to the database URL, or sslrootcert=system for the system's own.",
        )
    if sslrootcert == "system":
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    if not Path(sslrootcert).is_file():
        raise errors.SettingsError(
            f"the root certificate {sslrootcert} does not exist", hint="Check sslrootcert."
        )
    try:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=sslrootcert)
    except (OSError, ValueError) as error:
        raise errors.SettingsError(
            f"the root certificate {sslrootcert} cannot be loaded", hint="It must be in PEM form."
        ) from error


def _no_passphrase() -> str:
    raise ValueError("the key is protected by a passphrase")
