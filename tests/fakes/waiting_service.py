"""The service, with one more path: `/wait?for=FILE` answers once that file is there.

It stands for a job whose thread heeds nothing, which no real job can be made to do on purpose.
"""

import os
import threading
from pathlib import Path

from flask import request

from app.settings import Settings
from app.web.handler import create_app

app = create_app(Settings.from_environ(os.environ))


@app.get("/wait")
def wait() -> str:
    file = Path(request.args["for"])
    (file.parent / "waiting").touch()
    while not file.exists():
        threading.Event().wait(0.02)
    return "it is there\n"
