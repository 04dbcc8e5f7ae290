"""Requests to the JSON API: sent with the job's time limits, counted, and retried.

Google's own client fails on answers that make no sense, lists without retrying single pages, and
counts nothing. It is used for what is around the requests: credentials and addresses.
Source: cloud.google.com/storage/docs/json_api/v1
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from google.auth.transport.requests import AuthorizedSession

from app.storage.backend import StoredFile
from app.storage.gcs_answers import described, raise_for, stored_file
from app.storage.location import Location
from app.storage.request_counts import RequestCounts, RequestKind
from app.storage.retrying import RetryPolicy

GET = "storage.objects.get"
CREATE = "storage.objects.create"
_MOMENT_SECONDS = 10.0
# No object has such a name, and in a URL they stand for other things:
# cloud.google.com/storage/docs/objects#naming
_NO_NAMES = ("", ".", "..")

_GONE = (requests.codes.not_found, requests.codes.precondition_failed)

T = TypeVar("T")

logger = logging.getLogger(__name__)


class GcsRequests:
    """The requests of one job; `endpoint` is the address of the API."""

    def __init__(
        self,
        session: AuthorizedSession,
        endpoint: str,
        policy: RetryPolicy,
        counts: RequestCounts,
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._counts = counts
        self.policy = policy

    def send(
        self,
        kind: RequestKind,
        method: str,
        url: str,
        *,
        timeout: float | tuple[float, float] | None = None,
        **options: Any,
    ) -> requests.Response:
        """Send one request, whatever its answer's status. Redirects are no answers."""
        timeout = timeout or self.policy.timeout
        self._counts.add(kind)
        response: requests.Response = self._session.request(  # type: ignore[no-untyped-call]  # carries no types
            method, url, timeout=timeout, allow_redirects=False, **options
        )
        return response

    def for_a_moment(self) -> "GcsRequests":
        """The same with few retries, for what nobody waits long for."""
        seconds = min(self.policy.retry_seconds, _MOMENT_SECONDS)
        policy = replace(self.policy, retry_seconds=seconds)
        return GcsRequests(self._session, self._endpoint, policy, self._counts)

    def find(self, location: Location) -> StoredFile | None:
        """The object at this location, or None. Raises job errors."""
        if location.path in _NO_NAMES:
            return None

        def request() -> StoredFile | None:
            response = self.send("get", "GET", self.resource(location))
            if response.status_code == requests.codes.not_found:
                return None
            return stored_file(location, described(response))

        return self.call(location, GET, request)

    def delete(self, file: StoredFile) -> None:
        """Delete exactly this generation, if it still exists. Raises job errors."""

        def request() -> None:
            generation = str(file.generation)
            url = self.resource(file.location)
            response = self.send("delete", "DELETE", url, params={"ifGenerationMatch": generation})
            if response.status_code in _GONE:
                logger.info("%s is gone already, or has been replaced", file.uri)
                return
            raise_for(response)

        self.call(file.location, "storage.objects.delete", request)

    def call(self, location: Location, permission: str, request: Callable[[], T]) -> T:
        """Call `request` with retries. Raises job errors."""
        return self.policy.call(location, permission, request)

    def objects(self, bucket: str) -> str:
        """The URL of a bucket's objects."""
        return f"{self._endpoint}/storage/v1/b/{bucket}/o"

    def resource(self, location: Location) -> str:
        """The URL of an object's description."""
        return f"{self.objects(location.bucket)}/{quote(location.path, safe='')}"

    def media(self, location: Location) -> str:
        """The URL of an object's content."""
        name = quote(location.path, safe="")
        return f"{self._endpoint}/download/storage/v1/b/{location.bucket}/o/{name}"

    def uploads(self, bucket: str) -> str:
        """The URL that takes new objects."""
        return f"{self._endpoint}/upload/storage/v1/b/{bucket}/o"
