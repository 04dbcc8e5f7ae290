"""Reads the inputs of a job ahead."""

from collections import deque
from collections.abc import Iterable, Iterator

from app.concurrency.pipeline import Pipeline
from app.planning.plan import FileTask
from app.settings import MEBIBYTE
from app.storage import Storage

# Blocks are about a mebibyte or less.
_MAX_BLOCKS = 2
# Small files are read side by side, because most of their time is storage's latency.
_MOST_FILES = 16
_MOST_BYTES = 8 * MEBIBYTE


class PrefetchedInputs:
    """Yields tasks with their inputs' blocks, in order.

    Reads the first inputs at once, and later ones while earlier ones are predicted: so many that
    what is read ahead stays bounded, and always the next one.
    """

    def __init__(self, tasks: Iterable[FileTask], storage: Storage, pipeline: Pipeline) -> None:
        self._waiting = deque(tasks)
        self._storage = storage
        self._pipeline = pipeline
        self._ahead: deque[tuple[FileTask, Iterator[bytes]]] = deque()
        self._read_ahead()

    def __iter__(self) -> Iterator[tuple[FileTask, Iterator[bytes]]]:
        while self._ahead:
            task, blocks = self._ahead.popleft()
            self._read_ahead()
            yield task, blocks

    def read_again(self, task: FileTask) -> Iterator[bytes]:
        """Read the input of a task from its beginning."""
        blocks = task.read(self._storage)
        return self._pipeline.prefetch(blocks, name="read", max_items=_MAX_BLOCKS)

    def _read_ahead(self) -> None:
        while self._waiting and not self._is_full():
            task = self._waiting.popleft()
            self._ahead.append((task, self.read_again(task)))

    def _is_full(self) -> bool:
        held = sum(_held_bytes(task) for task, _ in self._ahead)
        return len(self._ahead) >= _MOST_FILES or (len(self._ahead) > 0 and held >= _MOST_BYTES)


def _held_bytes(task: FileTask) -> int:
    """The most bytes of an input that are in memory ahead of its prediction."""
    return min(task.input.size, (_MAX_BLOCKS + 1) * MEBIBYTE)
