"""Source against index, by code that shares nothing with the product: own SQL, own visit, own reading of the state.

What must hold once everything has come to rest: each row with a usable key is in the index with its current
values, nothing else is; rows without a key and rows that share one stand in the failures; the state's ledger
says what the index holds; and the counts of every job add up.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from tests.chaos.services import content_of
from tests.chaos.tables import KINDS, Kind

Values = dict[str, str]


@dataclass(slots=True)
class Verdict:
    """What is wrong, one sentence each; `lost` are rows missing or old, `doubled` documents that should not be."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return not (self.lost or self.doubled or self.miscounted)

    def lines(self) -> list[str]:
        return [
            f"{word}: {text}"
            for word, texts in (("lost", self.lost), ("doubled", self.doubled), ("counts", self.miscounted))
            for text in texts[:12]
        ]


@dataclass(slots=True)
class Expected:
    """What the index must hold of a table, and which failures must stand."""

    by_key: dict[str, Values] = field(default_factory=dict)
    contents: Counter[tuple[tuple[str, str], ...]] = field(default_factory=Counter)
    rows: int = 0
    null_keys: int = 0
    shared: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)


async def judge(
    database_url: str, vespa_url: str, namespace: str, state: Path, tables: tuple[str, ...]
) -> Verdict:
    """Compare everything; the database must rest."""
    verdict = Verdict()
    documents = await visited(vespa_url, namespace, verdict)
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    try:
        with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as facts:
            basis = dict(facts.execute("SELECT name, key_columns FROM tables WHERE has_state"))
            for name in tables:
                key = tuple(json.loads(basis[name])) if basis.get(name) else KINDS[name].key
                expected = await _expected(connection, KINDS[name], key)
                mine = {k: v for k, v in documents.items() if v["source_table"] == name}
                _compare(name, key, expected, mine, namespace, verdict)
                _failures(facts, name, expected, verdict)
                _ledger(facts, name, mine, verdict)
            _counts(facts, verdict)
            if "papers" in tables:
                held = await visited(vespa_url, namespace, verdict, "procore_file")
                named = await connection.fetch("SELECT id, document_url FROM papers WHERE document_url <> ''")
                _files([tuple(row) for row in named], held, facts, state.parent / "files", verdict)
    finally:
        await connection.close()
    for doc_id, fields in documents.items():
        if fields["source_table"] not in tables:
            verdict.doubled.append(f"{doc_id} is of a table that nobody asked for")
    return verdict


async def visited(
    vespa_url: str, namespace: str, verdict: Verdict, kind: str = "procore_record"
) -> dict[str, Any]:
    """Document id → fields of all documents of a kind, each met once."""
    found: dict[str, Any] = {}
    token = ""
    async with aiohttp.ClientSession() as http:
        while True:
            url = f"{vespa_url}/document/v1/{namespace}/{kind}/docid/?cluster=procore_content"
            url += (
                f"&wantedDocumentCount=500&fieldSet=%5Bdocument%5D{'&continuation=' + token if token else ''}"
            )
            async with http.get(url) as answer:
                assert answer.status == 200, await answer.text()
                page = await answer.json()
            for document in page.get("documents", []):
                if document["id"] in found:
                    verdict.doubled.append(f"{document['id']} was met twice")
                found[document["id"]] = document["fields"]
            token = page.get("continuation", "")
            if not token:
                return found


async def _expected(connection: Any, kind: Kind, key: tuple[str, ...]) -> Expected:
    types = dict(
        await connection.fetch(
            "SELECT attname::text, atttypid::regtype::text FROM pg_attribute WHERE attrelid = $1::text::regclass "
            "AND attnum > 0 AND NOT attisdropped", kind.name,
        )
    )  # fmt: skip
    names = ", ".join(f'"{name}"::text AS "{name}"' for name in types)
    expected = Expected()
    groups: dict[str, list[Values]] = defaultdict(list)
    for row in await connection.fetch(f"SELECT {names} FROM {kind.name}"):
        values = {n: canonical(v, types[n]) for n, v in row.items() if v is not None}
        expected.rows += 1
        if not key:
            expected.contents[tuple(sorted(values.items()))] += 1
        elif any(name not in values for name in key):
            expected.null_keys += 1
        else:
            groups[":".join(escaped(values[name]) for name in key)].append(values)
    for name, rows in groups.items():
        if any(other != rows[0] for other in rows):
            expected.shared[name] = len(rows)
        else:
            expected.by_key[name] = rows[0]
            if len(rows) > 1:
                expected.copies[name] = len(rows) - 1
    return expected


def canonical(text: str, kind: str) -> str:
    """PostgreSQL's text of a value as documents have it."""
    if kind == "boolean":
        return {"t": "true", "f": "false"}.get(text, text)
    if kind.startswith("timestamp") and "infinity" not in text:
        stamped = re.sub(r"\+00$", "Z", text.replace(" ", "T", 1))
        return stamped
    return text


def escaped(part: str) -> str:
    return "".join(
        chr(byte) if re.match(r"[A-Za-z0-9_.-]", chr(byte)) and byte < 128 else f"~{byte:02X}"
        for byte in part.encode()
    )


def _content(fields: dict[str, Any]) -> Values:
    return {**fields.get("metadata", {}), **fields.get("metadata_long", {})}


def _compare(
    name: str,
    key: tuple[str, ...],
    expected: Expected,
    documents: dict[str, Any],
    namespace: str,
    verdict: Verdict,
) -> None:
    prefix = f"id:{namespace}:procore_record::{name}:"
    held = {doc_id.removeprefix(prefix): fields for doc_id, fields in documents.items()}
    for found, fields in held.items():
        if fields["doc_id"] != f"{name}:{found}":
            verdict.doubled.append(f"{name}:{found} says that it is {fields['doc_id']}")
    if not key:
        contents = Counter(tuple(sorted(_content(fields).items())) for fields in held.values())
        for content, copies in (expected.contents - contents).items():
            verdict.lost.append(f"{name}: {copies} of {dict(content)}")
        for content, copies in (contents - expected.contents).items():
            verdict.doubled.append(f"{name}: {copies} too many of {dict(content)}")
        return
    for wanted, values in expected.by_key.items():
        if wanted not in held:
            verdict.lost.append(f"{name}:{wanted} is missing")
        elif _content(held[wanted]) != values:
            verdict.lost.append(f"{name}:{wanted} is {_content(held[wanted])}, should be {values}")
    for found in held.keys() - expected.by_key.keys():
        verdict.doubled.append(f"{name}:{found} should not be there: {_content(held[found])}")


def _failures(facts: sqlite3.Connection, name: str, expected: Expected, verdict: Verdict) -> None:
    standing = Counter(
        facts.execute(
            "SELECT f.kind, f.cause, f.key FROM failures f JOIN tables t ON t.id = f.table_id "
            "WHERE t.name = ? AND f.status = 'open'", (name,),
        )
    )  # fmt: skip
    wanted: Counter[tuple[str, str, str]] = Counter()
    if expected.null_keys:
        wanted["record", "null_key", ""] = expected.null_keys
    for key, copies in expected.shared.items():
        wanted["record", "duplicate_key", key] = copies
    for key, copies in expected.copies.items():
        wanted["warning", "identical_copy", key] = copies
    for fact, copies in (wanted - standing).items():
        verdict.miscounted.append(f"{name}: {copies} failures {fact} are missing")
    for fact, copies in (standing - wanted).items():
        rows = expected.shared[fact[2]] or expected.copies[fact[2]] + (fact[2] in expected.by_key)
        verdict.miscounted.append(f"{name}: {copies} failures {fact} too many; {rows} rows hold that key")


def _ledger(facts: sqlite3.Connection, name: str, documents: dict[str, Any], verdict: Verdict) -> None:
    known = {
        key: (digest, read_seq)
        for key, digest, read_seq in facts.execute(
            "SELECT l.key, l.digest, l.read_seq FROM ledger l JOIN tables t ON t.id = l.table_id WHERE t.name = ?",
            (name,),
        )
    }
    held = {
        fields["doc_id"].partition(":")[2]: (fields["row_digest"], fields["read_seq"])
        for fields in documents.values()
    }
    for key in known.keys() | held.keys():
        if known.get(key) != held.get(key):
            verdict.miscounted.append(f"{name}:{key}: ledger {known.get(key)}, index {held.get(key)}")


def _counts(facts: sqlite3.Connection, verdict: Verdict) -> None:
    query = (
        "SELECT j.id, j.kind, j.status, t.name, jt.read, jt.indexed, jt.failed, jt.skipped, jt.warned, jt.deleted "
        "FROM job_tables jt JOIN jobs j ON j.ordinal = jt.job JOIN tables t ON t.id = jt.table_id"
    )
    for job, kind, status, table, *counts in facts.execute(query):
        read, indexed, failed, skipped, warned, _ = counts
        if read != indexed + failed + skipped or warned > indexed or min(counts) < 0:
            verdict.miscounted.append(
                f"{kind} {job} ({status}) {table}: read, indexed, failed, skipped, warned, deleted are {counts}"
            )


def _files(
    named: list[tuple[int, str]],
    held: dict[str, Any],
    facts: sqlite3.Connection,
    folder: Path,
    verdict: Verdict,
) -> None:
    """Each file that a row names is here once, in the index and on disk, and says who names it."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for key, url in named:
        wanted[url].add(f"papers:{key}")
    found = {fields["url"]: fields for fields in held.values()}
    if len(found) < len(held):
        verdict.doubled.append("two documents are of one file")
    paths = dict(facts.execute("SELECT url, path FROM files WHERE status = 'downloaded'"))
    for url, records in wanted.items():
        name = url.rpartition("/")[2]
        if url not in found:
            verdict.lost.append(f"file {name} is missing, which {sorted(records)} name")
        elif set(found[url]["record_doc_ids"]) != records or len(found[url]["record_doc_ids"]) != len(
            records
        ):
            told = sorted(found[url]["record_doc_ids"])
            verdict.lost.append(f"file {name} says {told}, should say {sorted(records)}")
        elif found[url]["status"] != "downloaded":
            verdict.lost.append(f"file {name} is {found[url]['status']}")
        if url not in paths or (folder / paths[url]).read_bytes() != content_of(name):
            verdict.lost.append(f"file {name} is not whole on disk")
    for url in found.keys() - wanted.keys():
        verdict.doubled.append(
            f"file {url.rpartition('/')[2]} should not be there: {found[url]['record_doc_ids']}"
        )
    whole = {folder / path for path in paths.values()}
    for path in folder.rglob("*"):
        # Copies that nothing refers to any more may stay; half a file may not.
        if path.is_file() and path not in whole:
            name = path.read_bytes().partition(b"\n")[0].removeprefix(b"GIF89a ").decode(errors="replace")
            if path.read_bytes() != content_of(name):
                verdict.doubled.append(f"{path.name} is left behind")


def counted_exactly(state: Path, job: str, expected: dict[str, Expected], verdict: Verdict) -> None:
    """A full job over a source at rest: every row in exactly one count."""
    with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as facts:
        rows = facts.execute(
            "SELECT t.name, jt.read, jt.indexed, jt.failed, jt.skipped FROM job_tables jt "
            "JOIN jobs j ON j.ordinal = jt.job JOIN tables t ON t.id = jt.table_id WHERE j.id = ?", (job,),
        ).fetchall()  # fmt: skip
    for name, *counts in rows:
        want = expected[name]
        indexed = len(want.by_key) + want.contents.total()
        failed, skipped = want.null_keys + want.shared.total(), want.copies.total()
        if counts != [want.rows, indexed, failed, skipped]:
            should = [want.rows, indexed, failed, skipped]
            verdict.miscounted.append(
                f"{name}: read, indexed, failed, skipped are {counts}, should be {should}"
            )


async def expectations(database_url: str, tables: tuple[str, ...]) -> dict[str, Expected]:
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    try:
        return {name: await _expected(connection, KINDS[name], KINDS[name].key) for name in tables}
    finally:
        await connection.close()
