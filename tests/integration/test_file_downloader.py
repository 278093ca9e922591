"""Files are fetched once, checked and safe, from stores that behave and from one that does not."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import os
import signal
import socket
import sys
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion import errors
from ingestion.file_detector import DetectedFile
from ingestion.file_downloader import DownloadResult, DownloadStrategy, FileDownloader
from ingestion.files import addresses, paths, places
from ingestion.files.transfer import RetryPolicy, Timeouts
from ingestion.sandbox import file_contents, file_store, signing

FAR = 4_070_908_800
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
SUM = hashlib.sha256(JPEG).hexdigest()
HASTE = RetryPolicy(attempts=3, first_wait_s=0.001, longest_wait_s=0.002)


class MisbehavingStore:
    """A server whose answer is chosen by the first segment of the path; it counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self.here = self.most = 0
        self.three = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) != b"":
                lines = head.decode().split("\r\n")
                path = lines[0].split(" ")[1]
                headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:] if line)}
                name = path.split("/")[1].partition("?")[0]
                self.asked[name] += 1
                self.headers.append(headers)
                if not await getattr(self, name.replace("-", "_"))(writer, headers, self.asked[name]):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, writer: asyncio.StreamWriter, status: int, body: bytes = b"", **headers: Any) -> bool:
        lines = [f"HTTP/1.1 {status} X", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items())]
        if "Content_Length" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return "Content_Length" not in headers

    async def good(self, w: Any, h: dict[str, str], n: int) -> bool:
        if h.get("if-none-match") == '"v1"':
            return self.answer(w, 304, ETag='"v1"')
        return self.answer(w, 200, JPEG, ETag='"v1"', Content_Type="image/jpeg")

    async def other(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, JPEG + b"2", ETag='"v2"', Content_Type="image/jpeg")

    async def flaky(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 503, Retry_After="0") if n < 3 else self.answer(w, 200, JPEG)

    async def down(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 500)

    async def busy(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 429) if n < 2 else self.answer(w, 200, JPEG)

    async def forbidden(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(
            w, 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        )

    async def expired(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 403, b"<Error><Message>Request has expired</Message></Error>")

    async def forged(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")

    async def absent(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 404)

    async def loop(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 302, Location="/loop/a.jpg")

    async def away(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 302, Location="/good/a.jpg")

    async def inward(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 302, Location="http://169.254.169.254/latest/meta-data")

    async def inward_name(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 302, Location="http://localhost:9/a.jpg")

    async def local_file(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 302, Location="file:///etc/passwd")

    async def page(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, b"\n<!DOCTYPE html><html>Please log in</html>", Content_Type="image/jpeg")

    async def empty(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200)

    async def truncated(self, w: Any, h: dict[str, str], n: int) -> bool:
        """The first half, then (asked for the rest) the rest."""
        if start := h.get("range", "").removeprefix("bytes=").rstrip("-"):
            rest = JPEG[int(start) :]
            span = f"bytes {start}-{len(JPEG) - 1}/{len(JPEG)}"
            return self.answer(w, 206, rest, Content_Range=span, ETag='"v1"')
        return self.answer(w, 200, JPEG[:5000], Content_Length=len(JPEG), ETag='"v1"')

    async def weak(self, w: Any, h: dict[str, str], n: int) -> bool:
        if n == 1:
            return self.answer(w, 200, JPEG[:5000], Content_Length=len(JPEG), ETag='W/"v1"')
        return self.answer(w, 200, JPEG)

    async def wrong_range(self, w: Any, h: dict[str, str], n: int) -> bool:
        if n == 1:
            return self.answer(w, 200, JPEG[:5000], Content_Length=len(JPEG), ETag='"v1"')
        if "range" in h:
            return self.answer(w, 206, JPEG[7000:], Content_Range=f"bytes 7000-{len(JPEG) - 1}/{len(JPEG)}")
        return self.answer(w, 200, JPEG)

    async def another_version(self, w: Any, h: dict[str, str], n: int) -> bool:
        """A range of what the file is by now, without regard to what was asked for."""
        if n == 1:
            return self.answer(w, 200, b"\xff\xd8\xff" + bytes(5000), Content_Length=9999, ETag='"v0"')
        if start := h.get("range", "").removeprefix("bytes=").rstrip("-"):
            span = f"bytes {start}-{len(JPEG) - 1}/{len(JPEG)}"
            return self.answer(w, 206, JPEG[int(start) :], Content_Range=span, ETag='"v1"')
        return self.answer(w, 200, JPEG, ETag='"v1"')

    async def unasked_range(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 206, JPEG[:10], Content_Range=f"bytes 0-9/{len(JPEG)}")

    async def unasked_304(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 304)

    async def changed(self, w: Any, h: dict[str, str], n: int) -> bool:
        if n == 1:
            return self.answer(w, 200, b"\xff\xd8\xff" + bytes(5000), Content_Length=9999, ETag='"v0"')
        return self.answer(w, 200, JPEG, ETag='"v1"')

    async def endless(self, w: Any, h: dict[str, str], n: int) -> bool:
        w.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(400):
            w.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await w.drain()
        return False

    async def overstated(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, JPEG[:5000], Content_Length=len(JPEG))

    async def understated(self, w: Any, h: dict[str, str], n: int) -> bool:
        """More bytes than promised, then another answer nobody asked for: the connection cannot be trusted."""
        self.answer(w, 200, JPEG + b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nfake", Content_Length=5000)
        return True

    async def unended(self, w: Any, h: dict[str, str], n: int) -> bool:
        w.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + JPEG[:16] + b"\r\n")
        return False

    async def held(self, w: Any, h: dict[str, str], n: int) -> bool:
        """Answers once three are here at the same time."""
        self.here += 1
        self.most = max(self.most, self.here)
        if self.here == 3:
            self.three.set()
        await self.three.wait()
        self.here -= 1
        return self.answer(w, 200, JPEG)

    async def summed(self, w: Any, h: dict[str, str], n: int) -> bool:
        crc = base64.b64encode(zlib.crc32(JPEG).to_bytes(4, "big")).decode()
        md5 = base64.b64encode(hashlib.md5(JPEG).digest()).decode()
        return self.answer(w, 200, JPEG, x_amz_checksum_crc32=crc, x_goog_hash=f"crc32c=AAAAAA==,md5={md5}")

    async def mis_summed(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, JPEG, x_amz_checksum_crc32="AAAAAA==")

    async def big(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, b"", Content_Length=10**12)

    async def bomb(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, gzip.compress(bytes(20_000_000)), Content_Encoding="gzip")

    async def zipped(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(
            w, 200, gzip.compress(JPEG[:5000]) + gzip.compress(JPEG[5000:]), Content_Encoding="gzip"
        )

    async def brotli(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, JPEG, Content_Encoding="br")

    async def mislabelled(self, w: Any, h: dict[str, str], n: int) -> bool:
        return self.answer(w, 200, JPEG, Content_MD5="AAAAAAAAAAAAAAAAAAAAAA==")

    async def silent(self, w: Any, h: dict[str, str], n: int) -> bool:
        await asyncio.sleep(5)
        return False

    async def drip(self, w: Any, h: dict[str, str], n: int) -> bool:
        w.write(b'HTTP/1.1 200 X\r\nContent-Length: 1000\r\nETag: "v1"\r\n\r\n')
        while True:
            w.write(b"\xff")
            await w.drain()
            await asyncio.sleep(0.02)


@pytest.fixture
async def bad() -> AsyncIterator[MisbehavingStore]:
    store = MisbehavingStore()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0, limit=2**20)
    store.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield store
    server.close()


@pytest.fixture(scope="module")
def store() -> Iterator[file_store.FileStoreProcess]:
    process = file_store.start()
    yield process
    process.stop()


Make = Callable[..., FileDownloader]


@pytest.fixture
def make(bad: MisbehavingStore, tmp_path: Path) -> Make:
    def build(**options: Any) -> FileDownloader:
        options = {"retries": HASTE, "allowed_hosts": [bad.url.removeprefix("http://")]} | options
        return FileDownloader(tmp_path / "files", **options)

    return build


def _file(url: str | None = None, key: str = "", name: str | None = "a.jpg", **more: Any) -> DetectedFile:
    size = more.pop("size", None)
    return DetectedFile(key, "photos", more.pop("record", "8"), "url", name, size, url, **more)


def _left_over(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file()]


async def test_a_file_lands_where_a_person_looks_and_for_its_owner_only(
    bad: MisbehavingStore, make: Make, tmp_path: Path
) -> None:
    result = await make().download(_file(f"{bad.url}/good/1"))
    assert result.success
    assert result.local_path == tmp_path / "files/photos/8/a.jpg"
    assert result.local_path.read_bytes() == JPEG
    assert (result.checksum, result.etag, result.content_type) == (SUM, '"v1"', "image/jpeg")
    assert (result.status, result.file_size) == ("success", len(JPEG))
    assert result.local_path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "files").stat().st_mode & 0o777 == 0o700
    assert _left_over(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize(
    ("path", "cause", "asked"),
    [
        ("forbidden", "http_403", 1), ("expired", "expired_url", 1), ("forged", "bad_signature", 1),
        ("absent", "http_404", 1), ("down", "http_5xx", 3), ("loop", "redirects", 6),
        ("inward", "private_address", 1), ("inward-name", "private_address", 1), ("local-file", "bad_url", 1),
        ("page", "wrong_content", 1), ("empty", "wrong_content", 1), ("brotli", "wrong_content", 1),
        ("unasked-range", "wrong_range", 3), ("unasked-304", "wrong_content", 1),
        ("mislabelled", "wrong_content", 1),
        ("overstated", "connection", 3), ("unended", "connection", 3), ("mis-summed", "wrong_content", 1),
    ],
)  # fmt: skip
async def test_each_misbehaviour_ends_with_its_cause_and_leaves_nothing(
    bad: MisbehavingStore, make: Make, tmp_path: Path, path: str, cause: str, asked: int
) -> None:
    result = await make().download(_file(f"{bad.url}/{path}/a.jpg?sig=5ecret"))
    assert (result.success, result.status, result.cause) == (False, "failed", cause)
    assert result.error
    assert "5ecret" not in f"{result!r}"
    assert bad.asked[path] == asked
    assert _left_over(tmp_path) == []


@pytest.mark.parametrize(
    "path",
    [
        "flaky",
        "busy",
        "away",
        "truncated",
        "weak",
        "another-version",
        "wrong-range",
        "changed",
        "zipped",
        "summed",
    ],
)
async def test_what_can_be_mended_is(bad: MisbehavingStore, make: Make, path: str) -> None:
    result = await make().download(_file(f"{bad.url}/{path}/a.jpg"))
    assert (result.success, result.checksum) == (True, SUM), result.error


async def test_a_broken_transfer_goes_on_where_it_stopped(bad: MisbehavingStore, make: Make) -> None:
    await make().download(_file(f"{bad.url}/truncated/a.jpg"))
    assert bad.headers[-1]["range"] == "bytes=5000-"
    assert bad.headers[-1]["if-range"] == '"v1"'


@pytest.mark.parametrize("path", ["endless", "big", "bomb"])
async def test_the_size_limit_holds_whatever_the_store_says(
    bad: MisbehavingStore, make: Make, tmp_path: Path, path: str
) -> None:
    result = await make(max_file_size=100_000).download(_file(f"{bad.url}/{path}/a.jpg"))
    assert (result.status, result.cause) == ("skipped", "too_large")
    assert _left_over(tmp_path) == []


async def test_a_silent_store_times_out(bad: MisbehavingStore, make: Make) -> None:
    downloader = make(timeouts=Timeouts(idle_s=0.05), retries=RetryPolicy(attempts=1))
    result = await downloader.download(_file(f"{bad.url}/silent/a.jpg"))
    assert (result.cause, bad.asked["silent"]) == ("timeout", 1)


async def test_a_dripping_store_is_cut_off_by_the_total_time(bad: MisbehavingStore, make: Make) -> None:
    result = await make(timeouts=Timeouts(total_s=0.15)).download(_file(f"{bad.url}/drip/a.jpg"))
    assert result.cause == "timeout"


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a full queue refuses instead of keeping silent"
)
async def test_a_store_that_takes_no_connection_times_out(make: Make) -> None:
    with contextlib.ExitStack() as sockets:
        store = sockets.enter_context(socket.socket())
        store.bind(("127.0.0.1", 0))
        store.listen(0)
        for _ in range(4):  # its queue is full then
            one = sockets.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(store.getsockname())
        downloader = make(
            timeouts=Timeouts(connect_s=0.05), retries=RetryPolicy(attempts=1), allow_private=True
        )
        result = await downloader.download(_file(f"http://127.0.0.1:{store.getsockname()[1]}/a.jpg"))
    assert result.cause == "timeout"


async def test_what_follows_a_wrong_length_is_not_taken_for_the_next_file(
    bad: MisbehavingStore, make: Make
) -> None:
    async with make(concurrency=1) as downloader:
        await downloader.download(_file(f"{bad.url}/understated/1", record="1"))
        result = await downloader.download(_file(f"{bad.url}/good/1", record="2"))
    assert (result.success, result.checksum) == (True, SUM), result.error


async def test_no_more_files_are_fetched_at_once_than_allowed(bad: MisbehavingStore, make: Make) -> None:
    files = [_file(f"{bad.url}/held/{n}", record=str(n)) for n in range(12)]
    results = [r async for r in make(concurrency=3).download_batch(files, workers=8)]
    assert (len(results), bad.most) == (12, 3)
    assert all(r.success for r in results)


async def test_whoever_really_answers_must_be_permitted(
    bad: MisbehavingStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lie(self: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "proto": 0, "flags": 0}
        return [found | {"family": socket.AF_INET}]

    monkeypatch.setattr(addresses.GuardedResolver, "resolve", lie)
    url = bad.url.replace("127.0.0.1", "files.example")
    result = await make(allowed_hosts=[]).download(_file(f"{url}/good/1"))
    assert (result.cause, bad.asked["good"]) == ("private_address", 0)
    named = await make(allowed_hosts=["files.example"]).download(_file(f"{url}/good/1"))
    assert named.success


URLS = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda scheme, host, port, path: f"{scheme}://{host}{port}/{path}",
        st.sampled_from(["http", "https", "HTTP", "ftp", "s3", "javascript"]),
        st.text(max_size=70) | st.text("aé.-_日\ud800%\x00@:[]", max_size=70),
        st.sampled_from(["", ":0", ":99999", ":a", ":-1"]),
        st.text(max_size=40),
    ),
)


@settings(max_examples=150)
@given(url=URLS)
def test_no_url_does_more_harm_than_its_own_failure(url: str) -> None:
    async def nowhere(self: Any, host: str, port: int = 0, family: int = 0) -> list[Any]:
        raise OSError("not found")

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(addresses.GuardedResolver, "resolve", nowhere)
        downloader = FileDownloader(Path(folder), retries=RetryPolicy(attempts=1))
        result = asyncio.run(downloader.download(_file(url)))
    assert (result.success, result.status) == (False, "failed")


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="./\\~\x00:\u202e *?CONé", max_size=20),
    st.sampled_from(
        ["..", "../../etc/passwd", "/etc/passwd", "up", "a/../../b", "up/../x", "\x00", "nul.txt"]
    ),
)


@settings(max_examples=100)
@given(table=HOSTILE, record=HOSTILE, key=HOSTILE, name=st.none() | HOSTILE.map("{}.jpg".format))
def test_whatever_the_names_say_a_file_is_written_inside_the_folder(
    table: str, record: str, key: str, name: str | None
) -> None:
    async def fetch(folder: Path) -> DownloadResult:
        store = MisbehavingStore()
        server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/good/1"
        try:
            downloader = FileDownloader(folder, allow_private=True)
            file = DetectedFile(key, table, record, "s3_key", name, None, url, file_type="jpg")
            return await downloader.download(file)
        finally:
            server.close()

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve() / "files"
        folder.mkdir()
        (folder / "up").symlink_to("..")
        result = asyncio.run(fetch(folder))
        written = [p for p in folder.parent.rglob("*") if p.is_file() and not p.is_symlink()]
        if result.success:
            assert written == [result.local_path]
            assert folder in written[0].resolve().parents
            assert len(written[0].relative_to(folder).parts) == 3
        else:
            assert result.cause in ("unsafe_path", "unsupported_format")
            assert written == []


async def test_a_refused_connection_is_tried_again_and_named(make: Make) -> None:
    result = await make(allow_private=True).download(_file("http://127.0.0.1:9/a.jpg"))
    assert result.cause == "connection"
    assert "refused" in (result.error or "").lower()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/a.jpg", "http://[::1]/a.jpg", "http://localhost/a.jpg",
     "http://10.0.0.7/a.jpg", "http://169.254.169.254/a.jpg", "http://[::ffff:127.0.0.1]/a.jpg",
     "http://0x7f.1/a.jpg", "http://[64:ff9b::7f00:1]/a.jpg", "http://u:p@10.0.0.7/a.jpg",
     "http://\uff11\uff12\uff17.0.0.1:9/a.jpg", "http://127\u30020\u30020\u30021:9/a.jpg"],
)  # fmt: skip
async def test_private_addresses_are_refused_however_they_are_written(make: Make, url: str) -> None:
    assert (await make().download(_file(url))).cause == "private_address"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h.example/a.jpg",
        "file:///etc/passwd",
        "http://",
        "http://[bad/a.jpg",
        "http://127.1/a.jpg",
        "http://2130706433/a.jpg",
        "http://0177.0.0.1/a.jpg",
    ],
)
async def test_only_http_and_https_are_fetched(make: Make, url: str) -> None:
    assert (await make().download(_file(url))).cause == "bad_url"


async def test_an_unchanged_file_is_asked_about_but_not_fetched(bad: MisbehavingStore, make: Make) -> None:
    result = await make().download(_file(f"{bad.url}/good/1"), etag='"v1"')
    assert (result.success, result.cause, result.local_path) == (True, "unchanged", None)


async def test_one_file_of_two_records_is_fetched_once_and_linked(bad: MisbehavingStore, make: Make) -> None:
    downloader = make()
    one, two = await asyncio.gather(
        *(downloader.download(_file(f"{bad.url}/good/1", record=record)) for record in ("1", "2"))
    )
    assert bad.asked["good"] == 1
    assert one.local_path is not None
    assert two.local_path is not None
    assert one.local_path != two.local_path
    assert os.path.samefile(one.local_path, two.local_path)


async def test_equal_content_of_different_files_is_stored_once(bad: MisbehavingStore, make: Make) -> None:
    downloader = make()
    one = await downloader.download(_file(f"{bad.url}/good/1", record="1"))
    two = await downloader.download(_file(f"{bad.url}/good/2", record="2"))
    assert one.local_path is not None
    assert two.local_path is not None
    assert os.path.samefile(one.local_path, two.local_path)
    assert bad.asked["good"] == 2


async def test_two_files_of_one_name_in_a_record_both_stay(bad: MisbehavingStore, make: Make) -> None:
    downloader = make()
    one = await downloader.download(_file(f"{bad.url}/good/1", name="A.jpg"))
    two = await downloader.download(_file(f"{bad.url}/good/2", name="a.JPG"))
    assert one.local_path is not None
    assert two.local_path is not None
    assert one.local_path.name == "A.jpg"
    assert two.local_path.name.startswith("a~")


async def test_a_name_that_the_state_knows_as_another_files_is_not_taken(
    bad: MisbehavingStore, make: Make
) -> None:
    one = await make().download(_file(f"{bad.url}/good/1"))
    assert one.local_path is not None
    before = one.local_path.read_bytes()

    async def owner(path: Path) -> str:
        return "of another record" if path == one.local_path else ""

    two = await make(find_owner=owner).download(_file(f"{bad.url}/other/2"))
    assert two.local_path is not None
    assert two.local_path != one.local_path
    assert one.local_path.read_bytes() == before


async def test_where_nobody_knows_whose_a_name_is_no_content_is_lost(
    bad: MisbehavingStore, make: Make
) -> None:
    one = await make().download(_file(f"{bad.url}/good/1"))
    again = await make().download(_file(f"{bad.url}/good/1"))
    two = await make().download(_file(f"{bad.url}/other/2"))
    assert one.local_path is not None
    assert again.local_path == one.local_path
    assert two.local_path is not None
    assert two.local_path != one.local_path
    assert (one.local_path.read_bytes(), two.local_path.read_bytes()) == (JPEG, JPEG + b"2")


async def test_a_link_planted_in_the_folder_is_not_followed(
    bad: MisbehavingStore, make: Make, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files/photos").symlink_to(tmp_path / "outside")
    result = await make().download(_file(f"{bad.url}/good/1"))
    assert result.cause == "unsafe_path"
    assert _left_over(tmp_path / "outside") == []


async def test_a_link_at_the_files_own_name_is_replaced_not_written_through(
    bad: MisbehavingStore, make: Make, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "files/photos/8").mkdir(parents=True)
    (tmp_path / "files/photos/8/a.jpg").symlink_to(victim)
    result = await make().download(_file(f"{bad.url}/good/1"))
    assert result.success
    assert victim.read_text() == "kept"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (_file("http://h.example/1", name="plan.DWG"), "unsupported format: dwg"),
        (
            _file("http://h.example/1", name="a.jpg", size=200 * 2**20),
            "too large: 200.0 MiB, the limit is 100.0 MiB",
        ),
        (_file("http://h.example/1", name=None, file_type="xlsx"), "unsupported format: xlsx"),
        (_file("http://h.example/a%20b.zip?sig=1", name=None), "unsupported format: zip"),
    ],
)
async def test_a_skip_has_a_reason_a_person_understands(make: Make, file: DetectedFile, reason: str) -> None:
    assert make().should_skip(file) == (True, reason)
    result = await make().download(file)
    assert (result.status, result.success, result.error) == ("skipped", False, reason)


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPEG", "a.tif", "a.tiff", "a.pdf", "no extension", "Level 1.2", None]
)
async def test_supported_and_unknown_types_are_not_skipped(make: Make, name: str | None) -> None:
    assert make().should_skip(_file("http://h.example/1", name=name)) == (False, "")


async def test_a_full_disk_is_known_before_the_start(
    make: Make, monkeypatch: pytest.MonkeyPatch, bad: MisbehavingStore
) -> None:
    monkeypatch.setattr(paths, "DISK_RESERVE_BYTES", 2**60)
    assert (await make().download(_file(f"{bad.url}/good/1"))).cause == "disk_full"
    with pytest.raises(errors.DownloadError, match="bytes are free"):
        _ = [r async for r in make().download_batch([_file(f"{bad.url}/good/1")])]
    assert bad.asked["good"] == 0


async def test_soon_expiring_urls_go_first(bad: MisbehavingStore, make: Make) -> None:
    files = [
        _file(f"{bad.url}/good/1?Expires=1", record="expired"),
        _file(f"{bad.url}/good/2", record="unknown"),
        _file(f"{bad.url}/good/3?Expires={FAR}", record="later"),
        _file(f"{bad.url}/good/4?Expires={FAR - 5}", record="soon"),
    ]
    order = [r.file.source_record_id async for r in make().download_batch(files, workers=1) if r.file]
    assert order == ["soon", "later", "unknown", "expired"]


@pytest.mark.parametrize("path", ["good", "truncated", "wrong-range", "changed", "zipped"])
async def test_progress_is_told_in_bytes_whatever_starts_over(
    bad: MisbehavingStore, make: Make, path: str
) -> None:
    told: list[int] = []
    downloader = make(on_progress=lambda file, size: told.append(size))
    assert (await downloader.download(_file(f"{bad.url}/{path}/1"))).success
    assert sum(told) == len(JPEG)
    assert (downloader.arrivals.size_bytes, downloader.arrivals.under_way()) == (len(JPEG), [])


async def test_a_file_under_way_says_how_far_it_is(bad: MisbehavingStore, make: Make) -> None:
    downloader = make()
    arrived = asyncio.Event()
    downloader._on_progress = lambda file, size: arrived.set()
    task = asyncio.create_task(downloader.download(_file(f"{bad.url}/drip/plan.jpg", name="plan.jpg")))
    await arrived.wait()
    (one,) = downloader.arrivals.under_way()
    assert (one.filename, one.expected_bytes) == ("plan.jpg", 1000)
    assert 0 < one.size_bytes < 1000
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert downloader.arrivals.under_way() == []


@pytest.mark.parametrize("slow_s", [0.0, 1e9], ids=["slow disk", "fast disk"])
async def test_a_slow_disk_is_waited_for_in_threads_and_leaves_the_same_files(
    bad: MisbehavingStore, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slow_s: float
) -> None:
    monkeypatch.setattr(places, "SLOW_S", slow_s)
    threads = set[str]()
    really = paths.prepare_parent

    def noted(*args: Any) -> None:
        threads.add(threading.current_thread().name.partition("_")[0])
        really(*args)

    monkeypatch.setattr(paths, "prepare_parent", noted)
    files = [_file(f"{bad.url}/good/{n}", record=str(n)) for n in range(8)]
    results = [r async for r in make().download_batch(files, workers=4)]
    assert all(r.success for r in results)
    assert threads == ({"MainThread"} if slow_s else {"files-disk"})
    assert len(_left_over(tmp_path)) == 8


async def test_a_download_cancelled_while_the_disk_is_waited_for_leaves_nothing_open(
    bad: MisbehavingStore, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(places, "SLOW_S", 0.0)
    begun, go_on = threading.Event(), threading.Event()
    really = paths.prepare_parent

    def slowly(*args: Any) -> None:
        begun.set()
        go_on.wait(30)
        really(*args)

    monkeypatch.setattr(paths, "prepare_parent", slowly)
    task = asyncio.create_task(make().download(_file(f"{bad.url}/good/1")))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    go_on.set()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
    monkeypatch.setattr(paths, "prepare_parent", really)
    assert _left_over(tmp_path) == []
    assert (await make().download(_file(f"{bad.url}/good/1"))).success


async def test_closing_a_batch_early_stops_it(bad: MisbehavingStore, make: Make) -> None:
    batch = make().download_batch(
        [_file(f"{bad.url}/good/{n}", record=str(n)) for n in range(500)], workers=4
    )
    async for _ in batch:
        break
    await batch.aclose()  # type: ignore[attr-defined]
    assert bad.asked["good"] < 50


KEYS = [f"1/2/photos/{n}/photo {n} #é%20+.jpg" for n in range(6)]


async def test_signed_urls_are_fetched_through_the_rewrite(store: Any, make: Make) -> None:
    downloader = make(url_rewrites={signing.HOST: store.url}, allowed_hosts=[])
    files = [_file(signing.sign(key, 1, 2, FAR), record=str(n)) for n, key in enumerate(KEYS)]
    results = [r async for r in downloader.download_batch(files, workers=3)]
    assert {r.checksum for r in results} == {_sum_of(key) for key in KEYS}


def _s3(store: Any, **more: Any) -> dict[str, str]:
    return {"endpoint_url": store.url, "bucket": "files", "addressing_style": "path", **more}


def _sum_of(key: str) -> str:
    content = file_contents.content_of(key)
    assert content is not None
    return hashlib.sha256(content.body).hexdigest()


async def test_keys_are_fetched_from_s3(store: Any, make: Make) -> None:
    downloader = make(strategy=DownloadStrategy.DIRECT_S3, aws_config=_s3(store))
    result = await downloader.download(_file(key=KEYS[0]))
    assert (result.success, result.checksum, result.s3_key) == (True, _sum_of(KEYS[0]), KEYS[0])
    again = await downloader.download(_file(key=KEYS[0], record="9"), etag=result.etag)
    assert again.cause == "unchanged"
    missing = await downloader.download(_file(key="1/2/photos/3/missing-a.jpg"))
    assert missing.cause == "http_404"


@pytest.mark.parametrize("path", ["expired", "forbidden", "forged"])
async def test_a_refused_url_falls_back_to_s3(
    bad: MisbehavingStore, store: Any, make: Make, path: str
) -> None:
    downloader = make(aws_config=_s3(store))
    result = await downloader.download(_file(f"{bad.url}/{path}/a.jpg", key=KEYS[1]))
    assert (result.success, result.checksum) == (True, _sum_of(KEYS[1]))


async def test_a_url_known_to_be_expired_is_not_even_tried(
    bad: MisbehavingStore, store: Any, make: Make
) -> None:
    result = await make(aws_config=_s3(store)).download(_file(f"{bad.url}/good/1?Expires=1", key=KEYS[1]))
    assert (result.success, bad.asked["good"]) == (True, 0)


async def test_a_missing_file_does_not_fall_back(bad: MisbehavingStore, store: Any, make: Make) -> None:
    result = await make(aws_config=_s3(store)).download(_file(f"{bad.url}/absent/1", key=KEYS[1]))
    assert result.cause == "http_404"


async def test_a_key_without_a_bucket_says_so(make: Make) -> None:
    result = await make().download(_file(key=KEYS[0]))
    assert (result.cause, result.hint) == ("no_bucket", "Set PROCORE_S3_BUCKET.")


async def test_without_credentials_the_urls_own_failure_is_told(bad: MisbehavingStore, make: Make) -> None:
    downloader = make(aws_config={"bucket": "b", "region_name": "us-east-1"})
    result = await downloader.download(_file(f"{bad.url}/expired/1", key=KEYS[0]))
    assert result.cause == "expired_url"
    assert "no AWS credentials" in (result.error or "")


def test_an_unknown_aws_name_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(errors.SettingsError, match="'acess_key'"):
        FileDownloader(tmp_path, aws_config={"acess_key": "x"})


async def test_the_contracts_direct_calls_write_to_exactly_the_path(
    bad: MisbehavingStore, store: Any, tmp_path: Path
) -> None:
    downloader = FileDownloader(tmp_path / "files", allow_private=True, aws_config=_s3(store))
    one = await downloader.download_from_url(f"{bad.url}/good/1", tmp_path / "x/one.jpg")
    two = await downloader.download_from_s3(KEYS[2], tmp_path / "x/two.jpg")
    assert (one.local_path, two.local_path) == (tmp_path / "x/one.jpg", tmp_path / "x/two.jpg")
    assert (one.s3_key, two.s3_key, two.checksum) == ("", KEYS[2], _sum_of(KEYS[2]))


KILLED = """
import asyncio, sys
from pathlib import Path
from ingestion.file_detector import DetectedFile
from ingestion.file_downloader import FileDownloader
def told(file, size):
    print(size, flush=True)
file = DetectedFile("", "photos", "8", "url", "a.jpg", None, sys.argv[2])
asyncio.run(FileDownloader(Path(sys.argv[1]), allow_private=True, on_progress=told).download(file))
"""


async def test_a_download_killed_half_way_goes_on_in_the_next_process(make: Make, tmp_path: Path) -> None:
    asked: list[str] = []
    body = JPEG * 100

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        start = int(head.partition("range: bytes=")[2].partition("-")[0] or 0)
        asked.append(str(start))
        length = f'Content-Length: {len(body) - start}\r\nETag: "v1"\r\n'
        if start:
            span = f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n"
            writer.write(f"HTTP/1.1 206 X\r\n{span}{length}\r\n".encode() + body[start:])
        else:
            sent = body[: len(body) // 2] if len(asked) == 1 else body
            writer.write(f"HTTP/1.1 200 X\r\n{length}\r\n".encode() + sent)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.jpg"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path / "files"), url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = 0
    while told < 200_000:
        told += int(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    await process.wait()
    (partial,) = (tmp_path / "files").rglob("*.part")
    held = partial.stat().st_size
    result: DownloadResult = await make(allow_private=True).download(_file(url))
    server.close()
    assert result.success, result.error
    assert result.checksum == hashlib.sha256(body).hexdigest()
    # Killed before it was noted whose bytes these are, they are fetched again: never joined on trust.
    assert asked in (["0", str(held)], ["0", "0"])
    assert 0 < held <= len(body) // 2
