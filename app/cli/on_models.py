"""What commands that start model servers, and print no report, have in common."""

import logging
from collections.abc import Callable

from app.cli import signals_unwind
from app.cli.terminal import fail
from app.errors import InternalError, JobError
from app.telemetry.log import set_up_logging
from tfserving_launcher import protect_this_process

logger = logging.getLogger(__name__)


def on_models(run: Callable[[], None], project: str | None) -> None:
    """Run a command; print its error and exit as `fail` does."""
    protect_this_process()
    set_up_logging("WARNING", project=project)
    with signals_unwind():
        try:
            run()
        except JobError as error:
            fail(error)
        except Exception:
            logger.exception("unexpected error")
            fail(InternalError("internal error; the log has its trace"))
