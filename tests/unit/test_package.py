"""The application package: legal by Vespa's references, complete, equal bytes for equal content.

No Vespa runs here. The rules are those of https://docs.vespa.ai/en/reference/schemas/schemas.html and
…/reference/applications/services/services.html.
"""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sd_grammar import PRIMITIVES, RESERVED_FIELDS, RESERVED_MEMBERS, Block, parse
from vespa.package import ValidationID

from ingestion import errors
from ingestion.vespa import package, versions
from ingestion.vespa.schemas import SCHEMAS, version_marker

CASED = {
    "procore_record": {"doc_id", "source", "source_table", "source_id"},
    "procore_file": {
        "doc_id", "source", "file_id", "s3_key", "checksum", "record_doc_ids", "source_table", "source_id",
    },
    "procore_schema": {"table_name", "source", "schema"},
}  # fmt: skip


@pytest.fixture(params=SCHEMAS)
def sd(request: pytest.FixtureRequest) -> Block:
    """Each schema file, parsed."""
    return parse(package.files()[f"schemas/{request.param}.sd"])


def document(sd: Block) -> Block:
    (found,) = sd.all("document")
    return found


def fields(sd: Block) -> dict[str, Block]:
    return {field.name: field for field in document(sd).all("field")}


def structs(sd: Block) -> dict[str, dict[str, str]]:
    """Struct → member → type."""
    return {s.name: {m.name: m.type for m in s.all("field")} for s in document(sd).all("struct")}


# ----------------------------------------------------------------- schema files


def test_a_schema_file_is_named_after_its_only_schema_and_document(sd: Block) -> None:
    assert sd.name == document(sd).name
    assert f"schemas/{sd.name}.sd" in package.files()


def test_no_name_is_reserved_or_given_twice(sd: Block) -> None:
    names = [field.name for field in document(sd).all("field")]
    assert len(names) == len(set(names))
    assert not RESERVED_FIELDS & set(names)
    for members in structs(sd).values():
        assert not RESERVED_MEMBERS & set(members)
        assert set(members.values()) <= PRIMITIVES
    for kind in ("rank-profile", "document-summary", "fieldset"):
        named = [block.name for block in sd.all(kind)]
        assert len(named) == len(set(named))


def test_a_struct_is_defined_before_the_field_that_uses_it(sd: Block) -> None:
    defined: set[str] = set()
    for block in document(sd).blocks:
        if block.kind == "struct":
            defined.add(block.name)
            continue
        array = re.fullmatch(r"array<(\w+)>", block.type)
        if array:
            assert array[1] in PRIMITIVES | defined
        else:
            assert block.type in PRIMITIVES | {"map<string,string>"}


def test_structs_and_maps_are_searched_by_attributes_of_their_members_only(sd: Block) -> None:
    """Sections "array<struct>" and "map": no index, no attribute on the field itself, primitive members."""
    for field in fields(sd).values():
        inner = re.sub(r"array<(.+)>", r"\1", field.type)
        members = (
            {"key": "string", "value": "string"} if field.type.startswith("map") else structs(sd).get(inner)
        )
        if members is None:
            assert field.all("struct-field") == []
            continue
        assert field.setting("indexing") == ["summary"]
        assert field.all("attribute") == field.all("match") == []
        for member in field.all("struct-field"):
            assert members[member.name] in PRIMITIVES
            assert member.setting("indexing") == ["attribute"]
            assert member.all("match") == []  # cased members find nothing or the wrong documents


def test_settings_stand_only_where_they_have_a_meaning(sd: Block) -> None:
    for block in [*fields(sd).values(), *(m for f in fields(sd).values() for m in f.all("struct-field"))]:
        indexing = block.setting("indexing")
        is_text = block.type in ("string", "array<string>")
        assert indexing
        assert block.kind == "struct-field" or "summary" in indexing
        assert not {"index", "attribute"} <= set(indexing)  # matching would become that of text
        if "index" in indexing:
            assert is_text
            assert block.setting("index") == ["enable-bm25"]
        if "attribute" not in indexing:
            assert not block.setting("attribute") + block.setting("rank") + block.setting("match")
        if block.setting("match"):
            assert is_text
        # Section "dictionary": for fast-search attributes, and its casing is that of `match`.
        assert bool(block.setting("dictionary")) == bool(block.setting("match"))
        if block.setting("dictionary"):
            assert block.setting("attribute") == ["fast-search"]
            assert block.setting("dictionary")[1:] == block.setting("match") == ["cased"]


def test_names_of_things_are_cased_and_nothing_else(sd: Block) -> None:
    assert {name for name, field in fields(sd).items() if field.setting("match")} == CASED[sd.name]


def test_the_default_fieldset_holds_texts_that_match_alike(sd: Block) -> None:
    (fieldset,) = sd.all("fieldset")
    assert fieldset.name == "default"
    assert all(
        fields(sd)[name].setting("indexing") == ["index", "summary"] for name in fieldset.setting("fields")
    )


def test_rank_profiles_inherit_and_read_what_exists(sd: Block) -> None:
    known = {"unranked"}  # in every schema, and `default` may be redefined
    for profile in sd.all("rank-profile"):
        assert not profile.inherits or profile.inherits in known
        known.add(profile.name)
        features = [line for block in profile.walk() for line in block.lines]
        assert features
        for kind, name in re.findall(r"(bm25|attribute)\((\w+)\)", " ".join(features)):
            field = fields(sd)[name]
            if kind == "bm25":
                assert field.setting("index") == ["enable-bm25"]
            else:
                assert "attribute" in field.setting("indexing")
                assert field.type in PRIMITIVES - {"string"}
    assert {"default", "bm25", "newest", f"package_v{package.PACKAGE_VERSION}"} <= known


def test_document_summaries_name_fields_and_say_when_they_read_the_disk(sd: Block) -> None:
    for summary in sd.all("document-summary"):
        on_disk = False
        for item in summary.all("summary"):
            (name,) = item.setting("source") or [item.name]
            field = fields(sd)[name]
            if "dynamic" in item.lines:
                assert item.name not in fields(sd)  # or it would change what other summaries hold
                assert field.setting("indexing") == ["index", "summary"]
            assert "summary" in field.setting("indexing")
            on_disk = on_disk or "attribute" not in field.setting("indexing")
        assert summary.lines == (["from-disk"] if on_disk else [])


def test_the_schema_file_holds_all_that_is_declared(sd: Block) -> None:
    declared = SCHEMAS[sd.name]
    assert {name: field.type for name, field in fields(sd).items()} == {
        f.name: f.type for f in declared.fields
    }
    for item in declared.fields:
        assert [m.name for m in fields(sd)[item.name].all("struct-field")] == [
            m.name for m in item.searchable
        ]
    assert structs(sd) == {s.name: {m.name: m.type for m in s.fields} for s in declared.structs}
    assert {s.name: [i.name for i in s.all("summary")] for s in sd.all("document-summary")} == {
        s.name: [*s.fields, *(teaser.name for teaser in s.teasers)] for s in declared.summaries
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dictionary {", "struct-field"),
        ("index: enable-bm25", "struct-field"),
        ("match: case", "struct-field"),
        ("} }", "struct-field"),
    ],
)
def test_the_grammar_refuses_what_the_reference_does_not_allow(line: str, said: str) -> None:
    text = package.files()["schemas/procore_record.sd"]
    with pytest.raises(AssertionError, match=said):
        parse(text.replace("struct-field key {", "struct-field key {\n" + line, 1))


# -------------------------------------------------------------------- versions


def test_every_version_says_what_it_changed_and_is_marked_in_the_package(sd: Block) -> None:
    assert [change.version for change in versions.CHANGES] == list(range(1, package.PACKAGE_VERSION + 1))
    marks = {profile.name for profile in sd.all("rank-profile")}
    assert {version_marker(change.version) for change in versions.CHANGES} <= marks


def test_a_package_that_only_adds_needs_no_validation_override() -> None:
    adds = [versions.Change(1, "first"), versions.Change(2, "a field more")]
    assert "validation-overrides.xml" not in package.files(changes=adds)


def test_the_overrides_of_our_versions_are_validations_that_vespa_has() -> None:
    known = {item.value for item in ValidationID}
    for change in versions.CHANGES:
        assert set(change.overrides) <= known
        assert set(change.feed_again) <= set(SCHEMAS)
        assert bool(change.overrides) == bool(change.feed_again)


def test_an_incompatible_version_brings_its_override_and_says_what_to_feed_again() -> None:
    """Vespa ignores an override that is over, and refuses one more than 30 days ahead."""
    breaking = versions.Change(9, "project_id is text", ("field-type-change",), ("procore_record",))
    files = package.files(changes=(*versions.CHANGES, breaking), today=date(2026, 1, 10))
    *_, allow = ElementTree.fromstring(files["validation-overrides.xml"])
    assert (allow.text, allow.get("until")) == ("field-type-change", "2026-02-07")
    assert "project_id is text" in str(allow.get("comment"))
    assert versions.feed_again(8, 9, (breaking,)) == ("procore_record",)
    assert versions.feed_again(9, 9, (breaking,)) == versions.feed_again(0, 9, (breaking,)) == ()


# ----------------------------------------------------------------- services.xml


def test_services_use_only_elements_and_attributes_of_the_reference() -> None:
    allowed = {
        "services": {"version", "minimum-required-vespa-version"},
        "container": {"id", "version"},
        "document-api": set(),
        "search": set(),
        "content": {"id", "version"},
        "min-redundancy": set(),
        "documents": set(),
        "document": {"type", "mode"},
        "nodes": set(),
        "node": {"hostalias", "distribution-key"},
    }
    for element in ElementTree.fromstring(package.services_xml().encode()).iter():
        assert set(element.attrib) <= allowed[element.tag]


def test_services_name_the_promised_clusters_and_every_document_type() -> None:
    root = ElementTree.fromstring(package.services_xml().encode())
    assert root.get("version") == "1.0"
    assert root.get("minimum-required-vespa-version") == package.required_vespa_version
    container, content = root.find("container"), root.find("content")
    assert container is not None
    assert content is not None
    assert (container.get("id"), content.get("id")) == ("default", "procore_content")
    assert {item.tag for item in container} == {"document-api", "search", "nodes"}
    assert [(item.get("type"), item.get("mode")) for item in content.iter("document")] == [
        (name, "index") for name in SCHEMAS
    ]
    assert content.findtext("min-redundancy") == "1"
    # Without hosts.xml a self-managed Vespa takes its one host for every alias.
    nodes = list(root.iter("node"))
    assert {node.get("hostalias") for node in nodes} == {"node1"}
    assert [node.get("distribution-key") for node in content.iter("node")] == ["0"]


# ------------------------------------------------------------------- the files


def test_written_folder_and_zip_hold_the_same_files(tmp_path: Path) -> None:
    package.write(tmp_path / "new" / "folder")
    with zipfile.ZipFile(io.BytesIO(package.zip_bytes())) as archive:
        for name in archive.namelist():
            assert (tmp_path / "new" / "folder" / name).read_bytes() == archive.read(name)
        assert set(archive.namelist()) == set(package.files())


def test_the_zip_is_the_same_bytes_every_time() -> None:
    day = date(2026, 1, 10)
    assert package.zip_bytes(today=day) == package.zip_bytes(today=day)


def test_a_folder_that_cannot_be_written_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.SettingsError, match="file") as caught:
        package.write(tmp_path / "file")
    assert "--output" in caught.value.hint
