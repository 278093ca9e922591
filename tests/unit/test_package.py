"""The application package: complete, well formed, equal bytes for equal content."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ingestion import errors
from ingestion.vespa import package
from ingestion.vespa.schemas import SCHEMAS

# Words that the .sd grammar keeps for itself where a field or struct member is named.
_RESERVED_MEMBERS = {"key", "value"}
_BLOCK = re.compile(
    r"(schema|document|struct|struct-field|field|fieldset|rank-profile|first-phase|document-summary|summary"
    r"|attribute|match-features|expression)\b.*\{\Z"
)
_LINE = re.compile(
    r"(indexing: [a-z]+( \| [a-z]+)*|index: enable-bm25|rank: filter|fast-search|fields: \w+"
    r"|bm25\(\w+\)|attribute\(\w+\)|0|summary \w+ \{\}|\})\Z"
)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_line_of_a_schema_is_known_grammar_and_braces_balance(name: str) -> None:
    depth = 0
    for line in package.files()[f"schemas/{name}.sd"].splitlines():
        text = line.strip()
        assert _BLOCK.match(text) or _LINE.match(text), text
        depth += text.count("{") - text.count("}")
        assert depth >= 0
    assert depth == 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_declared_field_and_struct_is_in_the_schema_file(name: str) -> None:
    text = package.files()[f"schemas/{name}.sd"]
    assert text.startswith(f"schema {name} {{")
    for item in SCHEMAS[name].fields:
        assert f"field {item.name} type {item.type} {{" in text
        for member in item.searchable:
            assert f"struct-field {member.name} {{" in text
    for struct in SCHEMAS[name].structs:
        assert f"struct {struct.name} {{" in text
        assert not _RESERVED_MEMBERS & {member.name for member in struct.fields}


def test_whatever_a_profile_or_summary_names_exists() -> None:
    for schema in SCHEMAS.values():
        for profile in schema.rank_profiles:
            for name in re.findall(r"\((\w+)\)", " ".join((profile.first_phase, *profile.match_features))):
                assert schema.field(name) is not None
        for summary in schema.summaries:
            assert all(schema.field(name) for name in summary.fields)
        assert all(schema.by_name[name].index for name in schema.default_fieldset)


def test_services_name_the_promised_clusters_and_every_document_type() -> None:
    root = ElementTree.fromstring(package.services_xml().encode())
    container, content = root.find("container"), root.find("content")
    assert container is not None
    assert content is not None
    assert container.get("id") == "default"
    assert container.find("document-api") is not None
    assert container.find("search") is not None
    assert content.get("id") == "procore_content"
    assert [item.get("type") for item in content.iter("document")] == list(SCHEMAS)
    assert root.get("minimum-required-vespa-version") == package.required_vespa_version


def test_written_folder_and_zip_hold_the_same_files(tmp_path: Path) -> None:
    package.write(tmp_path / "new" / "folder")
    with zipfile.ZipFile(io.BytesIO(package.zip_bytes())) as archive:
        for name in archive.namelist():
            assert (tmp_path / "new" / "folder" / name).read_bytes() == archive.read(name)
        assert set(archive.namelist()) == set(package.files())


def test_the_zip_is_the_same_bytes_every_time() -> None:
    assert package.zip_bytes() == package.zip_bytes()


def test_a_folder_that_cannot_be_written_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.SettingsError, match="file") as caught:
        package.write(tmp_path / "file")
    assert "--output" in caught.value.hint
