"""Whether what arrived is the file: its content, and the checksums that the store states."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from ingestion import errors
from ingestion.file_detector import DetectedFile
from ingestion.files import sniffing
from ingestion.files.references import extension
from ingestion.files.transfer import Fetched, PartialFile


def checked_type(file: DetectedFile, part: PartialFile, fetched: Fetched) -> str:
    """The content's MIME type, by its own bytes where they tell, else the store's word.

    Raises DownloadError: `wrong_content` where it cannot be the file, `unsupported_format` where neither name
    nor content says what it is.
    """
    kind = file.file_type or extension(file.filename or "")
    if wrong := sniffing.mismatch(kind, part.head):
        raise errors.DownloadError(wrong, cause="wrong_content")
    for algorithm, expected in fetched.checksums:
        digest = part.checksum if algorithm == "sha256" else _md5_of(part.path)
        if base64.b64encode(bytes.fromhex(digest)).decode() != expected.strip():
            raise errors.DownloadError(
                f"the content has another {algorithm} checksum than the store states", cause="wrong_content"
            )
    found = sniffing.sniff(part.head)
    if not kind and not found:
        shown = fetched.content_type or "unknown type"
        raise errors.DownloadError(f"unsupported format: {shown}", cause="unsupported_format")
    return sniffing.MIME.get(found) or fetched.content_type


def _md5_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
