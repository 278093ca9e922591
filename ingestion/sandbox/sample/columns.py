"""Cells of particular columns: numbers as people write them, sections, resources, roles."""

from __future__ import annotations

from random import Random
from typing import Final

from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.cells import Maker, choice, moment, outside, stamp_text, with_nulls
from ingestion.sandbox.sample.chunk import DAY_MS, NULL, Chunk, user_name, vendor_name
from ingestion.sandbox.sample.references import (
    is_folder,
    section_of_revision,
    type_of_contract,
    user_of_member,
    vendor_of_contract,
)
from ingestion.sandbox.sample.secrets import planted_secrets
from ingestion.sandbox.sample.world import mix


def ids(chunk: Chunk, random: Random) -> list[str]:
    """Ids of the rows: bigint or UUID."""
    if facts.tables()[chunk.table].columns[0].type == "bigint":
        return [str(number) for number in chunk.ids]
    return [chunk.world.uuid(chunk.table, row) for row in chunk.rows]


def stamps(which: str, null: float = 0.0) -> Maker:
    """Timestamps that the rows share: `created`, `updated`, `synced`."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls([stamp_text(value) for value in getattr(chunk, which)], random, null)

    return make


def record_numbers(prefix: str) -> Maker:
    """Numbers of records as people write them: `CO-011`, `011`, `11`, `7.1`, ` 11 `."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = []
        for ordinal in chunk.ordinals if chunk.table in _NUMBERED else chunk.rows:
            share, number = random.random(), ordinal + 1
            if share < 0.6:
                made.append(f"{prefix}-{number:03d}")
            elif share < 0.75:
                made.append(f"{number:03d}")
            elif share < 0.9:
                made.append(str(number))
            elif share < 0.95:
                made.append(f"{prefix}-{number}.{1 + int(random.random() * 3)}")
            else:
                made.append(f" {prefix}-{number:03d} ")
        return made

    return make


_NUMBERED: Final = frozenset(
    {
        "change_orders",
        "commitment_change_orders",
        "commitment_contracts",
        "rfis",
        "submittals",
        "requisitions",
    }
)


def later(days: int) -> Maker:
    """That many days after the creation."""
    return moment(0.0, days * DAY_MS, days * DAY_MS + 1)


def drawing_numbers(chunk: Chunk, random: Random) -> list[str]:
    """Sheets of a project: `A-101`, `M2.01`, `E0103`; two of a hundred with blanks."""
    made = []
    for ordinal in chunk.ordinals:
        sheet = 101 + ordinal
        letter = "AMESPC"[ordinal % 6]
        text = (f"{letter}-{sheet}", f"{letter}{sheet // 100}.{sheet % 100:02d}", f"{letter}{sheet:04d}")[
            ordinal % 3
        ]
        made.append(f" {text} " if random.random() < 0.02 else text)
    return made


def _section_number(row: int, style: int) -> str:
    first, second, third = row % 33 + 1, row // 33 % 10, row // 330 % 100
    gap = " " if style else ""
    return f"{first:02d}{gap}{second}{third // 10}{gap}{third % 10}0"


def section_numbers(chunk: Chunk, random: Random) -> list[str]:
    """`23 05 00` or `230500`; a revision has its section's."""
    wheel, world = chunk.world.wheel("specification_sections"), chunk.world
    rows: list[int] = list(chunk.rows)
    if chunk.table == "specification_section_revisions":
        rows = [section_of_revision(world, row) for row in rows]
    salt = world.salt("section numbers")
    return [_section_number(wheel.ordinal(row), mix(salt + row) % 3) for row in rows]


def section_labels(chunk: Chunk, random: Random) -> list[str]:
    """The number and a title."""
    titles = chunk.pools.titles
    numbers = section_numbers(chunk, random)
    return [f"{number} - {random.choice(titles)}" for number in numbers]


def spec_sections(chunk: Chunk, random: Random) -> list[str]:
    """A section as people name it, unchecked."""
    made = []
    for _ in chunk.rows:
        number = _section_number(int(random.random() * 400), int(random.random() * 3))
        made.append(number if random.random() < 0.7 else f"{number} - Common Work Results")
    return with_nulls(made, random, 0.2)


def division_numbers(chunk: Chunk, random: Random) -> list[str]:
    """`01` to `49`, one after the other in a project."""
    return [f"{ordinal % 49 + 1:02d}" for ordinal in chunk.ordinals]


def folders(chunk: Chunk, random: Random) -> list[str]:
    """Whether a document is a folder."""
    return ["t" if is_folder(chunk.world, row) else "f" for row in chunk.rows]


def unless_folder(maker: Maker) -> Maker:
    """NULL where the document is a folder."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        values = maker(chunk, random)
        return [
            NULL if is_folder(chunk.world, row) else value
            for row, value in zip(chunk.rows, values, strict=True)
        ]

    return make


def sizes(chunk: Chunk, random: Random) -> list[str]:
    """Bytes: log-normal around 800 kB, as large as an integer holds.

    A file with trouble stays below every limit: one that is skipped by its size would not show it.
    """
    troubled = {note.place for note in chunk.notes if note.kind.startswith("file_")}
    made = [min(2_147_483_647, int(random.lognormvariate(13.6, 1.6))) for _ in chunk.rows]
    return [str(min(size, 50_000_000) if place in troubled else size) for place, size in enumerate(made)]


def contract_types(chunk: Chunk, random: Random) -> list[str]:
    """The type of the contract: the row itself, or the one that is billed."""
    world = chunk.world
    if chunk.table == "commitment_contracts":
        return [type_of_contract(world, row) for row in chunk.rows]
    return [type_of_contract(world, max(0, row)) for row in chunk.reference("commitment_id")]


def requisition_vendors(chunk: Chunk, random: Random) -> list[str]:
    """The name of the vendor of the contract that is billed."""
    world = chunk.world
    return [
        NULL if row < 0 else vendor_name(world, vendor_of_contract(world, row))
        for row in chunk.reference("commitment_id")
    ]


def biller_ids(chunk: Chunk, random: Random) -> list[str]:
    """What is billed: the project, or a sub job kept elsewhere."""
    jobs = outside("sub_jobs", 300)(chunk, random)
    kinds = biller_types(chunk, random)
    projects = chunk.projects
    return [
        NULL if kind is NULL else str(projects[place]) if kind == "Project" else jobs[place]
        for place, kind in enumerate(kinds)
    ]


def biller_types(chunk: Chunk, random: Random) -> list[str]:
    """`Project` or `SubJob`."""
    return chunk.shared("biller", lambda own: choice(("Project", "SubJob"), (85, 15), 0.05)(chunk, own))


def resources(chunk: Chunk, random: Random) -> list[str]:
    """The kind of thing that an event is about."""
    kinds = ("rfis", "photos", "drawings", "submittals", "commitment_contracts")
    return chunk.shared("resources", lambda own: own.choices(kinds, k=len(chunk)))


def resource_ids(chunk: Chunk, random: Random) -> list[str]:
    """The id of a row of the table that `resource_name` names."""
    world = chunk.world
    return [str(world.id(name, int(random.random() * world.rows[name]))) for name in resources(chunk, random)]


def taken_at(chunk: Chunk, random: Random) -> list[str]:
    """Hours before the creation; some after it, some from a camera whose clock was never set."""
    made = []
    for created in chunk.created:
        share = random.random()
        if share < 0.1:
            made.append(NULL)
        elif share < 0.11:
            made.append("2000-01-01 00:00:00")
        else:
            hours = -2 if share < 0.12 else 1 + share * 40
            made.append(stamp_text(created - int(hours * 3_600_000)))
    return made


def hexadecimal(digits: int) -> Maker:
    """Random hexadecimal digits."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        return [f"{random.getrandbits(digits * 4):0{digits}x}" for _ in chunk.rows]

    return make


def numbered(form: str, null: float = 0.0) -> Maker:
    """Texts with the row's number in them, so that no two are equal."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls([form.format(row + 1) for row in chunk.rows], random, null)

    return make


def secret(number: int, form: str = "{}") -> Maker:
    """One of the planted secrets, in a form."""
    return lambda chunk, random: [form.format(planted_secrets(chunk.world.seed)[number])] * len(chunk)


def member_names(chunk: Chunk, random: Random) -> list[str]:
    """Names of the users that project members are."""
    world = chunk.world
    rows = [user_of_member(world, chunk.table, row) for row in chunk.rows]
    return [" ".join(user_name(world, row)) for row in rows]
