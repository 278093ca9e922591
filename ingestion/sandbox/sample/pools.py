"""Ready-made words, names, sentences and file names, written as COPY wants them.

Texts are drawn from pools, built once per seed, because making each one anew would cost more than
everything else together. Nothing in a pool needs escaping twice: tabs never occur, line breaks and
backslashes are already in COPY's text form.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from random import Random
from typing import Final

FIRST_NAMES: Final = [
    "Ana",
    "Bruno",
    "Carla",
    "Dmitri",
    "Elena",
    "Farid",
    "Grace",
    "Hiro",
    "Ines",
    "Jamal",
    "Kwame",
    "Liam",
    "Maya",
    "Noor",
    "Oscar",
    "Priya",
    "Quinn",
    "Rosa",
    "Sven",
    "Tara",
    "Umar",
    "Vera",
    "Wei",
    "Ximena",
    "Yusuf",
    "Zoe",
    "José",
    "Zoë",
    "André",
    "Søren",
    "Łukasz",
    "Mehmet",
]
LAST_NAMES: Final = [
    "Alvarez",
    "Becker",
    "Chen",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ivanova",
    "Johnson",
    "Kim",
    "Lopez",
    "Mbeki",
    "Nguyen",
    "O'Brien",
    "Patel",
    "Quist",
    "Romero",
    "Schmidt",
    "Tanaka",
    "Usman",
    "Vasquez",
    "Weber",
    "Xu",
    "Young",
    "Zimmermann",
    "Müller",
    "Núñez",
    "Smith-Jones",
    "Kowalski",
]
TRADES: Final = [
    "Concrete",
    "Masonry",
    "Steel",
    "Carpentry",
    "Roofing",
    "Glazing",
    "Drywall",
    "Tile",
    "Painting",
    "Elevator",
    "Plumbing",
    "HVAC",
    "Electrical",
    "Excavation",
    "Landscaping",
    "Paving",
    "Waterproofing",
    "Insulation",
    "Firestopping",
    "Demolition",
]
CITIES: Final = (
    ("Austin", "TX", "78701"),
    ("Boston", "MA", "02108"),
    ("Denver", "CO", "80202"),
    ("Portland", "OR", "97204"),
    ("Albuquerque", "NM", "87102"),
    ("San José", "CA", "95110"),
)
_THINGS: Final = [
    "anchor bolts",
    "curtain wall",
    "rebar splice",
    "slab edge",
    "stair pressurization fan",
    "roof drain",
    "fire damper",
    "switchgear",
    "door hardware",
    "shaft wall",
    "expansion joint",
    "grade beam",
    "embed plate",
    "chilled water riser",
    "duct bank",
    "fire caulking",
    "guard rail",
    "loading dock leveler",
    "precast panel",
    "sprinkler main",
    "steel lintel",
    "storm drain",
    "tile layout",
    "transformer pad",
    "underslab vapor barrier",
    "window flashing",
]
_PLACES: Final = [
    "at grid line C-7",
    "in corridor 214",
    "on level 3",
    "at the north elevation",
    "in the mechanical room",
    "at the podium",
    "in stair 2",
    "below the canopy",
    "at column B4",
    "in the east wing",
    "along the property line",
    "at the roof hatch",
]
_ACTS: Final = [
    "conflicts with",
    "does not match",
    "is missing from",
    "needs coordination with",
    "was installed ahead of",
    "must be relocated because of",
    "is not shown on",
    "was delivered without",
    "requires approval of",
]
_ENDS: Final = [
    "Please confirm.",
    "Cost impact to be determined.",
    "See attached sketch.",
    "Response needed before the pour on Friday.",
    "The installer is waiting.",
    "Per field walk with the architect.",
    "No schedule impact expected.",
    "Refer to specification section 07 84 00.",
    "Credit to follow.",
]
_CATEGORY: Final = [
    "Revision",
    "Delay",
    "Scope",
    "Allowance",
    "Permit",
    "Weather",
    "Coordination",
    "Design",
    "Closeout",
    "Safety",
]

OUTSIDE_LOW: Final = 2**49 + 2_000_000_000
"""Lowest id of what is kept elsewhere: cost codes, categories, locations."""

# Quantiles of a description's length in characters.
_LENGTHS: Final = ((0.0, 4), (0.5, 40), (0.95, 600), (0.999, 20_000), (1.0, 40_000))

ODD_FILENAMES: Final = (
    "Site photo (2).jpg",
    "Detail #4.pdf",
    "Plan%20final.pdf",
    "A+B schedule.pdf",
    "Façade étude.pdf",
    "図面改訂.pdf",
    "صورة الموقع.jpg",
    "SCAN0001.PDF",
    "README",
    "IMG_0001.jpg",
    "scan.pdf",
    "budget.xlsx",
    "letter.docx",
    "model.dwg",
    "FW mail.msg",
    "w" * 196 + ".pdf",
)


@dataclass(frozen=True, slots=True)
class Pools:
    """Texts of one seed. `escaped` of each is what COPY reads; `in_json` is the inside of a JSON string."""

    prose: list[str]
    prose_json: list[str]
    titles: list[str]
    titles_json: list[str]
    words: list[str]
    html: list[str]
    html_json: list[str]
    long_html: list[str]
    filenames: list[str]
    custom_fields: list[str]


def build(seed: int) -> Pools:
    """The pools of a seed."""
    random = Random(f"{seed}:pools")
    titles = [_title(random) for _ in range(600)]
    sentences = [_sentence(random) for _ in range(400)]
    prose = [_prose(random, sentences, (place + 0.5) / 2000) for place in range(2000)]
    html = [_html(random, sentences, random.randint(1, 6)) for _ in range(200)]
    long_html = [_html(random, sentences, size) for size in (20, 40, 80, 160, 280)]
    return Pools(
        prose=[escaped(text) for text in prose],
        prose_json=[in_json(text) for text in prose if len(text) <= 2_000],
        titles=[escaped(text) for text in titles],
        titles_json=[in_json(text) for text in titles],
        words=[*_THINGS, *_CATEGORY],
        html=[escaped(text) for text in html],
        html_json=[in_json(text) for text in html],
        long_html=[escaped(text) for text in long_html],
        filenames=_filenames(random),
        custom_fields=_custom_fields(random, titles),
    )


def escaped(text: str) -> str:
    """The text in COPY's text form."""
    if "\\" in text or "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return text


def in_json(text: str) -> str:
    """The inside of a JSON string, in COPY's text form."""
    return escaped(json.dumps(text, ensure_ascii=False)[1:-1])


def _title(random: Random) -> str:
    return f"{random.choice(_CATEGORY)}: {random.choice(_THINGS)} {random.choice(_PLACES)}"


def _sentence(random: Random) -> str:
    first, second = random.sample(_THINGS, 2)
    place, act, end = random.choice(_PLACES), random.choice(_ACTS), random.choice(_ENDS)
    return f"The {first} {place} {act} the {second}. {end}"


def _prose(random: Random, sentences: list[str], quantile: float) -> str:
    length = _length(quantile)
    if length < 60:
        words = f"{random.choice(_THINGS)} {random.choice(_PLACES)} {random.choice(_CATEGORY).lower()} work"
        return _whole_words(words, length).capitalize()
    parts, size = [], 0
    while size < length:
        part = random.choice(sentences)
        parts.append(part)
        size += len(part) + 1
    return _whole_words(("\n" if length > 400 else " ").join(parts), length)


def _whole_words(text: str, length: int) -> str:
    """The text's beginning of about that length, in whole words; one at least."""
    if len(text) <= length:
        return text
    end = text.rfind(" ", 0, length + 1)
    return text[:end] if end > 0 else text.partition(" ")[0]


def _length(quantile: float) -> int:
    for (low, short), (high, long) in itertools.pairwise(_LENGTHS):
        if quantile <= high:
            share = (quantile - low) / (high - low)
            return round(math.exp(math.log(short) + share * (math.log(long) - math.log(short))))
    return _LENGTHS[-1][1]


def _html(random: Random, sentences: list[str], paragraphs: int) -> str:
    body = "".join(f"<p>{random.choice(sentences)}</p>" for _ in range(paragraphs))
    return f"<div>{body}<ul><li>{random.choice(_THINGS)}</li></ul></div>"


def _filenames(random: Random) -> list[str]:
    plain = []
    for number in range(400):
        kind = random.choices(("pdf", "jpg", "png", "xlsx", "docx", "dwg"), (60, 20, 8, 5, 5, 2))[0]
        plain.append(f"{random.choice(_THINGS).replace(' ', '_')}_{number:03d}.{kind}")
    return plain + list(ODD_FILENAMES) * 4


def _custom_fields(random: Random, titles: list[str]) -> list[str]:
    """Members of a custom_fields object, no two with the same name."""
    made = []
    for number in range(240):
        kind = number % 6
        value, label = {
            0: (json.dumps(random.choice(titles)), "string"),
            1: (str(round(random.uniform(0, 5000), 2)), "decimal"),
            2: (random.choice(("true", "false")), "boolean"),
            3: ("null", "date"),
            4: (json.dumps(random.sample(_CATEGORY, 2)), "lov_entries"),
            5: (f'{{"id": {OUTSIDE_LOW + number}, "label": "{random.choice(_CATEGORY)}"}}', "lov_entry"),
        }[kind]
        name = f"custom_field_{598_134_325_000_000 + number * 7_919}"
        made.append(escaped(f'"{name}": {{"value": {value}, "data_type": "{label}"}}'))
    return made
