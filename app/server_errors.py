"""What goes wrong with the model server, told in the terms of a job."""

from collections.abc import Iterator
from contextlib import contextmanager

import tfserving_launcher as launcher
from app.deadline import Deadline
from app.errors import BadModel, NoModelServer, ServerFailed


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
            f"the model cannot be loaded: {error.reason}", {"server_output": _last_lines(error)}
        ) from error
    except (
        launcher.BadVersionFolder,
        launcher.NotASavedModel,
        launcher.SignatureNotFound,
        launcher.TensorError,
    ) as error:
        raise BadModel(str(error)) from error
    except launcher.ServerTimeout as error:
        deadline.remaining()
        raise ServerFailed(str(error)) from error
    except launcher.ServerExited as error:
        raise ServerFailed(str(error), {"server_output": _last_lines(error)}) from error
    except launcher.PredictError as error:
        raise ServerFailed(str(error)) from error


def _last_lines(error: launcher.ModelLoadError | launcher.ServerExited) -> list[str]:
    return error.output.strip().splitlines()[-5:]
