"""Which jobs a listing shows."""

from collections.abc import Callable

from app.errors import InvalidArgument, shortened
from app.jobs.record import JobRecord, JobState
from app.storage import parse_location

_PREFIX = "JOB_STATE_"


def wanted_jobs(state: str, model: str) -> Callable[[JobRecord], bool]:
    """The predicate for a state, with or without `JOB_STATE_`, and a model. Empty means any.

    Raises InvalidArgument.
    """
    name = f"{_PREFIX}{state.upper().removeprefix(_PREFIX)}"
    states = [one.value for one in JobState]
    if state and name not in states:
        short = ", ".join(one.removeprefix(_PREFIX) for one in states)
        raise InvalidArgument(
            f"state must be one of {short}, it is {shortened(state)!r}", {"parameters": ["state"]}
        )
    folder = parse_location(model, parameter="model").as_folder() if model else None
    return lambda record: (
        (not state or record.state.value == name)
        and (folder is None or record.spec.model == folder)
    )
