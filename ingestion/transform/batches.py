"""Many rows of a table become documents at once: each step goes through all rows before the next one begins.

What comes of it is what `DocumentBuilder.build` makes of each row. Rows with what only few have, a warning, JSON
that no parser takes, a NULL key, are left to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import compress
from typing import TYPE_CHECKING, Any

import orjson

from ingestion import redaction
from ingestion.transform import columns, content_text, digest, document_ids
from ingestion.transform.columns import Cell, Cells, Cleaned
from ingestion.transform.document import METADATA_LIMIT, Document
from ingestion.transform.file_references import file_reference
from ingestion.transform.references import References

if TYPE_CHECKING:
    from ingestion.file_detector import DetectedFile

_NOTHING = frozenset({None, "", "{}", "[]", "null", '""'})
"""Cells of file columns that point at no file."""

Row = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """What a column needs."""

    name: str
    cell: Cell | None
    is_bounded: bool
    """Whether the type alone says that its text is short and plain."""
    is_masked: bool = False
    is_read_as_json: bool = False
    looks_at_all_keys: bool = False


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What a table's rows need, in the order of its columns."""

    table: str
    columns: tuple[ColumnPlan, ...]
    key: tuple[int, ...]
    key_cells: tuple[Cell | None, ...]
    texts: tuple[tuple[int, Callable[[str], str]], ...]
    references: References
    times: tuple[tuple[str, int], ...]
    zone: tzinfo
    files: tuple[int, ...]
    """Columns that may point at files."""
    project: int | None


class BatchBuilder:
    """Makes documents of many rows; `warned` says, once, whether a cell's function warned since asked last."""

    def __init__(
        self,
        plan: TablePlan,
        warned: Callable[[], bool],
        files: Callable[[Row], tuple[DetectedFile, ...]] | None,
    ) -> None:
        self._plan = plan
        self._warned = warned
        self._files = files
        self._prefix = document_ids.doc_id(plan.table, "")
        self._shown = tuple(p for p in plan.files if plan.columns[p].cell and not plan.columns[p].is_bounded)
        self._names = tuple(column.name for column in plan.columns)

    def build(self, rows: Sequence[Row]) -> list[Document | None]:
        """A document for each row, None for a row that must be made by itself.

        All rows have as many values as the table has columns, of which there is one at least.
        """
        plan = self._plan
        raw: list[Cells] = list(zip(*rows, strict=True))
        cleaned = [self._clean(column, cells) for column, cells in zip(plan.columns, raw, strict=True)]
        apart = {position for one in cleaned for position in one.apart}
        for position in plan.key:
            if None in raw[position]:
                apart.update(n for n, cell in enumerate(raw[position]) if cell is None)
        if not apart:
            return list(self._documents(rows, raw, cleaned))
        kept = [position not in apart for position in range(len(rows))]
        made = iter(
            self._documents(
                list(compress(rows, kept)),
                [list(compress(cells, kept)) for cells in raw],
                [
                    Cleaned(list(compress(one.cells, kept)), one.parts and list(compress(one.parts, kept)))
                    for one in cleaned
                ],
            )
            if any(kept)
            else ()
        )
        return [next(made) if keep else None for keep in kept]

    def _documents(
        self, rows: Sequence[Row], raw: Sequence[Cells], cleaned: Sequence[Cleaned]
    ) -> Iterable[Document]:
        plan, count, prefix = self._plan, len(rows), self._prefix
        cells = [one.cells for one in cleaned]
        records = self._records(cells, count)
        keys = self._keys(raw, records)
        named, digested = plan.references.of_batch(dict(zip(self._names, cells, strict=True)), count)
        readable = self._readable(cleaned, count)
        long = self._long(cells, count)
        projects = self._projects(cells)
        times = [(name, columns.milliseconds(cells[position], plan.zone)) for name, position in plan.times]
        table = plan.table
        content_of, digest_of, bucket_of = digest.content_of, digest.of, document_ids.key_bucket
        fits = max(map(len, keys)) + len(prefix) <= document_ids.MAX_USER_PART
        for n in range(count):
            record, key = records[n], keys[n]
            data = content_of(record, digested[n])
            number, bucket = digest_of(data), bucket_of(key)
            files, shown = self._files_of(rows[n]), []
            parts = readable[n]
            if files:
                content_text.add_names(parts, files)
                texts = {}
                for position in self._shown:
                    text = cells[position][n]
                    # Reading a whole cell and reading a name in it differ only in such cases.
                    if text and "\ufffd" not in text and '"' not in text:
                        texts[raw[position][n] or ""] = text
                shown = [file_reference(file, texts) for file in files]
            fields: dict[str, Any] = {
                "doc_id": prefix + key if fits else document_ids.doc_id(table, key),
                "source_table": table,
                "source_id": key,
                "metadata": record,
                "relationships": named[n],
                "file_references": shown,
                "content_text": content_text.join(parts),
                "row_digest": number,
                "key_bucket": bucket,
            }
            whole = None
            if long and (apart := long[n]):
                whole = record
                short = fields["metadata"] = record.copy()
                for name in apart:
                    del short[name]
                fields["metadata_long"] = apart
            if projects is not None and (project := projects[n]) is not None:
                fields["project_id"] = project
            for name, moments in times:
                if (moment := moments[n]) is not None:
                    fields[name] = moment
            yield Document(whole, key, fields, number, bucket, (), files, len(data))

    def _files_of(self, row: Row) -> tuple[DetectedFile, ...]:
        if self._files is None:
            return ()
        for position in self._plan.files:
            if row[position] not in _NOTHING:
                return self._files(row)
        return ()

    # -- steps ---------------------------------------------------------------------------------------------

    def _clean(self, column: ColumnPlan, cells: Cells) -> Cleaned:
        cell = column.cell
        if cell is None:
            return Cleaned(cells)
        if column.is_bounded or column.is_masked:
            return Cleaned([None if text is None else cell(text) for text in cells])
        clean = columns.clean_json if column.is_read_as_json else columns.clean_texts
        return clean(cells, cell, self._warned, all_keys=column.looks_at_all_keys)

    def _records(self, cells: Sequence[Cells], count: int) -> list[dict[str, str]]:
        """Each row's values by column, without NULLs."""
        names = self._names
        empty = [None in column for column in cells]
        if any(empty):
            # Columns without any value are left out at once.
            full = [
                not none or any(column) or "" in column for none, column in zip(empty, cells, strict=True)
            ]
            names, cells = tuple(compress(names, full)), list(compress(cells, full))
        if not cells:
            return [{} for _ in range(count)]
        return [
            {name: text for name, text in zip(names, row, strict=True) if text is not None}
            if None in row
            else dict(zip(names, row, strict=True))
            for row in zip(*cells, strict=True)
        ]

    def _keys(self, raw: Sequence[Cells], records: Sequence[dict[str, str]]) -> Sequence[str]:
        plan = self._plan
        if not plan.key:
            sort = orjson.OPT_SORT_KEYS
            return [hashlib.sha256(orjson.dumps(record, option=sort)).hexdigest() for record in records]
        parts: list[Sequence[str]] = []
        for position, cell in zip(plan.key, plan.key_cells, strict=True):
            texts: Sequence[str] = raw[position]  # type: ignore[assignment]
            if cell is not None and (
                cell is not redaction.redact_text or redaction.may_change("".join(texts))
            ):
                texts = [cell(text) for text in texts]
            parts.append(texts)
        if len(parts) == 1:
            return [part or "" for part in document_ids.user_parts(parts[0], plan.table)]
        return [document_ids.user_part(key, plan.table) for key in zip(*parts, strict=True)]

    def _readable(self, cleaned: Sequence[Cleaned], count: int) -> list[list[str]]:
        """The parts of each row's readable text, without the names of its files."""
        parts: list[Cells] = []
        for position, read in self._plan.texts:
            one = cleaned[position]
            if one.parts is not None:
                parts.append(one.parts)
            elif read is content_text.readable:
                parts.append(columns.readable_parts(one.cells))
            else:
                parts.append([text and read(text) for text in one.cells])
        if not parts:
            return [[] for _ in range(count)]
        return [list(filter(None, row)) for row in zip(*parts, strict=True)]

    def _long(self, cells: Sequence[Cells], count: int) -> list[dict[str, str] | None] | None:
        """Each row's values that are too long to be searched; None where no row has one."""
        found: list[dict[str, str] | None] | None = None
        for column, texts in zip(self._plan.columns, cells, strict=True):
            if column.is_bounded or not columns.longer_than(texts, METADATA_LIMIT):
                continue
            found = found or [None] * count
            for n, text in enumerate(texts):
                if text is not None and len(text) > METADATA_LIMIT:
                    if (long := found[n]) is None:
                        long = found[n] = {}
                    long[column.name] = text
        return found

    def _projects(self, cells: Sequence[Cells]) -> Sequence[int | None] | None:
        if self._plan.project is None:
            return None
        return columns.project_ids(cells[self._plan.project])
