"""Writes the output of one input file, and its errors file if there are row errors."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import orjson

from app.errors import JobError, TooManyRowErrors, TransferBroken
from app.framing.gzipped import GzipCompressor
from app.planning.fingerprint import FINGERPRINT_KEY
from app.planning.plan import FileTask
from app.planning.reuse import (
    Counts,
    counts_metadata,
    errors_metadata,
    output_metadata,
    stale_errors,
)
from app.storage import (
    GZIPPED_TEXT,
    TEXT,
    WRITER_KEY,
    ContentType,
    Location,
    Storage,
    StoredFile,
    Writer,
)

logger = logging.getLogger(__name__)


class FileOutput:
    """The output and the errors file of a task. They appear when published, or not at all.

    Writing and publishing are two steps, which different threads may take. After a broken transfer
    both can begin again, and replace what the earlier attempt left.
    `writer_id` distinguishes the writes of this job from those of another job for the same output.
    """

    def __init__(
        self, task: FileTask, storage: Storage, *, writer_id: str, signature_name: str
    ) -> None:
        self._task = task
        self._signature_name = signature_name
        self._storage = storage
        self._writer_id = writer_id
        # The files at each location, as this job last saw them.
        self._there: dict[Location, StoredFile | None] = {
            task.output: task.old_output,
            task.errors_output: task.old_errors,
        }
        self._errors: Writer | None = None
        self._errors_written: StoredFile | None = None
        self._first_row_error = b""
        # Holds both writers, from the last row until they are published.
        self._complete = ExitStack()
        self.rows = 0
        self.row_errors = 0
        self.bytes = 0
        self.errors_bytes = 0

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Write the file from its beginning while the block runs, which may `complete` it."""
        self._errors, self._first_row_error = None, b""
        self.rows = self.row_errors = self.bytes = self.errors_bytes = 0
        with ExitStack() as self._stack:
            self._gzip = GzipCompressor() if self._task.gzip_output else None
            content = GZIPPED_TEXT if self._task.gzip_output else TEXT
            metadata = output_metadata(self._task.fingerprint, self._signature_name)
            self._output = self._create(self._task.output, content, metadata)
            yield

    def again(self) -> None:
        """Look up what a broken attempt left, before the next attempt."""
        there = self._storage.find_all(self._there)
        for location in self._there:
            found = there.get(location)
            # If another job wrote here, create() raises Aborted.
            if found is None or self._is_mine(found):
                self._there[location] = found

    def write(self, predictions: bytes, rows: int) -> None:
        """Append `predictions`, which contain `rows` lines."""
        self._write(predictions if self._gzip is None else self._gzip.compress(predictions))
        self.rows += rows

    def write_row_errors(self, errors: bytes, rows: int) -> None:
        """Append `errors`, which are `rows` lines, to the errors file."""
        if rows == 0:
            return
        if self._errors is None:
            self._errors = self._create(
                self._task.errors_output,
                TEXT,
                errors_metadata(self._task.fingerprint, self._signature_name, self._task.output),
            )
            self._first_row_error = errors.partition(b"\n")[0]
        self._errors.write(errors)
        self.row_errors += rows
        self.errors_bytes += len(errors)

    def complete(self, max_error_fraction: float) -> None:
        """The last row is written. What `begun` has opened stays open until `publish`.

        Raises TooManyRowErrors, and what storage raises.
        """
        if self._gzip is not None:
            self._write(self._gzip.finish())
        counts = self._counts()
        if counts.errors > max_error_fraction * counts.instances:
            raise self._too_many(counts, max_error_fraction)
        self._complete = self._stack.pop_all()

    def publish(self) -> None:
        """Publish both files, the predictions last: if they exist, so does the errors file.

        Raises what storage raises. Then no predictions are there, as far as storage tells.
        """
        counts = self._counts()
        with self._complete:
            if self._errors is not None:
                self._errors_written = self._errors.finish(counts_metadata(counts))
                self._there[self._task.errors_output] = self._errors_written
            try:
                self._output.finish(counts_metadata(counts))
            except TransferBroken:
                raise  # the next attempt replaces this errors file
            except JobError as error:
                if not self._has_appeared():
                    self.withdraw_row_errors()
                    raise
                logger.warning("%s; but the output is there", error)

    def delete_stale_errors(self) -> None:
        """Delete the errors file of an earlier call, once there are predictions without any."""
        if self.row_errors == 0 and (stale := stale_errors(self._task)):
            self._storage.delete(stale)

    def withdraw_row_errors(self) -> None:
        """Delete the errors file of predictions that will not appear, even after the deadline."""
        if self._errors_written is None:
            return
        try:
            self._storage.for_cleaning_up().delete(self._errors_written)
        except JobError as error:
            # The job already fails for another reason. The next call replaces the file.
            logger.warning("bad rows without predictions are left: %s", error)

    def _has_appeared(self) -> bool:
        """Whether the predictions are there though publishing failed, even after the deadline.

        Storage may have acted before its answer was lost. If it does not tell, the row errors stay,
        because predictions may be there.
        """
        try:
            found = self._storage.for_cleaning_up().find(self._task.output)
        except JobError as error:
            logger.warning("whether the output is there is not known: %s", error)
            self._errors_written = None
            return False
        return (
            found is not None and found != self._there[self._task.output] and (self._is_mine(found))
        )

    def _is_mine(self, file: StoredFile) -> bool:
        """Whether this job wrote the file, from the same model and input."""
        is_writer = file.metadata.get(WRITER_KEY) == self._writer_id
        return is_writer and file.metadata.get(FINGERPRINT_KEY) == self._task.fingerprint

    def _write(self, data: bytes) -> None:
        self._output.write(data)
        self.bytes += len(data)

    def _counts(self) -> Counts:
        return Counts(self.rows + self.row_errors, self.row_errors)

    def _create(
        self, location: Location, content: ContentType, metadata: Mapping[str, str]
    ) -> Writer:
        there = self._there[location]
        return self._stack.enter_context(
            self._storage.create(location, there, self._writer_id, content, metadata)
        )

    def _too_many(self, counts: Counts, max_error_fraction: float) -> TooManyRowErrors:
        first = orjson.loads(self._first_row_error)
        unit, number = next(iter(first.items()))
        return TooManyRowErrors(
            f"{self._task.input.uri}: {counts.errors} of {counts.instances} rows are bad, more than"
            f" the MAX_ERROR_FRACTION of {max_error_fraction:g}; the first one is {unit}"
            f" {number}: {first['error']['message']}",
            {"file": self._task.input.uri, unit: number},
        )
