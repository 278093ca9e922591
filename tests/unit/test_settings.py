"""Settings: precedence, errors that name the place, secrets that never show."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from ingestion import errors, settings


def test_every_declared_setting_is_a_member_with_the_same_default() -> None:
    declared = {f.name: f.default for f in settings.FIELDS}
    members = {f.name: f.default for f in fields(settings.Settings)}
    assert declared == members


def test_flags_beat_environment_beats_dotenv_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PROCORE_BATCH_SIZE=30\nPROCORE_WORKERS=3\n")
    config = tmp_path / "c.toml"
    config.write_text("batch_size = 40\nworkers = 4\nfile_workers = 9\n")
    loaded = settings.load(
        {"namespace": "flagged", "batch_size": None},
        environment={"PROCORE_BATCH_SIZE": "20", "PROCORE_NAMESPACE": "env"},
        config_file=str(config),
        folder=tmp_path,
    )
    assert (loaded.namespace, loaded.batch_size, loaded.workers, loaded.file_workers) == ("flagged", 20, 3, 9)
    assert loaded.max_in_flight == 64


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        ({}, {"PROCORE_BATCH_SIZE": "many"}, "PROCORE_BATCH_SIZE"),
        ({"batch_size": 0}, {}, "batch_size"),
        ({"namespace": "a:b"}, {}, "namespace"),
        ({"log_format": "xml"}, {}, "log format"),
        ({"delete_share": 3}, {}, "--delete-share"),
        ({"url_rewrites": "nothing"}, {}, "--url-rewrites"),
    ],
)
def test_a_wrong_value_names_its_setting(
    flags: dict[str, object], environment: dict[str, str], named: str, tmp_path: Path
) -> None:
    with pytest.raises(errors.SettingsError, match=named) as caught:
        settings.load(flags, environment=environment, folder=tmp_path)
    assert caught.value.hint


def test_an_unknown_key_of_the_settings_file_names_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("vespaurl = 'x'\n")
    with pytest.raises(errors.SettingsError, match="vespaurl") as caught:
        settings.load(environment={}, config_file=str(config), folder=tmp_path)
    assert "vespa_url" in caught.value.hint


def test_the_text_of_settings_holds_no_secret() -> None:
    made = settings.Settings(database_url="postgresql://u:hunter2@h/d", vespa_token="tok-secret")
    assert "hunter2" not in repr(made)
    assert "tok-secret" not in repr(made)


def test_settings_survive_the_way_to_another_process() -> None:
    made = settings.Settings(mask=("a.b",), url_rewrites=(("https://a", "http://b"),), workers=5)
    assert settings.Settings.from_dict(made.to_dict()) == made
