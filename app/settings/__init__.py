"""Settings from environment variables, as a frozen value."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.settings import environment
from app.settings.environment import SettingsError
from app.storage.backend import TransferLimits
from app.storage.location import Location
from app.telemetry.log import set_up_logging

__all__ = ["MEBIBYTE", "Settings", "SettingsError", "settings_or_exit"]

MEBIBYTE = 1024 * 1024


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
    model                    MODEL                    model that is loaded before the instance is
                                                      ready, and that calls need not name
    only_model               ONLY_MODEL               true refuses all others
    keep_models              KEEP_MODELS              model servers that are kept after their jobs,
                                                      beside that of MODEL
    keep_models_bytes        KEEP_MODELS_BYTES        memory of all kept servers; None: half of the
                                                      instance's
    warm_up_data_path        WARM_UP_DATA_PATH        requests that are sent to MODEL before the
                                                      instance is ready
    warm_up_count            WARM_UP_COUNT            how many times they are sent
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
    model: Location | None = None
    only_model: bool = False
    keep_models: int = 0
    keep_models_bytes: int | None = None
    warm_up_data_path: Location | None = None
    warm_up_count: int = 5
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
        environment.check_emulator(environ)
        seconds = partial(environment.seconds, environ)
        return cls(
            job_timeout_seconds=seconds("JOB_TIMEOUT_SECONDS", default.job_timeout_seconds),
            start_timeout_seconds=seconds("START_TIMEOUT_SECONDS", default.start_timeout_seconds),
            call_timeout_seconds=seconds("CALL_TIMEOUT_SECONDS", default.call_timeout_seconds),
            storage_retry_seconds=seconds("STORAGE_RETRY_SECONDS", default.storage_retry_seconds),
            storage_silence_seconds=seconds(
                "STORAGE_SILENCE_SECONDS", default.storage_silence_seconds
            ),
            upload_chunk_bytes=environment.upload_chunk_bytes(
                environ, "UPLOAD_CHUNK_BYTES", default.upload_chunk_bytes
            ),
            server_restarts=environment.count(environ, "SERVER_RESTARTS", default.server_restarts),
            max_error_fraction=environment.fraction(
                environ, "MAX_ERROR_FRACTION", default.max_error_fraction
            ),
            max_line_bytes=environment.byte_count(environ, "MAX_LINE_BYTES")
            or default.max_line_bytes,
            max_answer_bytes=environment.byte_count(environ, "MAX_ANSWER_BYTES")
            or default.max_answer_bytes,
            model_memory_bytes=environment.byte_count(environ, "MODEL_MEMORY_BYTES"),
            **environment.own_model(environ),
            keep_models=environment.count(environ, "KEEP_MODELS", default.keep_models),
            keep_models_bytes=environment.byte_count(environ, "KEEP_MODELS_BYTES"),
            warm_up_count=environment.count(environ, "WARM_UP_COUNT", default.warm_up_count),
            keep_variables=environment.flag(environ, "KEEP_VARIABLES"),
            local_roots=environment.folders(environ, "LOCAL_ROOTS"),
            allowed_uri_prefixes=environment.locations(environ, "ALLOWED_URI_PREFIXES"),
            cancel_on_hang_up=environment.flag(environ, "CANCEL_ON_HANG_UP"),
            server_environment=environment.names(environ, "SERVER_ENVIRONMENT"),
            confine_model=environment.flag(environ, "CONFINE_MODEL", default=default.confine_model),
            private_folders=environment.private_folders(environ, "PRIVATE_FOLDERS"),
            jobs_uri=environment.folder(environ, "JOBS_URI"),
            models_uri=environment.folder(environ, "MODELS_URI"),
            reports_uri=environment.folder(environ, "REPORTS_URI"),
            notify_url=environment.web_address(environ, "NOTIFY_URL"),
            max_instances=environment.count(environ, "MAX_INSTANCES", 0) or None,
            request_timeout_seconds=environment.known_seconds(environ, "REQUEST_TIMEOUT_SECONDS"),
            **environment.queue(environ),
            dispatch_deadline_seconds=environment.dispatch_deadline(
                environ, "DISPATCH_DEADLINE_SECONDS", default.dispatch_deadline_seconds
            ),
            lease_seconds=seconds("LEASE_SECONDS", default.lease_seconds),
            max_attempts=environment.count(environ, "MAX_ATTEMPTS", default.max_attempts) or 1,
            job_expiry_seconds=seconds("JOB_EXPIRY_SECONDS", default.job_expiry_seconds),
            log_level=environment.log_level(environ, "LOG_LEVEL", default.log_level),
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
