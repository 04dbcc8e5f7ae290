"""The program that the launcher runs: requests a forked model server, and mirrors its life.

    python -I -S fork_client.py SOCKET FLAGS...

It imports little, because its start is all that a model server then costs beside the fork: json and
pathlib alone would double it. It hands its command line, environment and output to the fork server,
passes SIGTERM on, and ends with the exit status or the signal of the model server. When it is
killed, the fork server kills the model server's process group.
"""

import os
import signal
import socket
import sys

_NOT_STARTED = 255


def main(socket_path: str, arguments: list[str]) -> int:
    """Returns the exit status of the model server, or dies by the signal that has ended it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(socket_path)
        except OSError as error:
            print(f"no fork server at {socket_path}: {error.strerror}", flush=True)
            return _NOT_STARTED

        def pass_on(number: int, _: object) -> None:
            connection.sendall(bytes([number]))

        # Before the request, so that no signal comes between it and the handler.
        signal.signal(signal.SIGTERM, pass_on)
        environment = [f"{name}={value}" for name, value in os.environ.items()]
        fields = [str(os.getpid()), os.getcwd(), str(len(arguments)), *arguments, *environment]  # noqa: PTH109  # see above
        body = os.fsencode("\0".join(fields))
        message = b"%d\n" % len(body) + body
        sent = socket.send_fds(connection, [message], [1, 2])
        connection.sendall(message[sent:])
        answer = connection.makefile("rb").readline()
    if not answer:
        print("the fork server has ended", flush=True)
        return _NOT_STARTED
    status = int(answer)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
