"""A model server that is replaced when it dies, and the batches that were in flight then.

Several batches may be in flight when a server dies, so the guilty one is unknown. All of them go to
the next server again, one at a time. A batch on which that server dies too is the poison batch.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from typing import Self

from app.concurrency.deadline import Deadline
from app.errors import ServerFailed
from app.serving.error_translation import without_own_paths
from tfserving_launcher import (
    ModelServer,
    PredictError,
    PredictFuture,
    ServerExited,
    ServerTimeout,
    Signature,
)
from tfserving_launcher.tensors import Array

# Sent while it was under way, and once more alone.
_MAX_CRASHES = 2
# How many may be under way together; a server computes them side by side.
_CALLS_AT_ONCE = 4

Tensors = dict[str, Array]

logger = logging.getLogger(__name__)


class PoisonBatch(Exception):
    """Two servers died or hung on the same batch. The message is about the second one."""


class CallAbandoned(Exception):
    """The batch was cancelled, or no server is left to send it to."""


class WrongRowCount(Exception):
    """The server answered with another number of rows than it was sent."""


@dataclass(slots=True)
class Call:
    """A batch in flight, or not sent yet; `generation` is that of the server that it was sent to.

    An answer of more than `max_answer_bytes` is refused.
    """

    tensors: Tensors
    max_answer_bytes: int
    future: PredictFuture | None = None
    generation: int = 0
    crashes: int = 0
    is_cancelled: bool = False

    @property
    def rows(self) -> int:
        return len(next(iter(self.tensors.values())))


class SupervisedServer:
    """One model server after the other for the same model, alive between enter and exit.

    `launch` gives one that is not yet entered; `loaded` is called each time that one has loaded
    the model. At most `restarts` take the place of others.
    `submit` may be called by one thread, and `result` by another one, in the order of the calls.
    Entering, and every wait for an answer, raises what the launcher raises once no restart is left.
    """

    def __init__(
        self,
        launch: Callable[[], ModelServer],
        *,
        loaded: Callable[[], object],
        restarts: int,
        call_timeout_seconds: float,
        deadline: Deadline,
    ) -> None:
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
        # While set, nothing is sent ahead.
        self._one_at_a_time = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # A server ends with the thread that has started it, so one thread starts them all.
            self._starter = stack.enter_context(
                ThreadPoolExecutor(1, thread_name_prefix="model-server")
            )
            stack.callback(self._stop)
            self._server: ModelServer | None = None
            self._start_with_retries()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
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
        """Inputs that each call has beside its rows, and the outputs that it asks for, () all."""
        self._constants, self._output_filter = constants, output_filter

    def submit(self, call: Call) -> Call:
        """Sends a batch ahead, with the signature asked for last, and does not wait for it."""
        with self._lock:
            if not self._one_at_a_time:
                # Concurrent calls share the CPUs, so the timeout is scaled.
                self._send(call, self._call_timeout_seconds * _CALLS_AT_ONCE)
        return call

    def result(self, call: Call) -> Tensors:
        """The outputs by name, from as many servers as it takes.

        Raises PredictError where the server refuses the batch, PoisonBatch, CallAbandoned, and what
        ends the last server that there may be.
        """
        outputs = self.predict(call)
        if call.crashes == 0:
            # All that were under way when a server died came before this one.
            self._one_at_a_time = False
        return outputs

    def predict(self, call: Call) -> Tensors:
        """The same for a batch that is no part of the order of calls: a piece of a refused one."""
        while True:
            if call.future is None:
                with self._lock:
                    self._send(call, self._call_timeout_seconds)
            assert call.future is not None
            try:
                outputs = call.future.result()
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
                    # Two servers agree, so it is what the model answers. The caller judges it.
                    return outputs
                if call.generation == self._generation:
                    self._replace_server(error)
                if call.crashes == _MAX_CRASHES:
                    raise _final_error(error, PoisonBatch(str(error))) from None
            else:
                # It holds the whole message as it came.
                call.future = None
                return outputs

    def cancel(self, call: Call) -> None:
        """Gives a call up that nobody waits for, also one that is not sent yet."""
        call.is_cancelled = True
        future = call.future
        if future is not None:
            future.cancel()

    def _send(self, call: Call, seconds: float) -> None:
        if call.is_cancelled or self._server is None:
            raise CallAbandoned
        call.generation = self._generation
        call.future = self._server.submit(
            {**self._constants, **call.tensors},
            signature_name=self._signature.name,
            output_filter=self._output_filter,
            timeout_seconds=min(seconds, self._deadline.remaining()),
            max_answer_bytes=call.max_answer_bytes,
        )

    def _is_lost(self, call: Call, error: Exception) -> bool:
        """Whether the call failed because of the server, and not because of the batch."""
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


def _final_error(error: Exception, otherwise: Exception) -> Exception:
    """A server that is alive but unavailable is no fault of a batch."""
    return ServerFailed(without_own_paths(error)) if isinstance(error, PredictError) else otherwise


def _check_rows(outputs: Tensors, rows: int, signature: Signature) -> None:
    """Raise WrongRowCount where rows may have been lost on the server.

    No server adds rows or answers with the very shape of the signature by mistake: the caller
    judges what the model does.
    """
    for name, array in outputs.items():
        shape = signature.outputs[name].shape if name in signature.outputs else None
        is_the_models = shape is not None and shape[:1] == array.shape[:1]
        if not is_the_models and (array.ndim == 0 or len(array) < rows):
            raise WrongRowCount(f"output {name} has the shape {list(array.shape)} for {rows} rows")
