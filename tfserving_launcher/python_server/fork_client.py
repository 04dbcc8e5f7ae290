"""A program that requests a forked model server, and mirrors its life.

    python -I -S fork_client.py SOCKET FLAGS...

It is the command of a model server for whoever runs commands; the launcher asks a fork server
itself. It hands its command line, environment and output to the fork server, passes SIGTERM on,
and ends with the exit status or the signal of the model server. When it is killed, the fork server
kills the model server's process group.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

_NOT_STARTED = 255


def main(socket_path: str, arguments: list[str]) -> int:
    """Returns the exit status of the model server, or dies by the signal that has ended it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(socket_path)
        except OSError as error:
            print(f"no fork server at {socket_path}: {error.strerror}", flush=True)
            return _NOT_STARTED

        def pass_on(number: int, _: FrameType | None) -> None:
            connection.sendall(bytes([number]))

        # Before the request, so that no signal comes between it and the handler.
        signal.signal(signal.SIGTERM, pass_on)
        request = {
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
        }
        message = json.dumps({**request, "client": os.getpid()}).encode() + b"\n"
        try:
            sent = socket.send_fds(connection, [message], [1, 2])
            connection.sendall(message[sent:])
            lines = connection.makefile("rb")
            lines.readline()  # the number of the model server's process
            answer = lines.readline()
        except OSError:
            answer = b""
    if not answer:
        print("the fork server has ended, or serves only its own session", flush=True)
        return _NOT_STARTED
    status = int(answer)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
