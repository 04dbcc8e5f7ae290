"""New objects: in a single request while they are small, else in a resumable upload.

An object appears with its checksum verified by storage, and with the metadata that tells whose it
is. Only what is known after a large object's last byte is added later.

Source: cloud.google.com/storage/docs/json_api/v1/objects/insert
"""

import logging
import secrets
from collections.abc import Mapping

import orjson
import requests
from google.api_core import exceptions as api_exceptions

from app.errors import JobError, StorageFailed
from app.storage.backend import WRITER_KEY, StoredFile
from app.storage.gcs_answers import described, error_of, raise_for, stored_file
from app.storage.gcs_new_object import NewObject
from app.storage.gcs_requests import CREATE, GcsRequests
from app.storage.gcs_resumable import ResumableUpload
from app.storage.retrying import BadAnswer, in_words

# How often content is sent whose copy arrived damaged, or that storage refuses as damaged.
_ATTEMPTS = 3

logger = logging.getLogger(__name__)


class Upload:
    """A Writer of one object."""

    def __init__(self, requests_: GcsRequests, new: NewObject, *, chunk_bytes: int) -> None:
        self._requests = requests_
        self._new = new
        self._chunk_bytes = chunk_bytes
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._session: ResumableUpload | None = None
        self._finished = False
        self._damaged_copies = 0

    def write(self, data: bytes) -> None:
        self._new.add(data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        # Hold back at least one byte, because the last block must not be empty.
        size = self._chunk_bytes
        if self._waiting_bytes <= size:
            return
        text = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        whole = (len(text) - 1) // size * size
        if self._session is None:
            self._session = ResumableUpload(self._requests, self._new)
        for start in range(0, whole, size):
            self._session.send(text[start : start + size])
        self._waiting.append(bytes(text[whole:]))
        self._waiting_bytes = len(text) - whole

    def finish(self, metadata: Mapping[str, str]) -> StoredFile:
        self._new.metadata.update(metadata)
        try:
            if self._session is None:
                file = self._send_whole()
            else:
                file = self._session.send_last(b"".join(self._waiting))
        except StorageFailed:
            # Storage may have done what it was asked for, and only its answers did not come.
            found = self._new.found_whole(self._requests.for_a_moment())
            if found is None:
                raise
            file = found
        self._finished = True
        if self._session is not None and metadata:
            self._describe(file)
        return file

    def cancel_unless_finished(self) -> None:
        if self._session is not None and not self._finished:
            self._session.cancel()

    def _send_whole(self) -> StoredFile:
        boundary = secrets.token_hex(16)
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode(),
                orjson.dumps({**self._new.description(), "crc32c": self._new.crc32c_text}),
                f"\r\n--{boundary}\r\nContent-Type: {self._new.content.type}\r\n\r\n".encode(),
                *self._waiting,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        self._waiting.clear()

        def request() -> StoredFile:
            response = self._requests.send(
                "insert",
                "POST",
                self._requests.uploads(self._new.location.bucket),
                params={"uploadType": "multipart", **self._new.target()},
                data=body,
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            )
            if response.status_code == requests.codes.bad_request:
                # Storage compares what arrives with its checksum.
                raise self._damaged(in_words(error_of(response)))
            try:
                file = stored_file(self._new.location, described(response))
            except api_exceptions.PreconditionFailed:
                # An earlier attempt may have succeeded, and nobody heard of it.
                found = self._new.found(self._requests)
                if found is None:
                    raise self._new.conflict() from None
                file = found
            if file.crc32c == self._new.crc32c:
                return file
            # This writer's object is damaged, so it is sent again in its place. Only a storage that
            # compares no checksums comes to that.
            self._new.replacing = file
            error = self._damaged(self._new.damage(file))
            if isinstance(error, StorageFailed):
                self._requests.for_a_moment().delete(file)
            raise error

        return self._requests.call(self._new.location, CREATE, request)

    def _damaged(self, why: str) -> BadAnswer | StorageFailed:
        """The error after which the content is sent again, or none if that did not help."""
        self._damaged_copies += 1
        if self._damaged_copies < _ATTEMPTS:
            return BadAnswer(why)
        return StorageFailed(f"{self._new.location}: {why}, {_ATTEMPTS} times")

    def _describe(self, file: StoredFile) -> None:
        """Add the metadata that is known only after a large object is written.

        The object is whole, and its writer known, so a failure is no failure of the upload.
        """

        def request() -> None:
            response = self._requests.send(
                "update",
                "PATCH",
                self._requests.resource(self._new.location),
                params={"ifGenerationMatch": str(file.generation)},
                json={"metadata": {WRITER_KEY: self._new.writer_id, **self._new.metadata}},
            )
            raise_for(response)

        try:
            self._requests.for_a_moment().call(
                self._new.location, "storage.objects.update", request
            )
        except JobError as error:
            logger.warning("%s; the object is complete without its last notes", error)
