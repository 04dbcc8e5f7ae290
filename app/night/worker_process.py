"""A worker process, as seen by whoever has it run jobs."""

import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from app.jobs.record import JobRecord
from app.jobs.record_json import as_json
from app.storage import Location

_STOP_SECONDS = 15.0


class WorkerProcess:
    """Runs one job at a time, whose records are in the folder `records`; see app.night.worker."""

    def __init__(self, records: Location, environment: Mapping[str, str]) -> None:
        # On a terminal, what goes wrong with jobs is in the live table.
        level = "ERROR" if sys.stderr.isatty() else "WARNING"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.night.worker", str(records), level],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            # Ctrl-C is for the command alone, which tells its workers.
            start_new_session=True,
        )

    def ask(
        self, draft: JobRecord, following: JobRecord | None, seconds: float
    ) -> dict[str, Any] | None:
        """The worker's answer to a job; None if it is gone, or does not answer in time.

        It may prepare the `following` one meanwhile.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            asked = [as_json(one) for one in (draft, following) if one is not None]
            process.stdin.write(orjson.dumps(asked) + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return None
        if not select.select([process.stdout], [], [], seconds)[0]:
            process.kill()
            return None
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def terminate(self) -> None:
        """Have it stop its job, give it back, and end."""
        self._process.terminate()

    def close(self) -> None:
        """Have it end after its job, and wait for that; kill it if that takes long."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it is gone
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
