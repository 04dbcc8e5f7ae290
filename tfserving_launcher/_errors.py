"""What can go wrong between a SavedModel on disk and a prediction.

ModelServerError
├── ProgramNotFound      there is no model server program to run
├── BadVersionFolder     the version folder's name is not a number
├── NotASavedModel       the folder holds no SavedModel
├── ModelLoadError       the program started and could not load the model
├── ConfinementFailed    the kernel refused to confine the program
├── ServerExited         the program ended, before or while serving
├── ServerTimeout        the program is alive and did not answer in time
├── SignatureNotFound    the model has no signature of that name
├── TensorError          values that do not fit the signature, or an answer that cannot be read
└── PredictError         the server refused a call
"""

import signal

from tfserving_launcher._memory import OutOfMemoryKills

_MEBIBYTE = 1024 * 1024


class ModelServerError(Exception):
    """Base of everything that this package raises on purpose."""


class ProgramNotFound(ModelServerError):
    """No model server program could be found, or the one named cannot be run."""


class BadVersionFolder(ModelServerError):
    """The version folder's name is not a whole number, so the server would wait for ever."""


class NotASavedModel(ModelServerError):
    """The version folder holds neither `saved_model.pb` nor `saved_model.pbtxt`."""


class ModelLoadError(ModelServerError):
    """The server started and could not load the model.

    `reason` is the server's own sentence; `output` the last lines that it printed.
    """

    def __init__(self, reason: str, output: str) -> None:
        super().__init__(f"the model server could not load the model: {reason}")
        self.reason = reason
        self.output = output


class ConfinementFailed(ModelServerError):
    """The kernel has what confines the program, and refused to; nothing was started."""


class ServerExited(ModelServerError):
    """The server process ended by itself.

    `exit_code` is as in `subprocess.Popen.returncode`: negative for the signal that ended it.
    `output` holds the last lines that it printed; `out_of_memory` is there where the kernel has
    killed it for the memory that it and its neighbours took.
    """

    def __init__(
        self,
        exit_code: int,
        output: str,
        *,
        when: str,
        out_of_memory: OutOfMemoryKills | None = None,
    ) -> None:
        last_line = output.strip().rpartition("\n")[2]
        super().__init__(
            f"the model server {_describe_exit(exit_code)} {when}"
            + ("" if out_of_memory is None else _describe_memory(out_of_memory))
            + (f"; its last line: {last_line}" if last_line else "; it printed nothing")
        )
        self.exit_code = exit_code
        self.output = output
        self.out_of_memory = out_of_memory


class ServerTimeout(ModelServerError):
    """The server is alive and has not become ready, or not answered a call, in time."""


class SignatureNotFound(ModelServerError):
    """The model has no signature of the name asked for."""

    def __init__(self, name: str, available: list[str]) -> None:
        super().__init__(
            f"the model has no signature {name!r}; it has {', '.join(available) or 'none'}"
        )
        self.name = name
        self.available = available


class TensorError(ModelServerError):
    """Values do not fit the signature, or a tensor of the answer cannot be read."""


class PredictError(ModelServerError):
    """The server refused a call; the whole batch failed.

    `code` is the name of the gRPC status (`INVALID_ARGUMENT`, ...), `message` the server's words.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"the model server answered {code}: {message}")
        self.code = code
        self.message = message


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit status {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}"


def _describe_memory(kills: OutOfMemoryKills) -> str:
    text = ": the kernel killed it because memory ran out"
    if kills.peak is not None:
        text += f"; {kills.peak // _MEBIBYTE} MiB were in use"
        if kills.limit is not None:
            text += f" of {kills.limit // _MEBIBYTE} MiB"
    return text
