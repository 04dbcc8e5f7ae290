"""A process that runs one job after the other, as another process asks.

Each line of standard input is a list: the record of a new job and, if there is one, that of the
next job, whose model is loaded meanwhile. For each it writes a line of JSON: the record of the job
at its end, or when to try again. Ends with its input: a job that runs then is given back, since
whoever asked for it is gone.
"""

import os
import queue
import signal
import sys
import threading
from dataclasses import replace
from math import inf
from typing import Any

import orjson

from app.errors import JobError, LeaseHeld
from app.job.runner import JobRunner
from app.jobs.executor import JobExecutor
from app.jobs.record import JobRecord
from app.jobs.record_json import as_json, now, parse_record
from app.jobs.store import JobStore
from app.settings import settings_or_exit
from app.storage import Connections, parse_location
from app.telemetry.log import set_up_logging
from tfserving_launcher import protect_this_process

_RETRY_SECONDS = 1.0
_READ_BYTES = 1024 * 1024


def main(records: str, log_level: str) -> None:
    settings = settings_or_exit(os.environ)
    # Jobs of a command line may use files as the system lets them.
    settings = replace(settings, local_roots=None)
    protect_this_process()
    set_up_logging(log_level, project=settings.project)
    connections = Connections(settings.project)
    folder = parse_location(records, parameter="records").as_folder()
    store = JobStore(folder, connections, settings.transfer_limits())
    runner = JobRunner(settings, connections)
    executor = JobExecutor(settings, store, runner)
    signal.signal(signal.SIGTERM, lambda *_: runner.end())
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines, runner), name="input", daemon=True).start()
    try:
        while line := lines.get():
            draft, *following = map(parse_record, orjson.loads(line))
            for one in following:
                # What is on this machine takes computing, and no waiting that could be shared.
                if one.spec.model.scheme == "gs":
                    runner.prepare(one.spec)
            told = _run(draft, executor, runner)
            sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
            sys.stdout.buffer.flush()
            if runner.is_ending:
                return
    except BrokenPipeError:
        return  # nobody listens any more
    finally:
        runner.close()


def _read(lines: "queue.SimpleQueue[bytes]", runner: JobRunner) -> None:
    """Hand on each line; an empty one is the end."""
    pending = b""
    # Not through sys.stdin, which this thread would hold when the program ends.
    while block := os.read(0, _READ_BYTES):
        *complete, pending = (pending + block).split(b"\n")
        for line in complete:
            lines.put(line)
    runner.end()
    lines.put(b"")


def _run(draft: JobRecord, executor: JobExecutor, runner: JobRunner) -> dict[str, Any]:
    """The record of the job once it has ended, or after how many seconds to try it again.

    A job that cannot be recorded has failed, as far as this run is concerned. The answer to one
    that is to be tried again has the record of a failure as well, for whoever has tried enough.
    """
    try:
        with runner.alone() as stop_signal:
            return {"record": as_json(executor.run_draft(draft, stop_signal, within=inf))}
    except LeaseHeld as error:
        return {"retry_seconds": error.retry_after_seconds}
    except JobError as error:
        failed = {"record": as_json(draft.failed(error, now()))}
        if not error.is_retryable:
            return failed
        retry = error.retry_after_seconds or _RETRY_SECONDS
        return {**failed, "retry_seconds": retry, "message": error.message}


if __name__ == "__main__":
    main(*sys.argv[1:])
