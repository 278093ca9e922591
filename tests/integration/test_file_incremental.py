"""An unchanged file is never fetched twice, whatever became of it; what changed in the store is followed.

The store counts what it is asked, so that a promise about requests is one about requests.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from file_world import FAR, Files, personal_photo, record

from ingestion import errors
from ingestion.files import settling
from ingestion.files.extraction import Extractor, Facts
from ingestion.sandbox.file_contents import content_of
from ingestion.state.store import StateStore
from ingestion.vespa import client
from ingestion.vespa.client import VespaSession

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
LAST_MODIFIED = "Tue, 06 May 2025 07:08:09 GMT"


def pdf(name: str) -> bytes:
    content = content_of(f"1/2/drawings/3/{name}.pdf")
    assert content is not None
    return content.body


@dataclass(slots=True)
class Stored:
    """An object of the store; without an ETag it may have a date."""

    body: bytes = JPEG
    etag: str = '"v1"'
    date: str = ""
    length_told: bool = True


@dataclass(slots=True)
class CountingStore:
    """Answers as a store should; `asked` has the statuses of each path in order, `order` the paths."""

    objects: dict[str, Stored] = field(default_factory=dict)
    asked: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    order: list[str] = field(default_factory=list)
    url: str = ""

    def put(self, name: str, **members: Any) -> str:
        """Store an object; its URL."""
        self.objects[f"/{name}"] = Stored(**members)
        return f"{self.url}/{name}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                path = lines[0].split(" ")[1].partition("?")[0]
                headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:] if line)}
                self.order.append(path)
                if not self.answer(writer, path, headers):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, writer: asyncio.StreamWriter, path: str, asked: dict[str, str]) -> bool:
        found = self.objects.get(path)
        if found is None:
            self.asked[path].append(404)
            writer.write(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
            return True
        known = found.etag and asked.get("if-none-match") == found.etag
        known = known or (found.date and asked.get("if-modified-since") == found.date)
        body = b"" if known else found.body
        self.asked[path].append(304 if known else 200)
        head = f"HTTP/1.1 {304 if known else 200} X\r\n"
        head += f"ETag: {found.etag}\r\n" if found.etag else ""
        head += f"Last-Modified: {found.date}\r\n" if found.date else ""
        head += f"Content-Length: {len(body)}\r\n" if found.length_told else "Connection: close\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        return found.length_told


@pytest.fixture
async def store() -> AsyncIterator[CountingStore]:
    one = CountingStore()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield one
    server.close()


@pytest.fixture
async def files(vespa_url: str, namespace: str, store: CountingStore, tmp_path: Path) -> AsyncIterator[Files]:
    async with (
        await StateStore.open(tmp_path / "state" / "state.db") as state,
        VespaSession(client.build(vespa_url), namespace=namespace) as session,
        state.writer(None, "test"),
    ):
        yield Files(state, session, tmp_path, store.url, {"allow_private": True})


class Counting(Extractor):
    """Counts the files that are looked into; may refuse them all."""

    def __init__(self, refuse: bool = False) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.refuse = refuse

    async def extract(self, path: Path, kind: str) -> Facts:
        self.seen.append(path.name)
        if self.refuse:
            raise errors.DownloadError("nothing can be extracted", cause="extraction_failed")
        return await super().extract(path, kind)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ({}, [200, 304]),
        ({"etag": 'W/"weak"'}, [200, 304]),
        ({"etag": "bare"}, [200, 304]),
        ({"etag": "", "date": LAST_MODIFIED}, [200, 304]),
        ({"etag": ""}, [200]),
        ({"body": b"AC1032 a drawing without a name"}, [200, 304]),
        ({"body": b"\xff\xd8\xff" + bytes(300_000)}, [200, 304]),
        ({"body": b"\xff\xd8\xff" + bytes(300_000), "length_told": False}, [200, 304]),
    ],
    ids=["etag", "weak etag", "unquoted etag", "date", "nothing", "unsupported", "too large", "no length"],
)  # fmt: skip
async def test_what_has_not_changed_is_sent_once(
    files: Files, store: CountingStore, stored: dict[str, Any], asked: list[int]
) -> None:
    document = record(1, store.put("f", **stored))
    first = await files.job(document, max_file_size=100_000)
    before = await files.documents()
    again = await files.job(document, max_file_size=100_000)
    assert store.asked["/f"] == asked
    assert (first.found, again.found, again.skipped) == (1, 1, 1)
    assert await files.documents() == before


async def test_a_file_that_was_too_large_is_fetched_once_the_limit_allows_it(
    files: Files, store: CountingStore
) -> None:
    document = record(1, store.put("f.jpg"))
    assert (await files.job(document, max_file_size=5000)).skipped == 1
    assert (await files.job(document, max_file_size=50_000)).downloaded == 1
    assert store.asked["/f.jpg"] == [200, 200]


async def test_a_file_uploaded_anew_is_followed_and_its_twin_left_alone(
    files: Files, store: CountingStore
) -> None:
    one, two = record(1, store.put("one.jpg")), record(2, store.put("two.jpg"))
    await files.job(one, two)
    paths = [files.folder / f"files/photos/{n}.jpg" for n in ("1/one", "2/two")]
    assert paths[0].samefile(paths[1])
    before = await files.documents()
    store.put("one.jpg", body=JPEG + b"more", etag='"v2"')
    assert (await files.job(one, two)).downloaded == 1
    after = await files.documents()
    assert after["one.jpg"]["checksum"] != before["one.jpg"]["checksum"]
    assert after["one.jpg"]["size"] == len(JPEG) + 4
    assert after["two.jpg"] == before["two.jpg"]
    assert [path.read_bytes() for path in paths] == [JPEG + b"more", JPEG]


async def test_a_file_deleted_in_the_store_is_told_and_found_again_when_it_returns(
    files: Files, store: CountingStore
) -> None:
    document = record(1, store.put("f.jpg"))
    await files.job(document)
    kept = store.objects.pop("/f.jpg")
    assert (await files.job(document)).failed == 1
    assert await files.failures() == {"f.jpg": "http_404"}
    assert (await files.documents())["f.jpg"]["status"] == "failed"
    store.objects["/f.jpg"] = kept
    assert (await files.job(document)).downloaded == 1
    assert await files.failures() == {}


async def test_a_file_whose_content_failed_is_looked_into_again_but_not_sent_again(
    files: Files, store: CountingStore
) -> None:
    document = record(1, store.put("plan.pdf", body=pdf("Anchor bolts")))
    assert (await files.job(document, extractor=Counting(refuse=True))).failed == 1
    assert (await files.job(document, extractor=Counting(refuse=True))).failed == 1
    assert await files.failures() == {"plan.pdf": "extraction_failed"}
    assert (await files.job(document, extractor=Counting())).failed == 0
    assert store.asked["/plan.pdf"] == [200, 304, 304]
    assert await files.failures() == {}
    found = (await files.documents())["plan.pdf"]
    assert (found["status"], found.get("error")) == ("downloaded", None)
    assert "Anchor bolts" in found["extracted_text"]


async def test_equal_content_is_looked_into_and_kept_once_also_in_a_later_job(
    files: Files, store: CountingStore
) -> None:
    body = pdf("Anchor bolts")
    extractor = Counting()
    await files.job(*(record(n, store.put(f"{n}.pdf", body=body)) for n in (1, 2)), extractor=extractor)
    await files.job(record(3, store.put("3.pdf", body=body)), extractor=extractor)
    assert len(extractor.seen) == 1
    found = await files.documents()
    assert {fields["extracted_text"] for fields in found.values()} == {found["1.pdf"]["extracted_text"]}
    assert found["3.pdf"]["pages"] >= 1
    one, *others = (files.folder / f"files/photos/{n}/{n}.pdf" for n in (1, 2, 3))
    assert all(one.samefile(other) for other in others)


async def test_places_and_owners_are_indexed_only_by_a_job_that_was_asked_to(
    files: Files, store: CountingStore
) -> None:
    texts = []
    for n, personal in enumerate((False, True, False)):
        document = record(n, store.put(f"{n}.jpg", body=personal_photo()))
        await files.job(document, extractor=Extractor(personal=personal))
        fields = (await files.documents())[f"{n}.jpg"]
        assert (fields["width"], fields["taken_at"]) == (20, 1_714_972_089_000)
        texts.append(fields.get("extracted_text"))
    assert texts == [None, "owner: An Artist\nowner: Camera Owner\nplace: 40.446111, -79.982222", None]


async def test_a_copy_that_somebody_changed_is_no_copy_of_later_files(
    files: Files, store: CountingStore
) -> None:
    await files.job(record(1, store.put("1.jpg")))
    (files.folder / "files/photos/1/1.jpg").write_bytes(b"\xff\xd8\xff" + bytes(len(JPEG) - 3))
    await files.job(record(2, store.put("2.jpg")))
    assert (files.folder / "files/photos/2/2.jpg").read_bytes() == JPEG


async def test_urls_that_expire_soonest_are_fetched_first(files: Files, store: CountingStore) -> None:
    expiries = {"late.jpg": f"?Expires={FAR}", "gone.jpg": "?Expires=1", "plain.jpg": "",
                "soon.jpg": f"?Expires={FAR - 9}"}  # fmt: skip
    documents = [
        record(n, store.put(name, body=JPEG + name.encode()) + query)
        for n, (name, query) in enumerate(expiries.items())
    ]
    await files.job(*documents, workers=1)
    assert store.order == ["/soon.jpg", "/late.jpg", "/plain.jpg", "/gone.jpg"]


async def test_a_file_of_many_records_says_so_however_little_is_remembered(
    files: Files, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_RECENT", 0)
    logo = store.put("logo.jpg")
    others = [store.put(f"{n}.jpg", body=JPEG + bytes([n])) for n in range(20)]
    documents = [record(n, **{"1": logo, "2": other}) for n, other in enumerate(others)]
    counts = await files.job(*documents[:10])
    assert (counts.found, counts.downloaded) == (11, 11)
    await files.job(*documents)
    found = await files.documents()
    assert {fields["status"] for fields in found.values()} == {"downloaded"}
    assert sorted(found["logo.jpg"]["record_doc_ids"]) == sorted(f"photos:{n}" for n in range(20))
    assert store.asked["/logo.jpg"] == [200, 304]
