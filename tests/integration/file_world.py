"""One state, one index and one folder, on which tests settle records' files job by job."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from ingestion.events import Event, FileCounts
from ingestion.file_detector import FileDetector
from ingestion.file_downloader import FileDownloader
from ingestion.files.ingester import FileIngester
from ingestion.files.transfer import RetryPolicy
from ingestion.sandbox import signing
from ingestion.schema_discovery import Column, FileReferenceColumn, FileReferenceType, SchemaMap, Table
from ingestion.state.store import StateStore
from ingestion.state.types import FailureFilter, JobTable
from ingestion.sync.sync_io import ReadSequence
from ingestion.transform.documents import Document, DocumentBuilder
from ingestion.vespa.client import FILE, VespaSession
from ingestion.vespa.feeding import Feeder

FAR, PAST = 4_070_908_800, 1_000
TABLE = Table(
    "photos", 0,
    [Column("id", "bigint", False), Column("project_id", "bigint", True), Column("url", "text", True),
     Column("attachment_s3_keys", "jsonb", True)],
    file_reference_columns=[
        FileReferenceColumn("url", FileReferenceType.URL, ""),
        FileReferenceColumn("attachment_s3_keys", FileReferenceType.JSONB_S3_MAP, ""),
    ],
    key_columns=["id"], key_basis="primary_key",
)  # fmt: skip
SCHEMA = SchemaMap("", "d", [TABLE])
BUILDER = DocumentBuilder(SCHEMA, TABLE, file_detector=FileDetector(SCHEMA))


def record(number: int, url: str | None = None, **keys: str) -> Document:
    return BUILDER.build([str(number), "7", url, json.dumps(keys) if keys else None])


def key(name: str) -> str:
    return f"1/7/photos/8/{name}"


def plain(name: str) -> str:
    """A URL that needs no signature: spares most tests the making of an S3 client."""
    return f"{signing.HOST}/b/{key(name)}"


def signed(name: str, expires: int = FAR) -> str:
    return signing.sign(key(name), 1, 7, expires)


def personal_photo() -> bytes:
    """A photo that says when, where and by whom it was taken."""
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x9011: "+02:00", 0xA430: "Camera Owner"})
    exif.get_ifd(0x8825).update({1: "N", 2: (40.0, 26.0, 46.0), 3: "W", 4: (79.0, 58.0, 56.0)})
    exif[0x013B], exif[0x8298], exif[0x0112] = "An Artist", "An Artist", 6
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


class Files:
    """One state, one index, one folder; every `job` is a job of its own on them."""

    def __init__(
        self,
        state: StateStore,
        session: VespaSession,
        folder: Path,
        store_url: str,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.state, self.session, self.folder, self.store_url = state, session, folder, store_url
        self.options = options or {}
        self.events: list[Event] = []
        self.job_id = ""

    def downloader(self, **options: Any) -> FileDownloader:
        s3 = {"endpoint_url": self.store_url, "bucket": "b", "addressing_style": "path"}

        async def find_copy(checksum: str) -> Path | None:
            row = await self.state.file_of_checksum(checksum)
            return self.folder / "files" / row.path if row is not None else None

        options = {"url_rewrites": {signing.HOST: self.store_url}, "aws_config": s3} | self.options | options
        return FileDownloader(
            self.folder / "files", retries=RetryPolicy(2, 0.001), find_copy=find_copy, **options
        )

    async def job(
        self, *documents: Document, fetch: bool = True, max_file_size: int | None = None, **options: Any
    ) -> FileCounts:
        """Settle these records' files in a new job; the job's counts."""
        job = await self.state.create_job("full", {})
        await self.state.start_job(job.id)
        await self.state.set_job_tables(job.id, [JobTable(job_id=job.id, table="photos")])
        self.job_id = job.id
        self.events.clear()
        options = {"downloader": self.downloader(max_file_size=max_file_size) if fetch else None, **options}
        ingester = FileIngester(
            state=self.state, feeder=Feeder(self.session), sequence=ReadSequence(self.state), job_id=job.id,
            **{"publish": self.events.append, **options},
        )  # fmt: skip
        async with ingester:
            await ingester.settle("photos", documents)
            await ingester.drain()
        return (await self.state.job_tables(job.id))[0].files

    async def documents(self) -> dict[str, dict[str, Any]]:
        """File name → fields, of all file documents."""
        rows = [row for status in ("pending", "downloaded", "failed", "skipped")
                async for page in self.state.files_with_status(status) for row in page]  # fmt: skip
        found = {row.filename: await self.session.document(FILE, row.file_id) for row in rows}
        return {name: fields for name, fields in found.items() if fields is not None}

    async def failures(self, status: str = "open") -> dict[str, str]:
        """File name → cause."""
        wanted = FailureFilter(kinds=("file",), statuses=(status,))
        return {f.detail["filename"]: f.cause async for f in self.state.failures(wanted)}
