"""The application package: rendered from `schemas`, written to a folder or zipped for a config server.

Schemas are rendered by pyvespa's package classes, as far as those can say it; `services.xml` by hand, because
pyvespa names its container cluster after the application and we promise `default`. References:
https://docs.vespa.ai/en/reference/schemas/schemas.html, …/reference/applications/services/services.html.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion import errors
from ingestion.vespa import schemas
from ingestion.vespa.schemas import (
    APPLICATION,
    CLUSTER,
    PACKAGE_VERSION,
    SCHEMAS,
    Field,
    Schema,
    Summary,
    required_vespa_version,
)
from ingestion.vespa.versions import CHANGES, Change

if TYPE_CHECKING:
    from vespa import package as pyvespa

__all__ = [
    "APPLICATION",
    "CLUSTER",
    "PACKAGE_VERSION",
    "files",
    "required_vespa_version",
    "write",
    "zip_bytes",
]

OVERRIDE_TIME = timedelta(days=28)

# Fixed, so that equal packages are equal bytes (the earliest time a zip can hold).
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_DOCUMENT = re.compile(r"^    document \w+ \{\n", re.MULTILINE)
_STRUCT = re.compile(r"^ {8}struct \w+ \{\n(?: {12}.*\n)* {8}\}\n", re.MULTILINE)
_CASED_MATCH = re.compile(r"(\n *)match \{\s*cased\s*\}")


def files(*, changes: Sequence[Change] = CHANGES, today: date | None = None) -> dict[str, str]:
    """Every file of the package: path inside it → text.

    Where a version does more than add to older ones, `validation-overrides.xml` allows the change for
    four weeks from `today` on (Vespa refuses more than 30 days).
    """
    out = {"services.xml": services_xml()}
    out.update({f"schemas/{name}.sd": schema_text(name) for name in SCHEMAS})
    if any(change.overrides for change in changes):
        out["validation-overrides.xml"] = validation_overrides(changes, today or datetime.now(UTC).date())
    return out


def validation_overrides(changes: Sequence[Change], today: date) -> str:
    """What deploying over an older version needs to be allowed, each with its reason.

    https://docs.vespa.ai/en/reference/applications/validation-overrides.html
    """
    from vespa import package as pyvespa

    until = (today + OVERRIDE_TIME).isoformat()
    application = pyvespa.ApplicationPackage(
        APPLICATION,
        validations=[
            pyvespa.Validation(id, until, comment=f"package version {change.version}: {change.what}")
            for change in changes
            for id in change.overrides
        ],
    )
    return str(application.validations_to_text).strip() + "\n"


def write(output_dir: Path | str) -> list[Path]:
    """Write the package into `output_dir` (made if missing); return the files written.

    Raises OutputError where the folder cannot be written.
    """
    root = Path(output_dir)
    written = []
    try:
        for name, text in files().items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise errors.OutputError(
            f"cannot write the application package to {root}: {error.strerror or error}",
            hint="Choose a folder that you may write with --output.",
        ) from error
    return written


def zip_bytes(*, today: date | None = None) -> bytes:
    """The package as the zip that `/application/v2/tenant/default/prepareandactivate` takes; the same for a day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files(today=today).items()):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), text.encode(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def services_xml() -> str:
    """services.xml: one container cluster (feed and search on 8080), one content cluster, one node."""
    documents = "\n".join(f'      <document type="{name}" mode="index"/>' for name in SCHEMAS)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- application {APPLICATION}, package_version {PACKAGE_VERSION} -->
<services version="1.0" minimum-required-vespa-version="{required_vespa_version}">
  <container id="default" version="1.0">
    <document-api/>
    <search/>
    <nodes>
      <node hostalias="node1"/>
    </nodes>
  </container>
  <content id="{CLUSTER}" version="1.0">
    <min-redundancy>1</min-redundancy>
    <documents>
{documents}
    </documents>
    <nodes>
      <node hostalias="node1" distribution-key="0"/>
    </nodes>
  </content>
</services>
"""


@cache
def schema_text(name: str) -> str:
    """The .sd file of one document type."""
    # pyvespa leaves runs of blank lines and trailing spaces behind.
    lines = (line.rstrip() for line in _pyvespa_schema(SCHEMAS[name]).schema_to_text.splitlines())
    text = "\n".join(line for line in lines if line) + "\n"
    # The reference wants structs before the fields that use them (…/schemas.html#struct); pyvespa puts them last.
    structs = "".join(_STRUCT.findall(text))
    text = _DOCUMENT.sub(lambda match: match[0] + structs, _STRUCT.sub("", text), count=1)
    # A dictionary must agree with the field's casing (…/schemas.html#dictionary); pyvespa has no word for it.
    # A B-tree and no hash, so that prefix searches need no full scan.
    return _CASED_MATCH.sub(r"\g<0>\g<1>dictionary {\g<1>    btree\g<1>    cased\g<1>}", text)


def _pyvespa_schema(schema: Schema) -> pyvespa.Schema:
    from vespa import package as pyvespa  # slow to import; only needed when a package is made

    return pyvespa.Schema(
        name=schema.name,
        document=pyvespa.Document(
            fields=[_pyvespa_field(item) for item in schema.fields],
            structs=[
                pyvespa.Struct(item.name, [pyvespa.Field(m.name, m.type) for m in item.fields])
                for item in schema.structs
            ],
        ),
        fieldsets=[pyvespa.FieldSet("default", list(schema.default_fieldset))],
        rank_profiles=[
            pyvespa.RankProfile(
                item.name,
                first_phase=item.first_phase,
                inherits=item.inherits or None,
                match_features=list(item.match_features) or None,
            )
            for item in schema.rank_profiles
        ],
        document_summaries=[
            pyvespa.DocumentSummary(
                item.name,
                summary_fields=[
                    *(pyvespa.Summary(n) for n in item.fields),
                    *(
                        pyvespa.Summary(t.name, fields=[("source", t.source), "dynamic"])
                        for t in item.teasers
                    ),
                ],
                # Said aloud, or every deployment warns of it (…/schemas.html#document-summary).
                from_disk=_reads_disk(schema, item) or None,
            )
            for item in schema.summaries
        ],
    )


def _reads_disk(schema: Schema, summary: Summary) -> bool:
    return bool(summary.teasers) or not all(schema.by_name[name].attribute for name in summary.fields)


def _pyvespa_field(item: Field) -> pyvespa.Field:
    from vespa import package as pyvespa

    indexing = [name for name in ("attribute", "index") if getattr(item, name)]
    options: dict[str, Any] = {}
    if item.fast_search:
        options["attribute"] = ["fast-search"]
    if item.cased:
        options["match"] = ["cased"]
    if item.index:
        options["index"] = "enable-bm25"
    if item.rank_filter:
        options["rank"] = "filter"
    if item.searchable:
        options["struct_fields"] = [_pyvespa_struct_field(member) for member in item.searchable]
    return pyvespa.Field(item.name, item.type, indexing=[*indexing, "summary"], **options)


def _pyvespa_struct_field(member: schemas.StructField) -> pyvespa.StructField:
    from vespa import package as pyvespa

    options: dict[str, Any] = {"attribute": ["fast-search"]} if member.fast_search else {}
    return pyvespa.StructField(member.name, indexing=["attribute"], **options)
