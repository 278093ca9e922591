"""Files of committed records: fetched once, indexed with their provenance, counted, or a stored failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from file_world import PAST, Files, key, plain, record, signed

from ingestion.events import BytesArrived, Event, FileFinished
from ingestion.file_downloader import FileDownloader
from ingestion.files.extraction import Extractor
from ingestion.files.ingester import FileIngester, unsettled
from ingestion.sandbox import file_store
from ingestion.sandbox.file_contents import content_of
from ingestion.state.store import StateStore
from ingestion.state.types import BatchCommit
from ingestion.sync.job_control import JobControl
from ingestion.sync.sync_io import ReadSequence
from ingestion.vespa import client, queries
from ingestion.vespa.client import VespaSession
from ingestion.vespa.feeding import Feeder


@pytest.fixture(scope="module")
def store() -> Iterator[file_store.FileStoreProcess]:
    process = file_store.start()
    yield process
    process.stop()


@pytest.fixture
async def files(
    vespa_url: str, namespace: str, store: file_store.FileStoreProcess, tmp_path: Path
) -> AsyncIterator[Files]:
    async with (
        await StateStore.open(tmp_path / "state" / "state.db") as state,
        VespaSession(client.build(vespa_url), namespace=namespace) as session,
        state.writer(None, "test"),
    ):
        yield Files(state, session, tmp_path, store.url)


async def test_every_file_ends_as_downloaded_failed_or_skipped_with_its_cause(files: Files) -> None:
    counts = await files.job(
        record(
            1, **{"10": key("plan.pdf"), "11": key("a.jpg"), "12": key("missing-b.jpg"), "13": key("c.dwg")}
        ),
        record(2, signed("gone", PAST)),
    )
    assert (counts.found, counts.downloaded, counts.failed, counts.skipped) == (5, 2, 2, 1)
    assert await files.failures() == {"missing-b.jpg": "http_404", "": "expired_url"}
    told = {e.filename: e.cause for e in files.events if isinstance(e, FileFinished)}
    assert told == {"missing-b.jpg": "http_404", "": "expired_url"}
    found = await files.documents()
    assert {name: fields["status"] for name, fields in found.items()} == {
        "plan.pdf": "downloaded", "a.jpg": "downloaded", "missing-b.jpg": "failed", "c.dwg": "skipped", "": "failed"
    }  # fmt: skip
    assert found["c.dwg"]["error"] == "unsupported format: dwg"


async def test_a_document_says_where_the_file_is_from_and_what_it_holds(files: Files) -> None:
    await files.job(
        record(1, **{"10": plain("Anchor plan.pdf"), "11": plain("a.jpg")}), extractor=Extractor()
    )
    found = await files.documents()
    plan, photo = found["Anchor plan.pdf"], found["a.jpg"]
    assert (plan["source_table"], plan["source_id"], plan["source_column"]) == (
        "photos",
        "1",
        "attachment_s3_keys",
    )
    assert (plan["record_doc_ids"], plan["project_id"]) == (["photos:1"], 7)
    assert plan["pages"] >= 1
    assert "Anchor plan" in plan["extracted_text"]
    assert (plan["content_type"], plan["file_type"], len(plan["checksum"])) == ("application/pdf", "pdf", 64)
    assert photo["width"] >= 320
    assert (files.folder / "files/photos/1/a.jpg").stat().st_size == photo["size"]
    assert {f["filename"] for f in await queries.files_of(files.session, "photos:1")} == set(found)


async def test_no_signature_reaches_state_or_index(files: Files) -> None:
    await files.job(record(1, signed("a.jpg")), record(2, signed("b", PAST)))
    for row in (await files.documents()).values():
        assert "sig=REDACTED" in row["url"]
    stored = (files.folder / "state" / "state.db").read_bytes() + b"".join(
        p.read_bytes() for p in (files.folder / "state").glob("state.db-*")
    )
    for url in (signed("a.jpg"), signed("b", PAST)):
        assert url.rpartition("=")[2].encode() not in stored


async def test_an_unchanged_file_is_never_fetched_twice(files: Files) -> None:
    document = record(1, **{"10": plain("plan.pdf"), "11": plain("c.dwg")})
    assert (await files.job(document)).downloaded == 1
    before = await files.documents()
    arrived: list[int] = []
    again = files.downloader(on_progress=lambda file, size: arrived.append(size))
    counts = await files.job(document, downloader=again)
    assert (counts.found, counts.downloaded, counts.skipped) == (2, 0, 2)
    assert sum(arrived) == 0
    assert (await files.documents())["plan.pdf"] == before["plan.pdf"]


async def test_a_copy_removed_from_disk_is_fetched_again(files: Files) -> None:
    document = record(1, **{"10": plain("plan.pdf")})
    await files.job(document)
    (files.folder / "files/photos/1/plan.pdf").unlink()
    assert (await files.job(document)).downloaded == 1


async def test_an_expired_url_does_not_fail_a_file_that_we_have(files: Files) -> None:
    await files.job(record(1, "https://storage.procore.example/b/1/7/x.jpg?sig=good"))
    counts = await files.job(record(1, "https://storage.procore.example/b/1/7/x.jpg?Expires=1&sig=old"))
    assert (counts.failed, counts.skipped) == (0, 1)


async def test_a_file_of_two_records_is_one_document_naming_both(files: Files) -> None:
    both = record(1, **{"10": plain("a.jpg")}), record(2, **{"10": plain("a.jpg")})
    assert (await files.job(*both, extractor=Extractor())).found == 1
    assert (await files.documents())["a.jpg"]["record_doc_ids"] == ["photos:1", "photos:2"]
    first = (await files.documents())["a.jpg"]
    await files.job(record(3, **{"10": plain("a.jpg")}))
    photo = (await files.documents())["a.jpg"]
    assert photo["record_doc_ids"] == ["photos:1", "photos:2", "photos:3"]
    assert (photo["width"], photo["checksum"]) == (first["width"], first["checksum"])


async def test_a_reference_that_went_away_takes_its_document_along(files: Files) -> None:
    await files.job(record(1, **{"10": plain("a.jpg"), "11": plain("b.jpg")}))
    await files.job(record(1, **{"10": plain("a.jpg")}))
    assert list(await files.documents()) == ["a.jpg"]
    await files.job(record(1))
    assert await files.documents() == {}


async def test_a_record_that_names_another_file_is_no_longer_named_by_the_first(files: Files) -> None:
    await files.job(record(1, **{"10": plain("a.jpg")}), record(2, **{"10": plain("a.jpg")}))
    await files.job(record(1, **{"10": plain("b.jpg")}))
    assert {name: fields["record_doc_ids"] for name, fields in (await files.documents()).items()} == {
        "a.jpg": ["photos:2"], "b.jpg": ["photos:1"],
    }  # fmt: skip
    assert [page async for page in files.state.files_behind()] == []


async def test_a_deleted_record_is_no_longer_named_by_its_files(files: Files) -> None:
    await files.job(
        record(1, **{"10": plain("a.jpg"), "11": plain("b.jpg")}), record(2, **{"10": plain("a.jpg")})
    )
    ingester = FileIngester(
        state=files.state, feeder=Feeder(files.session), sequence=ReadSequence(files.state), job_id=files.job_id,
        publish=files.events.append,
    )  # fmt: skip
    await ingester.forget("photos", ["1"])
    assert {name: fields["record_doc_ids"] for name, fields in (await files.documents()).items()} == {
        "a.jpg": ["photos:2"]
    }
    await files.state.commit_batch(BatchCommit(job_id=files.job_id, table="photos", removed=["1"]))
    await ingester.drain()
    assert await files.state.file_counts() == {"downloaded": 1}


async def test_a_retry_that_succeeds_ends_the_failure(files: Files) -> None:
    await files.job(record(1, signed("a.jpg", PAST)))
    assert list((await files.failures()).values()) == ["expired_url"]
    counts = await files.job(record(1, "https://storage.procore.example/b/1/7/new.jpg"))
    assert (counts.downloaded, counts.failed) == (1, 0)


async def test_a_failed_file_that_arrives_is_resolved(files: Files) -> None:
    document = record(1, **{"10": key("a.jpg")})
    nowhere = FileDownloader(files.folder / "files")
    assert (await files.job(document, downloader=nowhere)).failed == 1
    assert await files.failures() == {"a.jpg": "no_bucket"}
    assert (await files.job(document)).downloaded == 1
    assert await files.failures() == {}


async def test_without_fetching_files_are_referenced_and_stay_pending(files: Files) -> None:
    document = record(1, **{"10": plain("a.jpg")})
    counts = await files.job(document, fetch=False)
    assert (counts.found, counts.skipped) == (1, 1)
    assert (await files.documents())["a.jpg"]["status"] == "referenced"
    assert [found async for found in unsettled(files.state)] == [("photos", ["1"])]
    assert (await files.job(document)).downloaded == 1
    assert [found async for found in unsettled(files.state)] == []


async def test_a_stopped_job_leaves_its_files_pending(files: Files) -> None:
    control = JobControl()
    control.stop()
    counts = await files.job(record(1, **{"10": plain("a.jpg")}), control=control)
    assert counts.found == 0
    assert [found async for found in unsettled(files.state)] == [("photos", ["1"])]


async def test_a_file_that_cannot_be_read_is_a_failure_with_its_copy_kept(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion import errors

    async def crash(self: Extractor, path: Path, kind: str) -> Any:
        raise errors.DownloadError("its content ended the reader", cause="extraction_failed")

    monkeypatch.setattr(Extractor, "extract", crash)
    counts = await files.job(record(1, **{"10": plain("plan.pdf")}), extractor=Extractor())
    assert (counts.downloaded, counts.failed) == (0, 1)
    assert await files.failures() == {"plan.pdf": "extraction_failed"}
    assert (files.folder / "files/photos/1/plan.pdf").exists()


async def test_many_files_pass_through_a_small_queue(files: Files) -> None:
    documents = [record(n, **{"1": plain(f"{n}.dwg"), "2": plain(f"{n}.jpg")}) for n in range(1, 151)]
    counts = await files.job(*documents, workers=2)
    assert (counts.found, counts.downloaded, counts.skipped) == (300, 150, 150)


async def test_bytes_are_told_and_stored_while_a_file_arrives(files: Files) -> None:
    """A store that gives half of the file, then waits until that was told."""
    half, told = b"\xff\xd8\xff" + bytes(5000), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 X\r\nContent-Length: {2 * len(half)}\r\n\r\n".encode() + half)
        await told.wait()
        writer.write(half)

    def publish(event: Event) -> None:
        files.events.append(event)
        if isinstance(event, BytesArrived):
            told.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/plan.jpg"
    await files.job(
        record(1, url), downloader=files.downloader(allow_private=True), publish=publish, tell_every_s=0.001
    )
    server.close()
    arrived = [e for e in files.events if isinstance(e, BytesArrived)]
    assert 0 < sum(e.size_bytes for e in arrived) <= 2 * len(half)
    first = arrived[0]
    assert (first.under_way, first.filename, first.expected_bytes) == (1, "plan.jpg", 2 * len(half))
    stored = await files.state.events_since(files.job_id, 0)
    assert [e for e in stored if isinstance(e, BytesArrived)] == arrived


async def test_a_job_told_to_stop_does_not_wait_for_the_rest_of_a_file(files: Files) -> None:
    """The store gives half of it and never more; the next job takes up what is there."""
    picture = content_of(key("a.jpg"))
    assert picture is not None
    whole = picture.body + bytes(600_000)
    control, asked = JobControl(), list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        start = int(head.partition("range: bytes=")[2].partition("\r")[0].partition("-")[0] or 0)
        asked.append(start)
        lines = [f"HTTP/1.1 {206 if start else 200} X", f"Content-Length: {len(whole) - start}", 'ETag: "v1"']
        if start:
            lines.append(f"Content-Range: bytes {start}-{len(whole) - 1}/{len(whole)}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        writer.write(whole[start:] if start else whole[:400_000])

    def publish(event: Event) -> None:
        if isinstance(event, BytesArrived) and event.received_bytes > 200_000:
            control.stop()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    document = record(1, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/plan.jpg")
    stopped = files.job(
        document, downloader=files.downloader(allow_private=True), control=control, publish=publish,
        tell_every_s=0.001,
    )  # fmt: skip
    counts = await asyncio.wait_for(stopped, 30)
    assert counts.found == 0
    assert [found async for found in unsettled(files.state)] == [("photos", ["1"])]
    counts = await files.job(document, downloader=files.downloader(allow_private=True))
    server.close()
    assert counts.downloaded == 1
    assert asked[0] == 0
    assert 200_000 < asked[1] <= 400_000
    assert (files.folder / "files/photos/1/plan.jpg").read_bytes() == whole


async def test_an_index_that_is_gone_stops_the_job_and_loses_no_file(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion import errors

    async def down(self: Feeder, operations: Any) -> Any:
        raise errors.VespaUnavailable("Vespa cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(Feeder, "feed", down)
        with pytest.raises(errors.VespaUnavailable):
            await files.job(*[record(n, **{"1": plain(f"{n}.jpg")}) for n in range(1, 40)], workers=2)
    tables = [keys async for table, keys in unsettled(files.state)]
    assert len(tables[0]) == 39
