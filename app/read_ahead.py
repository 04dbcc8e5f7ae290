"""The inputs of a job, each being read before it is asked for."""

from collections.abc import Iterator

from app.pipeline import Pipeline
from app.plan import FileTask
from app.storage import Storage

# Blocks are a mebibyte or less.
_BLOCKS_AHEAD = 2


class InputsAhead:
    """Pairs of a task and its input's blocks, in order.

    The first input begins to be read at once, each other one when the one before it is asked for.
    """

    def __init__(self, tasks: list[FileTask], storage: Storage, pipeline: Pipeline) -> None:
        self._tasks = tasks
        self._storage = storage
        self._pipeline = pipeline
        self._next = self.read(tasks[0])

    def __iter__(self) -> Iterator[tuple[FileTask, Iterator[bytes]]]:
        for index, task in enumerate(self._tasks):
            blocks = self._next
            if index + 1 < len(self._tasks):
                self._next = self.read(self._tasks[index + 1])
            yield task, blocks

    def read(self, task: FileTask) -> Iterator[bytes]:
        """The input of a task, from its beginning."""
        return self._pipeline.ahead(
            self._storage.read(task.input), depth=_BLOCKS_AHEAD, name="read"
        )
