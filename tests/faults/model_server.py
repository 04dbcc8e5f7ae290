"""A model server program that misbehaves on command, in front of the program that is found.

    python -m tests.faults.model_server ORDERS FLAGS...

ORDERS is a folder. Each start takes the first file of it, by name, away and does what it says;
without one it becomes the program itself. So the first server of a job may be bad and the next
one good. The command line of the program itself is in a file beside ORDERS.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PROGRAM_FILE = "program.json"
# A row that holds it is the one that servers die of.
POISON = -666.0


def _order(orders: Path) -> dict[str, Any]:
    for file in sorted(orders.iterdir()):
        order: dict[str, Any] = json.loads(file.read_text())
        if not order.get("always"):
            file.unlink()
        return order
    return {}


def main(orders: Path, flags: list[str]) -> int:
    command = json.loads((orders.parent / PROGRAM_FILE).read_text())
    if "--help" in flags:
        os.execvp(command[0], [*command, *flags])
    order = _order(orders)
    if not order:
        os.execvp(command[0], [*command, *flags])
    at_start = order.get("at_start")
    if at_start == "exits":
        print("last words", flush=True)
        return 3
    if at_start == "hangs":
        threading.Event().wait()
    if at_start == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.get("ignores_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if order.get("forks"):
        subprocess.Popen(["sleep", "1000"])
    # Imported only here: most servers start without an order, and become the program at once.
    from tests.faults.proxy import serve

    return serve(command, flags, order)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
