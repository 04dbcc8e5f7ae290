"""A process that has imported TensorFlow, and forks a model server for each client.

    python -m tfserving_launcher.python_server.fork_parent DESCRIPTOR [own-session-only]

DESCRIPTOR is that of a listening socket. With `own-session-only` clients of other sessions are
turned away: a model server, which has a session of its own, could have itself forked without
confinement otherwise.

A fork saves the seconds of the import, and shares its pages. So the parent loads a graph, which
fills tables that each model needs, and then freezes what the garbage collector would touch in each
child. It has one thread and never runs an operation: a fork after one hangs. It ends when its
standard input does, and what it has forked ends with it. What a model server leaves ends with that
server, where `own-session-only` is set.

On a stream socket, the client sends one line of JSON with the descriptors for standard output and
standard error, then a byte for each signal. The answers are two lines: the number of the model
server's process, and at its end the exit status or the negative number of the signal that has ended
it. The JSON has `arguments`, `environment`, `folder`, and either `client`, the number of a process
whose limits and confinement the model server takes over, or `limits` (see Limits).
"""

import gc
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfserving_launcher._linux import allow_dumps
from tfserving_launcher._orphans import end_orphans, protect_this_process
from tfserving_launcher._process import running_servers
from tfserving_launcher.python_server import (  # noqa: F401  # imported before the forks
    services,
    warm_up,
)
from tfserving_launcher.python_server.__main__ import main as serve
from tfserving_launcher.python_server.__main__ import tensorflow_version
from tfserving_launcher.python_server.limits import Limits, apply_limits, limits_of
from tfserving_launcher.python_server.tensorflow_runtime import TensorFlowRuntime, load_runtime

_READ_BYTES = 64 * 1024
_OUTPUTS = 2
_FAILED = 255
_TAG = "serve"
_OWN_SESSION_ONLY = "own-session-only"
# struct ucred: the process, the user and the group.
_CREDENTIALS = struct.Struct("iII")
_DT_FLOAT = 1  # tensorflow/core/framework/types.proto


class _Client:
    """One connection, and the model server that was forked for it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.request = b""
        self.outputs: list[int] = []
        self.pid: int | None = None

    def signal_group(self, number: int) -> None:
        if self.pid is None:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # It has just been forked, and has no group of its own yet.
            os.kill(self.pid, number)


class ForkParent:
    """Serves clients of `listener` until standard input ends."""

    def __init__(self, listener: socket.socket, *, own_session_only: bool) -> None:
        self._listener = listener
        self._own_session_only = own_session_only
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._wake_up, wake_up_end = os.pipe()
        for descriptor in (self._wake_up, wake_up_end):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake_up_end)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def run(self) -> None:
        """Ends all that was forked before it returns."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_up, selectors.EVENT_READ, self._reap)
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    for client in self._clients.values():
                        client.signal_group(signal.SIGKILL)
                    return
                if isinstance(key.data, _Client):
                    self._read(key.data)
                else:
                    key.data()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if self._own_session_only and not _is_of_this_session(connection):
            connection.close()
            return
        self._selector.register(connection, selectors.EVENT_READ, _Client(connection))

    def _read(self, client: _Client) -> None:
        try:
            data, outputs, _, _ = socket.recv_fds(client.connection, _READ_BYTES, _OUTPUTS)
        except OSError:
            data, outputs = b"", []
        client.outputs += outputs
        if not data:
            # The client is gone, and nobody waits for the status.
            client.signal_group(signal.SIGKILL)
            self._close(client)
        elif client.pid is not None:
            for number in data:
                client.signal_group(number)
        else:
            client.request += data
            if client.request.endswith(b"\n"):
                self._fork(client)

    def _fork(self, client: _Client) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_server(client)
        client.pid = pid
        self._clients[pid] = client
        running_servers.add(pid)
        with suppress(OSError):  # the client is gone, which its connection tells
            client.connection.sendall(b"%d\n" % pid)
        for descriptor in client.outputs:
            os.close(descriptor)
        client.outputs = []

    def _become_server(self, client: _Client) -> None:
        """In the child; does not return."""
        status = _FAILED
        try:
            request: dict[str, Any] = json.loads(client.request)
            for number, descriptor in enumerate(client.outputs, start=1):
                os.dup2(descriptor, number)
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            self._selector.close()
            os.closerange(_OUTPUTS + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            allow_dumps()
            limits = request.get("limits")
            arguments = request["arguments"]
            apply_limits(
                limits_of(request["client"], arguments) if limits is None else Limits(**limits)
            )
            status = serve(arguments)
        # Whatever it is, the launcher reads it as the program's last words.
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_up, _READ_BYTES)
        while True:
            try:
                # The zombie keeps its group's number taken until the rest of the group is killed.
                end = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if end is None:
                return
            client = self._clients.pop(end.si_pid, None)
            if client is not None:
                client.signal_group(signal.SIGKILL)
            os.waitpid(end.si_pid, 0)
            running_servers.discard(end.si_pid)
            if self._own_session_only:
                end_orphans()
            if client is not None:
                exited = end.si_code == os.CLD_EXITED
                with suppress(OSError):
                    client.connection.sendall(
                        b"%d\n" % (end.si_status if exited else -end.si_status)
                    )
                client.pid = None
                self._close(client)

    def _close(self, client: _Client) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(client.connection)
        client.connection.close()


def _is_of_this_session(connection: socket.socket) -> bool:
    """Source: SO_PEERCRED in unix(7), getsid(2)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(credentials)
    try:
        return os.getsid(pid) == os.getsid(0)
    except OSError:
        return False  # it has ended


def _load_a_graph(runtime: TensorFlowRuntime) -> None:
    """Load a SavedModel of two nodes and no variables. Runs no operation."""
    model = runtime.saved_model_proto()
    meta_graph = model.meta_graphs.add()
    meta_graph.meta_info_def.tags.append(_TAG)
    for name, operation, attribute in (("x", "Placeholder", "dtype"), ("y", "Identity", "T")):
        node = meta_graph.graph_def.node.add(name=name, op=operation)
        node.attr[attribute].type = _DT_FLOAT
    node.input.append("x")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "saved_model.pb").write_bytes(model.SerializeToString())
        runtime.saved_model_loader(folder).load_graph(runtime.graph(), [_TAG])


def main(descriptor: str, *options: str) -> None:
    module = "tfserving_launcher.python_server.fork_parent"
    _load_a_graph(load_runtime([sys.executable, "-m", module, descriptor, *options]))
    own_session_only = _OWN_SESSION_ONLY in options
    if own_session_only:
        protect_this_process()
    tensorflow_version()  # looked up once, for all children
    # A collection writes to each object, so that a child would copy all pages that it shares.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as listener:
        ForkParent(listener, own_session_only=own_session_only).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
