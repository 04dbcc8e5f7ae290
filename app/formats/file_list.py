"""Lists of files: each line names an object, whose bytes are one instance."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

from app.errors import NotFound, RowFault, TooLarge
from app.formats.reader import FaultSink, Instances
from app.formats.strings import StringReader
from app.job_spec import InstanceFields
from app.lines import read_lines
from app.listed_files import ListedFiles, uri_of
from app.records import ByteRecords, as_records
from app.storage import Storage, StoredFile
from tfserving_launcher import Signature

_READERS = 8
_FILES_AHEAD = 32
_BYTES_AHEAD = 16 * 1024 * 1024
_GROUP_BYTES = 1024 * 1024


class FileListReader(StringReader):
    """An InstanceReader for such lists; a line's instance is shown as the URI that it is."""

    unit: ClassVar[str] = "line"
    format_name: ClassVar[str] = "file-list"

    def __init__(
        self,
        signature: Signature,
        fields: InstanceFields,
        on_fault: FaultSink,
        *,
        file: str,
        max_line_bytes: int,
        listed: ListedFiles,
        storage: Storage,
    ) -> None:
        super().__init__(signature, fields, on_fault, file=file, max_line_bytes=max_line_bytes)
        self._listed = listed
        self._storage = storage
        self._uris: dict[int, str] = {}

    def read(self, blocks: Iterable[bytes]) -> Iterator[ByteRecords]:
        """The contents, in the list's order, several of them being read at once."""
        group: list[bytes | None] = []
        group_bytes, first = 0, 1
        for number, content in self._contents(self._numbered(blocks)):
            # Blank lines have numbers, and are no instances.
            group.extend([None] * (number - first - len(group)))
            group.append(content)
            group_bytes += len(content or b"")
            if group_bytes >= _GROUP_BYTES:
                yield as_records(first, tuple(group))
                first += len(group)
                group, group_bytes = [], 0
        if group:
            yield as_records(first, tuple(group))

    def _numbered(self, blocks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
        for lines in read_lines(
            blocks, max_line_bytes=self._max_line_bytes, on_fault=self._on_fault
        ):
            for number, text in lines.rows():
                self._uris[number] = uri_of(text)
                yield number, self._uris[number]

    def _contents(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, bytes | None]]:
        """None where a line names nothing that can be had; nothing after the last that matters."""
        waiting: deque[tuple[int, int, Future[bytes]]] = deque()
        bytes_ahead = 0
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="listed")
        try:
            for number, uri in lines:
                file = self._listed.files.get(uri)
                fault = self._fault(number, uri, file)
                size = 0 if file is None or fault else file.size
                while waiting and (
                    fault or len(waiting) >= _FILES_AHEAD or bytes_ahead + size > _BYTES_AHEAD
                ):
                    before, its_size, future = waiting.popleft()
                    bytes_ahead -= its_size
                    yield before, future.result()
                if fault is None and file is not None:
                    waiting.append((number, size, pool.submit(self._content, file)))
                    bytes_ahead += size
                    continue
                assert fault is not None
                go_on = self._on_fault(fault, uri.encode())
                yield number, None
                if not go_on:
                    return
            for before, _, future in waiting:
                yield before, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _fault(self, number: int, uri: str, file: StoredFile | None) -> RowFault | None:
        if error := self._listed.faults.get(uri):
            return RowFault(number, None, error.message, type(error))
        if file is None:
            return RowFault(number, None, f"no such object or file: {uri}", NotFound)
        if file.size > self._max_line_bytes:
            return RowFault(
                number,
                None,
                f"{uri} has {file.size} bytes, and MAX_LINE_BYTES takes {self._max_line_bytes}",
                TooLarge,
            )
        return None

    def _content(self, file: StoredFile) -> bytes:
        return b"".join(self._storage.read(file))

    def instances(self, batch: ByteRecords) -> Instances:
        return self.strings(self.rows(batch), [content for _, content in batch.rows()])

    def rows(self, batch: ByteRecords) -> list[tuple[int, bytes]]:
        return [(number, self._uris[number].encode()) for number, _ in batch.rows()]
