"""What a job's caller is told while the instance ends."""

import pytest

from app.errors import InvalidInstance, JobError, NoModelServer, ServerFailed, ShuttingDown
from app.job.runner import JobRunner
from app.settings import Settings
from app.storage import Connections


@pytest.fixture
def ending() -> JobRunner:
    service = JobRunner(Settings(), Connections(None))
    service.end()
    return service


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cannot schedule new futures after interpreter shutdown"),
        RuntimeError("can't start new thread at interpreter shutdown"),
        OSError(9, "Bad file descriptor"),
        NoModelServer("it cannot be run"),
        ServerFailed("it is gone", {"files": [1]}),
    ],
)
def test_what_fails_because_the_instance_ends_is_503(error: Exception, ending: JobRunner) -> None:
    told = ending.as_seen_by_callers(error)
    assert isinstance(told, ShuttingDown)
    assert told.details == (error.details if isinstance(error, JobError) else {})


def test_callers_error_stays_while_instance_ends(ending: JobRunner) -> None:
    """What is the callers fault stays so while the instance ends."""
    error = InvalidInstance("line 3")
    assert ending.as_seen_by_callers(error) is error


def test_internal_error_is_told_while_instance_lives() -> None:
    """A fault of an instance that goes on is told as it is."""
    error = RuntimeError("a fault")
    assert JobRunner(Settings(), Connections(None)).as_seen_by_callers(error) is error
