"""Whether what arrived is the file: its content, and the checksums that the store states."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path

from ingestion import errors
from ingestion.file_detector import DetectedFile
from ingestion.files import sniffing
from ingestion.files.references import extension
from ingestion.files.transfer import READ_BYTES, Fetched, PartialFile


def checked_type(file: DetectedFile, part: PartialFile, fetched: Fetched) -> str:
    """The content's MIME type, by its own bytes where they tell, else the store's word.

    Raises DownloadError: `wrong_content` where it cannot be the file, `unsupported_format` where neither name
    nor content says what it is.
    """
    kind = file.file_type or extension(file.filename or "")
    if wrong := sniffing.mismatch(kind, part.head):
        raise errors.DownloadError(wrong, cause="wrong_content")
    for algorithm, expected in fetched.checksums:
        digest = bytes.fromhex(part.checksum) if algorithm == "sha256" else _digest_of(part.path, algorithm)
        if base64.b64encode(digest).decode() != expected.strip():
            raise errors.DownloadError(
                f"the content has another {algorithm} checksum than the store states", cause="wrong_content"
            )
    found = sniffing.sniff(part.head)
    if not kind and not found:
        shown = fetched.content_type or "unknown type"
        raise errors.DownloadError(f"unsupported format: {shown}", cause="unsupported_format")
    return sniffing.MIME.get(found) or fetched.content_type


def _digest_of(path: Path, algorithm: str) -> bytes:
    """`md5`, `sha1` or `crc32` of a file, in the byte order that stores write them in."""
    with path.open("rb") as stream:
        if algorithm != "crc32":
            return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).digest()
        crc = 0
        while data := stream.read(READ_BYTES):
            crc = zlib.crc32(data, crc)
        return crc.to_bytes(4, "big")
