"""Files' documents on their way to the index: the one place that says who refers to a file.

A document names its records, so it is behind whenever one comes or goes. The state notes that (`files_behind`)
together with the change itself and forgets it once Vespa has the document; what a killed job leaves noted is
written by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ingestion.files import documents as docs
from ingestion.state.types import FileLink
from ingestion.transform import document_ids
from ingestion.vespa.client import FILE
from ingestion.vespa.feeding import Feeder, Outcome
from ingestion.vespa.operations import Operation

if TYPE_CHECKING:
    from ingestion.state.store import StateStore
    from ingestion.sync.sync_io import ReadSequence

_AT_ONCE: Final = 64

Fields = dict[str, Any]
Maker = Callable[[Sequence[FileLink]], Fields]
"""Makes a file's document, given who refers to it."""


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a document; `touches` is how far behind it was before."""

    read_seq: int
    outcome: Outcome
    touches: int


def records_of(links: Sequence[FileLink]) -> list[str]:
    """The records that a file's document names."""
    named = dict.fromkeys(document_ids.doc_id(link.table, link.key) for link in links)
    return list(named)[: docs.MOST_RECORDS]


class FileWriter:
    """Writes documents, one batch at a time: whoever reads later who refers to a file also writes later."""

    def __init__(self, state: StateStore, feeder: Feeder, sequence: ReadSequence) -> None:
        self._state, self._feeder, self._sequence = state, feeder, sequence
        self._turn = asyncio.Lock()

    async def stored(self, file_id: str) -> Fields | None:
        """The file's document as the index has it."""
        return await self._feeder.document(FILE, file_id)

    async def is_told(self, file_id: str, document: Mapping[str, Any]) -> bool:
        """Whether this document names exactly the records that refer to the file now."""
        links = (await self._state.links_of_files([file_id])).get(file_id, [])
        return set(document.get("record_doc_ids", ())) == set(records_of(links))

    async def put(self, wanted: Mapping[str, Maker]) -> dict[str, Put]:
        """Write what each maker makes of a file's links, all with one new read number; files without links are
        left out."""
        if not wanted:
            return {}
        async with self._turn:
            behind = await self._state.touches_of_files(list(wanted))
            links = await self._state.links_of_files(list(wanted))
            read_seq = await self._sequence.next()
            made = {
                file_id: Operation("put", FILE, file_id, read_seq, maker(links[file_id]))
                for file_id, maker in wanted.items()
                if file_id in links
            }
            outcomes = await self._feeder.feed(list(made.values()))
        return {
            operation.user_id: Put(operation.read_seq, outcome, behind.get(operation.user_id, 0))
            for operation, outcome in zip(made.values(), outcomes, strict=True)
        }

    async def rewrite(self, file_ids: Collection[str]) -> None:
        """Let the documents of these files name who refers to them now; those that nobody does leave the index.

        Files that have no document yet stay noted as behind.
        """
        listed = sorted(file_ids)
        for start in range(0, len(listed), _AT_ONCE):
            async with self._turn:
                await self._rewrite(listed[start : start + _AT_ONCE])

    async def _rewrite(self, file_ids: list[str]) -> None:
        behind = await self._state.touches_of_files(file_ids)
        links = await self._state.links_of_files(file_ids)
        stored = await asyncio.gather(*(self.stored(file_id) for file_id in file_ids))
        read_seq = await self._sequence.next()
        operations, told = [], {}
        for file_id, fields in zip(file_ids, stored, strict=True):
            left = links.get(file_id)
            if not left:
                operations.append(Operation("remove", FILE, file_id, read_seq))
            elif fields is not None:
                first = left[0]
                fields |= {
                    "record_doc_ids": records_of(left), "source_table": first.table, "source_id": first.key,
                    "source_column": first.column,
                }  # fmt: skip
                operations.append(Operation("put", FILE, file_id, read_seq, fields))
                told[file_id] = behind.get(file_id, 0)
        await self._feeder.feed(operations)
        await self._state.files_told(told)
