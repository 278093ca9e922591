"""Saved connections: references only, whatever was typed, and a file that nobody else may read."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import connection_book
from app.connection_book import ConnectionBook, SavedConnection
from ingestion import errors

PASSWORDS = st.text(min_size=6, max_size=24).filter(lambda text: text.isprintable() and "\x00" not in text)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("postgresql://u:hunter2@h:5432/db?sslmode=require", "postgresql://u@h:5432/db?sslmode=require"),
        ("postgresql://u@h/db?password=hunter2&sslmode=require", "postgresql://u@h/db?sslmode=require"),
        ("postgresql://u@h/db?p%61ssword=hunter2", "postgresql://u@h/db"),
        ("host=h user=u password='hunter2 x' dbname=db", "host=h user=u dbname=db"),
        ("service=prod", "service=prod"),
        ("$PROD_URL", "$PROD_URL"),
    ],
)
def test_only_references_are_kept(typed: str, kept: str) -> None:
    assert connection_book.without_secret(typed) == kept
    assert connection_book.holds_secret(typed) == (typed != kept)


@given(PASSWORDS, st.sampled_from(["url", "query", "pairs", "vespa"]))
def test_no_password_reaches_the_file_or_a_line_of_the_screen(password: str, place: str) -> None:
    secret = f"Zq{password}Zq"
    coded = quote(secret, safe="")
    pairs = secret.replace("\\", "\\\\").replace("'", "\\'")
    source = {
        "url": f"postgresql://u:{coded}@h/db",
        "query": f"postgresql://h/db?password={coded}",
        "pairs": f"host=h password='{pairs}'",
        "vespa": "service=prod",
    }[place]
    vespa = f"https://user:{coded}@vespa.example/?token={coded}" if place == "vespa" else ""
    book = ConnectionBook()
    kept = book.save(SavedConnection("one", source, vespa))
    written = connection_book._toml(book.entries()) + connection_book.shown(kept.source)
    for form in (secret, coded, pairs):
        assert form not in written


def test_the_file_is_the_owners_alone_and_read_again_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "config" / "connections.toml"
    book = ConnectionBook(path)
    book.save(SavedConnection('odd "name" \\ é', "service=prod", "https://vespa.example", "eu"))
    book.save(SavedConnection("two", "$PROD_URL"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ConnectionBook(path).entries() == book.entries()


def test_an_edited_entry_keeps_its_place_and_a_name_belongs_to_one(tmp_path: Path) -> None:
    book = ConnectionBook(tmp_path / "connections.toml")
    for name in ("a", "b"):
        book.save(SavedConnection(name, "service=prod"))
    book.save(SavedConnection("c", "service=other"), instead_of="a")
    assert [entry.name for entry in book.entries()] == ["c", "b"]
    with pytest.raises(errors.SettingsError, match="already"):
        book.save(SavedConnection("b", "service=x"), instead_of="c")
    book.delete("c")
    assert [entry.name for entry in ConnectionBook(book.path).entries()] == ["b"]


def test_a_file_that_cannot_be_read_is_told_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "connections.toml"
    path.write_text("version = 99\n")
    book = ConnectionBook(path)
    assert "version" in book.problem
    with pytest.raises(errors.OutputError):
        book.save(SavedConnection("a", "service=prod"))
    assert path.read_text() == "version = 99\n"


def test_a_variable_is_looked_up_when_it_is_used_and_named_when_it_is_missing() -> None:
    found = connection_book.resolve(
        "$PROD", "${VESPA}", "", {"PROD": "postgresql://u:p@h/db", "VESPA": "http://v"}
    )
    assert found == connection_book.Addresses("postgresql://u:p@h/db", "http://v", "procore")
    with pytest.raises(errors.SettingsError, match="PROD is not set"):
        connection_book.resolve("$PROD", "", "", {})


@pytest.mark.parametrize("typed", ["", "mysql://h/db", "postgresql://u:a/b@h/db", "what is this"])
def test_an_address_that_cannot_be_used_is_refused_without_being_repeated(typed: str) -> None:
    said = connection_book.complaint(typed)
    assert said
    assert not typed or typed not in said
