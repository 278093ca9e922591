"""The unit of work: one range of one table, small plain data from which a reader knows all it needs.

Block ranges follow the physical order of a table (`ctid`, see
https://www.postgresql.org/docs/current/ddl-system-columns.html). They are safe only together with the horizon
that was recorded before the first of them was read: a row that moves meanwhile has a row version at or after
it and is read again by the last partition, `settle`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

BLOCKS_PER_PARTITION = 2048
"""16 MiB of heap at the usual block size: seconds of work, so that no snapshot lives long."""

XID_SPAN = 2**32
XID_HALF = 2**31
FIRST_NORMAL_XID = 3


class Kind(Enum):
    """How a partition's rows are read."""

    PAGES = "pages"
    """Keyset pages in key order, each with a snapshot of its own."""
    BLOCKS = "blocks"
    """A range of heap blocks in one snapshot."""
    STREAM = "stream"
    """Everything in one snapshot: views, foreign tables, and tables without a key."""
    SETTLE = "settle"
    """What the ranges could not settle: NULL keys, keys held by several rows, and rows that moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One range of one table under the horizon of its read.

    `horizon` is a 64-bit transaction id, 0 where the source has none. `schema` and `relname` name the
    relation that holds the blocks, which for a partitioned table is a leaf. `first_block` is included,
    `end_block` is not. `filenode` is the file that the block numbers belong to, 0 if none.
    """

    table: str
    ordinal: int
    kind: Kind
    horizon: int = 0
    read_at: str = ""
    """ISO time of the source's clock when the table's read began."""
    schema: str = ""
    relname: str = ""
    filenode: int = 0
    first_block: int = 0
    end_block: int = 0
    whole: bool = False
    """Where only changes are read: all rows of this range nevertheless, for the last sync did not know it."""

    @property
    def name(self) -> str:
        """A short name for logs: `blocks 0-2048 of public.photos`."""
        if self.kind is Kind.BLOCKS:
            return f"blocks {self.first_block}-{self.end_block} of {self.schema}.{self.relname}"
        return str(self.kind.value)


@dataclass(frozen=True, slots=True)
class Storage:
    """A relation that holds rows: its size in blocks and the file they are in."""

    schema: str
    relname: str
    filenode: int
    blocks: int
    oid: int = 0


@dataclass(frozen=True, slots=True)
class Horizon:
    """A moment of the source: every transaction below `xid` had ended, its effects are visible from then on.

    `xid` is `pg_snapshot_xmin(pg_current_snapshot())`, 64 bits; `next_xid` the first id not yet assigned.
    """

    xid: int
    next_xid: int
    read_at: str


def plan_blocks(
    table: str,
    storages: Sequence[Storage],
    horizon: Horizon,
    *,
    size: int = BLOCKS_PER_PARTITION,
    known: Collection[int] | None = None,
) -> list[Partition]:
    """Block ranges that cover each relation once, and the `settle` that must come last.

    Relations whose oid is not among the `known` ones are to be read whole, whatever the mode.
    """
    ranges = (
        (storage, first, min(first + size, storage.blocks))
        for storage in storages
        for first in range(0, storage.blocks, size)
    )
    blocks = [
        Partition(
            table=table, ordinal=ordinal, kind=Kind.BLOCKS, horizon=horizon.xid, read_at=horizon.read_at,
            schema=storage.schema, relname=storage.relname, filenode=storage.filenode,
            first_block=first, end_block=end, whole=known is not None and storage.oid not in known,
        )
        for ordinal, (storage, first, end) in enumerate(ranges)
    ]  # fmt: skip
    return [*blocks, _whole(table, len(blocks), Kind.SETTLE, horizon)]


def plan_pages(table: str, horizon: Horizon, *, settle: bool) -> list[Partition]:
    """Keyset pages over the whole table; `settle` where the key is not declared unique."""
    pages = [_whole(table, 0, Kind.PAGES, horizon)]
    return [*pages, _whole(table, 1, Kind.SETTLE, horizon)] if settle else pages


def plan_stream(table: str, horizon: Horizon) -> list[Partition]:
    """One partition for a table that only a single snapshot can read."""
    return [_whole(table, 0, Kind.STREAM, horizon)]


def moved(partitions: Sequence[Partition], storages: Sequence[Storage]) -> Partition | None:
    """The first partition whose block numbers no longer mean what they did: its relation was rewritten."""
    filenodes = {(storage.schema, storage.relname): storage.filenode for storage in storages}
    for partition in partitions:
        if partition.kind is Kind.BLOCKS and (
            filenodes.get((partition.schema, partition.relname)) != partition.filenode
        ):
            return partition
    return None


def row_version(xid: int) -> int:
    """The 32 bits of a 64-bit transaction id that a row carries as `xmin`, never a permanent id."""
    low = xid % XID_SPAN
    return low if low >= FIRST_NORMAL_XID else FIRST_NORMAL_XID


def at_or_after(xmin: int, horizon: int) -> bool:
    """Whether a row version is at or after a horizon, counted in a circle as PostgreSQL does.

    Permanent ids (below 3) are older than every horizon. True only means something while the horizon is
    less than 2**31 transactions old, see `out_of_reach`.
    """
    return xmin >= FIRST_NORMAL_XID and (xmin - row_version(horizon)) % XID_SPAN < XID_HALF


def out_of_reach(horizon: int, next_xid: int) -> str:
    """Why row versions can no longer be compared with a horizon, empty if they can."""
    if next_xid < horizon:
        return "transaction ids run backwards: the database was restored or replaced"
    if next_xid - horizon >= XID_HALF:
        return "more than 2^31 transactions passed since the last sync"
    return ""


def block_of(ctid: str) -> int:
    """The block number of a `(block,item)` text."""
    return int(ctid[1 : ctid.index(",")])


def item_of(ctid: str) -> int:
    """The item number of a `(block,item)` text."""
    return int(ctid[ctid.index(",") + 1 : -1])


def pieces(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Ever smaller ranges: the halves of `first` to `end`, nothing for a single block."""
    if end - first > 1:
        middle = (first + end) // 2
        yield first, middle
        yield middle, end


def _whole(table: str, ordinal: int, kind: Kind, horizon: Horizon) -> Partition:
    return Partition(table=table, ordinal=ordinal, kind=kind, horizon=horizon.xid, read_at=horizon.read_at)
