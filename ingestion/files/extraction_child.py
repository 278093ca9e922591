"""The child process that opens untrusted files: one JSON line in, one JSON line out, until its input ends.

It runs alone (`python -I`, no module of ours, no environment to speak of), with its memory bounded and
writing forbidden, so that a hostile file can at worst end this process. Places and owners' names in EXIF are
read only when that is asked for.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

MOST_PAGES = 300
MOST_CHARACTERS = 300_000
MOST_SHOWN_PIXELS = 60_000_000
"""Of a picture that is decoded whole."""
_SHOWN = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
_TAKEN, _TAKEN_ZONE, _CHANGED, _ORIENTATION, _EXIF = 0x9003, 0x9011, 0x0132, 0x0112, 0x8769
_ARTIST, _COPYRIGHT, _OWNER, _GPS = 0x013B, 0x8298, 0xA430, 0x8825
_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")


def limit(memory_bytes: int) -> None:
    """No more memory than this, no core files, nothing written; as far as the platform can."""
    import resource

    for name, value in (("RLIMIT_AS", memory_bytes), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def facts_of(path: str, kind: str, most_pixels: int, personal: bool) -> dict[str, Any]:
    """What the file says of itself; raises whatever its parser raises."""
    return _pdf(path) if kind == "pdf" else _image(path, most_pixels, personal)


def _image(path: str, most_pixels: int, personal: bool) -> dict[str, Any]:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the header alone is read; the bound is ours, below
    with Image.open(path, formats=("JPEG", "PNG", "GIF", "TIFF")) as image:
        width, height = image.size
        if width * height > most_pixels:
            raise ValueError(f"{width} x {height} pixels are more than the limit")
        exif: Any = {}
        with suppress(Exception):
            exif = image.getexif()
        if exif.get(_ORIENTATION) in (5, 6, 7, 8):
            width, height = height, width
        text = _personal(exif) if personal else ""
        return {"width": width, "height": height, "taken_at": _taken_at(exif), "text": text}


def preview_of(path: str, longest_side: int) -> dict[str, Any]:
    """The picture upright and small; raises whatever its parser raises."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path, formats=_SHOWN) as image:
        if image.width * image.height > MOST_SHOWN_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many to show")
        image.draft("RGB", (longest_side, longest_side))
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((longest_side, longest_side))
    rgb = base64.b64encode(small.tobytes()).decode("ascii")
    return {"width": small.width, "height": small.height, "rgb": rgb}


def _personal(exif: Any) -> str:
    """Who owns a picture and where it was taken (degrees north and east), one line each."""
    lines = []
    with suppress(Exception):
        named = (exif.get(_ARTIST), exif.get(_COPYRIGHT), exif.get_ifd(_EXIF).get(_OWNER))
        owners = dict.fromkeys(str(name).strip(" \0") for name in named if name)
        lines += [f"owner: {name}" for name in owners if name]
    with suppress(Exception):
        gps = exif.get_ifd(_GPS)
        north, east = _degrees(gps[2], gps[1] == "S"), _degrees(gps[4], gps[3] == "W")
        lines.append(f"place: {north:.6f}, {east:.6f}")
    return "\n".join(lines)


def _degrees(parts: Any, negative: bool) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return (degrees + minutes / 60 + seconds / 3600) * (-1 if negative else 1)


def _taken_at(exif: Any) -> int | None:
    """When a picture was taken, in epoch milliseconds; UTC unless the camera noted its zone."""
    with suppress(Exception):
        details = exif.get_ifd(_EXIF)
        match = _DATE.match(str(details.get(_TAKEN) or exif.get(_CHANGED) or ""))
        if match is None:
            return None
        zone = UTC
        if offset := _ZONE.match(str(details.get(_TAKEN_ZONE) or "")):
            minutes = int(offset[2]) * 60 + int(offset[3])
            zone = timezone(timedelta(minutes=minutes if offset[1] == "+" else -minutes))
        return int(datetime(*(int(n) for n in match.groups()), tzinfo=zone).timestamp() * 1000)  # type: ignore[arg-type,misc]
    return None


def _pdf(path: str) -> dict[str, Any]:
    import pypdfium2

    document = pypdfium2.PdfDocument(path)
    try:
        pages, room = len(document), MOST_CHARACTERS
        texts: list[str] = []
        for number in range(min(pages, MOST_PAGES)):
            page = document[number]
            text_page = page.get_textpage()
            text = text_page.get_text_bounded()[:room]
            text_page.close()
            page.close()
            texts.append(text)
            room -= len(text)
            if room <= 0:
                break
        return {"pages": pages, "text": "\n".join(texts).replace("\r\n", "\n").strip()}
    finally:
        document.close()


def end_after(seconds: float) -> None:
    """End this process by then, 0 for no longer: nobody else does where the one that started it was killed."""
    with suppress(AttributeError, OSError):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def answer_to(request: dict[str, str], most_pixels: int, personal: bool) -> dict[str, Any]:
    """What is answered to one request, whatever its file does short of ending the process."""
    path = request["path"]
    try:
        if request["kind"] == "preview":
            return preview_of(path, int(request["side"]))
        return facts_of(path, request["kind"], most_pixels, personal)
    except ImportError as error:
        return {"missing": error.name or "a library"}
    except MemoryError:
        return {"error": "it needs more memory than is allowed"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".replace(path, "the file")[:500]}


def main() -> None:
    """Serve requests `{"path", "kind"}`; answers are the facts, or `{"error"}`, or `{"missing"}`.

    Of kind `preview`, with a `side` of so many pixels, they are `{"width", "height", "rgb"}`. Several requests may
    come together as `{"together": [...]}`; then so do their answers.
    """
    memory_bytes, most_pixels, most_seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    personal = sys.argv[4:5] == ["personal"]
    limit(memory_bytes)
    for line in sys.stdin:
        end_after(most_seconds)
        request = json.loads(line)
        if "together" in request:
            answers = [answer_to(one, most_pixels, personal) for one in request["together"]]
            sys.stdout.write(json.dumps({"together": answers}) + "\n")
        else:
            sys.stdout.write(json.dumps(answer_to(request, most_pixels, personal)) + "\n")
        end_after(0)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
