"""What the `vespa` command line is configured with: its target, and the key pair of its application.

Its folder is `VESPA_CLI_HOME`, else `~/.vespa` (https://docs.vespa.ai/en/clients/vespa-cli.html): `config.yaml`
holds the target and the application, a folder named after the application the data plane's key pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

CLOUD_DOMAIN = ".vespa-app.cloud"
_PAIR = {"vespa_cert": "data-plane-public-cert.pem", "vespa_key": "data-plane-private-key.pem"}


def completed(values: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What the command line's configuration adds to the settings `values`; what they name is never replaced.

    A target that is an address becomes `vespa_url`. The key pair is taken for that address, and for any of
    Vespa Cloud; never for an address of somebody else. What cannot be read is as if it were not there.
    """
    home = _home(environment)
    config = _config(home / "config.yaml")
    added: dict[str, str] = {}
    target = config.get("target", "")
    if "vespa_url" not in values and urlsplit(target).scheme in ("http", "https"):
        added["vespa_url"] = target.rstrip("/")
    url = added.get("vespa_url", values.get("vespa_url", ""))
    parts = urlsplit(url)
    is_its_own = url.rstrip("/") == target.rstrip("/") or (parts.hostname or "").endswith(CLOUD_DOMAIN)
    if parts.scheme == "https" and is_its_own and not any(values.get(n) for n in (*_PAIR, "vespa_token")):
        pair = {name: home / _application(config) / file for name, file in _PAIR.items()}
        if all(path.is_file() for path in pair.values()):
            added |= {name: str(path) for name, path in pair.items()}
    return added


def _home(environment: Mapping[str, str]) -> Path:
    named = environment.get("VESPA_CLI_HOME")
    return Path(named) if named else Path(environment.get("HOME", "~")).expanduser() / ".vespa"


def _application(config: Mapping[str, str]) -> str:
    """The application's full name: `tenant.application.instance`, with the defaults of the command line."""
    parts = [part for part in config.get("application", "").split(".") if part]
    if len(parts) < 3:
        parts = [*parts, *("default", "application", "default")[len(parts) :]]
        parts[2] = config.get("instance") or parts[2]
    return ".".join(parts)


def _config(path: Path) -> dict[str, str]:
    """The scalar entries of the file, which the command line writes one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(": ") for line in lines if line[:1] not in ("#", " ", ""))
    return {name: value.strip().strip("\"'") for name, colon, value in pairs if colon}
