"""Reads the inputs of a job ahead."""

from collections.abc import Iterator

from app.concurrency.pipeline import Pipeline
from app.planning.plan import FileTask
from app.storage import Storage

# Blocks are a mebibyte or less.
_MAX_BLOCKS = 2


class PrefetchedInputs:
    """Yields tasks with their inputs' blocks, in order.

    Starts to read the first input at once, and each other one when the previous one is requested.
    """

    def __init__(self, tasks: list[FileTask], storage: Storage, pipeline: Pipeline) -> None:
        self._tasks = tasks
        self._storage = storage
        self._pipeline = pipeline
        self._next = self.read_again(tasks[0])

    def __iter__(self) -> Iterator[tuple[FileTask, Iterator[bytes]]]:
        for index, task in enumerate(self._tasks):
            blocks = self._next
            if index + 1 < len(self._tasks):
                self._next = self.read_again(self._tasks[index + 1])
            yield task, blocks

    def read_again(self, task: FileTask) -> Iterator[bytes]:
        """Read the input of a task from its beginning."""
        blocks = task.read(self._storage)
        return self._pipeline.prefetch(blocks, name="read", max_items=_MAX_BLOCKS)
