"""Settings from environment variables, as a frozen value."""

import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.errors import InvalidArgument
from app.storage.backend import UPLOAD_UNIT_BYTES, TransferLimits
from app.storage.emulator import emulator_url
from app.storage.location import Location, parse_location
from app.telemetry.log import set_up_logging

_QUEUE = re.compile("projects/[^/]+/locations/[^/]+/queues/[^/]+")
MEBIBYTE = 1024 * 1024


class SettingsError(Exception):
    """An environment variable has an invalid value. The message names both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one instance. Durations are in seconds, sizes in bytes.

    job_timeout_seconds      JOB_TIMEOUT_SECONDS      for a whole job that does not say otherwise
    start_timeout_seconds    START_TIMEOUT_SECONDS    for the model server to become ready
    call_timeout_seconds     CALL_TIMEOUT_SECONDS     for the model to answer one batch
    storage_retry_seconds    STORAGE_RETRY_SECONDS    how long storage is asked again while
                                                      nothing moves
    storage_silence_seconds  STORAGE_SILENCE_SECONDS  how long storage may pause in an answer
    upload_chunk_bytes       UPLOAD_CHUNK_BYTES       size of one request of an upload, a multiple
                                                      of 262144
    server_restarts          SERVER_RESTARTS          fresh model servers in place of dead ones,
                                                      in one job
    max_error_fraction       MAX_ERROR_FRACTION       of a file's rows that may be bad where bad
                                                      rows are skipped; 1.0: all of them
    max_line_bytes           MAX_LINE_BYTES           longest line that is taken
    max_answer_bytes         MAX_ANSWER_BYTES         largest answer to one call of the model
    model_memory_bytes       MODEL_MEMORY_BYTES       largest model that is taken; None: what
                                                      memory is left for
    keep_variables           KEEP_VARIABLES           true for models that read their variables/
                                                      again after they are loaded
    local_roots              LOCAL_ROOTS              folders (separated by :) whose files may be
                                                      used over HTTP; None: any file
    allowed_uri_prefixes     ALLOWED_URI_PREFIXES     folders (separated by ,) below which model,
                                                      input and output are; None: any
    cancel_on_hang_up        CANCEL_ON_HANG_UP        true ends a job whose client disconnects
    server_environment       SERVER_ENVIRONMENT       names (separated by ,) of more variables that
                                                      the model server is given
    confine_model            CONFINE_MODEL            false lets the model server write where this
                                                      service may, and use the network
    private_folders          PRIVATE_FOLDERS          folders (separated by :) that belong to this
                                                      instance alone: what is new in them after a
                                                      job is removed
    jobs_uri                 JOBS_URI                 folder of the records of jobs; None: jobs that
                                                      last are refused
    models_uri               MODELS_URI               folder of the models that Vertex AI's names
                                                      stand for; None: such names are refused
    reports_uri              REPORTS_URI              folder of the reports of runs; None: runs are
                                                      refused
    notify_url               NOTIFY_URL               webhook that is told how a run has ended
    max_instances            MAX_INSTANCES            the most instances of this service; None: not
                                                      known
    request_timeout_seconds  REQUEST_TIMEOUT_SECONDS  how long the platform lets a request of this
                                                      service take; None: not known
    queue                    QUEUE                    projects/P/locations/L/queues/Q of Cloud
                                                      Tasks; None: instances look for jobs
    service_url              SERVICE_URL              where the queue calls this service
    service_account          SERVICE_ACCOUNT          as which the queue calls this service
    dispatch_deadline_seconds DISPATCH_DEADLINE_SECONDS how long a delivery of the queue may take,
                                                      15 to 1800
    lease_seconds            LEASE_SECONDS            how long a job is kept for an instance that
                                                      is silent
    max_attempts             MAX_ATTEMPTS             runs of a job that fail for passing reasons
    job_expiry_seconds       JOB_EXPIRY_SECONDS       how long a job may wait for its first run
    log_level                LOG_LEVEL                DEBUG, INFO, WARNING or ERROR
    project                  GOOGLE_CLOUD_PROJECT     lets log records join the request's trace
    """

    job_timeout_seconds: float = 3600.0
    start_timeout_seconds: float = 300.0
    call_timeout_seconds: float = 600.0
    storage_retry_seconds: float = 120.0
    storage_silence_seconds: float = 30.0
    upload_chunk_bytes: int = 4 * MEBIBYTE
    server_restarts: int = 2
    max_error_fraction: float = 1.0
    max_line_bytes: int = 16 * MEBIBYTE
    max_answer_bytes: int = 16 * MEBIBYTE
    model_memory_bytes: int | None = None
    keep_variables: bool = False
    local_roots: tuple[Path, ...] | None = ()
    allowed_uri_prefixes: tuple[Location, ...] | None = None
    cancel_on_hang_up: bool = False
    server_environment: tuple[str, ...] = ()
    confine_model: bool = True
    private_folders: tuple[Path, ...] = ()
    jobs_uri: Location | None = None
    models_uri: Location | None = None
    reports_uri: Location | None = None
    notify_url: str | None = None
    max_instances: int | None = None
    request_timeout_seconds: float | None = None
    queue: str | None = None
    service_url: str | None = None
    service_account: str | None = None
    dispatch_deadline_seconds: float = 1800.0
    lease_seconds: float = 60.0
    max_attempts: int = 5
    job_expiry_seconds: float = 7 * 86400.0
    log_level: str = "INFO"
    project: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings; an unset or empty variable has its default. Raises SettingsError."""
        default = cls()
        _check_emulator(environ)
        seconds = partial(_seconds, environ)
        return cls(
            job_timeout_seconds=seconds("JOB_TIMEOUT_SECONDS", default.job_timeout_seconds),
            start_timeout_seconds=seconds("START_TIMEOUT_SECONDS", default.start_timeout_seconds),
            call_timeout_seconds=seconds("CALL_TIMEOUT_SECONDS", default.call_timeout_seconds),
            storage_retry_seconds=seconds("STORAGE_RETRY_SECONDS", default.storage_retry_seconds),
            storage_silence_seconds=seconds(
                "STORAGE_SILENCE_SECONDS", default.storage_silence_seconds
            ),
            upload_chunk_bytes=_upload_chunk_bytes(
                environ, "UPLOAD_CHUNK_BYTES", default.upload_chunk_bytes
            ),
            server_restarts=_count(environ, "SERVER_RESTARTS", default.server_restarts),
            max_error_fraction=_fraction(environ, "MAX_ERROR_FRACTION", default.max_error_fraction),
            max_line_bytes=_bytes(environ, "MAX_LINE_BYTES") or default.max_line_bytes,
            max_answer_bytes=_bytes(environ, "MAX_ANSWER_BYTES") or default.max_answer_bytes,
            model_memory_bytes=_bytes(environ, "MODEL_MEMORY_BYTES"),
            keep_variables=_flag(environ, "KEEP_VARIABLES"),
            local_roots=_folders(environ, "LOCAL_ROOTS"),
            allowed_uri_prefixes=_locations(environ, "ALLOWED_URI_PREFIXES"),
            cancel_on_hang_up=_flag(environ, "CANCEL_ON_HANG_UP"),
            server_environment=_names(environ, "SERVER_ENVIRONMENT"),
            confine_model=_flag(environ, "CONFINE_MODEL", default=default.confine_model),
            private_folders=_private_folders(environ, "PRIVATE_FOLDERS"),
            jobs_uri=_folder(environ, "JOBS_URI"),
            models_uri=_folder(environ, "MODELS_URI"),
            reports_uri=_folder(environ, "REPORTS_URI"),
            notify_url=_web_address(environ, "NOTIFY_URL"),
            max_instances=_count(environ, "MAX_INSTANCES", 0) or None,
            request_timeout_seconds=_known_seconds(environ, "REQUEST_TIMEOUT_SECONDS"),
            **_queue(environ),
            dispatch_deadline_seconds=_dispatch_deadline(
                environ, "DISPATCH_DEADLINE_SECONDS", default.dispatch_deadline_seconds
            ),
            lease_seconds=seconds("LEASE_SECONDS", default.lease_seconds),
            max_attempts=_count(environ, "MAX_ATTEMPTS", default.max_attempts) or 1,
            job_expiry_seconds=seconds("JOB_EXPIRY_SECONDS", default.job_expiry_seconds),
            log_level=_log_level(environ, "LOG_LEVEL", default.log_level),
            project=environ.get("GOOGLE_CLOUD_PROJECT") or None,
        )

    def own_folders(self) -> tuple[Location, ...]:
        """Where the service keeps files that no job may use."""
        return tuple(one for one in (self.jobs_uri, self.reports_uri) if one is not None)

    def transfer_limits(self) -> TransferLimits:
        """The limits of requests to storage."""
        return TransferLimits(
            retry_seconds=self.storage_retry_seconds,
            silence_seconds=self.storage_silence_seconds,
            upload_chunk_bytes=self.upload_chunk_bytes,
        )


def settings_or_exit(environ: Mapping[str, str]) -> Settings:
    """Read the settings of a service. If they are invalid, log one record and exit with 2."""
    try:
        return Settings.from_environ(environ)
    except SettingsError as error:
        set_up_logging("INFO")
        logging.getLogger(__name__).critical("%s", error)
        sys.exit(2)


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"{name} must be a number of seconds above 0, it is {text!r}")
    return seconds


def _known_seconds(environ: Mapping[str, str], name: str) -> float | None:
    return _seconds(environ, name, 1.0) if environ.get(name) else None


def _web_address(environ: Mapping[str, str], name: str) -> str | None:
    """A webhook's address is a secret, so that no message has it."""
    url = environ.get(name)
    if not url:
        return None
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError(f"{name} must be the address of a webhook, https://...")
    return url


def _bytes(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SettingsError(f"{name} must be a whole number of bytes above 0, it is {text!r}")
    return int(text)


def _upload_chunk_bytes(environ: Mapping[str, str], name: str, default: int) -> int:
    size = _bytes(environ, name) or default
    if size % UPLOAD_UNIT_BYTES:
        raise SettingsError(f"{name} must be a multiple of {UPLOAD_UNIT_BYTES}, it is {size}")
    return size


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise SettingsError(f"{name} must be a whole number, it is {text!r}")
    return int(text)


def _fraction(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction <= 1:
        raise SettingsError(f"{name} must be a number from 0 to 1, it is {text!r}")
    return fraction


def _check_emulator(environ: Mapping[str, str]) -> None:
    try:
        emulator_url(environ)
    except InvalidArgument as error:
        raise SettingsError(error.message) from None


def _locations(environ: Mapping[str, str], name: str) -> tuple[Location, ...] | None:
    texts = _names(environ, name)
    try:
        return tuple(parse_location(text, parameter=name, relative=False) for text in texts) or None
    except InvalidArgument as error:
        raise SettingsError(error.message) from None


def _folder(environ: Mapping[str, str], name: str) -> Location | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        return parse_location(text, parameter=name, relative=False).as_folder()
    except InvalidArgument as error:
        raise SettingsError(error.message) from None


def _queue(environ: Mapping[str, str]) -> dict[str, Any]:
    """QUEUE, and what it needs beside it."""
    queue = environ.get("QUEUE") or None
    url = environ.get("SERVICE_URL") or None
    account = environ.get("SERVICE_ACCOUNT") or None
    if queue is not None:
        if not _QUEUE.fullmatch(queue):
            raise SettingsError(f"QUEUE must be projects/P/locations/L/queues/Q, it is {queue!r}")
        if url is None or urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError(
                f"SERVICE_URL must be where QUEUE calls this service, https://..., it is {url!r}"
            )
        if not environ.get("JOBS_URI"):
            raise SettingsError("JOBS_URI must be set where QUEUE is: the queue calls any instance")
    return {
        "queue": queue,
        "service_url": None if url is None else url.rstrip("/"),
        "service_account": account,
    }


def _dispatch_deadline(environ: Mapping[str, str], name: str, default: float) -> float:
    """Source: cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks"""
    seconds = _seconds(environ, name, default)
    if not 15 <= seconds <= 1800:
        raise SettingsError(f"{name} must be 15 to 1800 seconds, it is {seconds:g}")
    return seconds


def _names(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(text.strip() for text in environ.get(name, "").split(",") if text.strip())


def _flag(environ: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    text = environ.get(name)
    if not text:
        return default
    if text not in ("true", "false"):
        raise SettingsError(f"{name} must be true or false, it is {text!r}")
    return text == "true"


def _folders(environ: Mapping[str, str], name: str) -> tuple[Path, ...]:
    roots = tuple(Path(text) for text in environ.get(name, "").split(":") if text)
    for root in roots:
        if not root.is_absolute():
            raise SettingsError(f"{name} must hold absolute paths, it holds {str(root)!r}")
    return roots


def _private_folders(environ: Mapping[str, str], name: str) -> tuple[Path, ...]:
    folders = _folders(environ, name)
    for folder in folders:
        if folder.resolve() == Path(folder.anchor):
            raise SettingsError(
                f"{name} must hold folders that belong to this instance alone, it holds"
                f" {str(folder)!r}"
            )
    return folders


def _log_level(environ: Mapping[str, str], name: str, default: str) -> str:
    level = (environ.get(name) or default).upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"{name} must be DEBUG, INFO, WARNING or ERROR, it is {level!r}")
    return level
