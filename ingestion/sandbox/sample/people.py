"""Cells about people, firms and projects: names, addresses, numbers, all made up."""

from __future__ import annotations

from random import Random
from typing import Literal

from ingestion.sandbox.sample.cells import Maker, with_nulls
from ingestion.sandbox.sample.chunk import Chunk, user_name, vendor_name
from ingestion.sandbox.sample.pools import CITIES
from ingestion.sandbox.sample.world import World, mix

_STREETS = ("Main St", "Industrial Pkwy", "Harbor Blvd", "2nd Ave", "Mission Rd", "Calle Ocho")
_BUILDINGS = ("Tower", "Clinic", "Library", "Warehouse", "High School", "Transit Hub", "Data Center", "Lofts")
_INSURERS = ("Atlas Mutual", "Beacon Casualty", "Cedar Surety", "Delta Indemnity")


def user(part: Literal["full", "first", "last"]) -> Maker:
    """A company user's name or a part of it."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        names = [user_name(chunk.world, row) for row in chunk.rows]
        return [" ".join(both) if part == "full" else both[part == "last"] for both in names]

    return make


def _address(world: World, row: int) -> str:
    first, last = user_name(world, row)
    return f"{first}.{last}{row}@example.test".lower().replace("'", "")


def email(chunk: Chunk, random: Random) -> list[str]:
    """Lower case; two of a hundred mixed, one of a hundred another user's."""
    made = []
    for row in chunk.rows:
        share = random.random()
        text = _address(chunk.world, row - 1 if row and share < 0.01 else row)
        made.append(text.title() if 0.01 <= share < 0.03 else text)
    return made


def login(chunk: Chunk, random: Random) -> list[str]:
    """Mostly the e-mail address."""
    return [_address(chunk.world, row) if random.random() < 0.9 else f"user{row + 1}" for row in chunk.rows]


def employee_number(chunk: Chunk, random: Random) -> list[str]:
    """Digits with leading zeros; seven of ten have none."""
    return with_nulls([f"{row * 37 % 100_000:06d}" for row in chunk.rows], random, 0.7)


def phone(null: float) -> Maker:
    """Numbers of the range that is kept for fiction."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = [f"(555) 555-01{int(random.random() * 100):02d}" for _ in chunk.rows]
        return with_nulls(made, random, null)

    return make


def street(chunk: Chunk, random: Random) -> list[str]:
    made = [f"{1 + int(random.random() * 9_000)} {random.choice(_STREETS)}" for _ in chunk.rows]
    return with_nulls(made, random, 0.2)


def city(part: int) -> Maker:
    """The row's city, its state or its zip code: three columns that agree."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        salt = chunk.world.salt("cities")
        return [CITIES[mix(salt + row) % len(CITIES)][part] for row in chunk.rows]

    return make


def project_name(chunk: Chunk, random: Random) -> list[str]:
    return [
        f"{CITIES[mix(chunk.world.salt('cities') + row) % len(CITIES)][0]} {_BUILDINGS[row % len(_BUILDINGS)]}"
        for row in chunk.rows
    ]


def vendor(chunk: Chunk, random: Random) -> list[str]:
    return [vendor_name(chunk.world, row) for row in chunk.rows]


def vendor_email(chunk: Chunk, random: Random) -> list[str]:
    return with_nulls([f"office{row + 1}@vendor.example.test" for row in chunk.rows], random, 0.2)


def website(chunk: Chunk, random: Random) -> list[str]:
    return with_nulls([f"https://vendor{row + 1}.example.test/" for row in chunk.rows], random, 0.6)


def insurer(chunk: Chunk, random: Random) -> list[str]:
    return random.choices(_INSURERS, k=len(chunk))
