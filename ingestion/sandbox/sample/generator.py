"""The sample as streams: COPY's text of each table, chunk by chunk, with the manifest's lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingestion import errors
from ingestion.sandbox.sample import facts, pools
from ingestion.sandbox.sample.chunk import NULL, ROWS, Chunk, TableRun
from ingestion.sandbox.sample.dirt import DirtOptions, ExtraRow, Planter, extra_rows, nullable_columns
from ingestion.sandbox.sample.manifest import ManifestLine
from ingestion.sandbox.sample.references import REFERENCES
from ingestion.sandbox.sample.tables import maker_of
from ingestion.sandbox.sample.world import World


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a table in COPY's text form, and what was planted in them."""

    text: str
    rows: int
    planted: list[ManifestLine]


class Sample:
    """The sample of one seed, scale and choice of dirt. Equal arguments give equal bytes."""

    def __init__(
        self, *, scale: float = 1.0, seed: int = 1, dirt: DirtOptions | None = None, empty_rows: int = 0
    ) -> None:
        if not 0 < scale <= 100_000:
            raise errors.SettingsError(
                f"the sample's scale must lie between 0 and 100,000, not {scale}",
                hint="1 is the size of the real database, 48,389 rows.",
            )
        self.scale, self.seed, self.dirt = scale, seed, dirt or DirtOptions()
        self.rows = {name: facts.rows_at(table, scale, empty_rows) for name, table in facts.tables().items()}
        self._extras: dict[str, list[ExtraRow]] = {
            name: extra_rows(table, self.rows[name], self.dirt) for name, table in facts.tables().items()
        }
        own = {name: rows - len(self._extras[name]) for name, rows in self.rows.items()}
        self._world = World(seed, scale, own)
        self._pools = pools.build(seed)

    @property
    def project_ids(self) -> list[int]:
        """Ids of the projects that have rows, the largest first."""
        return [self._world.project_id(rank) for rank in range(self._world.working)]

    def create_statements(self) -> list[str]:
        """SQL that makes sequences and tables, without the NOT NULLs that planted NULLs break."""
        return facts.create_statements(nullable_columns(self.dirt, self.rows))

    def pieces(self, table: str) -> Iterator[Piece]:
        """The table's rows in order, a few hundred at a time."""
        found = facts.tables()[table]
        run = TableRun(self._world, self._pools, found, self.dirt.kinds, REFERENCES)
        makers = [(column.name, maker_of(found, column)) for column in found.columns]
        planter = Planter(run, list(self._extras[table]))
        for start in range(0, run.rows, ROWS):
            chunk = Chunk(run, start, min(start + ROWS, run.rows))
            columns = {name: make(chunk, run.random(name)) for name, make in makers}
            spoilt = planter.plant(chunk, columns)
            lines = ["\t".join(cells) for cells in zip(*columns.values(), strict=True)]
            for place in sorted(spoilt, reverse=True):
                lines[place + 1 : place + 1] = ["\t".join(cells) for cells in spoilt[place]]
            yield Piece("\n".join(lines) + "\n", len(lines), _planted(chunk, columns["id"]))


def _planted(chunk: Chunk, ids: list[str]) -> list[ManifestLine]:
    lines = []
    for note in sorted(chunk.notes, key=lambda note: note.place):
        key = note.key or ids[note.place]
        lines.append(
            ManifestLine(chunk.table, None if key == NULL else key, note.column, note.kind, note.expect)
        )
    return lines
