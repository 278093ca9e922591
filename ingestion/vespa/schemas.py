"""The three document types, declared once: the application package and the local endpoint read them here.

Types, structs, indexing, fast-search, rank profiles and document summaries follow Vespa's schema
reference (https://docs.vespa.ai/en/reference/schemas/schemas.html). Later versions only add fields.

String attributes match without regard to case unless they say otherwise. Those that name something are
therefore cased (…/schemas.html#match and #dictionary, which must agree), so that the tables `Odd` and `odd`
stay apart. Members of structs and maps are not: the grammar gives a struct-field no `dictionary`, and
`match: cased` alone found nothing there (vespa-engine/vespa issue 33133) or the wrong documents (pull request
37874). Who asks by a member compares the exact value once more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

APPLICATION = "procore"
CLUSTER = "procore_content"
PACKAGE_VERSION = 2
"""Rises with every change of the package; `versions` says what each one changed."""

required_vespa_version = "8.300.0"
"""Oldest Vespa that the package asks for: conditional puts with `create`, match-features, `in`."""
LOCAL_VERSION = "procore-ingest"
"""What the local endpoint's version holds, and no Vespa's."""

Kind = Literal["scalar", "array", "map"]

_COLLECTION = re.compile(r"(array|map)<(.+)>\Z")
SCALARS = ("string", "int", "long", "double", "bool")


@dataclass(frozen=True, slots=True)
class StructField:
    """A member of a struct, or `key`/`value` of a map; `attribute` makes it searchable by `sameElement`."""

    name: str
    type: str = "string"
    attribute: bool = False
    fast_search: bool = False


@dataclass(frozen=True, slots=True)
class Struct:
    """A named record type; members are never called `key` or `value`."""

    name: str
    fields: tuple[StructField, ...]

    def member(self, name: str) -> StructField | None:
        """The member of that name, or None."""
        return next((item for item in self.fields if item.name == name), None)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a document type.

    `attribute` fields lie in memory and filter, sort, group; `index` fields are tokenised and ranked
    by BM25; every field of ours is in the default document summary. `cased` attributes match exactly.
    """

    name: str
    type: str
    attribute: bool = False
    fast_search: bool = False
    rank_filter: bool = False
    cased: bool = False
    index: bool = False
    searchable: tuple[StructField, ...] = ()

    @property
    def kind(self) -> Kind:
        """`scalar`, `array` or `map`."""
        match = _COLLECTION.match(self.type)
        return "scalar" if match is None else ("array" if match[1] == "array" else "map")

    @property
    def element_type(self) -> str:
        """Type of an array's element or a map's value; of a scalar its own type."""
        match = _COLLECTION.match(self.type)
        if match is None:
            return self.type
        return match[2] if match[1] == "array" else match[2].partition(",")[2].strip()

    @property
    def type_name(self) -> str:
        """The type as Vespa's own messages and .sd files write it."""
        return self.type


@dataclass(frozen=True, slots=True)
class RankProfile:
    """A rank profile: what orders the hits when the query does not say `order by`."""

    name: str
    first_phase: str
    inherits: str = "default"
    match_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Teaser:
    """A field of a summary that holds the part of the text `source` around the words that matched.

    …/schemas.html#summary, `dynamic`; the matching words are marked with `<hi>`, gaps with `<sep />`.
    """

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A document summary: the fields that a query with `presentation.summary=NAME` gets back."""

    name: str
    fields: tuple[str, ...]
    teasers: tuple[Teaser, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """A document type with all that is declared beside it."""

    name: str
    fields: tuple[Field, ...]
    structs: tuple[Struct, ...] = ()
    default_fieldset: tuple[str, ...] = ()
    rank_profiles: tuple[RankProfile, ...] = ()
    summaries: tuple[Summary, ...] = ()
    by_name: dict[str, Field] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.by_name.update({item.name: item for item in self.fields})

    def field(self, name: str) -> Field | None:
        """The field of that name, or None."""
        return self.by_name.get(name)

    def struct(self, name: str) -> Struct | None:
        """The struct of that name, or None."""
        return next((item for item in self.structs if item.name == name), None)

    @property
    def attributes(self) -> tuple[Field, ...]:
        """Single-valued attributes, in order."""
        return tuple(item for item in self.fields if item.attribute and item.kind == "scalar")

    @property
    def indexed(self) -> tuple[Field, ...]:
        """Full-text fields, in order."""
        return tuple(item for item in self.fields if item.index)

    def profile(self, name: str) -> RankProfile | None:
        """The rank profile of that name, or None; `unranked` exists in every Vespa schema."""
        if name == "unranked":
            return RankProfile("unranked", "0", inherits="")
        return next((item for item in self.rank_profiles if item.name == name), None)

    def summary(self, name: str) -> Summary | None:
        """The document summary of that name, or None; `default` holds every field."""
        if name == "default":
            return Summary("default", tuple(item.name for item in self.fields))
        return next((item for item in self.summaries if item.name == name), None)


def _identity(name: str, type: str = "string") -> Field:
    return Field(name, type, attribute=True, fast_search=True, rank_filter=True, cased=True)


def _keyword(name: str) -> Field:
    return Field(name, "string", attribute=True, fast_search=True, rank_filter=True)


def _string(name: str) -> Field:
    return Field(name, "string", attribute=True)


def _number(name: str, type: str = "long", *, fast_search: bool = False) -> Field:
    return Field(name, type, attribute=True, fast_search=fast_search)


def _text(name: str) -> Field:
    return Field(name, "string", index=True)


def version_marker(version: int) -> str:
    """The rank profile by which a deployed package says that it includes `version`."""
    return f"package_v{version}"


def _profiles(text_field: str, time_field: str) -> tuple[RankProfile, ...]:
    return (
        RankProfile("default", f"bm25({text_field})", inherits=""),
        RankProfile(
            "bm25",
            f"bm25({text_field})",
            match_features=(f"bm25({text_field})", f"attribute({time_field})"),
        ),
        RankProfile("newest", f"attribute({time_field})"),
        # Markers that a client can ask for: a deployed package answers 400 for a version it does not include.
        *(RankProfile(version_marker(n), "0", inherits="unranked") for n in range(1, PACKAGE_VERSION + 1)),
    )


PROCORE_RECORD = Schema(
    name="procore_record",
    structs=(
        Struct(
            "relation",
            tuple(StructField(n) for n in ("relation", "target_table", "target_id", "source_column")),
        ),
        Struct(
            "file_ref",
            tuple(
                StructField(n) for n in ("file_id", "s3_key", "url", "filename", "file_type", "source_column")
            ),
        ),
    ),
    fields=(
        _identity("doc_id"),
        _identity("source"),
        _identity("source_table"),
        _identity("source_id"),
        Field("project_id", "long", attribute=True, fast_search=True, rank_filter=True),
        _number("created_at"),
        _number("updated_at", fast_search=True),
        _number("ingested_at"),
        Field(
            "metadata",
            "map<string,string>",
            searchable=(
                StructField("key", attribute=True, fast_search=True),
                StructField("value", attribute=True, fast_search=True),
            ),
        ),
        Field("metadata_long", "map<string,string>"),
        Field(
            "relationships",
            "array<relation>",
            searchable=(
                StructField("relation", attribute=True),
                StructField("target_table", attribute=True, fast_search=True),
                StructField("target_id", attribute=True, fast_search=True),
            ),
        ),
        Field(
            "file_references",
            "array<file_ref>",
            searchable=(
                StructField("file_id", attribute=True, fast_search=True),
                StructField("s3_key", attribute=True, fast_search=True),
            ),
        ),
        _text("content_text"),
        _number("read_seq", fast_search=True),
        _number("row_digest"),
        _number("key_bucket", "int", fast_search=True),
    ),
    default_fieldset=("content_text",),
    rank_profiles=_profiles("content_text", "updated_at"),
    summaries=(
        Summary("ids", ("doc_id", "updated_at")),
        Summary(
            "lean",
            ("doc_id", "source_table", "source_id", "project_id", "created_at", "updated_at"),
            (Teaser("snippet", "content_text"),),
        ),
        Summary("links", ("doc_id", "source_table", "source_id", "metadata", "relationships")),
    ),
)

PROCORE_FILE = Schema(
    name="procore_file",
    fields=(
        _identity("doc_id"),
        _identity("source"),
        _identity("file_id"),
        _identity("s3_key"),
        Field("url", "string"),
        _keyword("filename"),
        _keyword("content_type"),
        _keyword("file_type"),
        _number("size"),
        _identity("checksum"),
        Field("project_id", "long", attribute=True, fast_search=True, rank_filter=True),
        _identity("record_doc_ids", "array<string>"),
        _identity("source_table"),
        _identity("source_id"),
        _string("source_column"),
        _keyword("status"),
        Field("error", "string"),
        _number("width", "int"),
        _number("height", "int"),
        _number("pages", "int"),
        _number("taken_at", fast_search=True),
        _text("extracted_text"),
        _number("read_seq", fast_search=True),
        _number("ingested_at"),
    ),
    default_fieldset=("extracted_text",),
    rank_profiles=_profiles("extracted_text", "taken_at"),
    summaries=(
        Summary("ids", ("doc_id", "file_id")),
        Summary(
            "lean",
            (
                "doc_id",
                "file_id",
                "s3_key",
                "filename",
                "content_type",
                "file_type",
                "size",
                "project_id",
                "source_table",
                "source_id",
                "source_column",
                "record_doc_ids",
                "status",
                "error",
            ),
            (Teaser("snippet", "extracted_text"),),
        ),
    ),
)

PROCORE_SCHEMA = Schema(
    name="procore_schema",
    structs=(
        Struct(
            "column_info", tuple(StructField(n) for n in ("name", "type", "sensitivity", "role", "comment"))
        ),
        Struct("relation_info", tuple(StructField(n) for n in ("column", "target_table", "target_column"))),
        Struct("referrer_info", (StructField("source_table"), StructField("source_column"))),
    ),
    fields=(
        _identity("table_name"),
        _identity("source"),
        _identity("schema"),
        _text("description"),
        _number("row_count"),
        Field("columns", "array<column_info>", searchable=(StructField("name", attribute=True),)),
        Field(
            "relations",
            "array<relation_info>",
            searchable=(
                StructField("column", attribute=True),
                StructField("target_table", attribute=True, fast_search=True),
            ),
        ),
        Field(
            "referrers",
            "array<referrer_info>",
            searchable=(StructField("source_table", attribute=True, fast_search=True),),
        ),
        Field("key_columns", "array<string>"),
        Field("time_column", "string"),
        _number("read_seq", fast_search=True),
        _number("ingested_at"),
    ),
    default_fieldset=("description",),
    rank_profiles=_profiles("description", "ingested_at"),
    summaries=(
        Summary("ids", ("table_name",)),
        Summary("lean", ("table_name", "schema", "row_count"), (Teaser("snippet", "description"),)),
    ),
)

SCHEMAS: dict[str, Schema] = {
    schema.name: schema for schema in (PROCORE_RECORD, PROCORE_FILE, PROCORE_SCHEMA)
}
