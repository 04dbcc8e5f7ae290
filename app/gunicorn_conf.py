"""Gunicorn's settings: one worker that runs one job, with threads left over for /health.

Source: docs.gunicorn.org/en/stable/settings.html
"""

import os
import signal
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from app.instance.ending import Instance
from app.instance.heap import share_heaps
from app.instance.private_folders import PrivateFolders
from app.instance.workspace import sweep
from app.serving.environment import server_environment
from app.settings import settings_or_exit
from tfserving_launcher import (
    FORK_SERVER_VARIABLE,
    fork_server,
    needs_stand_in,
    protect_this_process,
)

# The master, before it forks: its workers are closed to models from their first moment on.
protect_this_process()

# What was there before the first job. A worker that takes the place of a dead one would see what
# that one's job has left.
_settings = settings_or_exit(os.environ)
_own_folders = ExitStack()


def _own_folder(prefix: str) -> str:
    """A folder until the master ends. A TemporaryDirectory would go with the first worker."""
    folder = mkdtemp(prefix=prefix)
    _own_folders.callback(rmtree, folder, ignore_errors=True)
    return folder


# Records of jobs, where the instance keeps its own. All its workers have the same.
if _settings.jobs_uri is None:
    os.environ["JOBS_URI"] = _own_folder("embedded-tf-jobs-")
    _settings = settings_or_exit(os.environ)
_spared = _settings.local_roots or ()
if _settings.jobs_uri is not None and _settings.jobs_uri.scheme == "file":
    _spared = (*_spared, Path(_settings.jobs_uri.path))
# The socket of the process that forks model servers, and what it writes.
_fork_folder = None
if needs_stand_in() and FORK_SERVER_VARIABLE not in os.environ:
    _fork_folder = Path(_own_folder("embedded-tf-fork-"))
    _spared = (*_spared, _fork_folder)
_private_folders = PrivateFolders(_settings.private_folders, spared=_spared)

bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104  # a container answers on all its addresses
workers = 1
worker_class = "app.http_server.worker.BufferingWorker"
# The job has one; the others make answers that are ready at once.
threads = 8
# A job may take as long as JOB_TIMEOUT_SECONDS says; this limit is for a worker that is stuck.
timeout = 120
# Cloud Run kills 10 s after SIGTERM.
graceful_timeout = 8
# Cloud Run's front end keeps connections open; a short time here would break them under it.
keepalive = 620
# Nobody administers a running container, and its root is read-only.
control_socket_disable = True
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": []},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
        "gunicorn.access": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "log"}},
    "formatters": {"log": {"()": "app.telemetry.log.default_formatter"}},
}


# Model servers on TensorFlow start sooner when they are forked.
_fork_server = ExitStack()


def on_starting(_server: Any) -> None:
    if _fork_folder is None:
        return
    socket_path = _fork_server.enter_context(
        fork_server(
            temporary_folder=_fork_folder,
            environment=server_environment(os.environ, _settings.server_environment, _fork_folder),
            own_session_only=True,
            on_end=partial(os.kill, os.getpid(), signal.SIGTERM),
        )
    )
    os.environ[FORK_SERVER_VARIABLE] = str(socket_path)


def on_exit(_server: Any) -> None:
    _fork_server.close()
    _own_folders.close()


def worker_exit(_server: Any, worker: Any) -> None:
    """Removes the folders that a killed master has left."""
    if os.getppid() != worker.ppid:
        _own_folders.close()


def child_exit(_server: Any, _worker: Any) -> None:
    """Ends what a worker has left that was killed; this one runs in the process above it."""
    sweep()
    Instance(_private_folders, end=partial(os.kill, os.getpid(), signal.SIGTERM)).freshen()


def post_worker_init(worker: Any) -> None:
    """Warms the service up, and has the worker stop the running job when it begins to end.

    Gunicorn alone would wait for the job's end, or not at all.
    """
    share_heaps()
    protect_this_process()
    service = worker.wsgi.extensions["service"]
    worker.on_stop = service.end
    worker.on_end = service.close
    service.runner.instance = Instance(
        _private_folders, end=partial(os.kill, worker.ppid, signal.SIGTERM)
    )
    threading.Thread(target=service.warm_up, name="warm-up", daemon=True).start()
    service.start(on_failure=worker.give_up)
