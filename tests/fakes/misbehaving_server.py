"""A model server program that misbehaves on command.

    python -m tests.fakes.misbehaving_server HOW FLAGS...

`exits` ends at once; `cannot_load` ends as the real program does when a model cannot be loaded;
`hangs` never becomes ready; the others misbehave and then become the program that is found:
`ignores_sigterm`, and `forks`, which leaves a child that floods the output without an end of line.
"""

import os
import signal
import subprocess
import sys
import threading

from tfserving_launcher import find_program
from tfserving_launcher._program import PROGRAM_VARIABLE

_MODULE = "tests.fakes.misbehaving_server"
_FLOOD = "import sys\nwhile True: sys.stdout.write('flood ' * 1000)"


def main(how: str, flags: list[str]) -> int:
    if "--help" in flags:
        print("--model_base_path=''")
        return 255
    if how == "exits":
        print("first words\nlast words", flush=True)
        return 3
    if how == "warns":
        print("2026-11-27 10:00:00.000001: W tensorflow/core/x.cc:1] a warning")
        print("E1127 10:00:00.000001 123 x.cc:1] an error", file=sys.stderr)
        print("2026-11-27 and no letter", flush=True)
        return 3
    if how == "cannot_load":
        print(
            "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available:"
            " {{{name: model version: 1} due to error: OUT_OF_RANGE: Read less bytes}, }"
        )
        return 255
    if how == "hangs_deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how.startswith("hangs"):
        print("hanging", flush=True)
        threading.Event().wait()
    if how == "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "forks":
        subprocess.Popen([sys.executable, "-c", _FLOOD])
    program = find_program(
        {
            name: value
            for name, value in os.environ.items()
            # Where this program itself is what the variable names, the next best is meant.
            if name != PROGRAM_VARIABLE or _MODULE not in value
        }
    )
    return os.execvp(program.command[0], [*program.command, *flags])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
