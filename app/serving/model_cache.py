"""Keeps model servers after their jobs, so that the next job of a model starts nothing."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.errors import TooLarge
from app.savedmodel.model_files import ModelFiles
from app.serving.loaded_model import LoadedModel, ModelKey
from app.settings import Settings
from app.storage import Location
from app.telemetry.log import current_job
from tfserving_launcher import memory_left

_MOST_RESERVED = 2
# To measure the memory of a server takes about 10 ms, which a job would wait for. Servers grow with
# their first calls, and little later.
_MEASURE_SECONDS = 10.0

logger = logging.getLogger(__name__)


class ModelCache:
    """Up to KEEP_MODELS loaded models, the least recently used out first.

    A model is known by the generations of its files, so a changed one is another one. Pinned models
    do not count, and stay as long as they answer; reserved ones stay until a job takes them. Safe
    for several threads.
    """

    def __init__(self, keep: int = 0, most_bytes: int | None = None) -> None:
        self._keep = keep
        self._most_bytes = most_bytes
        # The most recently used is the last one.
        self._kept: list[LoadedModel] = []
        self._lent: set[LoadedModel] = set()
        self._is_closed = False
        self._measured_at = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def borrow(
        self,
        model: ModelFiles,
        asked_for: Location,
        settings: Settings,
        *,
        check_room: Callable[[Path], None],
        pin: bool = False,
        reserve: bool = False,
    ) -> Iterator[LoadedModel]:
        """The model as it was kept, or a new folder for it. After the block it is kept, if it has
        a server then.

        With `reserve` it is kept for the job that takes it next, and others do not make room for
        it. `check_room` raises TooLarge if the model does not fit into memory or the folder. Others
        are dropped for it, and if that is not enough, its error is raised.
        """
        key = ModelKey.of(model, settings)
        loaded = self._take(key, asked_for)
        if loaded is None:
            # Whoever asks for all folders waits until a new one is among them.
            with self._lock:
                loaded = LoadedModel.in_new_folder(model, key, asked_for)
                self._lent.add(loaded)
        is_new = loaded.server is None
        try:
            loaded.log.context = current_job()
            if loaded.server is None:
                self._make_room(lambda: check_room(loaded.folder), may_drop=not reserve)
            yield loaded
        finally:
            loaded.log.context = None
            loaded.is_reserved = reserve
            self._give_back(loaded, pin=pin, is_new=is_new)

    @property
    def holds_pinned(self) -> bool:
        """Whether a pinned model is there or lent."""
        with self._lock:
            return any(one.is_pinned for one in [*self._kept, *self._lent])

    def drop_all(self) -> None:
        """Stop all kept servers that are not pinned, such as when memory has run out."""
        while self._drop_one():
            pass

    def folders(self) -> tuple[Path, ...]:
        """The folders of all loaded models."""
        with self._lock:
            return tuple(one.folder for one in [*self._kept, *self._lent])

    def close(self) -> None:
        """Stop all kept servers. What is lent is stopped when it is given back."""
        with self._lock:
            self._is_closed = True
            kept, self._kept = self._kept, []
        _close(kept)

    def _take(self, key: ModelKey, asked_for: Location) -> LoadedModel | None:
        """Take the model out, if it still answers. Drop what the same location held before."""
        with self._lock:
            found = [one for one in self._kept if one.key == key]
            stale = [one for one in self._kept if one.key != key and asked_for in one.asked_for]
            self._kept = [one for one in self._kept if one not in found and one not in stale]
            self._lent.update(found)
        for one in stale:
            logger.info("%s has changed: its kept server is stopped", one.model.folder)
        taken = found[0] if found else None
        if taken is not None and not taken.is_ready():
            logger.warning("the kept server of %s is gone, or hangs", taken.model.folder)
            with self._lock:
                self._lent.discard(taken)
            stale.append(taken)
            taken = None
        _close(stale)
        if taken is not None:
            taken.asked_for.add(asked_for)
        return taken

    def _give_back(self, loaded: LoadedModel, *, pin: bool, is_new: bool) -> None:
        with self._lock:
            self._lent.discard(loaded)
            dropped = [loaded]
            if loaded.server is not None and not self._is_closed:
                # Two jobs may have loaded it at the same time.
                twins = [one for one in self._kept if one.key == loaded.key]
                self._kept = [one for one in self._kept if one not in twins]
                loaded.is_pinned = pin or loaded.is_pinned or any(one.is_pinned for one in twins)
                if pin:
                    for one in self._kept:
                        one.is_pinned = False
                self._kept.append(loaded)
                dropped = [*twins, *self._excess(measures=is_new or self._is_measure_old())]
            self._kept = [one for one in self._kept if one not in dropped]
        _close(dropped)

    def _is_measure_old(self) -> bool:
        return time.monotonic() - self._measured_at > _MEASURE_SECONDS

    def _excess(self, *, measures: bool) -> list[LoadedModel]:
        """What must go so that the others are within the number and, if measured, the memory."""
        reserved = [one for one in self._kept if one.is_reserved]
        # One for the next job, and one that a job was about to take.
        spared = [*reserved[-_MOST_RESERVED:], *(one for one in self._kept if one.is_pinned)]
        others = [one for one in self._kept if one not in spared]
        dropped, rest = others[: -self._keep or None], others[-self._keep or len(others) :]
        left = self._bytes_for_kept() if measures else None
        if left is None:
            return dropped
        self._measured_at = time.monotonic()
        left -= sum(one.memory_bytes() for one in spared)
        for one in reversed(rest):
            size = one.memory_bytes()
            if size > left:
                dropped.append(one)
            else:
                left -= size
        return dropped

    def _bytes_for_kept(self) -> int | None:
        if self._most_bytes is not None:
            return self._most_bytes
        memory = memory_left()
        return None if memory is None else memory.limit // 2

    def _make_room(self, check_room: Callable[[], None], *, may_drop: bool) -> None:
        while True:
            try:
                check_room()
            except TooLarge as error:
                if not (may_drop and _would_fit_alone(error) and self._drop_one()):
                    raise
            else:
                return

    def _drop_one(self) -> bool:
        """Drop the least recently used model. False if there is none."""
        with self._lock:
            found = next((one for one in self._kept if not one.is_pinned), None)
            if found is None:
                return False
            self._kept.remove(found)
        logger.info("the kept server of %s makes room", found.model.folder)
        found.close()
        return True


def _would_fit_alone(error: TooLarge) -> bool:
    """Whether memory is short only because others have it."""
    needed, limit = error.details.get("needed_bytes"), error.details.get("limit_bytes")
    return needed is not None and limit is not None and needed <= limit


def _close(models: Iterable[LoadedModel]) -> None:
    """Close all of them, also if one fails."""
    with ExitStack() as stack:
        for one in models:
            stack.callback(one.close)
