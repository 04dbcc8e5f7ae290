"""Translates errors of the launcher into errors of a job."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import tfserving_launcher as launcher
from app.concurrency.deadline import Deadline
from app.errors import InvalidModel, NoModelServer, ServerFailed
from app.savedmodel.fetch_model import NO_ROOM
from app.serving.model_faults import remedy

_SHOWN_CHARACTERS = 1000
# A job's folder, and the server's folder in it (app/instance/workspace.py,
# tfserving_launcher/_server.py).
_OWN_FOLDERS = r"(?:embedded-tf-job-[a-z0-9_]{8}/+)?(?:tfs-[a-z0-9_]{8}/+(?:m/+)?)?"
# Used if the temporary folder's path is too long for a socket.
_OWN_FOLDER_ELSEWHERE = r"(?<![\w.-])/tmp/tfs-[a-z0-9_]{8}/+(?:m/+)?"


@contextmanager
def model_server_errors(deadline: Deadline) -> Iterator[None]:
    """Translate the launcher's errors into InvalidModel, NoModelServer or ServerFailed.

    After the deadline, or when the job was stopped, the deadline's error is raised instead.
    """
    try:
        yield
    except launcher.ProgramNotFound as error:
        raise NoModelServer(str(error)) from error
    except launcher.ModelLoadError as error:
        help_ = remedy(error.reason)
        raise InvalidModel(
            f"the model cannot be loaded: {without_own_paths(error.reason)}"
            + (f"; {help_}" if help_ else ""),
            {"server_output": _last_lines(error)},
        ) from error
    except (
        launcher.BadVersionFolder,
        launcher.NotASavedModel,
        launcher.SignatureNotFound,
        launcher.TensorError,
    ) as error:
        raise InvalidModel(without_own_paths(error)) from error
    except launcher.ServerTimeout as error:
        deadline.remaining()
        raise ServerFailed(without_own_paths(error)) from error
    except launcher.ServerExited as error:
        raise ServerFailed(
            without_own_paths(error), {"server_output": _last_lines(error)}
        ) from error
    except (launcher.ConfinementFailed, launcher.PredictError) as error:
        raise ServerFailed(without_own_paths(error)) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ServerFailed(
            f"there is no room left in the temporary folder: {error.strerror}"
        ) from error


def without_own_paths(words: object) -> str:
    """Shorten a server's message, and remove the temporary folder and the job's folders from it.

    The rest of a path stays, so that the message names files of the model.
    """
    text = str(words)
    for folder in _temporary_folders():
        text = re.sub(rf"(?<![\w.-]){re.escape(folder)}/+{_OWN_FOLDERS}", ".../", text)
        text = re.sub(rf"(?<![\w.-]){re.escape(folder)}(?![\w.-])", "...", text)
    text = re.sub(_OWN_FOLDER_ELSEWHERE, ".../", text)
    return text[:_SHOWN_CHARACTERS]


def _temporary_folders() -> list[str]:
    """The names of the temporary folder, longest first: one may be part of the other."""
    named = tempfile.gettempdir()
    names = {name.rstrip("/") for name in (named, os.path.realpath(named))} - {""}
    return sorted(names, key=len, reverse=True)


def _last_lines(error: launcher.ModelLoadError | launcher.ServerExited) -> list[str]:
    return [without_own_paths(line) for line in error.output.strip().splitlines()[-5:]]
