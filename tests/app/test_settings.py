from pathlib import Path

import pytest

from app.settings import Settings, SettingsError


def test_nothing_set_means_the_defaults() -> None:
    assert Settings.from_environ({"MAX_LINE_BYTES": ""}) == Settings()


def test_every_variable_is_read() -> None:
    assert Settings.from_environ(
        {
            "JOB_TIMEOUT_SECONDS": "60",
            "START_TIMEOUT_SECONDS": "7.5",
            "CALL_TIMEOUT_SECONDS": "9",
            "MAX_LINE_BYTES": "1000",
            "KEEP_VARIABLES": "true",
            "LOCAL_ROOTS": "/a:/b",
            "CONFINE_MODEL": "false",
            "PRIVATE_FOLDERS": "/c:/d",
            "LOG_LEVEL": "debug",
            "GOOGLE_CLOUD_PROJECT": "p",
        }
    ) == Settings(
        job_timeout_seconds=60,
        start_timeout_seconds=7.5,
        call_timeout_seconds=9,
        max_line_bytes=1000,
        keep_variables=True,
        local_roots=(Path("/a"), Path("/b")),
        confine_model=False,
        private_folders=(Path("/c"), Path("/d")),
        log_level="DEBUG",
        project="p",
    )


def test_relative_prefix_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"ALLOWED_URI_PREFIXES.*absolute path.*b/x"):
        Settings.from_environ({"ALLOWED_URI_PREFIXES": "gs://bkt/a/,b/x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOB_TIMEOUT_SECONDS", "soon"),
        ("START_TIMEOUT_SECONDS", "0"),
        ("CALL_TIMEOUT_SECONDS", "inf"),
        ("MAX_LINE_BYTES", "1e6"),
        ("LOCAL_ROOTS", "relative/folder"),
        ("KEEP_VARIABLES", "yes"),
        ("CONFINE_MODEL", "no"),
        ("PRIVATE_FOLDERS", "tmp"),
        ("PRIVATE_FOLDERS", "/"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_unusable_value_names_variable_and_value(name: str, value: str) -> None:
    """A value that cannot be used is an error with name and value."""
    with pytest.raises(SettingsError, match=f"{name} must .*{value}"):
        Settings.from_environ({name: value})
