"""The environment, read once into a frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024


class SettingsError(Exception):
    """A variable of the environment holds what cannot be used; the message names both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one instance is allowed and told to do. Durations are seconds, sizes bytes.

    job_timeout_seconds      JOB_TIMEOUT_SECONDS      for a whole job that does not say otherwise
    start_timeout_seconds    START_TIMEOUT_SECONDS    for the model server to become ready
    call_timeout_seconds     CALL_TIMEOUT_SECONDS     for the model to answer one batch
    max_line_bytes           MAX_LINE_BYTES           longest line that is taken
    keep_variables           KEEP_VARIABLES           true for models that read their variables/
                                                      again after they are loaded
    local_roots              LOCAL_ROOTS              folders (separated by :) whose files may be
                                                      used over HTTP; None: any file
    log_level                LOG_LEVEL                DEBUG, INFO, WARNING or ERROR
    project                  GOOGLE_CLOUD_PROJECT     lets log records join the request's trace
    """

    job_timeout_seconds: float = 3600.0
    start_timeout_seconds: float = 300.0
    call_timeout_seconds: float = 600.0
    max_line_bytes: int = 16 * MEBIBYTE
    keep_variables: bool = False
    local_roots: tuple[Path, ...] | None = ()
    log_level: str = "INFO"
    project: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError. An unset or empty variable means its default."""
        default = cls()
        return cls(
            job_timeout_seconds=_seconds(
                environ, "JOB_TIMEOUT_SECONDS", default.job_timeout_seconds
            ),
            start_timeout_seconds=_seconds(
                environ, "START_TIMEOUT_SECONDS", default.start_timeout_seconds
            ),
            call_timeout_seconds=_seconds(
                environ, "CALL_TIMEOUT_SECONDS", default.call_timeout_seconds
            ),
            max_line_bytes=_bytes(environ, "MAX_LINE_BYTES", default.max_line_bytes),
            keep_variables=_flag(environ, "KEEP_VARIABLES"),
            local_roots=_folders(environ, "LOCAL_ROOTS"),
            log_level=_log_level(environ, "LOG_LEVEL", default.log_level),
            project=environ.get("GOOGLE_CLOUD_PROJECT") or None,
        )


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"{name} must be a number of seconds above 0, it is {text!r}")
    return seconds


def _bytes(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SettingsError(f"{name} must be a whole number of bytes above 0, it is {text!r}")
    return int(text)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "false"
    if text not in ("true", "false"):
        raise SettingsError(f"{name} must be true or false, it is {text!r}")
    return text == "true"


def _folders(environ: Mapping[str, str], name: str) -> tuple[Path, ...]:
    roots = tuple(Path(text) for text in environ.get(name, "").split(":") if text)
    for root in roots:
        if not root.is_absolute():
            raise SettingsError(f"{name} must hold absolute paths, it holds {str(root)!r}")
    return roots


def _log_level(environ: Mapping[str, str], name: str, default: str) -> str:
    level = (environ.get(name) or default).upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"{name} must be DEBUG, INFO, WARNING or ERROR, it is {level!r}")
    return level
