"""What a file's first bytes say it is, and whether that fits its name."""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 1024
"""A PDF's mark may come this late; everything else shows in the first few bytes."""

SUPPORTED: Final = frozenset({"pdf", "jpg", "jpeg", "png", "gif", "tiff"})
"""Types whose content is looked into."""

_MAGIC: Final = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)
_MARKUP: Final = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<error", b"<!--")
MIME: Final = {
    "pdf": "application/pdf",
    "jpg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "tiff": "image/tiff",
}


def normal_type(file_type: str) -> str:
    """One spelling for each type: `jpeg` is `jpg`, `tif` is `tiff`; lower case without dot."""
    text = file_type.lower().lstrip(".")
    return {"jpeg": "jpg", "tif": "tiff"}.get(text, text)


def sniff(head: bytes) -> str:
    """`pdf`, `jpg`, `png`, `gif`, `tiff`, `html` (any web page or XML error), or "" for anything else."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if b"%PDF-" in head[:HEAD_BYTES]:
        return "pdf"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
        return "html" if text.startswith(_MARKUP) else ""
    return "html" if text.startswith(_MARKUP) else ""


def mismatch(file_type: str, head: bytes) -> str:
    """Why content cannot be the file of this type, empty if it can.

    An image whose extension names another kind of image is accepted: cameras and people rename them.
    """
    expected, found = normal_type(file_type), sniff(head)
    if found == "html" and expected not in ("html", "htm", "xml", "xhtml", "svg"):
        return "the store answered a web page or an error instead of the file"
    if expected not in SUPPORTED and expected != "jpg":
        return ""
    if not head:
        return "the file is empty"
    if not found:
        return f"the content is no {expected}"
    if (expected == "pdf") != (found == "pdf"):
        return f"the content is a {found}, not a {expected}"
    return ""
