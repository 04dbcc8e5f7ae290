"""A model server that is replaced when it dies.

Several batches may be in flight when a server dies. All of them are sent to the next server, one at
a time. If that server dies on a batch, too, it is the poison batch.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from app.concurrency.deadline import Deadline
from app.errors import Cancelled, JobError, ServerFailed, StorageFailed
from app.serving.error_translation import without_own_paths
from app.settings import MEBIBYTE
from tfserving_launcher import (
    ModelServer,
    PredictError,
    PredictFuture,
    ServerExited,
    ServerTimeout,
    Signature,
    SignatureNotFound,
    TensorError,
)
from tfserving_launcher.tensors import Array

# Once together with others, and once alone.
_MAX_CRASHES = 2
# The most calls in flight; a server computes them concurrently.
_CALLS_AT_ONCE = 4
# The largest answer to a replayed request.
_MOST_DROPPED_BYTES = 16 * MEBIBYTE

Tensors = dict[str, Array]

logger = logging.getLogger(__name__)


class PoisonBatch(Exception):
    """Two servers died or hung on the same batch. The message describes the second failure."""


class CallAbandoned(Exception):
    """The batch was cancelled, or no server is left to send it to."""


class WrongRowCount(Exception):
    """The server answered with another number of rows than it was sent."""


@dataclass(slots=True)
class Call:
    """A batch that is in flight or still to be sent.

    `sent_at` is on the monotonic clock, `generation` that of its server. An answer of more than
    `max_answer_bytes` is refused.
    """

    tensors: Tensors
    max_answer_bytes: int
    future: PredictFuture | None = None
    sent_at: float = 0.0
    generation: int = 0
    crashes: int = 0
    is_cancelled: bool = False

    @property
    def rows(self) -> int:
        return len(next(iter(self.tensors.values())))


class SupervisedServer:
    """Serves one model while the block runs, with a new server after each crash.

    `launch` makes a server that is not entered yet. `loaded` is called whenever one has loaded the
    model. There are at most `restarts` new servers. `first` is a running server to begin with, if
    there is one. After the block `kept` is the last server if it may serve other jobs, still
    running; all others are stopped. One thread may call `submit` and another one `result`, in the
    same order. Entering and waiting raise the launcher's errors once no restart is left.
    """

    def __init__(
        self,
        launch: Callable[[], ModelServer],
        *,
        loaded: Callable[[], object],
        restarts: int,
        call_timeout_seconds: float,
        deadline: Deadline,
        first: ModelServer | None = None,
    ) -> None:
        self.kept: ModelServer | None = None
        # Until the answer to the first batch is there.
        self.first_call_seconds: float | None = None
        self._server = first
        self._launch = launch
        self._loaded = loaded
        self._restarts_left = restarts
        self._call_timeout_seconds = call_timeout_seconds
        self._deadline = deadline
        self._lock = threading.Lock()
        self._generation = 0
        self._is_closed = False
        self._constants: Tensors = {}
        self._output_filter: tuple[str, ...] = ()
        # While set, `submit` sends nothing.
        self._one_at_a_time = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # A signal may interrupt the main thread at any step. It does not interrupt this one.
            self._starter = stack.enter_context(
                ThreadPoolExecutor(1, thread_name_prefix="model-server")
            )
            stack.callback(self._stop)
            if self._server is None:
                self._start_with_retries()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None and (exc is None or _clears_the_server(exc)):
            self.kept, self._server = self._server, None
        self._stack.close()

    def signature(self, name: str) -> Signature:
        """Raises SignatureNotFound or TensorError."""
        assert self._server is not None
        self._signature = self._server.signature(name)
        return self._signature

    def signature_names(self) -> list[str]:
        assert self._server is not None
        return self._server.signature_names()

    def method_name(self, signature_name: str) -> str:
        assert self._server is not None
        return self._server.method_name(signature_name)

    def set_for_all_calls(self, constants: Tensors, output_filter: tuple[str, ...]) -> None:
        """Set the constant inputs of all calls, and the outputs to request; () requests all."""
        self._constants, self._output_filter = constants, output_filter

    @property
    def for_all_calls(self) -> tuple[Tensors, tuple[str, ...]]:
        """What `set_for_all_calls` was given."""
        return self._constants, self._output_filter

    def submit(self, call: Call) -> Call:
        """Send a batch without waiting for its answer, for the signature that was read last."""
        with self._lock:
            if not self._one_at_a_time:
                # If calls that hang occupy all slots, `predict` sends this one later.
                with suppress(ServerTimeout):
                    # Concurrent calls share the CPUs, so the timeout is scaled.
                    self._send(call, self._call_timeout_seconds * _CALLS_AT_ONCE)
        return call

    def result(self, call: Call) -> Tensors:
        """Wait for the outputs by name, through restarts of the server.

        Raises PredictError if the server refuses the batch, PoisonBatch, CallAbandoned, and what
        ends the last allowed server.
        """
        outputs = self.predict(call)
        if call.crashes == 0 and call.generation == self._generation:
            # It was sent after the crash, so all calls that were lost came before it. One that the
            # old server answered in time proves nothing.
            self._one_at_a_time = False
        return outputs

    def predict(self, call: Call) -> Tensors:
        """Send a batch outside of the order of calls, such as a piece of a refused one."""
        while True:
            if call.future is None and not self._send_now(call):
                continue
            try:
                outputs = self._answer_to(call)
                _check_rows(outputs, call.rows, self._signature)
            except (ServerExited, ServerTimeout, WrongRowCount, PredictError) as error:
                self._deadline.remaining()
                if call.is_cancelled:
                    raise CallAbandoned from None
                if not self._is_lost(call, error):
                    raise
                call.crashes += 1
                call.future = None
                is_last_word = call.crashes == _MAX_CRASHES or self._restarts_left == 0
                if isinstance(error, WrongRowCount) and is_last_word:
                    # Two servers agree, so the model itself answers so. The caller decides.
                    return outputs
                if call.generation == self._generation:
                    self._replace_server(error)
                if call.crashes == _MAX_CRASHES:
                    raise _final_error(error, PoisonBatch(str(error))) from None
            else:
                # The future holds the whole response message.
                call.future = None
                return outputs

    def _answer_to(self, call: Call) -> Tensors:
        assert call.future is not None
        outputs = call.future.result()
        if self.first_call_seconds is None:
            self.first_call_seconds = time.monotonic() - call.sent_at
        return outputs

    def replay(self, tensors: Tensors, signature_name: str, output_filter: tuple[str, ...]) -> None:
        """Send a request once, with its own signature and without constants; drop the answer.

        Raises the launcher's errors.
        """
        assert self._server is not None
        self._server.predict(
            tensors,
            signature_name=signature_name,
            output_filter=output_filter,
            timeout_seconds=min(self._call_timeout_seconds, self._deadline.remaining()),
            max_answer_bytes=_MOST_DROPPED_BYTES,
        )

    def cancel(self, call: Call) -> None:
        """Cancel a call, even if it is not sent yet."""
        call.is_cancelled = True
        future = call.future
        if future is not None:
            future.cancel()

    def _send_now(self, call: Call) -> bool:
        """Send a call. If calls that hang occupy all slots, replace the server instead."""
        try:
            with self._lock:
                self._send(call, self._call_timeout_seconds)
        except ServerTimeout as error:
            self._deadline.remaining()
            if call.generation == self._generation:
                self._replace_server(error)
            return False
        return True

    def _send(self, call: Call, seconds: float) -> None:
        if call.is_cancelled or self._server is None:
            raise CallAbandoned
        call.generation = self._generation
        call.sent_at = time.monotonic()
        call.future = self._server.submit(
            {**self._constants, **call.tensors},
            signature_name=self._signature.name,
            output_filter=self._output_filter,
            timeout_seconds=min(seconds, self._deadline.remaining()),
            max_answer_bytes=call.max_answer_bytes,
        )

    def _is_lost(self, call: Call, error: Exception) -> bool:
        """Whether the server, and not the batch, caused the failure."""
        if call.generation != self._generation:
            return True
        return not isinstance(error, PredictError) or error.code == "UNAVAILABLE"

    def _replace_server(self, error: Exception) -> None:
        if self._restarts_left == 0:
            raise _final_error(error, error)
        with self._lock:
            self._restarts_left -= 1
            self._one_at_a_time = True
            self._generation += 1
            logger.warning("a fresh model server takes over: %s", error)
            self._starter.submit(self._stop_server).result()
            self._start_with_retries()

    def _start_with_retries(self) -> None:
        while True:
            try:
                self._starter.submit(copy_context().run, self._start_server).result()
            except (ServerExited, ServerTimeout) as error:
                self._deadline.remaining()
                if self._restarts_left == 0:
                    raise
                self._restarts_left -= 1
                logger.warning("the model server is started again: %s", error)
            else:
                return

    def _start_server(self) -> None:
        if self._is_closed:
            raise CallAbandoned
        self._server = self._launch().__enter__()
        self._loaded()

    def _stop_server(self) -> None:
        if self._server is not None:
            self._server.__exit__(None, None, None)
            self._server = None

    def _stop(self) -> None:
        self._is_closed = True
        self._starter.submit(self._stop_server).result()


def _clears_the_server(error: BaseException) -> bool:
    """Whether the error says nothing against the server. A cancelled job may leave a call that
    hangs.
    """
    if isinstance(error, SignatureNotFound | TensorError | StorageFailed):
        return True
    return isinstance(error, JobError) and error.code < 500 and not isinstance(error, Cancelled)


def _final_error(error: Exception, otherwise: Exception) -> Exception:
    """Blame the server, and not the batch, if it is alive but unavailable."""
    return ServerFailed(without_own_paths(error)) if isinstance(error, PredictError) else otherwise


def _check_rows(outputs: Tensors, rows: int, signature: Signature) -> None:
    """Raise WrongRowCount if the server may have lost rows.

    More rows than were sent, or the exact shape of the signature, come from the model; the caller
    decides.
    """
    for name, array in outputs.items():
        shape = signature.outputs[name].shape if name in signature.outputs else None
        is_the_models = shape is not None and shape[:1] == array.shape[:1]
        if not is_the_models and (array.ndim == 0 or len(array) < rows):
            raise WrongRowCount(f"output {name} has the shape {list(array.shape)} for {rows} rows")
