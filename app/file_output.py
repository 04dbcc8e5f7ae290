"""What an input file becomes: its predictions and, where rows were bad, the file of these."""

from contextlib import ExitStack
from typing import Self

from app.errors import JobError, TooManyBadRows, TransferBroken
from app.plan import FileTask
from app.reuse import Counts, errors_metadata, output_metadata, stale_errors
from app.storage import Storage, Writer


class FileOutput:
    """Both files of a task, which appear when they are finished, or not at all.

    `job_id` tells the writes of this job from those of another one for the same output.
    """

    def __init__(self, task: FileTask, storage: Storage, job_id: str) -> None:
        self._task = task
        self._storage = storage
        self._job_id = job_id
        self._stack = ExitStack()
        self._errors: Writer | None = None
        self._first_bad_row = b""
        self.rows = 0
        self.bad_rows = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        self._output = self._stack.enter_context(
            self._storage.create(self._task.output, self._task.old_output, self._job_id)
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def write(self, predictions: bytes, rows: int) -> None:
        """`predictions` are so many whole lines."""
        self._output.write(predictions)
        self.rows += rows
        self.bytes += len(predictions)

    def write_bad_rows(self, errors: bytes, rows: int) -> None:
        """`errors` are so many whole lines of the errors file, which may be none."""
        if rows == 0:
            return
        if self._errors is None:
            self._errors = self._stack.enter_context(
                self._storage.create(self._task.errors_output, self._task.old_errors, self._job_id)
            )
            self._first_bad_row = errors.partition(b"\n")[0]
        self._errors.write(errors)
        self.bad_rows += rows

    def finish(self, max_error_fraction: float) -> None:
        """The predictions appear last: where they are, the bad rows are as well.

        Raises TooManyBadRows and what storage raises; nothing has appeared then.
        """
        counts = Counts(self.rows + self.bad_rows, self.bad_rows)
        if counts.errors > max_error_fraction * counts.instances:
            raise TooManyBadRows(
                f"{self._task.input.uri}: {counts.errors} of {counts.instances} rows are bad, more"
                f" than the MAX_ERROR_FRACTION of {max_error_fraction:g}; the first one is"
                f" {self._first_bad_row[:500].decode(errors='replace')}",
                {"file": self._task.input.uri},
            )
        if self._errors is not None:
            self._errors.finish(errors_metadata(self._task.fingerprint, self._task.output, counts))
        try:
            self._output.finish(output_metadata(self._task.fingerprint, counts))
        except TransferBroken:
            raise  # the next attempt finds the bad rows there already
        except JobError:
            if self._errors is not None:
                self.withdraw_bad_rows()
            raise
        if counts.errors == 0 and (stale := stale_errors(self._task)):
            self._storage.delete(stale)

    def withdraw_bad_rows(self) -> None:
        """Takes them back where the predictions will not follow."""
        old = self._task.old_errors
        there = self._storage.find(self._task.errors_output)
        if there is not None and (old is None or there.generation != old.generation):
            self._storage.delete(there)
