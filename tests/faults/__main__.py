"""Runs the table of faults and prints it: fault, injected where, outcome, seconds.

    python -m tests.faults [WORDS...]

Only the faults whose names hold all the words, or all of them.
"""

import sys
import time
import traceback

from tests.faults.promise import run
from tests.faults.table import FAULTS
from tests.faults.world import world_of_its_own


def main(words: list[str]) -> int:
    chosen = [fault for fault in FAULTS if all(word in fault.id for word in words)]
    failures = 0
    with world_of_its_own() as everything:
        assert everything.call().status_code == 200
        undisturbed = everything.outputs()
        print(f"{'fault':<34} {'injected where':<42} {'outcome':<26} seconds")
        for fault in chosen:
            started = time.monotonic()
            try:
                outcome = run(fault, everything, undisturbed)
            except AssertionError as error:
                failures += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"BROKEN PROMISE: {where.line}: {error}"[:1000]
            seconds = time.monotonic() - started
            print(f"{fault.name:<34} {fault.where:<42} {outcome:<26} {seconds:7.1f}", flush=True)
    print(f"{len(chosen)} faults, {failures} broken promises")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
