"""What the screens remember between starts: theme, filters, sort orders. Never an address, never a secret.

A file that cannot be read or written is no error: the screens then start fresh.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


class UiState:
    """A small JSON file; `path` None keeps everything in memory (tests)."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._values: dict[str, Any] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError):
                loaded = json.loads(path.read_text(encoding="utf-8"))
                self._values = loaded if isinstance(loaded, dict) else {}

    @classmethod
    def default(cls) -> UiState:
        """In the user's configuration folder."""
        import platformdirs

        return cls(Path(platformdirs.user_config_dir("procore-ingest", appauthor=False)) / "screens.json")

    def text(self, name: str, default: str = "") -> str:
        value = self._values.get(name, default)
        return value if isinstance(value, str) else default

    def switch(self, name: str, default: bool = False) -> bool:
        value = self._values.get(name, default)
        return value if isinstance(value, bool) else default

    def number(self, name: str, default: int = 0) -> int:
        value = self._values.get(name, default)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def set(self, name: str, value: str | bool | int) -> None:
        """Remember and write at once; the file is small and replaced whole."""
        if self._values.get(name) == value:
            return
        self._values[name] = value
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = self.path.with_suffix(f".{os.getpid()}")
            part.touch(mode=0o600)
            part.write_text(json.dumps(self._values, indent=1, sort_keys=True), encoding="utf-8")
            part.replace(self.path)
