"""What goes wrong with the model server, told in the terms of a job."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import tfserving_launcher as launcher
from app.deadline import Deadline
from app.errors import BadModel, NoModelServer, ServerFailed
from app.model import NO_ROOM

_SHOWN_CHARACTERS = 1000


@contextmanager
def model_server_errors(deadline: Deadline) -> Iterator[None]:
    """Raises BadModel, NoModelServer or ServerFailed for what the launcher raises.

    A wait for the server that ended because the job's time is up, or because the instance ends,
    raises what the deadline says instead.
    """
    try:
        yield
    except launcher.ProgramNotFound as error:
        raise NoModelServer(str(error)) from error
    except launcher.ModelLoadError as error:
        raise BadModel(
            f"the model cannot be loaded: {shown(error.reason)}",
            {"server_output": _last_lines(error)},
        ) from error
    except (
        launcher.BadVersionFolder,
        launcher.NotASavedModel,
        launcher.SignatureNotFound,
        launcher.TensorError,
    ) as error:
        raise BadModel(shown(error)) from error
    except launcher.ServerTimeout as error:
        deadline.remaining()
        raise ServerFailed(shown(error)) from error
    except launcher.ServerExited as error:
        raise ServerFailed(shown(error), {"server_output": _last_lines(error)}) from error
    except (launcher.ConfinementFailed, launcher.PredictError) as error:
        raise ServerFailed(shown(error)) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ServerFailed(
            f"there is no room left in the temporary folder: {error.strerror}"
        ) from error


def shown(words: object) -> str:
    """The server's words for a caller: shortened, and without this instance's temporary paths."""
    temporary = re.escape(tempfile.gettempdir())
    return re.sub(rf"{temporary}/[\w./-]*", "...", str(words))[:_SHOWN_CHARACTERS]


def _last_lines(error: launcher.ModelLoadError | launcher.ServerExited) -> list[str]:
    return [shown(line) for line in error.output.strip().splitlines()[-5:]]
