"""How Vespa is reached: whom TLS trusts and who we are there, through which proxy, and what helps when it fails."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ingestion import errors
from ingestion.redaction import redact_text

if TYPE_CHECKING:
    from vespa.application import Vespa

_START = "Start it or correct --vespa-url; `procore-ingest vespa serve` starts a local endpoint to try."
_WHO = (
    "It may want a certificate that it knows: check --vespa-cert and --vespa-key; what it knows stands in the "
    "application's security/clients.pem."
)
# What faults of a connection are called, by OpenSSL and by aiohttp, and what helps.
_HINTS = (
    # With TLS 1.3 a server that wants another certificate, or any, just hangs up.
    ("Server disconnected https", _WHO),
    ("CERTIFICATE_REQUIRED", _WHO),
    ("UNKNOWN_CA", _WHO),
    ("CERTIFICATE_VERIFY_FAILED", "Give the authority that signed its certificate with --vespa-ca-cert."),
    ("WRONG_VERSION_NUMBER", "It does not speak TLS there: use http://, or its TLS port."),
    ("record layer failure", "It does not speak TLS there: use http://, or its TLS port."),
    ("Proxy", "Check HTTP_PROXY and HTTPS_PROXY; NO_PROXY names hosts to reach without them."),
    ("gaierror", "Check the host's name in --vespa-url."),
    ("Name or service not known", "Check the host's name in --vespa-url."),
)


def connection_faults() -> tuple[type[Exception], ...]:
    """What a request may raise whose connection cannot be made, breaks or takes too long."""
    loaded = sys.modules.get("aiohttp")
    return (OSError, TimeoutError, *((loaded.ClientError,) if loaded is not None else ()))


def ssl_context(vespa: Vespa) -> ssl.SSLContext | None:
    """How an https address is verified and who we are there; None where the system's own trust is enough."""
    ca_cert: str | None = getattr(vespa, "ca_cert", None)
    if vespa.cert_content and not vespa.cert:
        raise errors.SettingsError(
            "Vespa's certificate was given as content; give it as a file",
            hint="Set the path of the certificate and of the key.",
        )
    if not (vespa.cert or ca_cert):
        return None
    try:
        context = ssl.create_default_context(cafile=ca_cert)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(f"the authority's certificate {ca_cert}", error) from error
    if vespa.cert:
        try:
            context.load_cert_chain(vespa.cert, vespa.key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _unusable(f"certificate {vespa.cert} and its key", error) from error
    return context


def _no_password() -> str:
    """Without it OpenSSL asks on the terminal, below the application's screen."""
    raise ValueError("the key is encrypted; give one without a passphrase")


def _unusable(what: str, error: Exception) -> errors.SettingsError:
    said = getattr(error, "strerror", None) or str(error)
    return errors.SettingsError(
        f"Vespa's {what} cannot be used: {said}", hint="Give readable PEM files that belong together."
    )


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL, if any.

    Looked up once: aiohttp's own `trust_env` reads the environment and a .netrc file anew for every request,
    which took a quarter of an ingest's time.
    """
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def unreachable(url: str, error: BaseException) -> errors.VespaUnavailable:
    """The error for a Vespa that does not answer, with what to start or check."""
    reason = "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    signs = f"{type(error).__name__} {reason} {urlsplit(url).scheme}"
    return errors.VespaUnavailable(
        f"Vespa at {redact_text(url)} cannot be reached: {redact_text(' '.join(reason.split()))}",
        hint=next((hint for sign, hint in _HINTS if sign in signs), _START),
    )
