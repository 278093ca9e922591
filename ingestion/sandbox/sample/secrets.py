"""The secrets that the sample plants: recognisable, so that a test can look for them in every output."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

PREFIX: Final = "sandbox-secret-"
"""Every planted secret begins so, and nothing else in the sample does."""

_IN_JSON: Final = 12


@cache
def planted_secrets(seed: int) -> list[str]:
    """Access token, refresh token, webhook token, password; then those that JSON columns draw from.

    Signatures of URLs are secrets too; the manifest does not list them: read them from the source.
    """
    names = ["access", "refresh", "webhook", "password", *(f"json-{number}" for number in range(_IN_JSON))]
    return [
        PREFIX + name + "-" + hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()[:24] for name in names
    ]
