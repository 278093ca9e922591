"""Makers of cells: each gives the COPY text of one column for all rows of a chunk.

A maker takes the chunk and the column's own random generator. Shares and rates are parts of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Final

from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.chunk import DAY_MS, NULL, Chunk, Indexes, user_name
from ingestion.sandbox.sample.pools import OUTSIDE_LOW
from ingestion.sandbox.sample.world import PROJECT_SCOPED, mix

Maker = Callable[[Chunk, Random], list[str]]

_FIRST_DAY: Final = 18_262  # 2020-01-01 in days since 1970
_DAYS: Final = [
    (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m-%d") for day in range(3_700)
]
_MINUTES: Final = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1_440)]


def stamp_text(milliseconds: int) -> str:
    """A timestamp between 2020 and 2030, with milliseconds."""
    day, rest = divmod(milliseconds, DAY_MS)
    minute, rest = divmod(rest, 60_000)
    return f"{_DAYS[day - _FIRST_DAY]} {_MINUTES[minute]}:{rest // 1000:02d}.{rest % 1000:03d}"


def day_text(milliseconds: int) -> str:
    """A date between 2020 and 2030."""
    return _DAYS[milliseconds // DAY_MS - _FIRST_DAY]


def with_nulls(values: list[str], random: Random, null: float) -> list[str]:
    """The values with that share of them NULL."""
    if not null:
        return values
    draw = random.random
    return [NULL if draw() < null else value for value in values]


def constant(text: str) -> Maker:
    return lambda chunk, random: [text] * len(chunk)


def flag(share: float) -> Maker:
    """A boolean that is true for that share."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        draw = random.random
        return ["t" if draw() < share else "f" for _ in chunk.rows]

    return make


def choice(values: Sequence[str], weights: Sequence[float] | None = None, null: float = 0.0) -> Maker:
    """One of the values, by weight."""
    cumulative = list(accumulate(weights)) if weights else None

    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls(random.choices(values, cum_weights=cumulative, k=len(chunk)), random, null)

    return make


def category(name: str, found: facts.Category) -> Maker:
    """A column of values.json; statuses are written carelessly in 3 of 100 rows."""
    plain = choice(list(found.weights), list(found.weights.values()), found.null)
    if not name.endswith(".status"):
        return plain

    def make(chunk: Chunk, random: Random) -> list[str]:
        values = plain(chunk, random)
        for place, value in enumerate(values):
            if value is not NULL and random.random() < 0.03:
                values[place] = random.choice((value.upper(), value.lower(), value + " ", value + "  "))
        return values

    return make


def integer(low: int, high: int, null: float = 0.0) -> Maker:
    """Evenly between low and high, both included."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        draw, room = random.random, high - low + 1
        return with_nulls([str(low + int(draw() * room)) for _ in chunk.rows], random, null)

    return make


def money(null: float = 0.0) -> Maker:
    """Cents: 5 % negative, 10 % zero, now and then the largest that fits."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls([amount(random) for _ in chunk.rows], random, null)

    return make


def amount(random: Random) -> str:
    """One amount of money, evenly over its magnitudes."""
    share = random.random()
    if share < 0.10:
        return "0.00"
    if share > 0.9998:
        return "9999999999999.99"
    cents = int(10 ** (2 + 6 * random.random()))
    sign = "-" if share < 0.15 else ""
    return f"{sign}{cents // 100}.{cents % 100:02d}"


def decimal(digits: int, high: float, null: float = 0.0) -> Maker:
    """A number from 0 to high with that many decimals."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        draw = random.random
        return with_nulls([f"{draw() * high:.{digits}f}" for _ in chunk.rows], random, null)

    return make


def text_of(pool: str, null: float = 0.0) -> Maker:
    """A text of one of the pools: `prose`, `titles`, `words`, `html`."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls(random.choices(getattr(chunk.pools, pool), k=len(chunk)), random, null)

    return make


def prose(null: float = 0.35, html: float = 0.0) -> Maker:
    """A description; a share of them HTML."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        values = random.choices(chunk.pools.prose, k=len(chunk))
        if html:
            draw, pool = random.random, chunk.pools.html
            values = [random.choice(pool) if draw() < html else value for value in values]
        return with_nulls(values, random, null)

    return make


def clause(null: float) -> Maker:
    """What a contract includes or excludes: half HTML, up to 40,000 characters."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        pools = chunk.pools
        values = []
        for _ in chunk.rows:
            share = random.random()
            pool = pools.long_html if share < 0.05 else pools.html if share < 0.5 else pools.prose
            values.append(random.choice(pool))
        return with_nulls(values, random, null)

    return make


def day(null: float = 0.0, low: int = -30, high: int = 200) -> Maker:
    """A date that many days from the row's creation."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        draw, room = random.random, high - low
        values = [day_text(made + (low + int(draw() * room)) * DAY_MS) for made in chunk.created]
        return with_nulls(values, random, null)

    return make


def moment(null: float = 0.0, low_ms: int = 0, high_ms: int = 30 * DAY_MS) -> Maker:
    """A timestamp that long after the row's creation."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        draw, room = random.random, high_ms - low_ms
        values = [stamp_text(made + low_ms + int(draw() * room)) for made in chunk.created]
        return with_nulls(values, random, null)

    return make


def outside(label: str, distinct: int, null: float = 0.0) -> Maker:
    """Ids of things kept elsewhere: that many distinct ones, in a range of their own."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        draw = random.random
        low = outside_low(chunk, label)
        values = [str(low + int(draw() ** 2 * distinct) * 131) for _ in chunk.rows]
        return with_nulls(values, random, null)

    return make


def outside_low(chunk: Chunk, label: str) -> int:
    """The lowest id of things kept elsewhere under that label."""
    return OUTSIDE_LOW + mix(chunk.world.salt(f"outside:{label}")) % 900_000 * 1_000_000


def reference(column: str) -> Maker:
    """The id of the row that the column refers to."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        target = chunk.run.references[f"{chunk.table}.{column}"].target
        if target in UUID_TABLES:
            uuid = chunk.world.uuid
            return [NULL if row < 0 else uuid(target, row) for row in chunk.reference(column)]
        make_id = chunk.world.id
        return [NULL if row < 0 else str(make_id(target, row)) for row in chunk.reference(column)]

    return make


def pick(target: str, null: float = 0.0) -> Callable[[Chunk, Random], Indexes]:
    """Rows of the target: of the same project where it has projects, else favouring the first ones."""

    def make(chunk: Chunk, random: Random) -> Indexes:
        draw, world = random.random, chunk.world
        if target in PROJECT_SCOPED and chunk.table in PROJECT_SCOPED:
            wheel = world.wheel(target)
            counts = [wheel.count(rank) for rank in range(world.working)]
            made = []
            for rank in chunk.ranks:
                count = 0 if null and draw() < null else counts[rank]
                made.append(wheel.row(rank, int(draw() * count)) if count else -1)
            return made
        rows = world.rows[target]
        if not rows:
            return [-1] * len(chunk)
        return [-1 if null and draw() < null else int(draw() ** 1.5 * rows) for _ in chunk.rows]

    return make


def user_names(column: str) -> Maker:
    """The names of the users that another column refers to."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        world = chunk.world
        return [NULL if row < 0 else " ".join(user_name(world, row)) for row in chunk.reference(column)]

    return make


UUID_TABLES: Final = frozenset(
    name
    for name, table in facts.tables().items()
    if table.columns[0].type in ("text", "character varying(36)")
)
