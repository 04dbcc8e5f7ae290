"""What gunicorn runs: `gunicorn -c python:app.gunicorn_conf app.wsgi:app`."""

import os

from app.settings import settings_or_exit
from app.telemetry.log import set_up_logging
from app.web.handler import create_app

_settings = settings_or_exit(os.environ)
set_up_logging(_settings.log_level, project=_settings.project)
app = create_app(_settings)
