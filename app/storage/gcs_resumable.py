"""Resumable uploads: blocks one after the other, each persisted before the next is sent.

Source: cloud.google.com/storage/docs/performing-resumable-uploads
"""

import logging
from contextlib import closing
from functools import partial

import requests
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions

from app.storage.backend import StoredFile
from app.storage.gcs_answers import described, error_of, raise_for, received_bytes, stored_file
from app.storage.gcs_new_object import NewObject
from app.storage.gcs_requests import CREATE, GcsRequests
from app.storage.retrying import BadAnswer, in_words

_CANCEL_SECONDS = 0.7
_CANCEL_ATTEMPTS = 2
# 499 is storage's answer to a cancelled upload.
_CANCELLED = (200, 204, 404, 410, 499)
_RESUME_INCOMPLETE = 308
# The upload session is gone, or the checksum does not match the content.
_LOST = (400, 404, 410)

Block = bytes | memoryview

logger = logging.getLogger(__name__)


class ResumableUpload:
    """An upload session. Begins at once; Aborted is raised if the object may not be replaced."""

    def __init__(self, requests_: GcsRequests, new: NewObject) -> None:
        self._requests = requests_
        self._new = new
        self._sent = 0
        # Whether storage may hold bytes that it has not confirmed.
        self._is_interrupted = False
        # The URL is a credential for the upload, so it is never logged.
        self._url = requests_.call(new.location, CREATE, self._begin)

    def send(self, block: Block) -> None:
        """Send a block that is not the last one. Its size is a multiple of UPLOAD_UNIT_BYTES."""
        self._send(block, last=False)

    def send_last(self, block: Block) -> StoredFile:
        """Send the last block, which is not empty; return the object. Raises TransferBroken."""
        file = self._send(block, last=True)
        assert file is not None
        if file.crc32c != self._new.crc32c:
            # Only a storage that compares no checksums comes to that, such as an emulator.
            self._requests.for_a_moment().delete(file)
            raise self._new.broken(self._new.damage(file))
        return file

    def cancel(self) -> None:
        for _ in range(_CANCEL_ATTEMPTS):
            try:
                response = self._requests.send(
                    "cancel_upload", "DELETE", self._url, timeout=_CANCEL_SECONDS
                )
                if response.status_code in _CANCELLED:
                    return
                why = in_words(error_of(response))
            except (requests.RequestException, auth_exceptions.GoogleAuthError) as error:
                why = in_words(error)
            # The job already fails for another reason. Storage drops an unfinished upload after a
            # week.
            logger.warning(
                "%s: the unfinished upload could not be cancelled: %s", self._new.location, why
            )

    def _begin(self) -> str:
        response = self._requests.send(
            "begin_upload",
            "POST",
            self._requests.uploads(self._new.location.bucket),
            params={"uploadType": "resumable", **self._new.target()},
            json=self._new.description(),
            headers={"X-Upload-Content-Type": self._new.content.type},
            # The address is in the headers. It counts even if the rest does not come.
            stream=True,
        )
        with closing(response):
            if response.status_code == requests.codes.precondition_failed:
                raise self._new.conflict()
            raise_for(response)
            url = response.headers.get("Location")
            response.raw.drain_conn()
        if not url:
            raise BadAnswer("storage gave no address for an upload")
        return str(url)

    def _send(self, block: Block, *, last: bool) -> StoredFile | None:
        """Send one block; return the object after the last one."""
        end = self._sent + len(block)
        request = partial(self._send_or_find, block, end, last=last)
        answer: StoredFile | None = None
        while self._sent < end and answer is None:
            answer = self._requests.call(self._new.location, CREATE, request)
        return answer

    def _send_or_find(self, block: Block, end: int, *, last: bool) -> StoredFile | None:
        try:
            return self._send_rest(block, end, last=last)
        except api_exceptions.PreconditionFailed:
            # An earlier attempt may have succeeded, and nobody heard of it.
            found = self._new.found(self._requests) if last else None
            if found is None:
                raise self._new.conflict() from None
            return found

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

    def _put(self, block: Block, end: int, *, last: bool) -> requests.Response:
        headers = {"Content-Range": f"bytes {self._sent}-{end - 1}/{end if last else '*'}"}
        if last:
            headers["X-Goog-Hash"] = f"crc32c={self._new.crc32c_text}"
        return self._requests.send(
            "upload_chunk",
            "PUT",
            self._url,
            data=block[len(block) - (end - self._sent) :],
            headers=headers,
        )

    def _take_status(self, block: Block, end: int, *, last: bool) -> StoredFile | None:
        """Ask for the persisted range. With a total, storage completes an upload that it has."""
        headers = {"Content-Range": f"bytes */{end if last else '*'}"}
        if last:
            headers["X-Goog-Hash"] = f"crc32c={self._new.crc32c_text}"
        response = self._requests.send("ask_upload", "PUT", self._url, data=b"", headers=headers)
        try:
            return self._take(response, block, end, last=last)
        except BadAnswer:
            # The upload may have ended before, and only its answers make no sense.
            if not last or (found := self._new.found_whole(self._requests)) is None:
                raise
            self._sent = end
            return found

    def _take(
        self, response: requests.Response, block: Block, end: int, *, last: bool
    ) -> StoredFile | None:
        """Update the offset from an answer; return the object once it exists."""
        if response.status_code == _RESUME_INCOMPLETE:
            self._take_offset(received_bytes(response), block, end, last=last)
            return None
        if response.status_code in _LOST:
            if last and (found := self._new.found_whole(self._requests)):
                self._sent = end
                return found
            raise self._new.broken(in_words(error_of(response)))
        answer = stored_file(self._new.location, described(response))
        if not last:
            raise self._new.broken("storage ended the upload before its last block")
        self._sent = end
        self._is_interrupted = False
        return answer

    def _take_offset(self, received: int, block: Block, end: int, *, last: bool) -> None:
        if received > end:
            raise BadAnswer(f"storage has {received} bytes, of which {end} were sent")
        if received < end - len(block):
            raise self._new.broken("storage has lost what it had confirmed")
        if last and received == end:
            raise self._new.broken("storage has taken all and not ended the upload")
        self._sent = received
        self._is_interrupted = False
