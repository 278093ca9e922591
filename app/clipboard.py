"""Copying: by the terminal (OSC 52, which also works over SSH), and into a file for terminals that refuse.

macOS' Terminal ignores OSC 52; nothing tells an application so. The file is the fallback that always works.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.app import App


def clipboard_file() -> Path:
    """Where copied text also lies, readable by this user only."""
    return Path(tempfile.gettempdir()) / f"procore-ingest-{os.getuid()}-copied.txt"


def copy(app: App[object], text: str) -> str:
    """Copy; the answer is what to tell the user."""
    app.copy_to_clipboard(text)
    path = clipboard_file()
    with contextlib.suppress(OSError):
        # A link planted by somebody else in a shared folder is replaced, never followed.
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return f"Copied. If your terminal has no clipboard: {path}"
    return "Copied."
