"""Requests that wait until a job has ended."""

import threading
import time

from app.jobs.record import JobRecord
from app.web.service import Service

# Each occupies one of gunicorn's threads, of which some must be left for other requests.
_MOST_WAITING = 3
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0

_places = threading.BoundedSemaphore(_MOST_WAITING)


def wait_for_end(record: JobRecord, seconds: float, service: Service) -> JobRecord:
    """The job once it has ended, or as it is after `seconds`.

    Does not wait if too many requests are waiting, or if the instance is ending: a preference may
    be ignored.
    """
    if seconds <= 0 or record.state.is_final or not _places.acquire(blocking=False):
        return record
    try:
        deadline = time.monotonic() + seconds
        pause = _FIRST_PAUSE_SECONDS
        while not record.state.is_final and not service.runner.is_ending:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
            record = service.jobs.get(record.job_id)
    finally:
        _places.release()
    return record
