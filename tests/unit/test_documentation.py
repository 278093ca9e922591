"""What exists is documented: a command, a setting or an exit code that the README lacks fails here."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import completion
from app.exit_codes import ExitCode
from app.parser import build_parser
from ingestion.settings import FIELDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _words() -> dict[tuple[str, ...], list[str]]:
    def refuse(message: str, hint: str) -> None:
        raise ValueError(message, hint)

    return completion._words(build_parser(refuse))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"| `{name}` |" in README


@pytest.mark.parametrize("spec", FIELDS, ids=lambda spec: spec.name)
def test_the_readme_names_each_settings_variables_and_meaning(spec: object) -> None:
    line = next(line for line in README.splitlines() if line.startswith(f"| `{spec.name}` |"))  # type: ignore[attr-defined]
    for variable in spec.env:  # type: ignore[attr-defined]
        assert f"`{variable}`" in line
    assert spec.help in line  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: code.name)
def test_every_exit_code_is_in_the_readme(code: ExitCode) -> None:
    assert f"| {int(code)} |" in README


def test_every_setting_but_secret_ones_has_a_flag() -> None:
    flags = {flag for names in _words().values() for flag in names}
    missing = [f.name for f in FIELDS if f"--{f.name.replace('_', '-')}" not in flags]
    assert missing == ["vespa_token"]


def test_no_flag_takes_a_token_that_other_users_could_see_in_the_process_list() -> None:
    flags = {flag for names in _words().values() for flag in names}
    assert not [flag for flag in flags if "token" in flag or "password" in flag]


def test_every_picture_of_the_readme_exists() -> None:
    import re

    for path in re.findall(r"\]\((screenshots/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_the_readme_shows_both_lines() -> None:
    assert "procore-ingest demo" in README
    assert "-m pytest" in README


def test_every_module_of_the_core_is_on_its_map() -> None:
    text = (ROOT / "ingestion" / "README.md").read_text(encoding="utf-8")
    core = ROOT / "ingestion"
    modules = {
        path.relative_to(core).with_suffix("").as_posix()
        for path in core.rglob("*.py")
        if path.stem != "__init__" and path.relative_to(core).parts[0] != "sandbox"
    }
    mapped = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert modules == mapped
