"""Causes of failures and warnings: for each slug a title and what an operator can do about it.

A cause is the normal form of an error: ten thousand failed records become a handful of clusters, each with
one sentence of advice. A cause that is not listed here still shows, under its own name.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """`retryable` says whether a retry can help without a change elsewhere first."""

    title: str
    advice: str
    retryable: bool = True


CAUSES: dict[str, Cause] = {
    # records: read
    "null_key": Cause(
        "no key",
        "The row's key is NULL, so no document id can be made. Give the row a key in the source.",
        False,
    ),
    "duplicate_key": Cause(
        "key held by differing rows",
        "Several differing rows share this key. Correct the source so that one remains, then retry.",
        False,
    ),
    "unreadable_row": Cause(
        "row cannot be read", "PostgreSQL fails to give this row. Check it with psql: storage may be damaged."
    ),
    "read_error": Cause("read failed", "Reading from PostgreSQL failed. Check the server, then retry."),
    # records: transform and index
    "transform_error": Cause(
        "row cannot become a document", "The message names the column. Please report it with the row's shape."
    ),
    "vespa_refused": Cause(
        "Vespa refuses the document",
        "The message names the field. Run `procore-ingest vespa deploy` if the schema is older, then retry.",
    ),
    "vespa_413": Cause(
        "document too large", "Vespa refuses bodies this large. Leave out or mask the largest column.", False
    ),
    "vespa_500": Cause("Vespa failed on the document", "Look into Vespa's log for this id, then retry."),
    "superseded": Cause(
        "a newer reading is stored", "Nothing to do: the index holds a newer version.", False
    ),
    # warnings
    "replaced_code_points": Cause(
        "characters replaced",
        "Vespa refuses these code points; each became U+FFFD. The row is indexed.",
        False,
    ),
    "cell_cut": Cause("cell cut at 1 MiB", "The value was cut at 1 MiB. The row is indexed.", False),
    "undecodable_cell": Cause(
        "cell not in the database's encoding", "Broken bytes became U+FFFD. The row is indexed.", False
    ),
    "unreadable_cell": Cause(
        "cell cannot be read", "PostgreSQL fails to give this value. The rest of the row is indexed."
    ),
    "identical_copy": Cause(
        "identical copy",
        "An identical row with this key is indexed. Remove the copy in the source if it should not be there.",
        False,
    ),
    "row_hash_key": Cause(
        "table without a key", "Rows are told apart by their content. Name a key column in the source.", False
    ),
    # files
    "expired_url": Cause(
        "signed URL expired",
        "Sync the source again for fresh URLs, or set PROCORE_S3_BUCKET so that files come from S3.",
    ),
    "bad_signature": Cause("signature refused", "The store does not accept the URL's signature."),
    "http_403": Cause("access refused", "The store refuses access. Check the credentials or the URL's age."),
    "http_404": Cause(
        "file not found", "The store has no such file. It may have been deleted in Procore.", False
    ),
    "http_429": Cause("store asks for patience", "Retry later, with fewer file workers."),
    "http_5xx": Cause("store failed", "The store had an error. Retry later."),
    "connection": Cause("connection broken", "The connection to the store broke. Retry."),
    "timeout": Cause("timed out", "The store did not answer in time. Retry, with fewer file workers."),
    "too_large": Cause(
        "file too large", "It is over the size limit; raise PROCORE_MAX_FILE_SIZE to fetch it."
    ),
    "unsupported_format": Cause(
        "unsupported format",
        "It is indexed without content: text is taken from PDFs, facts from images.",
        False,
    ),
    "wrong_content": Cause(
        "content is not the file", "The store answered something else, such as a web page."
    ),
    "private_address": Cause(
        "private address refused",
        "The URL leads into a private network. Set PROCORE_ALLOW_PRIVATE_ADDRESSES if that is meant.",
    ),
    "bad_url": Cause("URL cannot be used", "Only http, https and S3 are fetched.", False),
    "redirects": Cause(
        "redirects without end", "The store sends us round. Open the URL in a browser and see."
    ),
    "wrong_range": Cause(
        "store answers another part", "The store sent other bytes than asked for. Retry later."
    ),
    "no_bucket": Cause(
        "no bucket",
        "The record has only a key. Set or correct PROCORE_S3_BUCKET, then retry.",
    ),
    "s3_error": Cause("S3 failed", "The message has S3's own words. Check the AWS settings, then retry."),
    "no_credentials": Cause("no S3 credentials", "Give AWS credentials in the usual places, then retry."),
    "extraction_failed": Cause(
        "content cannot be extracted", "The file was fetched, but its content is damaged or too complex."
    ),
    "unsafe_path": Cause(
        "link in the download folder", "A link leads out of the folder. Remove it, then retry."
    ),
    "busy": Cause("in another process's hands", "Another process downloads the file. Retry once it is done."),
    "disk_error": Cause("file cannot be written", "Check the rights of the download folder, then retry."),
    "disk_full": Cause("disk full", "Free space in the download folder, then retry."),
}

_UNKNOWN = "See the message; `procore-ingest failures show ID` has the row and the document."


def advice_for(cause: str) -> str:
    """What to do about a cause, one or two sentences; general for an unlisted one."""
    return CAUSES[cause].advice if cause in CAUSES else _UNKNOWN


def title_of(cause: str) -> str:
    """A short human name of a cause."""
    return CAUSES[cause].title if cause in CAUSES else cause.replace("_", " ")
