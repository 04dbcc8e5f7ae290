"""What gunicorn runs: `gunicorn -c python:app.gunicorn_conf app.wsgi:app`."""

import os

from app.settings import Settings
from app.telemetry.log import set_up_logging
from app.web.handler import create_app

_settings = Settings.from_environ(os.environ)
set_up_logging(_settings.log_level, project=_settings.project)
app = create_app(_settings)
