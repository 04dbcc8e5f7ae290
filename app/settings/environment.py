"""Reads the values of environment variables. All functions raise SettingsError."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.errors import InvalidArgument
from app.storage.backend import UPLOAD_UNIT_BYTES
from app.storage.emulator import emulator_url
from app.storage.location import Location, parse_location

_QUEUE = re.compile("projects/[^/]+/locations/[^/]+/queues/[^/]+")


class SettingsError(Exception):
    """An environment variable has an invalid value. The message names both."""


def seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise SettingsError(f"{name} must be a number of seconds above 0, it is {text!r}")
    return number


def known_seconds(environ: Mapping[str, str], name: str) -> float | None:
    return seconds(environ, name, 1.0) if environ.get(name) else None


def web_address(environ: Mapping[str, str], name: str) -> str | None:
    """A webhook's address is a secret, so that no message has it."""
    url = environ.get(name)
    if not url:
        return None
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError(f"{name} must be the address of a webhook, https://...")
    return url


def byte_count(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SettingsError(f"{name} must be a whole number of bytes above 0, it is {text!r}")
    return int(text)


def upload_chunk_bytes(environ: Mapping[str, str], name: str, default: int) -> int:
    size = byte_count(environ, name) or default
    if size % UPLOAD_UNIT_BYTES:
        raise SettingsError(f"{name} must be a multiple of {UPLOAD_UNIT_BYTES}, it is {size}")
    return size


def count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise SettingsError(f"{name} must be a whole number, it is {text!r}")
    return int(text)


def fraction(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise SettingsError(f"{name} must be a number from 0 to 1, it is {text!r}")
    return number


def check_emulator(environ: Mapping[str, str]) -> None:
    try:
        emulator_url(environ)
    except InvalidArgument as error:
        raise SettingsError(error.message) from None


def locations(environ: Mapping[str, str], name: str) -> tuple[Location, ...] | None:
    texts = names(environ, name)
    try:
        return tuple(parse_location(text, parameter=name, relative=False) for text in texts) or None
    except InvalidArgument as error:
        raise SettingsError(error.message) from None


def folder(environ: Mapping[str, str], name: str) -> Location | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        return parse_location(text, parameter=name, relative=False).as_folder()
    except InvalidArgument as error:
        raise SettingsError(error.message) from None


def own_model(environ: Mapping[str, str]) -> dict[str, Any]:
    """MODEL, and what needs it beside it."""
    model = folder(environ, "MODEL")
    path = environ.get("WARM_UP_DATA_PATH")
    for name in ("ONLY_MODEL", "WARM_UP_DATA_PATH"):
        if environ.get(name) not in (None, "", "false") and model is None:
            raise SettingsError(f"{name} is set, and MODEL is not: it says more about that model")
    try:
        warm_up = (
            parse_location(path, parameter="WARM_UP_DATA_PATH", relative=False) if path else None
        )
    except InvalidArgument as error:
        raise SettingsError(error.message) from None
    return {
        "model": model,
        "only_model": flag(environ, "ONLY_MODEL"),
        "warm_up_data_path": warm_up,
    }


def queue(environ: Mapping[str, str]) -> dict[str, Any]:
    """QUEUE, and what it needs beside it."""
    name = environ.get("QUEUE") or None
    url = environ.get("SERVICE_URL") or None
    account = environ.get("SERVICE_ACCOUNT") or None
    if name is not None:
        if not _QUEUE.fullmatch(name):
            raise SettingsError(f"QUEUE must be projects/P/locations/L/queues/Q, it is {name!r}")
        if url is None or urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError(
                f"SERVICE_URL must be where QUEUE calls this service, https://..., it is {url!r}"
            )
        if not environ.get("JOBS_URI"):
            raise SettingsError("JOBS_URI must be set where QUEUE is: the queue calls any instance")
    return {
        "queue": name,
        "service_url": None if url is None else url.rstrip("/"),
        "service_account": account,
    }


def dispatch_deadline(environ: Mapping[str, str], name: str, default: float) -> float:
    """Source: cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks"""
    number = seconds(environ, name, default)
    if not 15 <= number <= 1800:
        raise SettingsError(f"{name} must be 15 to 1800 seconds, it is {number:g}")
    return number


def names(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(text.strip() for text in environ.get(name, "").split(",") if text.strip())


def flag(environ: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    text = environ.get(name)
    if not text:
        return default
    if text not in ("true", "false"):
        raise SettingsError(f"{name} must be true or false, it is {text!r}")
    return text == "true"


def folders(environ: Mapping[str, str], name: str) -> tuple[Path, ...]:
    roots = tuple(Path(text) for text in environ.get(name, "").split(":") if text)
    for root in roots:
        if not root.is_absolute():
            raise SettingsError(f"{name} must hold absolute paths, it holds {str(root)!r}")
    return roots


def private_folders(environ: Mapping[str, str], name: str) -> tuple[Path, ...]:
    private = folders(environ, name)
    for one in private:
        if one.resolve() == Path(one.anchor):
            raise SettingsError(
                f"{name} must hold folders that belong to this instance alone, it holds"
                f" {str(one)!r}"
            )
    return private


def log_level(environ: Mapping[str, str], name: str, default: str) -> str:
    level = (environ.get(name) or default).upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"{name} must be DEBUG, INFO, WARNING or ERROR, it is {level!r}")
    return level
