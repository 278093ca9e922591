"""What the sandbox's files hold: real small images and PDFs made from nothing but the key.

Equal keys give equal bytes, different keys different ones, on every machine with the same Pillow.
"""

from __future__ import annotations

import hashlib
import io
import random
import re
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ingestion.files.references import extension, last_segment

if TYPE_CHECKING:
    from PIL import Image

MISSING_PREFIX: Final = "missing-"
"""A file whose name starts so is not in the store."""
VARIANTS: Final = 8
_PLACEHOLDER_DATE: Final = b"2000:01:01 00:00:00"
_MIME: Final = {
    "pdf": "application/pdf", "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png",
    "gif": "image/gif", "tif": "image/tiff", "tiff": "image/tiff", "dwg": "image/vnd.dwg",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "msg": "application/vnd.ms-outlook",
}  # fmt: skip
_HEADS: Final = {
    "xlsx": b"PK\x03\x04", "docx": b"PK\x03\x04", "zip": b"PK\x03\x04",
    "dwg": b"AC1032\x00\x00", "msg": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes, its MIME type, and its ETag (MD5 in quotes, as S3 gives for plain objects)."""

    body: bytes
    content_type: str
    etag: str


@lru_cache(maxsize=256)
def content_of(key: str) -> Content | None:
    """The file at `key`, or None where the store has none (its name starts with `missing-`)."""
    name = last_segment(key)
    if not name or name.startswith(MISSING_PREFIX):
        return None
    kind = extension(name)
    seed = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    if kind in ("jpg", "jpeg") or (not kind and "/photos/" in key):
        kind, body = "jpg", _jpeg(seed)
    elif kind == "png":
        body = _png(seed)
    elif kind == "gif":
        body = _with_gif_comment(_image("GIF", seed[0] % VARIANTS), seed)
    elif kind in ("tif", "tiff"):
        body = _image("TIFF", seed[0] % VARIANTS) + seed
    elif kind == "pdf" or not kind:
        kind, body = "pdf", _pdf(key, seed)
    else:
        size = 2_000 + int.from_bytes(seed[:2], "big") // 2
        body = _HEADS.get(kind, b"") + random.Random(seed).randbytes(size)
    etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    return Content(body, _MIME.get(kind, "application/octet-stream"), etag)


def _jpeg(seed: bytes) -> bytes:
    """A photo: dated in EXIF but for one in eight, with a place in one of three."""
    variant = seed[0] % VARIANTS
    body = _image("JPEG", variant, exif=_exif(located=seed[1] % 3 == 0) if seed[2] % 8 else b"")
    day = f"20{18 + seed[3] % 8:02d}:{1 + seed[4] % 12:02d}:{1 + seed[5] % 28:02d}"
    date = f"{day} {seed[6] % 24:02d}:{seed[7] % 60:02d}:07"
    body = body.replace(_PLACEHOLDER_DATE, date.encode())
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 64) + seed.hex().encode()
    return body[:2] + comment + body[2:]


def _png(seed: bytes) -> bytes:
    body = _image("PNG", seed[0] % VARIANTS)
    end = len(body) - 12
    return body[:end] + _png_chunk(b"tEXt", b"Comment\x00" + seed.hex().encode()) + body[end:]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_gif_comment(body: bytes, seed: bytes) -> bytes:
    return body[:-1] + b"\x21\xfe" + bytes([64]) + seed.hex().encode() + b"\x00" + body[-1:]


@lru_cache(maxsize=128)
def _image(form: str, variant: int, exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    options = {"exif": exif} if exif else {}
    image = _drawn(variant)
    image.save(buffer, form, **options)
    return buffer.getvalue()


@lru_cache(maxsize=2)
def _exif(located: bool) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Sandbox", "Site camera"
    exif[0x013B] = "Invented Owner"
    exif[0x0132] = _PLACEHOLDER_DATE.decode()
    exif.get_ifd(0x8769)[0x9003] = _PLACEHOLDER_DATE.decode()
    if located:
        exif.get_ifd(0x8825).update({1: "N", 2: (40.0, 26.0, 46.0), 3: "W", 4: (79.0, 58.0, 56.0)})
    return exif.tobytes()


def _drawn(variant: int) -> Image.Image:
    from PIL import Image, ImageDraw

    width, height = ((640, 480), (480, 640), (800, 600), (320, 240))[variant % 4]
    image = Image.new("RGB", (width, height), (200 - 15 * variant, 190, 160 + 10 * variant))
    draw = ImageDraw.Draw(image)
    for step in range(8):
        left, top = width * step // 8, height // 2 - (step * 37 + variant * 53) % (height // 3)
        draw.rectangle((left, top, left + width // 9, height), fill=(90 + 12 * step, 80, 70 + 9 * variant))
    draw.line((0, height // 2, width, height // 3), fill=(40, 40, 40), width=3)
    return image


def _pdf(key: str, seed: bytes) -> bytes:
    """One to three pages in Helvetica that say the key's words."""
    words = [w for w in re.split(r"[^0-9A-Za-z]+", key) if w]
    pages = 1 + seed[0] % 3
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (pages, b" ".join(b"%d 0 R" % (4 + 2 * n) for n in range(pages))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number in range(pages):
        lines = [f"Sandbox document, page {number + 1} of {pages}", *_lines(words), f"No. {seed.hex()[:16]}"]
        shown = b" T* ".join(b"(" + _pdf_text(line) + b") Tj" for line in lines)
        stream = b"BT /F1 12 Tf 72 760 Td 16 TL " + shown + b" ET"
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792]"
            b" /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % (5 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _lines(words: list[str]) -> list[str]:
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 70:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return [*lines, line]


def _pdf_text(line: str) -> bytes:
    return re.sub(rb"([\\()])", rb"\\\1", line.encode("cp1252", "replace"))
