"""`embedded-tf serve`: the HTTP service, as the container runs it."""

import os
import sys
from typing import NoReturn

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, envvar="PORT", help="Port to listen on.")
def serve(host: str, port: int) -> NoReturn:
    """Start the HTTP service as the container does, under gunicorn."""
    environ = {**os.environ, "HOST": host, "PORT": str(port)}
    argv = [sys.executable, "-m", "gunicorn", "-c", "python:app.gunicorn_conf", "app.wsgi:app"]
    os.execve(sys.executable, argv, environ)  # noqa: S606  # gunicorn takes this process's place
