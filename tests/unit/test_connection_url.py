"""Which server a URL and the environment mean: as psql would have it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import errors
from ingestion.db_connection import ConnectionConfig
from ingestion.postgres import connection_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:6543/d", ("h", 6543, "d", "u", "p")),
        ("postgres://u@h/d", ("h", 5432, "d", "u", "")),
        ("postgresql://u:a%40b%2F%3A%25@h/d%20x", ("h", 5432, "d x", "u", "a@b/:%")),
        ("postgresql://u:p@[::1]:5433/d", ("::1", 5433, "d", "u", "p")),
        (
            "postgresql://postgres:@/postgres?host=/var/run/x",
            ("/var/run/x", 5432, "postgres", "postgres", ""),
        ),
        ("postgresql://%2Ftmp%2Fs:5433/d?user=me", ("/tmp/s", 5433, "d", "me", "")),
        ("postgresql://u@h/d?port=7000&password=x%26y", ("h", 7000, "d", "u", "x&y")),
        ("host=h dbname=d user='a b' password='it\\'s'", ("h", 5432, "d", "a b", "it's")),
        ("postgresql://u@h", ("h", 5432, "u", "u", "")),
    ],
)
def test_urls_and_pairs_are_read_as_libpq_reads_them(
    url: str, expected: tuple[str, int, str, str, str]
) -> None:
    config = ConnectionConfig.from_url(url)
    assert (config.host, config.port, config.database, config.user, config.password) == expected


def test_encryption_is_required_unless_the_url_says_otherwise() -> None:
    def of(query: str) -> tuple[bool, str | None]:
        config = ConnectionConfig.from_url(f"postgresql://u@h/d{query}")
        return config.ssl, config.sslmode

    assert of("") == (True, None)
    assert of("?sslmode=disable") == (False, "disable")
    assert of("?sslmode=verify-full&sslrootcert=/ca.pem") == (True, "verify-full")
    assert ConnectionConfig("h", 1, "d", "u", "p").ssl is True
    with pytest.raises(errors.SettingsError, match="sslmode"):
        of("?sslmode=sometimes")


def test_several_hosts_and_the_wanted_role_are_kept() -> None:
    config = ConnectionConfig.from_url("postgresql://u@a:1,b:2,[::1]:3/d?target_session_attrs=standby")
    assert config.hosts == (("a", 1), ("b", 2), ("::1", 3))
    assert (config.host, config.port, config.target_session_attrs) == ("a", 1, "standby")
    assert ConnectionConfig.from_url("postgresql://u@a,b/d?port=7").hosts == (("a", 7), ("b", 7))


@pytest.mark.parametrize(
    "url",
    [
        "", "   ", "mysql://u:geheim@h/d", "postgresql://u:geheim@h:port/d", "postgresql://u:ge/heim@h/d",
        "postgresql://u:geheim@h/d?nonsense=1", "postgresql://u:geheim%zz@h/d", "postgresql://u:geheim@h:70000/d",
        "postgresql://u:geheim@a:1,b:2,c/d?port=1,2", "postgresql://u:geheim%ff@h/d", "postgresql://u@h/d?geheim",
        "host=h 'geheim", "postgresql://u:geheim@h/d?connect_timeout=geheim",
    ],
)  # fmt: skip
def test_an_unusable_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        ConnectionConfig.from_url(url)
    assert "geheim" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert caught.value.hint


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_any_percent_encoded_login_comes_back(user: str, password: str, database: str) -> None:
    if "\x00" in user + password + database or any(
        "\ud800" <= c <= "\udfff" for c in user + password + database
    ):
        return
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h/{quote(database, safe='')}"
    config = ConnectionConfig.from_url(url)
    assert (config.user, config.password, config.database) == (user, password, database)


@given(st.text())
def test_any_text_is_a_config_or_a_settings_error(text: str) -> None:
    for url in (text, f"postgresql://{text}"):
        with suppress(errors.SettingsError):
            ConnectionConfig.from_url(url)


def test_a_password_never_shows_in_a_repr() -> None:
    config = ConnectionConfig.from_url("postgresql://u:geheim@h/d")
    assert "geheim" not in repr(config)
    assert "geheim" not in f"{config.where} {config}"
    assert config == ConnectionConfig.from_url("postgresql://u:geheim@h/d")


# -- the environment ---------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def _file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_url_beats_service_beats_variables_beats_defaults(home: dict[str, str], tmp_path: Path) -> None:
    _file(
        tmp_path / ".pg_service.conf",
        "# c\n[other]\nhost=wrong\n[site]\nhost = svc\nport=7777\nuser=svcuser\n",
    )
    env = {**home, "PGSERVICE": "site", "PGHOST": "env", "PGUSER": "envuser", "PGDATABASE": "envdb"}
    config = ConnectionConfig.from_environment("postgresql://h/", env)
    assert (config.host, config.port, config.user, config.database) == ("h", 7777, "svcuser", "envdb")
    alone = ConnectionConfig.from_environment(None, {**home, "PGHOST": "env", "PGUSER": "me"})
    assert (alone.host, alone.port, alone.user, alone.database) == ("env", 5432, "me", "me")
    named = ConnectionConfig.from_environment("postgresql:///d?service=other", {**home, "PGUSER": "x"})
    assert (named.host, named.database) == ("wrong", "d")


def test_the_system_wide_service_file_is_read_after_the_user_s(home: dict[str, str], tmp_path: Path) -> None:
    _file(tmp_path / "pg_service.conf", "[shared]\nhost=everybody\n")
    env = {**home, "PGSYSCONFDIR": str(tmp_path), "PGSERVICE": "shared", "PGUSER": "u"}
    assert ConnectionConfig.from_environment(None, env).host == "everybody"
    with pytest.raises(errors.SettingsError, match="absent"):
        ConnectionConfig.from_environment(None, {**env, "PGSERVICE": "absent"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("h:5432:d:u:right", "right"),
        ("*:*:*:*:any:thing", "any:thing"),
        ("h:*:d:u:with\\:colon\\\\", "with:colon\\"),
        ("other:5432:d:u:no\n# h:5432:d:u:no\nh:5432:*:u:second", "second"),
        ("h:5433:d:u:no", ""),
        ("h:5432:d", ""),
    ],
)
def test_the_password_file_is_matched_field_by_field(
    home: dict[str, str], tmp_path: Path, line: str, expected: str
) -> None:
    _file(tmp_path / ".pgpass", line + "\n")
    assert ConnectionConfig.from_environment("postgresql://u@h/d", home).password == expected


def test_a_password_file_that_others_may_read_is_ignored_and_can_be_named(
    home: dict[str, str], tmp_path: Path
) -> None:
    file = _file(tmp_path / "pass", "*:*:*:*:open\n", 0o644)
    env = {**home, "PGPASSFILE": str(file)}
    assert ConnectionConfig.from_environment("postgresql://u@h/d", env).password == ""
    assert connection_url.pgpass_is_exposed(env) == file
    file.chmod(0o600)
    assert ConnectionConfig.from_environment("postgresql://u@h/d", env).password == "open"
    assert connection_url.pgpass_is_exposed(env) is None


def test_a_password_in_the_url_or_environment_beats_the_file(home: dict[str, str], tmp_path: Path) -> None:
    _file(tmp_path / ".pgpass", "*:*:*:*:file\n")
    assert ConnectionConfig.from_environment("postgresql://u:url@h/d", home).password == "url"
    assert (
        ConnectionConfig.from_environment("postgresql://u@h/d", {**home, "PGPASSWORD": "env"}).password
        == "env"
    )


def test_a_socket_s_password_is_that_of_localhost(home: dict[str, str], tmp_path: Path) -> None:
    _file(tmp_path / ".pgpass", "localhost:5432:d:u:socket\n")
    assert ConnectionConfig.from_environment("postgresql://u@/d?host=/tmp/s", home).password == "socket"


def test_nothing_given_is_said(home: dict[str, str]) -> None:
    with pytest.raises(errors.SettingsError, match="no source database") as caught:
        ConnectionConfig.from_environment(None, home)
    assert "PROCORE_DATABASE_URL" in caught.value.hint
    assert not connection_url.is_configured({})
    assert os.environ.get("PGHOST") is None
