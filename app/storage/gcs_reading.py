"""The content of objects: one stream, or parallel ranges where one stream is too slow.

Google's client copies downloads in blocks of 8 KiB, which costs more than parsing them, so the
documented request is made here: cloud.google.com/storage/docs/json_api/v1/objects/get
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import google_crc32c
import requests
import urllib3

from app.concurrency.deadline import Started
from app.errors import Aborted, NotFound, StorageFailed, TransferBroken
from app.storage.backend import StoredFile
from app.storage.gcs_answers import error_of
from app.storage.gcs_requests import GET, GcsRequests
from app.storage.retrying import BadAnswer, in_words

BLOCK_BYTES = 1024 * 1024
_PAUSE_SECONDS = 0.5
# The first part of an object comes by one stream. How long its reader waits decides on the next.
_FIRST_PART_BYTES = 4 * BLOCK_BYTES
_LARGEST_PART_BYTES = 64 * BLOCK_BYTES
# What is in flight at once, and so in memory. At 50 ms and 30 MB/s a connection it brings 90 MB/s;
# a request costs about 2 ms of CPU time.
_PARALLEL_RANGES = 6
_RANGE_BYTES = BLOCK_BYTES * 3 // 2

logger = logging.getLogger(__name__)


class ObjectReader:
    """Reads the generations of objects that were listed."""

    def __init__(self, requests_: GcsRequests) -> None:
        self._requests = requests_
        self._policy = requests_.policy

    def read(self, file: StoredFile) -> Iterator[bytes]:
        """The content in order, as it is stored. Raises TransferBroken if it is damaged."""
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types
        for block in self._parts(file):
            checksum.update(block)
            yield block
        check(file, int.from_bytes(checksum.digest(), "big"))

    def _parts(self, file: StoredFile) -> Iterator[bytes]:
        """One stream while the caller keeps it waiting, and parallel ranges once it waits."""
        start, part_bytes = 0, _FIRST_PART_BYTES
        while start < file.size:
            end = min(start + part_bytes, file.size)
            waited, began = 0.0, time.monotonic()
            blocks = self.stream(file, start, end)
            while True:
                asked = time.monotonic()
                block = next(blocks, None)
                waited += time.monotonic() - asked
                if block is None:
                    break
                yield block
            if waited > (time.monotonic() - began) / 2 and file.size - end > _RANGE_BYTES:
                logger.debug("%s: goes on in parallel from byte %d", file.uri, end)
                yield from self._in_ranges(file, end)
                return
            start, part_bytes = end, min(2 * part_bytes, _LARGEST_PART_BYTES)

    def _in_ranges(self, file: StoredFile, start: int) -> Iterator[bytes]:
        coming: deque[Started[bytes]] = deque()
        while coming or start < file.size:
            while start < file.size and len(coming) < _PARALLEL_RANGES:
                end = min(start + _RANGE_BYTES, file.size)
                coming.append(self._policy.deadline.start(self._range, file, start, end))
                start = end
            yield coming.popleft().result()

    def _range(self, file: StoredFile, start: int, end: int) -> bytes:
        return b"".join(self.stream(file, start, end))

    def stream(self, file: StoredFile, start: int, end: int) -> Iterator[bytes]:
        """Yield bytes `start` to `end` of this generation, with as few requests as possible."""
        moved = time.monotonic()
        while start < end:
            before, why = start, "the answer ended too early"
            response = self._requests.call(
                file.location, GET, partial(self._open, file, start, end)
            )
            try:
                with closing(response):
                    while block := response.raw.read(min(BLOCK_BYTES, end - start)):
                        start += len(block)
                        yield block
            except (urllib3.exceptions.HTTPError, OSError) as error:
                why = in_words(error)
            if start == end:
                return
            logger.warning("%s: broke off at byte %d: %s", file.uri, start, why)
            if start > before:
                moved = time.monotonic()
            elif time.monotonic() - moved > self._policy.retry_seconds:
                raise StorageFailed(f"{file.uri}: nothing comes after byte {start}: {why}")
            else:
                self._policy.deadline.pause(_PAUSE_SECONDS)

    def _open(self, file: StoredFile, start: int, end: int) -> requests.Response:
        """Open a ranged download. Raises errors that the retry policy classifies."""
        # Accepting gzip avoids decompressive transcoding, which breaks ranges and checksums:
        # cloud.google.com/storage/docs/transcoding
        accepted = file.content_encoding or "identity"
        response = self._requests.send(
            "read",
            "GET",
            self._requests.media(file.location),
            params={"alt": "media", "generation": str(file.generation)},
            headers={"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": accepted},
            stream=True,
        )
        if response.status_code == requests.codes.partial_content:
            came = response.headers.get("Content-Range", "")
            if came.startswith(f"bytes {start}-"):
                return response
            response.close()
            raise BadAnswer(f"storage was asked for bytes from {start} on, and sends {came!r}")
        if response.status_code == requests.codes.ok:
            if start == 0:
                return response
            response.close()
            raise BadAnswer("storage does not answer ranges")
        with closing(response):
            if response.status_code == requests.codes.not_found:
                raise self._gone(file)
            raise error_of(response)

    def _gone(self, file: StoredFile) -> NotFound | Aborted:
        if self._requests.find(file.location) is None:
            return NotFound(f"{file.uri}: no such object; it was there when the job began")
        return Aborted(
            f"{file.uri}: replaced since the job began, so what was read of it does not count"
        )


def check(file: StoredFile, crc32c: int) -> None:
    """Raise TransferBroken if this is not the checksum of the file."""
    if file.crc32c is not None and crc32c != file.crc32c:
        raise TransferBroken(
            f"{file.uri}: its crc32c is {file.crc32c:08x}, what came has {crc32c:08x}"
        )
