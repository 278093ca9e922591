"""Files met in the source, each once, and the cells that refer to them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

from ingestion.state import failures
from ingestion.state.connection import StateConnection, Transaction, dumps, json_list, loads
from ingestion.state.types import FileLink, FileRow

_COLUMNS: Final = """file_id, status, s3_key, url, filename, content_type, file_type, size_bytes, checksum, etag,
    path, cause, message, attempts, read_seq, updated_at, detail"""
# A file as it is now.
PUT: Final = f"""INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES (:file_id, :status, :s3_key, :url, :filename,
    :content_type, :file_type, :size_bytes, :checksum, :etag, :path, :cause, :message, :attempts, :read_seq,
    :updated_at, :detail)"""
# Files by their ids.
GET: Final = f"SELECT {_COLUMNS} FROM files WHERE file_id IN (SELECT value FROM json_each(:ids))"
# A file with this content, other than the one that has been fetched just now.
TWIN: Final = f"""SELECT {_COLUMNS} FROM files WHERE checksum = :checksum AND checksum <> ''
    AND status = 'downloaded' AND file_id <> :but LIMIT 1"""
# Whose place a path is, also where case does not count.
AT_PATH: Final = "SELECT file_id FROM files WHERE path = :path COLLATE NOCASE LIMIT 1"
# A page of the contents that have been fetched.
CHECKSUMS: Final = """SELECT file_id, checksum FROM files WHERE status = 'downloaded' AND checksum <> ''
    AND file_id > :after ORDER BY file_id LIMIT :limit"""
# A page of files of one status.
PAGE: Final = f"""SELECT {_COLUMNS} FROM files WHERE status = :status AND file_id > :after
    ORDER BY file_id LIMIT :limit"""
# Files per status.
COUNTS: Final = "SELECT status, count(*) FROM files GROUP BY status"
# Forget files and what refers to them.
REMOVE: Final = (
    "DELETE FROM files WHERE file_id IN (SELECT value FROM json_each(:ids))",
    "DELETE FROM file_links WHERE file_id IN (SELECT value FROM json_each(:ids))",
    "DELETE FROM file_touches WHERE file_id IN (SELECT value FROM json_each(:ids))",
)
# A file's document is behind.
TOUCH: Final = """INSERT INTO file_touches (file_id, touches) VALUES (?, 1)
    ON CONFLICT DO UPDATE SET touches = touches + 1"""
# A file's document has been written, unless the file was touched since it was made.
TOLD: Final = "DELETE FROM file_touches WHERE file_id = ? AND touches <= ?"
TOUCHES: Final = (
    "SELECT file_id, touches FROM file_touches WHERE file_id IN (SELECT value FROM json_each(:ids))"
)
BEHIND: Final = "SELECT file_id FROM file_touches WHERE file_id > :after ORDER BY file_id LIMIT :limit"
# A cell refers to a file.
LINK: Final = """INSERT OR IGNORE INTO file_links (table_id, key, "column", file_id) VALUES (?, ?, ?, ?)"""
# Records refer to nothing any more, or are about to be linked anew.
UNLINK: Final = (
    "DELETE FROM file_links WHERE table_id = :table_id AND key IN (SELECT value FROM json_each(:keys))"
)
# Cells that refer to files.
LINKS_OF_FILES: Final = """SELECT l.file_id, t.name, l.key, l."column" FROM file_links l
    JOIN tables t ON t.id = l.table_id WHERE l.file_id IN (SELECT value FROM json_each(:ids))
    ORDER BY l.file_id, t.name, l.key, l."column" """
# Files that records refer to.
LINKS_OF_RECORDS: Final = """SELECT l.file_id, :table, l.key, l."column" FROM file_links l
    WHERE l.table_id = (SELECT id FROM tables WHERE name = :table)
        AND l.key IN (SELECT value FROM json_each(:keys)) ORDER BY l.key, l."column", l.file_id"""
# Files that nothing refers to.
ORPHANS: Final = f"""SELECT {_COLUMNS} FROM files f WHERE file_id > :after
    AND NOT EXISTS (SELECT 1 FROM file_links l WHERE l.file_id = f.file_id) ORDER BY file_id LIMIT :limit"""


class Files(StateConnection):
    """One row per distinct file, however many cells refer to it."""

    async def file_row(self, file_id: str) -> FileRow | None:
        return (await self.file_rows([file_id])).get(file_id)

    async def file_rows(self, file_ids: Collection[str]) -> dict[str, FileRow]:
        """Those of these files that are known."""
        return {row["file_id"]: _file(row) for row in await self._read(GET, {"ids": json_list(file_ids)})}

    async def file_of_checksum(self, checksum: str, but: str = "") -> FileRow | None:
        """A downloaded file with this content, other than `but`."""
        row = await self._read_one(TWIN, {"checksum": checksum, "but": but})
        return _file(row) if row else None

    async def file_at(self, path: str) -> str:
        """The id of the file that lies at this path below the download folder, in whatever case; "" for none."""
        row = await self._read_one(AT_PATH, {"path": path})
        return str(row[0]) if row else ""

    async def checksums(self, *, page_size: int = 10_000) -> AsyncIterator[list[str]]:
        """Pages of the checksums of all that has been fetched, in the order of the files' ids."""
        after = ""
        while rows := await self._read(CHECKSUMS, {"after": after, "limit": page_size}):
            yield [row[1] for row in rows]
            after = rows[-1][0]

    async def files_with_status(self, status: str, *, page_size: int = 1000) -> AsyncIterator[list[FileRow]]:
        """Pages in the order of ids; a page's files may change status before the next one is asked for."""
        after = ""
        while rows := await self._read(PAGE, {"status": status, "after": after, "limit": page_size}):
            yield [_file(row) for row in rows]
            after = rows[-1]["file_id"]

    async def orphaned_files(self, *, page_size: int = 1000) -> AsyncIterator[list[FileRow]]:
        """Files that no record refers to any more, as after deletes."""
        after = ""
        while rows := await self._read(ORPHANS, {"after": after, "limit": page_size}):
            yield [_file(row) for row in rows]
            after = rows[-1]["file_id"]

    async def file_counts(self) -> dict[str, int]:
        """Files per status."""
        return {row[0]: row[1] for row in await self._read(COUNTS)}

    async def links_of_files(self, file_ids: Collection[str]) -> dict[str, list[FileLink]]:
        """The cells that refer to each file; files without any are missing."""
        links: dict[str, list[FileLink]] = {}
        for row in await self._read(LINKS_OF_FILES, {"ids": json_list(file_ids)}):
            links.setdefault(row[0], []).append(FileLink(*row))
        return links

    async def links_of_records(self, table: str, keys: Collection[str]) -> list[FileLink]:
        """The files that these records refer to."""
        rows = await self._read(LINKS_OF_RECORDS, {"table": table, "keys": json_list(keys)})
        return [FileLink(*row) for row in rows]

    async def files_behind(self, *, page_size: int = 1000) -> AsyncIterator[list[str]]:
        """Files whose documents do not say yet who refers to them now."""
        after = ""
        while rows := await self._read(BEHIND, {"after": after, "limit": page_size}):
            yield [row[0] for row in rows]
            after = rows[-1][0]

    async def touches_of_files(self, file_ids: Collection[str]) -> dict[str, int]:
        """How far behind the documents of these files are; those that are not are missing."""
        return {row[0]: row[1] for row in await self._read(TOUCHES, {"ids": json_list(file_ids)})}

    async def files_told(self, touches: Mapping[str, int]) -> None:
        """The documents of these files have been written, made when they had so many touches."""
        if touches:
            await self._write(lambda tx: told(tx, touches))

    async def unlink_records(self, table: str, keys: Collection[str]) -> list[str]:
        """These records refer to nothing any more; the files that they referred to, noted as behind."""

        async def end(tx: Transaction) -> list[str]:
            rows = await tx.rows(LINKS_OF_RECORDS, {"table": table, "keys": json_list(keys)})
            file_ids = sorted({row[0] for row in rows})
            if file_ids:
                await unlink(tx, await tx.table_id(table), keys)
                await touch(tx, file_ids)
            return file_ids

        return await self._write(end)

    async def save_files(self, rows: Sequence[FileRow], links: Sequence[FileLink] = ()) -> None:
        """Store files and links outside a batch; the rules are those of `commit_batch`."""

        async def save(tx: Transaction) -> None:
            await put(tx, rows)
            await link(tx, links)

        await self._write(save)

    async def remove_files(self, file_ids: Collection[str]) -> None:
        """Forget files and what refers to them."""

        async def remove(tx: Transaction) -> None:
            for statement in REMOVE:
                await tx.run(statement, {"ids": json_list(file_ids)})

        await self._write(remove)


async def put(tx: Transaction, rows: Sequence[FileRow]) -> None:
    """Store files inside a transaction; one that is settled ends its open failures."""
    await tx.run_many(
        PUT,
        [
            {
                "file_id": row.file_id, "status": row.status, "s3_key": row.s3_key, "url": row.url,
                "filename": row.filename, "content_type": row.content_type, "file_type": row.file_type,
                "size_bytes": row.size_bytes, "checksum": row.checksum, "etag": row.etag, "path": row.path,
                "cause": row.cause, "message": row.message, "attempts": row.attempts, "read_seq": row.read_seq,
                "updated_at": row.updated_at or tx.now, "detail": dumps(row.detail),
            }
            for row in rows
        ],
    )  # fmt: skip
    settled = [row.file_id for row in rows if row.status in {"downloaded", "skipped"}]
    if settled:
        await failures.resolve_files(tx, settled)


async def touch(tx: Transaction, file_ids: Collection[str]) -> None:
    """Note inside a transaction that the documents of these files are behind."""
    await tx.run_many(TOUCH, [(file_id,) for file_id in file_ids])


async def told(tx: Transaction, touches: Mapping[str, int]) -> None:
    """Note inside a transaction that documents have been written."""
    await tx.run_many(TOLD, list(touches.items()))


async def link(tx: Transaction, links: Sequence[FileLink]) -> None:
    """Note inside a transaction which cells refer to which files."""
    numbers = {table: await tx.table_id(table) for table in {one.table for one in links}}
    await tx.run_many(LINK, [(numbers[one.table], one.key, one.column, one.file_id) for one in links])


async def unlink(tx: Transaction, table_id: int, keys: Collection[str]) -> None:
    """Note inside a transaction that these records refer to nothing."""
    await tx.run(UNLINK, {"table_id": table_id, "keys": json_list(keys)})


def _file(row: sqlite3.Row) -> FileRow:
    members = dict(zip(row.keys(), row, strict=True))
    return FileRow(**{**members, "detail": loads(row["detail"])})
