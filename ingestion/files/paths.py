"""Where a file lies on disk: `{folder}/{table}/{record}/{filename}`, safe whatever the names say.

Names are made safe for every common file system (Microsoft's naming rules are the strictest of them), and a
folder name that had to change carries a hash, so that two records never share a folder by accident.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from ingestion import errors

LONGEST_NAME: Final = 180
"""Bytes in UTF-8; file systems allow 255, the rest is room for a suffix."""
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
DISK_RESERVE_BYTES: Final = 256 * 2**20
"""Left free on the disk of the download folder."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]')
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\..*)?\Z", re.IGNORECASE
)
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe_filename(name: str, fallback: str = "file") -> str:
    """A name that is one path segment on every file system; the extension survives shortening."""
    text = _FORBIDDEN.sub("_", name)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = "".join("_" if unicodedata.category(c) in _INVISIBLE else c for c in text)
    text = text.strip(" ").rstrip(". ")
    if not text.strip("._ "):
        text = fallback
    # Our own temporary files are hidden; nothing that a record names may be.
    if _RESERVED.match(text) or text.startswith("."):
        text = f"_{text}"
    return _shortened(text)


@lru_cache(maxsize=1024)
def safe_folder(name: str) -> str:
    """One path segment, equal only for equal names also where case does not count."""
    safe = safe_filename(name, "_")
    # Upper case gets a hash too: `A` and `a` are one folder on macOS and Windows.
    return safe if safe == name == name.lower() else f"{_shortened(safe, 160)}~{short_hash(name)}"


def file_path(
    folder: Path, table: str, record: str, filename: str, file_id: str = "", mark_digits: int = 0
) -> Path:
    """Where a file of a record lies; `mark_digits` of its id are added, for a second file of one name."""
    name = safe_filename(filename or file_id or "file")
    if mark_digits or not record:
        stem, dot, suffix = name.rpartition(".")
        mark = (file_id or short_hash(filename))[: mark_digits or 8]
        name = f"{stem}~{mark}.{suffix}" if dot and stem else f"{name}~{mark}"
    return folder / safe_folder(table or "_") / safe_folder(record or "_") / name


def short_hash(text: str) -> str:
    """Eight hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def partial_path(dest: Path) -> Path:
    """The temporary name beside `dest`: hidden, and equal after a restart, so that a download resumes."""
    return dest.with_name(f".{hashlib.sha256(dest.name.encode()).hexdigest()[:16]}.part")


def prepare_parent(folder: Path, dest: Path, made: set[str] | None = None) -> None:
    """Make the folders of `dest`, for the owner only; the upper ones only once per `made`.

    Raises DownloadError where a link inside the download folder leads out of it, and OSError.
    """
    made = set() if made is None else made
    if str(folder) not in made:
        make_private(folder)
        made.add(str(folder))
    parent = os.path.dirname(dest)
    if not parent.startswith(f"{folder}{os.sep}"):
        if parent != str(folder):
            os.makedirs(parent, exist_ok=True)
        return
    current = str(folder)
    steps = parent[len(current) + 1 :].split(os.sep)
    for number, step in enumerate(steps, 1):
        current = f"{current}{os.sep}{step}"
        if current in made:
            continue
        try:
            os.mkdir(current, mode=FOLDER_MODE)
        except FileExistsError:
            pass
        except FileNotFoundError:
            if not made:
                raise
            # A folder that was made before is gone: make all of them once more.
            made.clear()
            prepare_parent(folder, dest, None)
            return
        if os.path.islink(current):
            raise errors.DownloadError(
                f"{current} is a link; files are never written through one",
                hint="Remove the link from the download folder.",
                cause="unsafe_path",
            )
        if number < len(steps):
            made.add(current)


def make_private(folder: Path) -> None:
    """The folder exists and, if it was made here, only its owner may enter."""
    if not folder.is_dir():
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def require_space(folder: Path, size_bytes: int) -> None:
    """Raise DownloadError (`disk_full`) unless the disk keeps its reserve after `size_bytes` more."""
    existing = next((p for p in (folder, *folder.parents) if p.exists()), Path("."))
    free = shutil.disk_usage(existing).free
    if free - size_bytes < DISK_RESERVE_BYTES:
        raise errors.DownloadError(
            f"{folder}: {free:,} bytes are free, {size_bytes + DISK_RESERVE_BYTES:,} are needed",
            hint="Free space, or choose another download folder.",
            cause="disk_full",
        )


def require_room(folder: Path) -> None:
    """Raise OutputError unless files can be written to the download folder, which is made, and have room there."""
    try:
        make_private(folder)
        # Asked by doing: what root may do, and what a file system allows, no permission bit tells.
        with tempfile.TemporaryFile(dir=folder):
            pass
        require_space(folder, 0)
    except OSError as error:
        raise errors.OutputError(
            f"the download folder {folder} cannot be written: {error.strerror or error}",
            hint="Make it writable, or choose another with PROCORE_DOWNLOAD_DIR.",
        ) from error
    except errors.DownloadError as error:
        raise errors.OutputError(
            f"no room for files: {error}",
            hint="Free space, or choose another folder with PROCORE_DOWNLOAD_DIR.",
        ) from error


def link_or_copy(source: Path, dest: Path) -> None:
    """`dest` becomes the same content as `source`: a hard link where the file system can, else a copy."""
    draft = partial_path(dest).with_suffix(".link")
    with suppress(FileNotFoundError):
        draft.unlink()
    try:
        os.link(source, draft, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, draft, follow_symlinks=False)
        draft.chmod(FILE_MODE)
    os.replace(draft, dest)
    # Renaming onto another link of the same file does nothing and leaves both names.
    with suppress(FileNotFoundError):
        draft.unlink()


def _shortened(name: str, longest: int = LONGEST_NAME) -> str:
    if len(name.encode()) <= longest:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem or len(suffix) > 12:
        stem, dot, suffix = name, "", ""
    mark = f"~{short_hash(name)}"
    room = longest - len(f"{mark}{dot}{suffix}".encode())
    return f"{stem.encode()[:room].decode(errors='ignore').rstrip('. ')}{mark}{dot}{suffix}"
