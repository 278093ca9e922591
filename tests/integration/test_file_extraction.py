"""Facts come out of real files; hostile ones cost themselves only."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from ingestion import errors
from ingestion.files import extraction
from ingestion.files.extraction import ExtractionLimits, Extractor, Facts
from ingestion.sandbox.file_contents import content_of


@pytest.fixture
async def extractor() -> AsyncIterator[Extractor]:
    async with Extractor() as one:
        yield one


def _written(path: Path, key: str) -> Path:
    content = content_of(key)
    assert content is not None
    path.write_bytes(content.body)
    return path


async def test_an_image_tells_its_size_and_date_but_not_its_place(
    extractor: Extractor, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x9011: "+02:00"})
    exif.get_ifd(0x8825).update({1: "N", 2: (40.0, 26.0, 46.0)})
    exif[0x013B], exif[0x0112] = "An Owner", 6
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    facts = await extractor.extract(tmp_path / "a.jpg", "jpg")
    assert facts == Facts(width=20, height=30, taken_at=1_714_972_089_000)
    assert facts.fields() == {"width": 20, "height": 30, "taken_at": 1_714_972_089_000}


@pytest.mark.parametrize("kind", ["png", "gif", "tiff"])
async def test_every_kind_of_image_has_dimensions(extractor: Extractor, tmp_path: Path, kind: str) -> None:
    facts = await extractor.extract(_written(tmp_path / "x", f"1/2/photos/3/a.{kind}"), kind)
    assert (facts.width or 0) >= 240


async def test_a_pdf_tells_its_pages_and_text(extractor: Extractor, tmp_path: Path) -> None:
    facts = await extractor.extract(_written(tmp_path / "x", "1/2/drawings/3/Anchor bolts.pdf"), "pdf")
    assert facts.pages in (1, 2, 3)
    assert "Anchor bolts" in facts.text


@pytest.mark.parametrize(("kind", "body"), [("jpg", b"\xff\xd8\xff broken"), ("pdf", b"%PDF-1.4 nothing")])
async def test_a_damaged_file_fails_alone(
    extractor: Extractor, tmp_path: Path, kind: str, body: bytes
) -> None:
    (tmp_path / "x").write_bytes(body)
    with pytest.raises(errors.DownloadError, match="nothing can be extracted") as caught:
        await extractor.extract(tmp_path / "x", kind)
    assert caught.value.cause == "extraction_failed"
    assert str(tmp_path) not in str(caught.value)
    assert (await extractor.extract(_written(tmp_path / "y", "1/2/photos/3/a.png"), "png")).width


async def test_more_pixels_than_allowed_are_refused_unread(tmp_path: Path) -> None:
    Image.new("1", (4000, 4000)).save(tmp_path / "x.png")
    async with Extractor(limits=ExtractionLimits(most_pixels=1_000_000)) as extractor:
        with pytest.raises(errors.DownloadError, match="more than the limit"):
            await extractor.extract(tmp_path / "x.png", "png")


CHILDREN = {
    "hangs": "import time; time.sleep(60)",
    "crashes": "import os; input(); os.abort()",
    "babbles": "input(); print('nonsense', flush=True); input()",
}


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [("hangs", "longer than"), ("crashes", "its content ended the reader"), ("babbles", "ended")],
)
async def test_a_child_that_misbehaves_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, said: str
) -> None:
    real = extraction._CHILD
    (tmp_path / "child.py").write_text(CHILDREN[behaviour])
    monkeypatch.setattr(extraction, "_CHILD", tmp_path / "child.py")
    async with Extractor(limits=ExtractionLimits(timeout_s=0.4 if behaviour == "hangs" else 10)) as extractor:
        with pytest.raises(errors.DownloadError, match=said):
            await extractor.extract(tmp_path / "x", "pdf")
        monkeypatch.setattr(extraction, "_CHILD", real)
        extractor._limits = ExtractionLimits()
        assert (await extractor.extract(_written(tmp_path / "y", "1/2/photos/3/a.png"), "png")).width


async def test_a_child_sees_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCORE_DATABASE_URL", "postgresql://u:5ecret@h/d")
    spy = "import json, os; input(); print(json.dumps({'text': json.dumps(dict(os.environ))}), flush=True); input()"
    (tmp_path / "child.py").write_text(spy)
    monkeypatch.setattr(extraction, "_CHILD", tmp_path / "child.py")
    async with Extractor() as extractor:
        assert "5ecret" not in (await extractor.extract(tmp_path / "x", "pdf")).text


async def test_closing_leaves_no_process(tmp_path: Path) -> None:
    extractor = Extractor()
    await extractor.extract(_written(tmp_path / "y", "1/2/photos/3/a.png"), "png")
    pid = extractor._idle[0]._process.pid
    await extractor.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_other_types_have_nothing_to_extract(extractor: Extractor, tmp_path: Path) -> None:
    assert await extractor.extract(tmp_path / "absent.dwg", "") == Facts()
