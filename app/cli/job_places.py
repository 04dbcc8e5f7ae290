"""Where the commands find jobs: in a service, or straight in the records."""

import os
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

from app.config.job_spec import parameters_of, parse_job_spec
from app.errors import InvalidArgument, JobError
from app.job.runner import JobRunner
from app.jobs.listing import wanted_jobs
from app.jobs.opening import open_jobs
from app.jobs.operations import JobOperations
from app.jobs.record import JobRecord, check_job_id, new_job_id
from app.jobs.record_json import as_json, now
from app.settings import Settings
from app.storage import Connections, parse_location

TOKEN_VARIABLE = "EMBEDDED_TF_TOKEN"  # noqa: S105  # the name of a variable
_TIMEOUT_SECONDS = (10, 60)
_PASSING_CODES = (429, 502, 503, 504)


class JobPlace(Protocol):
    """The jobs, as JSON. Methods raise JobError."""

    def submit(self, parameters: dict[str, Any], job_id: str | None) -> dict[str, Any]: ...

    def get(self, job_id: str) -> dict[str, Any]: ...

    def list(self, *, state: str, model: str, page_size: int, page_token: str) -> dict[str, Any]:
        """One page, as GET /jobs answers."""

    def cancel(self, job_id: str) -> dict[str, Any]: ...

    def delete(self, job_id: str) -> None: ...


def job_place(settings: Settings, service: str | None, jobs_uri: str | None) -> JobPlace | None:
    """The service at a URL, or the records of JOBS_URI; None if neither is known."""
    if service is not None:
        if urlsplit(service).scheme not in ("http", "https"):
            raise InvalidArgument(f"service must be http:// or https://, it is {service!r}")
        return _Service(service.rstrip("/"))
    if jobs_uri is not None:
        folder = parse_location(jobs_uri, parameter="jobs-uri").as_folder()
        settings = replace(settings, jobs_uri=folder)
    # Whoever sits at the command line may use files as the system lets them.
    settings = replace(settings, local_roots=None)
    connections = Connections(settings.project)
    jobs = open_jobs(settings, connections, JobRunner(settings, connections))
    return None if jobs is None else _Records(jobs.operations)


@dataclass(frozen=True, slots=True)
class _Records:
    operations: JobOperations

    def submit(self, parameters: dict[str, Any], job_id: str | None) -> dict[str, Any]:
        created = now()
        record = JobRecord(
            job_id=new_job_id() if job_id is None else check_job_id(job_id),
            spec=parse_job_spec(parameters, relative_paths=True),
            create_time=created,
            update_time=created,
        )
        return as_json(self.operations.submit(record, is_named=job_id is not None))

    def get(self, job_id: str) -> dict[str, Any]:
        return as_json(self.operations.get(job_id))

    def list(self, *, state: str, model: str, page_size: int, page_token: str) -> dict[str, Any]:
        page = self.operations.list(wanted_jobs(state, model), page_size, page_token)
        return {"jobs": list(map(as_json, page.records)), "next_page_token": page.next_token}

    def cancel(self, job_id: str) -> dict[str, Any]:
        return as_json(self.operations.cancel(job_id))

    def delete(self, job_id: str) -> None:
        self.operations.delete(job_id)


class ServiceAnswered(JobError):
    """What a service has answered, or that it has not."""

    def __init__(self, code: int, status: str, message: str, body: dict[str, Any] | None) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # of a class elsewhere; here of an answer
        self.status = status  # type: ignore[misc]  # ditto
        self.is_retryable = code in _PASSING_CODES  # type: ignore[misc]  # ditto
        self._body = body

    def as_json(self) -> dict[str, Any]:
        return super().as_json() if self._body is None else self._body


@dataclass(frozen=True, slots=True)
class _Service:
    url: str

    def submit(self, parameters: dict[str, Any], job_id: str | None) -> dict[str, Any]:
        # Paths are relative to the caller, not to the service.
        absolute = parameters_of(parse_job_spec(parameters, relative_paths=True))
        body = {**absolute, "job_id": job_id or new_job_id()}
        try:
            return self._call("POST", "/jobs", json=body)
        except ServiceAnswered as error:
            error.message += f" (the job is {body['job_id']}: submitting it again is safe)"
            raise

    def get(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/jobs/{check_job_id(job_id)}")

    def list(self, *, state: str, model: str, page_size: int, page_token: str) -> dict[str, Any]:
        asked = {
            "state": state,
            "model": model,
            "page_size": str(page_size or ""),
            "page_token": page_token,
        }
        return self._call("GET", "/jobs", params={k: v for k, v in asked.items() if v})

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._call("POST", f"/jobs/{check_job_id(job_id)}:cancel")

    def delete(self, job_id: str) -> None:
        self._call("DELETE", f"/jobs/{check_job_id(job_id)}")

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        token = os.environ.get(TOKEN_VARIABLE)
        headers = {"Authorization": f"Bearer {token.strip()}"} if token else {}
        try:
            answer = requests.request(
                method, self.url + path, headers=headers, timeout=_TIMEOUT_SECONDS, **request
            )
        except requests.RequestException as error:
            words = f"{self.url} does not answer: {type(error).__name__}"
            raise ServiceAnswered(503, "UNAVAILABLE", words, None) from None
        try:
            body = answer.json()
        except requests.JSONDecodeError:
            body = None
        if answer.ok and isinstance(body, dict):
            return body
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            error_body = body["error"]
            message, status = error_body.get("message", ""), error_body.get("status", "UNKNOWN")
            raise ServiceAnswered(answer.status_code, status, message, body)
        words = f"{self.url} answers {answer.status_code} and no JSON of this service"
        raise ServiceAnswered(answer.status_code, "UNKNOWN", words, None)
