"""The progress of a running job, for its record."""

from app.jobs.record import Counts
from app.telemetry.progress import LoggedProgress


class RecordedProgress(LoggedProgress):
    """Counts beside logging. The job's thread writes, others read."""

    def __init__(self) -> None:
        super().__init__()
        self._files = self._files_total = 0
        self._reused: int | None = None

    def files(self, *, done: int, total: int) -> None:
        if self._reused is None:
            self._reused = done
        self._files, self._files_total = done, total

    @property
    def completed_files(self) -> int:
        """The files that this run has completed, without reused ones."""
        return self._files - (self._reused or 0)

    def counts(self) -> Counts:
        return Counts(
            files=self._files,
            files_total=self._files_total,
            rows=self._rows,
            input_bytes=self._size,
            new_files=self.completed_files,
        )
