"""Where files lie: always inside the folder, under names that every file system takes."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import errors
from ingestion.file_detector import DetectedFile
from ingestion.file_downloader import FileDownloader
from ingestion.files import paths

HOSTILE = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="./\\~\x00:\u202e\u200b *?CONAUX日é", max_size=60),
    st.sampled_from(
        ["..", "../../etc/passwd", "/etc/passwd", "C:\\x", "a/../../b", "\x00", "CON", "nul.txt", "~"]
    ),
)


@given(table=HOSTILE, record=HOSTILE, key=HOSTILE, filename=st.none() | HOSTILE)
def test_no_key_name_or_record_leads_out_of_the_folder(
    table: str, record: str, key: str, filename: str | None
) -> None:
    downloader = FileDownloader(Path("/files"))
    file = DetectedFile(key, table, record, "s3_key", filename, None, None)
    path = asyncio.run(downloader._name_of(file)).path
    assert path.parts[:2] == ("/", "files")
    assert len(path.parts) == 5
    for part in path.parts[2:]:
        assert part not in (".", "..")
        assert not set(part) & set('\x00/\\:*?"<>|')
        assert len(part.encode()) <= 255
        assert part == part.strip(" ")
        assert not part.endswith(".")


@given(HOSTILE)
def test_every_safe_name_can_really_be_made(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / paths.safe_filename(name)
        path.write_bytes(b"x")
        assert [p.name for p in Path(folder).iterdir()] == [path.name]


@given(one=HOSTILE, two=HOSTILE)
def test_different_records_never_share_a_folder(one: str, two: str) -> None:
    if one != two:
        assert paths.safe_folder(one).casefold() != paths.safe_folder(two).casefold()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("site photo #1 %20+(2).jpg", "site photo #1 %20+(2).jpg"),
        ("日本語é.pdf", "日本語é.pdf"),
        ("a/b\\c:d.pdf", "a_b_c_d.pdf"),
        ("CON.txt", "_CON.txt"),
        ("nul .tar.gz", "_nul .tar.gz"),
        ("a\0b\n.pdf", "a_b_.pdf"),
        ("trailing. . ", "trailing"),
        ("..", "file"),
        (".0123456789abcdef.part", "_.0123456789abcdef.part"),
        ("", "file"),
        ("gpj.exe\u202egpj", "gpj.exe_gpj"),
    ],
)
def test_names_stay_readable(name: str, safe: str) -> None:
    assert paths.safe_filename(name) == safe


def test_a_long_name_keeps_its_extension_and_stays_unique() -> None:
    one, two = (paths.safe_filename("é" * 199 + f"{n}.jpeg") for n in (1, 2))
    assert one != two
    assert one.endswith(".jpeg")
    assert len(one.encode()) <= paths.LONGEST_NAME


def test_ordinary_ids_and_tables_keep_their_names() -> None:
    path = paths.file_path(Path("/f"), "photos", "562949973421312", "a.jpg", "0" * 32)
    assert str(path) == "/f/photos/562949973421312/a.jpg"


def test_a_record_without_key_gets_unique_names() -> None:
    one, two = (paths.file_path(Path("/f"), "t", "", "a.jpg", i * 32) for i in "01")
    assert one.name != two.name


def test_content_is_linked_where_possible(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").write_bytes(b"older")
    paths.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")
    paths.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_folders_removed_meanwhile_are_made_again(tmp_path: Path) -> None:
    made: set[str] = set()
    paths.prepare_parent(tmp_path / "f", tmp_path / "f/photos/1/a.jpg", made)
    (tmp_path / "f/photos/1").rmdir()
    (tmp_path / "f/photos").rmdir()
    paths.prepare_parent(tmp_path / "f", tmp_path / "f/photos/2/a.jpg", made)
    assert (tmp_path / "f/photos/2").is_dir()


def test_a_full_disk_is_named_with_its_figures(tmp_path: Path) -> None:
    with pytest.raises(errors.DownloadError, match="bytes are free") as caught:
        paths.require_space(tmp_path / "not there yet", 2**60)
    assert caught.value.cause == "disk_full"
