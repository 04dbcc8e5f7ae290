"""Gunicorn's settings: one worker that runs one job, with threads left over for /health.

Source: docs.gunicorn.org/en/stable/settings.html
"""

import os
import threading
from typing import Any

from app.heap import share_heaps
from app.job_folder import sweep

bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104  # a container answers on all its addresses
workers = 1
worker_class = "app.gunicorn_worker.BufferingWorker"
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
    "formatters": {"log": {"()": "app.log.default_formatter"}},
}


def child_exit(_server: Any, _worker: Any) -> None:
    """Ends what a worker has left that was killed; this one runs in the process above it."""
    sweep()


def post_worker_init(worker: Any) -> None:
    """Warms the service up, and has the worker stop the running job when it begins to end.

    Gunicorn alone would wait for the job's end, or not at all.
    """
    share_heaps()
    service = worker.wsgi.extensions["service"]
    worker.on_stop = service.end
    threading.Thread(target=service.warm_up, name="warm-up", daemon=True).start()
