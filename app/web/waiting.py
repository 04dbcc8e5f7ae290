"""Requests that wait until a job has ended."""

import logging
import threading
import time

from flask import request

from app.errors import JobError
from app.jobs.record import JobRecord
from app.web.client_disconnect import connection_of, has_disconnected
from app.web.service import Service

# Each occupies one of gunicorn's threads, of which some must be left for other requests.
_MOST_WAITING = 3
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0

_places = threading.BoundedSemaphore(_MOST_WAITING)

logger = logging.getLogger(__name__)


def wait_for_end(record: JobRecord, seconds: float, service: Service) -> tuple[JobRecord, bool]:
    """The job once it has ended, or as it is after `seconds`; and whether that was waited for.

    Does not wait if too many requests are waiting, or if the instance is ending: a preference may
    be ignored. Ends when the client disconnects. The job was accepted, so nothing is raised.
    """
    if seconds <= 0:
        return record, False
    if record.state.is_final:
        return record, True
    if not _places.acquire(blocking=False):
        return record, False
    try:
        deadline = time.monotonic() + seconds
        pause = _FIRST_PAUSE_SECONDS
        connection = connection_of(request)
        while not record.state.is_final:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if service.runner.is_ending or (
                connection is not None and has_disconnected(connection)
            ):
                return record, False
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
            record = service.jobs.get(record.job_id)
    except JobError as error:
        logger.warning("the wait for job %s ends: %s", record.job_id, error.message)
        return record, False
    finally:
        _places.release()
    return record, True
