"""Fetched files: a photo as a picture, a PDF as its text, and what is said where neither can be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app import formatting, pictures
from ingestion.files import extraction
from tests.tui.fake_service import FakeService


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    """A record with a red photo, a PDF with text, and a file that was not fetched."""
    made = FakeService()
    photo = tmp_path / "site.png"
    Image.new("RGB", (400, 300), (250, 10, 10)).save(photo)
    made.files_held = [
        {"doc_id": "a1", "file_id": "a1", "filename": "site.png", "file_type": "png", "status": "downloaded",
         "width": 400, "height": 300, "size": 1234},
        {"doc_id": "b2", "file_id": "b2", "filename": "detail.pdf", "file_type": "pdf", "status": "downloaded",
         "pages": 2, "extracted_text": "Slab edge [/red] at grid C\nThickness 250 mm"},
        {"doc_id": "c3", "file_id": "c3", "filename": "gone.jpg", "file_type": "jpg", "status": "failed",
         "error": "the signed URL expired"},
    ]  # fmt: skip
    made.fetched = {"a1": photo}
    return made


async def test_a_photo_is_shown_as_a_picture_beside_its_facts(opened: Any, service: FakeService) -> None:
    async with opened("search", service=service) as d:
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("Mill St", "site.png"))
        await d.press("v")
        await d.until(lambda: d.sees("site.png   1 of 3", "1.2 KiB", str(service.fetched["a1"])[:20]))
        await d.until(lambda: "\u2580" in d.text())
        assert "#fa0a0a" in await d.picture()
        await d.press("y")
        assert d.app.clipboard == str(service.fetched["a1"])


async def test_a_pdf_shows_its_text_and_a_file_that_failed_its_reason(
    opened: Any, service: FakeService
) -> None:
    async with opened("failures", service=service) as d:
        await d.until(lambda: d.sees("150 open failures"))
        await d.settle()
        await d.press("v", "n")
        await d.until(lambda: d.sees("detail.pdf   2 of 3", "Slab edge [/red] at grid C", "250 mm"))
        await d.press("n")
        await d.until(lambda: d.sees("gone.jpg   3 of 3", "the signed URL expired"))
        await d.press("y")
        await d.until(lambda: d.sees("This file was not fetched."))
        await d.press("escape")
        assert d.screen.scope == "failures"


async def test_without_colour_or_characters_or_the_extra_it_says_why_there_is_no_picture(
    opened: Any, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pictures.reason_against(plain=True, unicode=True)
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    assert pictures.reason_against(plain=False, unicode=True) == pictures.MISSING
    async with opened("search", service=service, glyphs=formatting.ASCII) as d:
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("Mill St", "site.png"))
        await d.press("v")
        await d.until(lambda: d.sees("This terminal has no characters to draw pictures with."))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
async def test_a_file_that_is_no_picture_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(pictures.NoPicture, match="no picture"):
        await pictures.opened(path)


async def test_a_file_that_ends_its_reader_costs_its_picture_only(
    opened: Any, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text("import os; input(); os.abort()")
    monkeypatch.setattr(extraction, "_CHILD", tmp_path / "child.py")
    async with opened("search", service=service) as d:
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("Mill St", "site.png"))
        await d.press("v")
        await d.until(lambda: d.sees("no picture that can be shown: its content ended the reader", "1.2 KiB"))
        await d.press("n")
        await d.until(lambda: d.sees("detail.pdf   2 of 3"))


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, "blocks"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM_PROGRAM": "WezTerm"}, "sixel"),
    ],
)
def test_how_pictures_are_shown_follows_from_the_terminal(environ: dict[str, str], way: str) -> None:
    assert pictures.way_of(environ) == way
