"""The file stage of one job: settles files of committed records, and at the end those that a killed job left."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion import errors
from ingestion.file_downloader import FileDownloader
from ingestion.files.extraction import Extractor
from ingestion.files.ingester import FileIngester, unsettled
from ingestion.files.twins import Twins
from ingestion.settings import Settings
from ingestion.sync import source_reader
from ingestion.sync.key_lookup import find_rows
from ingestion.sync.source_reader import SourceReader
from ingestion.sync.sync_io import SyncIO
from ingestion.transform.transform import Transform

if TYPE_CHECKING:
    from ingestion.state.store import StateStore
    from ingestion.transform.documents import Document


def download_dir(settings: Settings, state_path: Path) -> Path:
    """The folder that files are kept in: the setting's, else `files/` beside the state file."""
    return Path(settings.download_dir).expanduser() if settings.download_dir else state_path.parent / "files"


async def fetched(settings: Settings, state: StateStore, file_ids: Sequence[str]) -> dict[str, Path]:
    """Where those of the files lie that were fetched and are there still."""
    folder = download_dir(settings, state.path)
    paths = {name: folder / row.path for name, row in (await state.file_rows(file_ids)).items() if row.path}
    return {name: path for name, path in paths.items() if path.is_file()}


class FileStage:
    """A `FileSink` over a `FileIngester`; without `download` files are indexed as referenced, not fetched.

    With `left_over` the end also settles files that are pending from earlier jobs.
    """

    def __init__(
        self,
        io: SyncIO,
        transform: Transform,
        settings: Settings,
        *,
        download: bool,
        workers: int,
        left_over: bool = True,
    ) -> None:
        self._io, self._transform = io, transform
        self._left_over = download and left_over
        twins = Twins(io.state)
        self._downloader = _downloader(io, settings, twins) if download else None
        self._extractor = Extractor(personal=settings.exif_personal) if download else None
        self._open, self._is_open = AsyncExitStack(), False
        self._ingester = FileIngester(
            state=io.state,
            feeder=io.feeder,
            sequence=io.sequence,
            job_id=io.job.id,
            publish=io.publish,
            downloader=self._downloader,
            extractor=self._extractor,
            twins=twins,
            workers=workers,
            control=io.control,
            logger=io.log,
        )

    async def settle(
        self, table: str, documents: Sequence[Document], *, only: Collection[str] | None = None
    ) -> None:
        """Take the files of committed records; `only` names single ones."""
        if self._downloader is not None and not self._is_open:
            self._is_open = True
            await self._open.enter_async_context(self._downloader)
        await self._ingester.settle(table, documents, only=only)

    async def forget(self, table: str, keys: Sequence[str]) -> None:
        """End what file documents say of records that leave the index."""
        await self._ingester.forget(table, keys)

    async def drain(self) -> None:
        """Wait until all files are settled, with `left_over` those of earlier, killed jobs too."""
        await self._ingester.drain()
        if not self._io.control.is_stopped and await self._settle_left_over():
            await self._ingester.drain()

    async def aclose(self) -> None:
        """Stop what is under way; it stays pending for the next job."""
        await self._ingester.aclose()
        await self._open.aclose()
        if self._extractor is not None:
            await self._extractor.aclose()

    async def _settle_left_over(self) -> bool:
        """Take files again that a killed job left; whether there were any."""
        listed = [(table, keys) async for table, keys in unsettled(self._io.state, pending=self._left_over)]
        for name, keys in listed:
            if not self._transform.schema.has_table(name):
                continue
            table = self._transform.schema.table(name)
            builder = self._transform.builder(table)
            layout = await source_reader.layout(self._io.db, table)
            reader = SourceReader(
                self._io.db, table, layout, self._io.version_num, self._io.batch_size, self._io.log
            )
            async with aclosing(find_rows(reader, builder, keys)) as batches:
                async for rows in batches:
                    documents = []
                    for row in rows:
                        try:
                            documents.append(builder.build(row.values))
                        except errors.TransformError:
                            continue  # the row itself is a stored failure; its files wait for it
                    await self.settle(name, [d for d in documents if d.files])
        return bool(listed)


def _downloader(io: SyncIO, settings: Settings, twins: Twins) -> FileDownloader:
    folder = download_dir(settings, io.state.path)

    async def find_copy(checksum: str) -> Path | None:
        row = await twins.of(checksum)
        return folder / row.path if row is not None and row.path else None

    async def find_owner(path: Path) -> str:
        return await io.state.file_at(path.relative_to(folder).as_posix())

    return FileDownloader(
        folder,
        find_copy=find_copy,
        find_owner=find_owner,
        logger=io.log,
        aws_config=settings.aws_config() or None,
        url_rewrites=dict(settings.url_rewrites),
        allow_private=settings.allow_private_addresses,
        max_file_size=settings.max_file_size,
    )
