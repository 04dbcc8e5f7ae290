"""Writes the output of one input file, and its errors file if there are row errors."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import orjson

from app.errors import JobError, TooManyRowErrors, TransferBroken
from app.framing.gzipped import GzipCompressor
from app.planning.plan import FileTask
from app.planning.reuse import Counts, errors_metadata, output_metadata, stale_errors
from app.storage import (
    GZIPPED_TEXT,
    TEXT,
    ContentType,
    Location,
    Storage,
    StoredFile,
    Writer,
)

logger = logging.getLogger(__name__)


class FileOutput:
    """The output and the errors file of a task. They appear when finished, or not at all.

    After a broken transfer it can begin again, and replaces what the earlier attempt left.
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
        self.rows = 0
        self.row_errors = 0
        self.bytes = 0

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Write the file from its beginning while the block runs."""
        self._errors, self._first_row_error = None, b""
        self.rows = self.row_errors = self.bytes = 0
        with ExitStack() as self._stack:
            self._gzip = GzipCompressor() if self._task.gzip_output else None
            content = GZIPPED_TEXT if self._task.gzip_output else TEXT
            self._output = self._create(self._task.output, content)
            yield

    def again(self) -> None:
        """Look up what a broken attempt left, before the next attempt."""
        there = self._storage.find_all(self._there)
        for location in self._there:
            # A damaged object was deleted. If another job wrote here, create() raises Aborted.
            if location not in there:
                self._there[location] = None

    def write(self, predictions: bytes, rows: int) -> None:
        """Append `predictions`, which contain `rows` lines."""
        self._write(predictions if self._gzip is None else self._gzip.compress(predictions))
        self.rows += rows

    def write_row_errors(self, errors: bytes, rows: int) -> None:
        """Append `errors`, which are `rows` lines, to the errors file."""
        if rows == 0:
            return
        if self._errors is None:
            self._errors = self._create(self._task.errors_output, TEXT)
            self._first_row_error = errors.partition(b"\n")[0]
        self._errors.write(errors)
        self.row_errors += rows

    def finish(self, max_error_fraction: float) -> None:
        """Publish both files, the predictions last: if they exist, so does the errors file.

        Raises TooManyRowErrors and what storage raises. Then nothing was published.
        """
        if self._gzip is not None:
            self._write(self._gzip.finish())
        counts = Counts(self.rows + self.row_errors, self.row_errors)
        if counts.errors > max_error_fraction * counts.instances:
            raise self._too_many(counts, max_error_fraction)
        if self._errors is not None:
            self._errors_written = self._errors.finish(
                errors_metadata(
                    self._task.fingerprint, self._task.output, counts, self._signature_name
                )
            )
            self._there[self._task.errors_output] = self._errors_written
        try:
            self._output.finish(
                output_metadata(self._task.fingerprint, counts, self._signature_name)
            )
        except TransferBroken:
            raise  # the next attempt replaces this errors file
        except JobError:
            self.withdraw_row_errors()
            raise
        if counts.errors == 0 and (stale := stale_errors(self._task)):
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

    def _write(self, data: bytes) -> None:
        self._output.write(data)
        self.bytes += len(data)

    def _create(self, location: Location, content: ContentType) -> Writer:
        return self._stack.enter_context(
            self._storage.create(location, self._there[location], self._writer_id, content)
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
