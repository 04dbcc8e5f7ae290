"""New objects: in a single request while they are small, else in a resumable upload.

An object appears with its checksum verified by storage, and with the metadata that tells whose it
is. Only what is known after a large object's last byte is added later.

Source: cloud.google.com/storage/docs/json_api/v1/objects/insert,
cloud.google.com/storage/docs/performing-resumable-uploads,
cloud.google.com/storage/docs/hashes-etags and
cloud.google.com/storage/docs/request-preconditions.
"""

import base64
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import google_crc32c
import orjson
import requests
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions

from app.errors import Aborted, JobError, StorageFailed, TransferBroken
from app.storage.backend import WRITER_KEY, ContentType, StoredFile
from app.storage.gcs_answers import described, error_of, raise_for, received_bytes, stored_file
from app.storage.gcs_requests import GcsRequests
from app.storage.location import Location
from app.storage.retrying import BadAnswer, in_words

_PERMISSION = "storage.objects.create"
_CANCEL_SECONDS = 0.7
_CANCEL_ATTEMPTS = 2
# The object is complete without what is added to it, so nobody waits long for that.
_DESCRIBE_SECONDS = 10.0
# How often content is sent whose copy arrived damaged, or that storage refuses as damaged.
_ATTEMPTS = 3
_RESUME_INCOMPLETE = 308
# The upload session is gone, or the checksum does not match the content.
_LOST = (400, 404, 410)

Block = bytes | memoryview
# The object that a request has written, or None while there is none.
Written = TypeVar("Written", StoredFile, StoredFile | None)

logger = logging.getLogger(__name__)


class Upload:
    """The upload of one object. It replaces exactly `replacing`, or nothing.

    `metadata` is there from the object's first moment on.
    """

    def __init__(
        self,
        requests_: GcsRequests,
        location: Location,
        *,
        content: ContentType,
        replacing: StoredFile | None,
        writer_id: str,
        metadata: Mapping[str, str],
        chunk_bytes: int,
        find: Callable[[Location], StoredFile | None],
    ) -> None:
        self._requests = requests_
        self._location = location
        self._content = content
        self._replacing = replacing
        self._writer_id = writer_id
        self._metadata = {WRITER_KEY: writer_id, **metadata}
        self._chunk_bytes = chunk_bytes
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
        self._damaged_copies = 0

    def write(self, data: bytes) -> None:
        self._checksum.update(data)
        self._size += len(data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        # Hold back at least one byte, because the last block must not be empty.
        size = self._chunk_bytes
        if self._waiting_bytes <= size:
            return
        text = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        whole = (len(text) - 1) // size * size
        if self._upload_url is None:
            self._upload_url = self._begin()
        for start in range(0, whole, size):
            self._send(text[start : start + size])
        self._waiting.append(bytes(text[whole:]))
        self._waiting_bytes = len(text) - whole

    def finish(self, metadata: Mapping[str, str]) -> StoredFile:
        self._metadata |= metadata
        rest = b"".join(self._waiting)
        if self._upload_url is None:
            file = self._send_whole(rest)
            self._finished = True
            return file
        answer = self._send(rest, last=True)
        assert answer is not None
        self._finished = True
        if answer.crc32c != self._crc32c():
            raise self._broken(self._damage(answer))
        if metadata:
            self._describe(answer)
        return answer

    def cancel_unless_finished(self) -> None:
        if self._finished or self._upload_url is None:
            return
        for _ in range(_CANCEL_ATTEMPTS):
            try:
                self._requests.send(
                    "cancel_upload", "DELETE", self._upload_url, timeout=_CANCEL_SECONDS
                )
            except (requests.RequestException, auth_exceptions.GoogleAuthError) as error:
                # The job already fails for another reason. Storage drops an unfinished upload after
                # a week.
                logger.warning(
                    "%s: the unfinished upload could not be cancelled: %s",
                    self._location,
                    in_words(error),
                )
            else:
                return

    def _begin(self) -> str:
        def request() -> str:
            response = self._requests.send(
                "begin_upload",
                "POST",
                self._requests.uploads(self._location.bucket),
                params={"uploadType": "resumable", **self._target()},
                json=self._description(),
                headers={"X-Upload-Content-Type": self._content.type},
                # The address is in the headers. It counts even if the rest does not come.
                stream=True,
            )
            with closing(response):
                if response.status_code == requests.codes.precondition_failed:
                    raise self._conflict()
                raise_for(response)
                url = response.headers.get("Location")
                response.raw.drain_conn()
            if not url:
                raise BadAnswer("storage gave no address for an upload")
            return str(url)

        return self._requests.call(self._location, _PERMISSION, request)

    def _send(self, block: Block, *, last: bool = False) -> StoredFile | None:
        """Send one block; return the object after the last one."""
        end = self._sent + len(block)
        request = self._or_conflict(partial(self._send_rest, block, end, last=last))
        answer: StoredFile | None = None
        while self._sent < end and answer is None:
            answer = self._requests.call(self._location, _PERMISSION, request)
        return answer

    def _send_rest(self, block: Block, end: int, *, last: bool) -> StoredFile | None:
        """Send what storage has not persisted of the block. After an interruption, ask it first."""
        if self._is_interrupted:
            answer = self._take_status(block, end, last=last)
            if answer is not None or self._sent == end:
                return answer
        before = self._sent
        self._is_interrupted = True
        answer = self._take(self._put(block, end, last=last), block, end, last=last)
        if self._sent <= before:
            raise BadAnswer(f"storage has taken nothing after byte {before}")
        return answer

    def _take_status(self, block: Block, end: int, *, last: bool) -> StoredFile | None:
        try:
            return self._take(self._ask_status(end if last else None), block, end, last=last)
        except BadAnswer:
            # The upload may have ended before, and only its answers make no sense.
            if not last or (found := self._found_as_sent()) is None:
                raise
            self._sent = end
            return found

    def _put(self, block: Block, end: int, *, last: bool) -> requests.Response:
        assert self._upload_url is not None
        headers = {"Content-Range": f"bytes {self._sent}-{end - 1}/{end if last else '*'}"}
        if last:
            headers["X-Goog-Hash"] = f"crc32c={self._crc32c_text()}"
        return self._requests.send(
            "upload_chunk",
            "PUT",
            self._upload_url,
            data=block[len(block) - (end - self._sent) :],
            headers=headers,
        )

    def _ask_status(self, total: int | None) -> requests.Response:
        """Ask for the persisted range. With a total, storage completes an upload that it has."""
        assert self._upload_url is not None
        return self._requests.send(
            "ask_upload",
            "PUT",
            self._upload_url,
            data=b"",
            headers={"Content-Range": f"bytes */{'*' if total is None else total}"},
        )

    def _take(
        self, response: requests.Response, block: Block, end: int, *, last: bool
    ) -> StoredFile | None:
        """Update the offset from an answer; return the object once it exists."""
        if response.status_code == _RESUME_INCOMPLETE:
            received = received_bytes(response)
            if received > end:
                raise BadAnswer(f"storage has {received} bytes, of which {end} were sent")
            self._sent = received
            if self._sent < end - len(block):
                raise self._broken("storage has lost what it had confirmed")
            if last and self._sent == end:
                raise self._broken("storage has taken all and not ended the upload")
            self._is_interrupted = False
            return None
        if response.status_code in _LOST:
            if last and (found := self._found_as_sent()):
                self._sent = end
                return found
            raise self._broken(in_words(error_of(response)))
        answer = self._described(response)
        if not last:
            raise self._broken("storage ended the upload before its last block")
        self._sent = end
        self._is_interrupted = False
        return answer

    def _send_whole(self, content: bytes) -> StoredFile:
        boundary = secrets.token_hex(16)
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode(),
                orjson.dumps({**self._description(), "crc32c": self._crc32c_text()}),
                f"\r\n--{boundary}\r\nContent-Type: {self._content.type}\r\n\r\n".encode(),
                content,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )

        def request() -> StoredFile:
            response = self._requests.send(
                "insert",
                "POST",
                self._requests.uploads(self._location.bucket),
                params={"uploadType": "multipart", **self._target()},
                data=body,
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            )
            if response.status_code == requests.codes.bad_request:
                # Storage compares what arrives with its checksum.
                raise self._damaged(in_words(error_of(response)))
            return self._undamaged(self._described(response))

        return self._requests.call(self._location, _PERMISSION, self._or_conflict(request))

    def _undamaged(self, file: StoredFile) -> StoredFile:
        """If this writer's object is damaged, send it again in its place."""
        if file.crc32c == self._crc32c():
            return file
        self._replacing = file
        raise self._damaged(self._damage(file))

    def _damaged(self, why: str) -> BadAnswer | StorageFailed:
        """The error after which the content is sent again, or none if that did not help."""
        self._damaged_copies += 1
        if self._damaged_copies < _ATTEMPTS:
            return BadAnswer(why)
        return StorageFailed(f"{self._location}: {why}, {_ATTEMPTS} times")

    def _describe(self, file: StoredFile) -> None:
        """Add the metadata that is known only after a large object is written.

        The object is whole, and its writer known, so a failure is no failure of the upload.
        """

        def request() -> None:
            response = self._requests.send(
                "update",
                "PATCH",
                self._requests.resource(self._location),
                params={"ifGenerationMatch": str(file.generation)},
                json={"metadata": self._metadata},
            )
            raise_for(response)

        policy = self._requests.policy
        limited = replace(policy, retry_seconds=min(policy.retry_seconds, _DESCRIBE_SECONDS))
        try:
            limited.call(self._location, "storage.objects.update", request)
        except JobError as error:
            logger.warning("%s; the object is complete without its last notes", error)

    def _described(self, response: requests.Response) -> StoredFile:
        return replace(stored_file(self._location, described(response)), metadata={})

    def _description(self) -> dict[str, Any]:
        return {
            "name": self._location.path,
            "contentType": self._content.type,
            "metadata": self._metadata,
        } | ({"contentEncoding": self._content.encoding} if self._content.encoding else {})

    def _target(self) -> dict[str, str]:
        generation = 0 if self._replacing is None else self._replacing.generation
        return {"name": self._location.path, "ifGenerationMatch": str(generation)}

    def _or_conflict(self, request: Callable[[], Written]) -> Callable[[], Written]:
        """On a failed precondition, check whether an earlier attempt of this writer succeeded."""

        def wrapped() -> Written:
            try:
                return request()
            except api_exceptions.PreconditionFailed:
                found = self._found_as_mine()
                if found is None:
                    raise self._conflict() from None
            if self._upload_url is not None and found.crc32c != self._crc32c():
                raise self._broken(self._damage(found))
            return self._undamaged(found)

        return wrapped

    def _found_as_mine(self) -> StoredFile | None:
        """The object, if this writer sent it; else None."""
        found = self._find(self._location)
        if found is None or found.metadata.get(WRITER_KEY) != self._writer_id:
            return None
        return found

    def _found_as_sent(self) -> StoredFile | None:
        """The object, if this writer sent it completely; else None."""
        found = self._found_as_mine()
        return found if found is not None and found.crc32c == self._crc32c() else None

    def _damage(self, file: StoredFile) -> str:
        return (
            f"what arrived has the crc32c {file.crc32c or 0:08x}, what was sent"
            f" {self._crc32c():08x}"
        )

    def _crc32c(self) -> int:
        return int.from_bytes(self._checksum.digest(), "big")

    def _crc32c_text(self) -> str:
        return base64.b64encode(self._checksum.digest()).decode()

    def _conflict(self) -> Aborted:
        return Aborted(
            f"{self._location}: somebody else has written it while this job ran; call again to go"
            " on from there"
        )

    def _broken(self, why: str) -> TransferBroken:
        return TransferBroken(f"{self._location}: the upload broke off: {why}")
