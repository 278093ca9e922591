"""Facts come out of real files; hostile ones cost themselves only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from file_world import personal_photo
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


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(personal_photo())
    return tmp_path / "a.jpg"


async def test_an_image_tells_its_size_and_date_but_neither_place_nor_owner(
    extractor: Extractor, photo: Path
) -> None:
    facts = await extractor.extract(photo, "jpg")
    assert facts == Facts(width=20, height=30, taken_at=1_714_972_089_000)
    assert facts.fields() == {"width": 20, "height": 30, "taken_at": 1_714_972_089_000}


async def test_place_and_owner_are_told_to_whoever_asks(photo: Path) -> None:
    async with Extractor(personal=True) as extractor:
        facts = await extractor.extract(photo, "jpg")
    assert facts.text == "owner: An Artist\nowner: Camera Owner\nplace: 40.446111, -79.982222"


async def test_damaged_exif_is_no_failure_of_the_image(photo: Path) -> None:
    body = bytearray(photo.read_bytes())
    start = body.index(b"Exif") + 14
    for offset in range(start, start + 120, 3):
        body[offset] ^= 0xFF
    photo.write_bytes(bytes(body))
    async with Extractor(personal=True) as extractor:
        facts = await extractor.extract(photo, "jpg")
    assert {facts.width, facts.height} == {20, 30}


GREEDY = """
import runpy, sys
child = runpy.run_path({real!r})
def greedy(*request):
    {act}
child["main"].__globals__["facts_of"] = greedy
child["main"]()
"""


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("return len(bytearray(400 * 2**20))", "more memory than is allowed"),
        ("open('/tmp/procore-ingest-never', 'wb').write(b'x' * 99999)", "File too large|signal"),
    ],
    ids=["memory", "writing"],
)  # fmt: skip
async def test_a_childs_memory_is_bounded_and_it_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, said: str
) -> None:
    act = act.replace("/tmp/procore-ingest-never", str(tmp_path / "written"))
    (tmp_path / "child.py").write_text(GREEDY.format(real=str(extraction._CHILD), act=act))
    monkeypatch.setattr(extraction, "_CHILD", tmp_path / "child.py")
    async with Extractor(limits=ExtractionLimits(memory_bytes=300 * 2**20)) as extractor:
        with pytest.raises(errors.DownloadError, match=said):
            await extractor.extract(tmp_path / "x", "pdf")
    assert not (tmp_path / "written").exists() or (tmp_path / "written").stat().st_size == 0


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


async def test_a_photo_of_several_pictures_has_the_first_ones_size(
    extractor: Extractor, tmp_path: Path
) -> None:
    first, second = Image.new("RGB", (40, 30)), Image.new("RGB", (20, 10))
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[second])
    assert (await extractor.extract(tmp_path / "x.jpg", "jpg")).width == 40
    assert (await extractor.preview(tmp_path / "x.jpg")).height == 30


async def test_more_pixels_than_allowed_are_refused_unread(tmp_path: Path) -> None:
    Image.new("1", (4000, 4000)).save(tmp_path / "x.png")
    async with Extractor(limits=ExtractionLimits(most_pixels=1_000_000)) as extractor:
        with pytest.raises(errors.DownloadError, match="more than the limit"):
            await extractor.extract(tmp_path / "x.png", "png")


async def test_a_preview_is_upright_small_and_bare_pixels(extractor: Extractor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3000, 1500), (250, 10, 10)).save(tmp_path / "x.png", exif=exif)
    preview = await extractor.preview(tmp_path / "x.png")
    assert (preview.width, preview.height) == (600, 1200)
    assert preview.rgb == bytes((250, 10, 10)) * (600 * 1200)


async def test_the_largest_preview_fits_an_answer(extractor: Extractor, tmp_path: Path) -> None:
    Image.effect_noise((1300, 1300), 90).save(tmp_path / "x.png")
    preview = await extractor.preview(tmp_path / "x.png")
    assert (preview.width, preview.height, len(preview.rgb)) == (1200, 1200, 4_320_000)


async def test_a_picture_of_too_many_pixels_is_not_decoded(extractor: Extractor, tmp_path: Path) -> None:
    Image.new("1", (8000, 8000)).save(tmp_path / "x.png")
    with pytest.raises(errors.DownloadError, match="8000 x 8000 pixels are too many to show"):
        await extractor.preview(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"width": 2, "height": 2, "rgb": "AAAA"}', "nonsense"),
        ('{"width": 100000, "height": 0, "rgb": ""}', "nonsense"),
        ('{"width": [], "height": 2, "rgb": 7}', "nonsense"),
        ("{}", "nonsense"),
        ("no json", "ended the reader"),
        ('{"missing": "PIL"}', "PIL is not installed"),
    ],
)
async def test_what_a_reader_says_of_a_preview_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    (tmp_path / "child.py").write_text(f"input(); print({answer!r}, flush=True); input()")
    monkeypatch.setattr(extraction, "_CHILD", tmp_path / "child.py")
    async with Extractor() as extractor:
        with pytest.raises(errors.DownloadError, match=said):
            await extractor.preview(tmp_path / "x")


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


ABORTS_AT = """
import json, os, runpy, sys
child = runpy.run_path({real!r})
for line in sys.stdin:
    asked = json.loads(line)
    requests = asked.get("together", [asked])
    if any("bad" in one["path"] for one in requests):
        os.abort()
    answers = [child["answer_to"](one, 10**6, False) for one in requests]
    print(json.dumps({{"together": answers}} if "together" in asked else answers[0]), flush=True)
"""


async def test_of_images_that_are_read_together_the_one_that_ends_the_reader_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text(ABORTS_AT.format(real=str(extraction._CHILD)))
    monkeypatch.setattr(extraction, "_CHILD", tmp_path / "child.py")
    paths = [
        _written(tmp_path / f"{'bad' if n == 3 else 'good'}{n}.png", "1/2/photos/3/a.png") for n in range(20)
    ]
    (tmp_path / "good7.png").write_bytes(b"broken")
    async with Extractor() as extractor:
        found = await asyncio.gather(*(extractor.extract(p, "png") for p in paths), return_exceptions=True)
    said = {n: str(one) for n, one in enumerate(found) if isinstance(one, errors.DownloadError)}
    assert set(said) == {3, 7}
    assert "ended the reader" in said[3]
    assert "cannot identify" in said[7]
    assert all(isinstance(one, Facts) and one.width for n, one in enumerate(found) if n not in said)


async def test_closing_lets_nobody_wait_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text("input(); print('{', flush=True, end=''); input()")
    monkeypatch.setattr(extraction, "_CHILD", tmp_path / "child.py")
    extractor = Extractor()
    asked = [asyncio.create_task(extractor.extract(tmp_path / "x", "png")) for _ in range(20)]
    while not extractor._serving:
        await asyncio.sleep(0)
    await extractor.aclose()
    assert {task.cancelled() for task in (await asyncio.wait(asked, timeout=5))[0]} == {True}
    assert not extractor._serving


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
