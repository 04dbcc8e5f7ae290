"""Which model server program to run."""

import importlib.util
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from tfserving_launcher._errors import ProgramNotFound

PROGRAM_VARIABLE = "TENSORFLOW_MODEL_SERVER"
PROGRAM_NAME = "tensorflow_model_server"
# Which of them to take: TENSORFLOW means the Python model server, whatever else there is.
KIND_VARIABLE = "MODEL_SERVER"
_TENSORFLOW = "tensorflow"
PYTHON_SERVER_MODULE = "tfserving_launcher.python_server"
# The socket of a fork server, which the Python model server is then forked from.
FORK_SERVER_VARIABLE = "TENSORFLOW_FORK_SERVER"
_FORK_CLIENT = Path(__file__).parent / "python_server" / "fork_client.py"

_USAGE_TIMEOUT_SECONDS = 20.0

logger = logging.getLogger(__name__)


# What shells and loaders give where a program cannot be executed, and where something is missing.
_SHELL_FAILURES = (126, 127)
_BASE_PATH_FLAG = "--model_base_path"


@dataclass(frozen=True, slots=True)
class Program:
    """A model server program: its command, and what it says of itself when asked for help.

    With a `fork_server`, the path of its socket, the launcher asks that one instead of running
    `command`, which does the same for others.
    """

    command: tuple[str, ...]
    found_by: str
    usage: str
    fork_server: Path | None = None

    def knows(self, flag: str) -> bool:
        """Whether the program's own usage lists `--flag`."""
        return f"--{flag}=" in self.usage

    def __str__(self) -> str:
        return f"{shlex.join(self.command)} ({self.found_by})"


def find_program(environ: Mapping[str, str] | None = None) -> Program:
    """The program to run: `TENSORFLOW_MODEL_SERVER` (a command line), else the one on PATH, else
    the Python model server where TensorFlow is installed. `MODEL_SERVER=tensorflow` asks for the
    last one. Raises ProgramNotFound.

    The answer is kept for the life of this process: asking a program for its usage starts it.
    """
    environ = os.environ if environ is None else environ
    if _asks_for_tensorflow(environ):
        if not _tensorflow_is_installed():
            raise ProgramNotFound(
                f"{KIND_VARIABLE} is {_TENSORFLOW}, and TensorFlow is not installed"
            )
        return _python_program(environ, f"{KIND_VARIABLE}={_TENSORFLOW}")
    named = environ.get(PROGRAM_VARIABLE, "").strip()
    if named:
        return _program(_split(named), PROGRAM_VARIABLE)
    if on_path := _on_path(environ):
        return _program((on_path,), "found on PATH")
    if _tensorflow_is_installed():
        _warn_of_stand_in()
        return _python_program(environ, "stand-in on TensorFlow")
    raise ProgramNotFound(
        f"no model server program: {PROGRAM_VARIABLE} is not set, {PROGRAM_NAME} is not on PATH,"
        " and TensorFlow is not installed for the Python model server; set"
        f" {PROGRAM_VARIABLE} to the program's command line, or install tensorflow-cpu"
    )


def _python_program(environ: Mapping[str, str], found_by: str) -> Program:
    fork_server = environ.get(FORK_SERVER_VARIABLE)
    found = _program(_python_server(fork_server), found_by)
    return replace(found, fork_server=Path(fork_server)) if fork_server else found


def _asks_for_tensorflow(environ: Mapping[str, str]) -> bool:
    kind = environ.get(KIND_VARIABLE, "").strip()
    if kind not in ("", _TENSORFLOW):
        raise ProgramNotFound(
            f"{KIND_VARIABLE} must be {_TENSORFLOW} or empty, it is {kind!r}; {PROGRAM_VARIABLE}"
            " names a program"
        )
    return kind == _TENSORFLOW


@cache
def _warn_of_stand_in() -> None:
    logger.warning(
        "a stand-in in Python serves the models: %s is not on PATH; install the Debian package"
        " tensorflow-model-server of TensorFlow Serving, or name the program in %s",
        PROGRAM_NAME,
        PROGRAM_VARIABLE,
    )


def needs_stand_in(environ: Mapping[str, str] | None = None) -> bool:
    """Whether `find_program` takes the Python model server; starts nothing."""
    environ = os.environ if environ is None else environ
    if environ.get(KIND_VARIABLE, "").strip() == _TENSORFLOW:
        return _tensorflow_is_installed()
    is_there = environ.get(PROGRAM_VARIABLE, "").strip() or _on_path(environ)
    return not is_there and _tensorflow_is_installed()


def _on_path(environ: Mapping[str, str]) -> str | None:
    return shutil.which(PROGRAM_NAME, path=environ.get("PATH"))


def _python_server(fork_server: str | None) -> tuple[str, ...]:
    if fork_server:
        return (sys.executable, "-I", "-S", str(_FORK_CLIENT), fork_server)
    return (sys.executable, "-m", PYTHON_SERVER_MODULE)


def _split(command_line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command_line))
    except ValueError as error:
        raise ProgramNotFound(
            f"{PROGRAM_VARIABLE} is not a command line: {error}: {command_line!r}"
        ) from None


@lru_cache(maxsize=8)
def _program(command: tuple[str, ...], found_by: str) -> Program:
    """Asks the program for its usage, which lists every flag of that very build.

    A version number does not say as much: builds from source call themselves 0.0.0.
    """
    try:
        answer = subprocess.run(
            [*command, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_USAGE_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise ProgramNotFound(
            f"the model server program {shlex.join(command)} ({found_by}) cannot be run:"
            f" {error.strerror}"
        ) from None
    except subprocess.TimeoutExpired:
        logger.warning("%s did not answer --help in %.0f s", command[0], _USAGE_TIMEOUT_SECONDS)
        return Program(command, found_by, usage="")
    usage = answer.stdout.decode(errors="replace")
    if why := _cannot_run(answer.returncode, usage):
        raise ProgramNotFound(
            f"the model server program {shlex.join(command)} ({found_by}) cannot be run: {why}"
        )
    logger.info("model server program: %s (%s)", shlex.join(command), found_by)
    return Program(command, found_by, usage)


def _cannot_run(status: int, usage: str) -> str | None:
    """Why a program is no model server, told by how it answered --help; None where it may be one.

    A program that ends so would end so again, so a job that needs it is not worth a retry.
    """
    words = usage.strip().splitlines()
    last = f": {words[-1]}" if words else ""
    if status == -signal.SIGILL:
        return "killed by SIGILL, so it is built for another CPU (AVX, as a rule)"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}{last}"
    if status in _SHELL_FAILURES:
        return f"exit status {status}{last}"
    if words and _BASE_PATH_FLAG not in usage:
        return f"it is no model server, as its --help does not list {_BASE_PATH_FLAG}{last}"
    return None


def _tensorflow_is_installed() -> bool:
    """Whether the whole package is there, and not only its _pb2 files."""
    spec = importlib.util.find_spec("tensorflow")
    return spec is not None and spec.origin is not None
