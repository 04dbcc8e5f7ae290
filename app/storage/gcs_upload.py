"""New objects: in a single request while they are small, else in a resumable upload.

Source: cloud.google.com/storage/docs/json_api/v1/objects/insert,
cloud.google.com/storage/docs/performing-resumable-uploads and
cloud.google.com/storage/docs/request-preconditions.
"""

import base64
import logging
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import google_crc32c
import orjson
import requests
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.auth.transport.requests import AuthorizedSession

from app.errors import Aborted, TransferBroken
from app.storage.backend import WRITER_KEY, ContentType, StoredFile
from app.storage.gcs_answers import (
    described_object,
    error_of,
    raise_for,
    received_bytes,
)
from app.storage.location import Location
from app.storage.retrying import BadAnswer, RetryPolicy, in_words

_PERMISSION = "storage.objects.create"
_CANCEL_SECONDS = 0.7
_RESUME_INCOMPLETE = 308
# The upload session is gone, or the checksum does not match the content.
_LOST = (400, 404, 410)

logger = logging.getLogger(__name__)


class Upload:
    """The upload of one object. It replaces exactly `replacing`, or nothing."""

    def __init__(
        self,
        session: AuthorizedSession,
        endpoint: str,
        location: Location,
        *,
        content: ContentType,
        replacing: StoredFile | None,
        writer_id: str,
        chunk_bytes: int,
        policy: RetryPolicy,
        find: Callable[[Location], StoredFile | None],
    ) -> None:
        self._session = session
        self._objects = f"{endpoint}/upload/storage/v1/b/{location.bucket}/o"
        self._resource = f"{endpoint}/storage/v1/b/{location.bucket}/o/{quote(location.path, '')}"
        self._location = location
        self._content = content
        self._replacing = replacing
        self._writer_id = writer_id
        self._chunk_bytes = chunk_bytes
        self._policy = policy
        self._find = find
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._size = 0
        self._sent = 0
        self._checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types
        # The URL is a credential for the upload, so it is never logged.
        self._upload_url: str | None = None
        self._finished = False
        # Whether storage may hold bytes that it has not confirmed.
        self._is_interrupted = False

    def write(self, data: bytes) -> None:
        self._checksum.update(data)
        self._size += len(data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        # Hold back at least one byte, because the last block must not be empty.
        size = self._chunk_bytes
        if self._waiting_bytes <= size:
            return
        text = b"".join(self._waiting)
        whole = (len(text) - 1) // size * size
        if self._upload_url is None:
            self._upload_url = self._begin()
        for start in range(0, whole, size):
            self._send(text[start : start + size])
        self._waiting = [text[whole:]]
        self._waiting_bytes = len(text) - whole

    def finish(self, metadata: Mapping[str, str]) -> StoredFile:
        rest = b"".join(self._waiting)
        if self._upload_url is None:
            answer = self._send_whole(rest, metadata)
            self._check_answer(answer)
        else:
            answer = self._send(rest, last=True)
            self._check_answer(answer)
            self._finished = True
            self._describe(answer, metadata)
        self._finished = True
        return StoredFile(self._location, self._size, generation=int(answer["generation"]))

    def cancel_unless_finished(self) -> None:
        if self._finished or self._upload_url is None:
            return
        try:
            self._session.delete(self._upload_url, timeout=_CANCEL_SECONDS)
        except (requests.RequestException, auth_exceptions.GoogleAuthError) as error:
            # The job already fails for another reason. Storage drops an unfinished upload after a
            # week.
            logger.warning(
                "%s: the unfinished upload could not be cancelled: %s",
                self._location,
                in_words(error),
            )

    def _begin(self) -> str:
        def request() -> str:
            response = self._session.post(
                self._objects,
                params={"uploadType": "resumable", **self._preconditions()},
                json=self._description({}),
                headers={"X-Upload-Content-Type": self._content.type},
                timeout=self._policy.timeout,
            )
            if response.status_code == requests.codes.precondition_failed:
                raise self._conflict()
            raise_for(response)
            url = response.headers.get("Location")
            if not url:
                raise BadAnswer("storage gave no address for an upload")
            return str(url)

        return self._policy.call(self._location, _PERMISSION, request)

    def _send(self, block: bytes, *, last: bool = False) -> dict[str, Any]:
        """Send one block; return the object's description after the last one."""
        end = self._sent + len(block)
        request = self._or_conflict(partial(self._send_rest, block, end, last=last))
        answer: dict[str, Any] = {}
        while self._sent < end and not answer:
            answer = self._policy.call(self._location, _PERMISSION, request)
        return answer

    def _send_rest(self, block: bytes, end: int, *, last: bool) -> dict[str, Any]:
        """Send what storage has not persisted of the block. After an interruption, ask it first."""
        if self._is_interrupted:
            answer = self._take(self._ask_status(end if last else None), block, end, last=last)
            if answer or self._sent == end:
                return answer
        before = self._sent
        self._is_interrupted = True
        answer = self._take(self._put(block, end, last=last), block, end, last=last)
        if self._sent <= before:
            raise BadAnswer(f"storage has taken nothing after byte {before}")
        return answer

    def _put(self, block: bytes, end: int, *, last: bool) -> requests.Response:
        assert self._upload_url is not None
        headers = {"Content-Range": f"bytes {self._sent}-{end - 1}/{end if last else '*'}"}
        if last:
            headers["X-Goog-Hash"] = f"crc32c={self._crc32c()}"
        return self._session.put(
            self._upload_url,
            data=block[len(block) - (end - self._sent) :],
            headers=headers,
            allow_redirects=False,
            timeout=self._policy.timeout,
        )

    def _ask_status(self, total: int | None) -> requests.Response:
        """Ask for the persisted range. With a total, storage completes an upload that it has."""
        assert self._upload_url is not None
        return self._session.put(
            self._upload_url,
            data=b"",
            headers={"Content-Range": f"bytes */{'*' if total is None else total}"},
            allow_redirects=False,
            timeout=self._policy.timeout,
        )

    def _take(
        self, response: requests.Response, block: bytes, end: int, *, last: bool
    ) -> dict[str, Any]:
        """Update the offset from an answer; return the object's description once it exists."""
        if response.status_code == _RESUME_INCOMPLETE:
            self._sent = received_bytes(response)
            if self._sent < end - len(block):
                raise self._broken("storage has lost what it had confirmed")
            if last and self._sent == end:
                raise self._broken("storage has taken all and not ended the upload")
            self._is_interrupted = False
            return {}
        if response.status_code in _LOST:
            if last and (found := self._found_as_sent()):
                self._sent = end
                return found
            raise self._broken(in_words(error_of(response)))
        raise_for(response)
        answer = described_object(response)
        if not last:
            # The object is incomplete, so delete it.
            self._check_answer(answer)
            raise self._broken("storage ended the upload before its last block")
        self._sent = end
        self._is_interrupted = False
        return answer

    def _send_whole(self, content: bytes, metadata: Mapping[str, str]) -> dict[str, Any]:
        description = {**self._description(metadata), "crc32c": self._crc32c()}
        boundary = secrets.token_hex(16)
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode(),
                orjson.dumps(description),
                f"\r\n--{boundary}\r\nContent-Type: {self._content.type}\r\n\r\n".encode(),
                content,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )

        def request() -> dict[str, Any]:
            response = self._session.post(
                self._objects,
                params={"uploadType": "multipart", **self._preconditions()},
                data=body,
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                timeout=self._policy.timeout,
            )
            if response.status_code == requests.codes.bad_request:
                raise self._broken(in_words(error_of(response)))
            raise_for(response)
            return described_object(response)

        return self._policy.call(self._location, _PERMISSION, self._or_conflict(request))

    def _describe(self, answer: dict[str, Any], metadata: Mapping[str, str]) -> None:
        """Set the metadata that is known only after a large object is written."""

        def request() -> dict[str, Any]:
            response = self._session.patch(
                self._resource,
                params={"ifGenerationMatch": answer["generation"]},
                json={"metadata": self._metadata(metadata)},
                timeout=self._policy.timeout,
            )
            raise_for(response)
            return answer

        self._policy.call(self._location, "storage.objects.update", self._or_conflict(request))

    def _description(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        return {
            "name": self._location.path,
            "contentType": self._content.type,
            "metadata": self._metadata(metadata),
        } | ({"contentEncoding": self._content.encoding} if self._content.encoding else {})

    def _metadata(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {WRITER_KEY: self._writer_id, **metadata}

    def _preconditions(self) -> dict[str, str]:
        generation = 0 if self._replacing is None else self._replacing.generation
        return {"ifGenerationMatch": str(generation)}

    def _or_conflict(self, request: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        """On a failed precondition, check whether an earlier attempt of this writer succeeded."""

        def wrapped() -> dict[str, Any]:
            try:
                return request()
            except api_exceptions.PreconditionFailed:
                if found := self._found_as_sent():
                    return found
                raise self._conflict() from None

        return wrapped

    def _found_as_sent(self) -> dict[str, Any] | None:
        """The object, if this writer sent it completely; else None."""
        found = self._find(self._location)
        if found is None or found.metadata.get(WRITER_KEY) != self._writer_id:
            return None
        if found.crc32c != int.from_bytes(self._checksum.digest(), "big"):
            return None
        return {"crc32c": self._crc32c(), "generation": str(found.generation)}

    def _check_answer(self, answer: dict[str, Any]) -> None:
        """If the object's checksum is wrong, delete the object and raise TransferBroken."""
        if answer.get("crc32c") == self._crc32c():
            return
        self._policy.call(
            self._location,
            "storage.objects.delete",
            lambda: raise_for(
                self._session.delete(
                    self._resource,
                    params={"ifGenerationMatch": answer.get("generation", "")},
                    timeout=self._policy.timeout,
                )
            ),
        )
        raise self._broken(
            f"what arrived has the crc32c {answer.get('crc32c')}, what was sent {self._crc32c()}"
        )

    def _crc32c(self) -> str:
        return base64.b64encode(self._checksum.digest()).decode()

    def _conflict(self) -> Aborted:
        return Aborted(
            f"{self._location}: somebody else has written it while this job ran; call again to go"
            " on from there"
        )

    def _broken(self, why: str) -> TransferBroken:
        return TransferBroken(f"{self._location}: the upload broke off: {why}")
