"""Cells that point at files: keys, signed URLs, maps and lists of attachments, clean and messy."""

from __future__ import annotations

from random import Random
from typing import Final

from ingestion.sandbox import signing
from ingestion.sandbox.sample.cells import Maker
from ingestion.sandbox.sample.chunk import NULL, Chunk
from ingestion.sandbox.sample.pools import escaped
from ingestion.sandbox.sample.references import is_folder
from ingestion.sandbox.sample.world import ATTACHMENT_LOW, COMPANY, ID_BASE, mix

EXPIRED_S: Final = 1_700_000_000
"""2023-11-14: when the expired signatures ran out, before any clock that runs this."""

VALID_S: Final = 4_070_908_800
"""2099-01-01: when the others run out."""

MISSING: Final = "missing-"
"""Files whose name begins so are not in the store: it answers 404."""

FETCHED: Final = frozenset({"pdf", "jpg", "png"})
"""Types that are fetched; what is skipped by its type gets no trouble, because none would show."""

_EXPIRED_SHARE: Final = 0.30
_MISSING_SHARE: Final = 0.005

_DOCUMENT_TYPES: Final = (
    *["pdf"] * 50,
    *["xlsx"] * 15,
    *["docx"] * 15,
    *["jpg"] * 8,
    *["dwg"] * 5,
    *["application/pdf"] * 4,
    *["msg"] * 3,
)

# Upper bounds of the shares of a map column's values, of all rows.
_NULL, _EMPTY = 0.55, 0.63
_MESSY: Final = (
    (0.650, "map_empty_list"),
    (0.660, "map_list_of_keys"),
    (0.670, "map_list_of_objects"),
    (0.680, "map_of_objects"),
    (0.685, "map_nested"),
    (0.695, "map_odd_values"),
    (0.700, "map_in_string"),
    (0.702, "map_foreign_key"),
    (0.704, "map_leading_slash"),
)

MESSY_KINDS: Final = tuple(kind for _, kind in _MESSY)


def filename(chunk: Chunk, place: int, column: str, random: Random, name: str) -> str:
    """The name, or now and then one that the store does not have."""
    if chunk.wants("file_missing") and random.random() < _MISSING_SHARE and is_fetched(name):
        chunk.note(place, column, "file_missing", "failed:http_404")
        return MISSING + name
    return name


def is_fetched(name: str) -> bool:
    """Whether a file of that name is fetched at all."""
    return name.rpartition(".")[2].lower() in FETCHED


def key_of(chunk: Chunk, place: int, name: str, folder: str = "", project: int = 0) -> str:
    """The S3 key of a row's file."""
    project = project or chunk.projects[place]
    return f"{COMPANY}/{project}/{folder or chunk.table}/{chunk.ids[place]}/{name}"


def expiry(chunk: Chunk, place: int, column: str, random: Random, rescued: bool = False) -> int:
    """When a URL's signature runs out: 30 % have. `rescued`: the row holds the file's key as well."""
    if chunk.wants("file_expired_url") and random.random() < _EXPIRED_SHARE:
        chunk.note(place, column, "file_expired_url", "indexed" if rescued else "failed:expired_url")
        return EXPIRED_S
    return VALID_S


def _url(chunk: Chunk, place: int, column: str, random: Random, name: str, rescued: bool = False) -> str:
    # A file has one trouble at a time: the URL of a missing one is valid.
    troubled = name.startswith(MISSING) or not is_fetched(name)
    expires = VALID_S if troubled else expiry(chunk, place, column, random, rescued)
    return signing.sign(key_of(chunk, place, name), COMPANY, chunk.projects[place], expires)


def photo_key(chunk: Chunk, random: Random) -> list[str]:
    """The key of the photo that `url` shows."""

    def make(random: Random) -> list[str]:
        return [
            NULL if random.random() < 0.03 else key_of(chunk, place, name)
            for place, name in enumerate(_photo_names(chunk))
        ]

    return chunk.shared("photo keys", make)


def photo_url(chunk: Chunk, random: Random) -> list[str]:
    """The signed URL of a photo; where it has run out, the key beside it still leads to the file."""
    keys = photo_key(chunk, random)
    return [
        _url(chunk, place, "url", random, name, rescued=keys[place] is not NULL)
        for place, name in enumerate(_photo_names(chunk))
    ]


def thumbnail_url(chunk: Chunk, random: Random) -> list[str]:
    """The signed URL of a photo's thumbnail; there is no key of it."""
    return [
        _url(chunk, place, "thumbnail_url", random, f"thumb_{name}")
        for place, name in enumerate(_photo_names(chunk))
    ]


def revision_name(chunk: Chunk, random: Random) -> list[str]:
    """The file name of a drawing or specification revision; the key ends in it."""
    return [NULL if random.random() < 0.02 else name for name in _revision_names(chunk)]


def revision_key(folder: str) -> Maker:
    """The key of a drawing or specification revision."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = []
        for place, name in enumerate(_revision_names(chunk)):
            if random.random() < 0.03:
                made.append(NULL)
            else:
                stored = filename(chunk, place, "s3_key", random, name)
                made.append(key_of(chunk, place, stored, folder))
        return made

    return make


def _photo_names(chunk: Chunk) -> list[str]:
    def make(random: Random) -> list[str]:
        names = []
        for place, row in enumerate(chunk.rows):
            share = random.random()
            kind = "jpg" if share < 0.9 else "png" if share < 0.95 else "JPG"
            name = "IMG_0001.jpg" if share < 0.01 else f"IMG_{row % 10_000:04d}.{kind}"
            names.append(filename(chunk, place, "url", random, name))
        return names

    return chunk.shared("photo names", make)


def _revision_names(chunk: Chunk) -> list[str]:
    return chunk.shared("revision names", lambda random: random.choices(chunk.pools.filenames, k=len(chunk)))


def document_url(chunk: Chunk, random: Random) -> list[str]:
    """The signed URL of a document; folders have none."""
    made = []
    for place, row in enumerate(chunk.rows):
        name = document_name(chunk, row)
        if is_folder(chunk.world, row):
            made.append(NULL)
        else:
            name = filename(chunk, place, "url", random, name)
            made.append(_url(chunk, place, "url", random, name))
    return made


def document_type(chunk: Chunk, row: int) -> str:
    """A document's type: an extension or, carelessly, a MIME type."""
    return _DOCUMENT_TYPES[mix(chunk.world.salt("document types") + row) % len(_DOCUMENT_TYPES)]


def document_name(chunk: Chunk, row: int) -> str:
    """A document's file name, or a folder's name."""
    stem = chunk.pools.titles[mix(chunk.world.salt("documents") + row) % len(chunk.pools.titles)]
    stem = stem.partition(": ")[2]
    if is_folder(chunk.world, row):
        return stem
    kind = document_type(chunk, row).rpartition("/")[2]
    odd = [name for name in chunk.pools.filenames[-64:] if name.endswith("." + kind)]
    return odd[row % len(odd)] if odd and row % 8 == 0 else f"{stem}.{kind}"


def avatar(chunk: Chunk, random: Random) -> list[str]:
    """The signed URL of a user's picture; nine of ten have none."""
    project, made = chunk.world.project_id(0), []
    for place in range(len(chunk)):
        if random.random() < 0.9:
            made.append(NULL)
        else:
            key = key_of(chunk, place, "avatar.png", project=project)
            expires = expiry(chunk, place, "avatar_url", random)
            made.append(signing.sign(key, COMPANY, project, expires))
    return made


def key_map(column: str) -> Maker:
    """A map of attachment ids to keys, in all the shapes that such maps are found in."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = []
        for place in range(len(chunk)):
            share = random.random()
            if share < _NULL:
                made.append(NULL)
            elif share < _EMPTY:
                made.append("{}")
            else:
                kind = next((kind for bound, kind in _MESSY if share < bound), "")
                if kind and chunk.wants(kind):
                    made.append(_messy(chunk, place, column, random, kind))
                    chunk.note(place, column, kind)
                else:
                    made.append("{" + ", ".join(_entries(chunk, place, column, random)) + "}")
        return made

    return make


def attachment_list(column: str, null: float = 0.3, empty: float = 0.4) -> Maker:
    """A list of attachments with signed URLs."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = []
        for place in range(len(chunk)):
            share = random.random()
            if share < null:
                made.append(NULL)
            elif share < null + empty:
                made.append("[]")
            else:
                count = min(12, 1 + int(random.expovariate(0.5)))
                made.append(objects(chunk, place, column, random, count))
        return made

    return make


def objects(chunk: Chunk, place: int, column: str, random: Random, count: int) -> str:
    """That many attachment objects as a JSON list."""
    return f"[{', '.join(attachment(chunk, place, column, random, name) for name in names(chunk, random, count))}]"


def attachment(chunk: Chunk, place: int, column: str, random: Random, name: str) -> str:
    """One attachment object."""
    name = filename(chunk, place, column, random, name)
    url = _url(chunk, place, column, random, name)
    label = "name" if random.random() < 0.5 else "filename"
    return (
        f'{{"id": {attachment_id(random)}, "url": "{url}", "{label}": "{name}", '
        f'"viewable": true, "share_url": null}}'
    )


def names(chunk: Chunk, random: Random, count: int) -> list[str]:
    """File names of one row, no two equal, so that each stands for a file of its own."""
    pool = chunk.pools.filenames
    if count == 1:
        return [pool[int(random.random() * len(pool))]]
    return list(dict.fromkeys(random.sample(pool, count)))


def attachment_id(random: Random) -> int:
    """An attachment's id: about 10^9 beyond the base."""
    return ID_BASE + ATTACHMENT_LOW + int(random.random() * 900_000_000)


def _entries(chunk: Chunk, place: int, column: str, random: Random, project: int = 0) -> list[str]:
    count = 60 if random.random() < 0.002 else 1 + int(random.random() * 5)
    made = []
    for name in names(chunk, random, count):
        name = filename(chunk, place, column, random, name)
        made.append(f'"{attachment_id(random)}": "{key_of(chunk, place, name, project=project)}"')
    return made


def _messy(chunk: Chunk, place: int, column: str, random: Random, kind: str) -> str:
    if kind == "map_empty_list":
        return "[]"
    if kind == "map_list_of_keys":
        return f"[{', '.join(entry.partition(': ')[2] for entry in _entries(chunk, place, column, random))}]"
    if kind == "map_list_of_objects":
        return objects(chunk, place, column, random, 2)
    if kind == "map_of_objects":
        name = random.choice(chunk.pools.filenames)
        key = key_of(chunk, place, name)
        return f'{{"{attachment_id(random)}": {{"s3_key": "{key}", "filename": "{name}"}}}}'
    if kind == "map_odd_values":
        entry = _entries(chunk, place, column, random)[0]
        numbers = [attachment_id(random) for _ in range(3)]
        return f'{{{entry}, "{numbers[0]}": null, "{numbers[1]}": 0, "{numbers[2]}": ""}}'
    if kind == "map_foreign_key":
        rank = (chunk.ranks[place] + 1) % chunk.world.working
        entries = _entries(chunk, place, column, random, chunk.world.project_id(rank))
        return "{" + ", ".join(entries) + "}"
    whole = "{" + ", ".join(_entries(chunk, place, column, random)) + "}"
    if kind == "map_nested":
        return f'{{"attachments": {whole}}}'
    if kind == "map_leading_slash":
        return whole.replace(f'"{COMPANY}/', f'"/{COMPANY}/')
    return escaped('"' + whole.replace('"', '\\"') + '"')  # map_in_string
