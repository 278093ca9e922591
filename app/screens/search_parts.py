"""What the Search screen says: pure functions from hits, relations and files to cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app import formatting
from app.formatting import Glyphs
from app.widgets.ink import Ink, Run

if TYPE_CHECKING:
    from ingestion.vespa.queries import Hit, Related

_FIRST = ("doc_id", "source_table", "source_id", "project_id", "metadata", "metadata_long")
_LAST = ("content_text", "row_digest", "key_bucket", "read_seq", "ingested_at", "source")
_TIMES = ("created_at", "updated_at", "ingested_at", "taken_at")


@dataclass(frozen=True, slots=True)
class Link:
    """Something to follow from a record: `way` out, in or file."""

    way: str
    role: str
    doc_id: str
    title: str
    exists: bool = True

    @property
    def key(self) -> str:
        return f"{self.way}:{self.role}:{self.doc_id}"


def hit_cells(hit: Hit, column: str, query: str, glyphs: Glyphs) -> Ink:
    if column == "table":
        return (formatting.one_line(hit.source_table, unicode=glyphs.unicode), "muted")
    if column == "score":
        return (f"{hit.relevance:.1f}" if hit.relevance else "", "faint")
    return highlighted(formatting.one_line(hit.snippet or hit.doc_id, unicode=glyphs.unicode), query)


def highlighted(text: str, query: str) -> list[Run]:
    """The text with the query's words marked: why it matched."""
    words = [re.escape(word) for word in re.findall(r"\w+", query)]
    if not words:
        return [(text, "")]
    runs: list[Run] = []
    at = 0
    for match in re.finditer(rf"\b(?:{'|'.join(words)})\w*", text, re.IGNORECASE):
        runs += [(text[at : match.start()], ""), (match.group(), "accent")]
        at = match.end()
    runs.append((text[at:], ""))
    return runs


def matched_in(fields: Mapping[str, Any], query: str) -> list[str]:
    """Columns and members that hold a word beginning with one of the query's: why it matched."""
    words = [re.escape(word) for word in re.findall(r"\w+", query)]
    if not words:
        return []
    pattern = re.compile(rf"\b(?:{'|'.join(words)})", re.IGNORECASE)
    values: dict[str, Any] = {}
    for name in ("filename", "description", "extracted_text"):
        values[name] = fields.get(name)
    for name in ("metadata", "metadata_long"):
        members = fields.get(name)
        values.update(members if isinstance(members, Mapping) else {})
    return [name for name, value in values.items() if isinstance(value, str) and pattern.search(value)]


def ordered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in the order a person reads them; epoch milliseconds as UTC times."""
    names = [name for name in _FIRST if name in fields]
    names += [name for name in fields if name not in _FIRST and name not in _LAST]
    names += [name for name in _LAST if name in fields]
    out: dict[str, Any] = {}
    for name in names:
        value = fields[name]
        if name in _TIMES and isinstance(value, int):
            value = formatting.moment(value / 1000)
        out[name] = value
    return out


def links_of(related: Sequence[Related], files: Sequence[Mapping[str, Any]]) -> list[Link]:
    """Outgoing relations, files, then incoming relations."""
    out = [Link("out", r.relation, r.doc_id, r.title, r.exists) for r in related if r.direction == "out"]
    out += [
        Link(
            "file",
            str(f.get("file_type") or "file"),
            str(f.get("doc_id", "")),
            " ".join(
                part
                for part in (
                    str(f.get("filename") or ""),
                    formatting.size(f["size"]) if isinstance(f.get("size"), int) else "",
                    str(f.get("status") or ""),
                )
                if part
            ),
        )
        for f in files
    ]
    out += [Link("in", r.relation, r.doc_id, r.title, r.exists) for r in related if r.direction == "in"]
    return out


def link_cells(link: Link, column: str, glyphs: Glyphs) -> Ink:
    unicode = glyphs.unicode
    if column == "way":
        if not link.exists:
            return (glyphs.bad, "warn")
        return {"out": (glyphs.arrow, "accent"), "in": (glyphs.back, "accent")}.get(
            link.way, (glyphs.on, "info")
        )
    if column == "role":
        return (formatting.one_line(link.role, unicode=unicode), "muted")
    if column == "target":
        text = formatting.one_line(link.doc_id, unicode=unicode)
        return (text, "link" if link.exists else "muted")
    if not link.exists:
        return ("not in the index", "warn")
    return (formatting.one_line(link.title, unicode=unicode), "")
