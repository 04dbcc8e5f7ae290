"""Files as instances: those that a list names, or those that `input` matches."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

from app.errors import NotFound, RowError, TooLarge, UnsupportedInput
from app.formats.context import Instances, ReaderContext
from app.formats.manifest import Manifest, uri_of
from app.formats.strings import StringReader
from app.framing.gzipped import decoded
from app.framing.lines import read_lines, without_blank_lines
from app.framing.records import ByteRecords, as_records
from app.storage import Storage, StoredFile

_READERS = 8
_FILES_AHEAD = 32
_BYTES_AHEAD = 16 * 1024 * 1024
_GROUP_BYTES = 1024 * 1024
_GROUP_RECORDS = 4096
# A longer run of blank lines ends the group of records.
_LONG_GAP = 100


class FileListReader(StringReader):
    """An InstanceReader for file lists. Outputs show an instance as its URI."""

    unit: ClassVar[str] = "line"
    format_name: ClassVar[str] = "file-list"

    def __init__(self, context: ReaderContext, *, manifest: Manifest, storage: Storage) -> None:
        super().__init__(context)
        self._manifest = manifest
        self._storage = storage
        self._uris: dict[int, str] = {}
        # Set when a row error ends the file.
        self._has_ended = False

    def read(self, blocks: Iterable[bytes]) -> Iterator[ByteRecords]:
        """Yield the contents in the list's order, read concurrently."""
        group: list[bytes | None] = []
        group_bytes, first = 0, 1
        for number, content in self._contents(self._numbered(blocks)):
            if number - first - len(group) > _LONG_GAP:
                if group:
                    yield as_records(first, tuple(group))
                group, group_bytes, first = [], 0, number
            while first + len(group) <= number:
                # Blank lines are numbered, but are not instances.
                is_blank = first + len(group) < number
                group.append(None if is_blank else content)
                group_bytes += 0 if is_blank else len(content or b"")
                if group_bytes >= _GROUP_BYTES or len(group) >= _GROUP_RECORDS:
                    yield as_records(first, tuple(group))
                    first += len(group)
                    group, group_bytes = [], 0
        if group:
            yield as_records(first, tuple(group))

    def _numbered(self, blocks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
        lines_of_file = read_lines(
            blocks, max_line_bytes=self._max_line_bytes, on_row_error=self._on_row_error
        )
        for lines in without_blank_lines(lines_of_file):
            for number, text in lines.rows():
                self._uris[number] = uri_of(text)
                yield number, self._uris[number]

    def _contents(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, bytes | None]]:
        """Yield line numbers and contents; None where the file cannot be read."""
        waiting: deque[tuple[int, str, int, Future[bytes | RowError]]] = deque()
        bytes_ahead = 0
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="manifest")
        try:
            for number, uri in lines:
                file = self._manifest.files.get(uri)
                size = 0 if file is None else min(file.size, self._max_line_bytes)
                while len(waiting) >= _FILES_AHEAD or (
                    waiting and bytes_ahead + size > _BYTES_AHEAD
                ):
                    bytes_ahead -= waiting[0][2]
                    yield self._next(waiting)
                    if self._has_ended:
                        return
                waiting.append((number, uri, size, pool.submit(self._content, number, uri, file)))
                bytes_ahead += size
            while waiting and not self._has_ended:
                yield self._next(waiting)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _next(
        self, waiting: deque[tuple[int, str, int, Future[bytes | RowError]]]
    ) -> tuple[int, bytes | None]:
        """Wait for the oldest pending read."""
        number, uri, _, future = waiting.popleft()
        content = future.result()
        if isinstance(content, bytes):
            return number, content
        self._has_ended = not self._on_row_error(content, uri.encode())
        return number, None

    def _content(self, number: int, uri: str, file: StoredFile | None) -> bytes | RowError:
        """Read an object, or return why it is not an instance. Raises what storage raises."""
        if error := self._manifest.errors.get(uri):
            return RowError(number, None, error.message, type(error))
        if file is None:
            return RowError(number, None, f"no such object or file: {uri}", NotFound)
        if file.content_encoding not in ("", "identity", "gzip"):
            encoding = file.content_encoding
            return RowError(
                number, None, f"{uri} has the Content-Encoding {encoding}, and only gzip is read"
            )
        blocks = self._storage.read(file)
        pieces: list[bytes] = []
        size = 0
        try:
            for piece in decoded(blocks, file=uri) if file.content_encoding == "gzip" else blocks:
                pieces.append(piece)
                size += len(piece)
                if size > self._max_line_bytes:
                    return RowError(
                        number,
                        None,
                        f"{uri} has more than {self._max_line_bytes} bytes; MAX_LINE_BYTES takes"
                        " larger objects, where the instance's memory allows it",
                        TooLarge,
                    )
        except UnsupportedInput as error:
            return RowError(number, None, error.message, UnsupportedInput)
        return b"".join(pieces)

    def instances(self, batch: ByteRecords) -> Instances:
        return self.strings(self.rows(batch), [content for _, content in batch.rows()])

    def rows(self, batch: ByteRecords) -> list[tuple[int, bytes]]:
        return [(number, self._uris[number].encode()) for number, _ in batch.rows()]


class FileReader(FileListReader):
    """An InstanceReader for the files of the manifest; each file's URI is its key."""

    unit: ClassVar[str] = "file"
    format_name: ClassVar[str] = "file"
    has_fields: ClassVar[bool] = True

    def __init__(self, context: ReaderContext, *, manifest: Manifest, storage: Storage) -> None:
        if context.fields.key is not None:
            raise UnsupportedInput(
                f"{context.file}: with input_format=file the key is the file's URI, so there is no"
                " key_field"
            )
        keyed = dataclasses.replace(context.fields, key="uri")
        super().__init__(
            dataclasses.replace(context, fields=keyed), manifest=manifest, storage=storage
        )

    def _numbered(self, blocks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
        del blocks  # the files are the input
        for number, uri in enumerate(self._manifest.files, 1):
            self._uris[number] = uri
            yield number, uri

    def key_of(self, text: bytes, name: str) -> bytes:
        del name
        return self.as_json(text)
