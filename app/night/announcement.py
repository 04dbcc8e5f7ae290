"""Tells how a run has ended: one log record, and a message to a chat."""

import logging
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from app.errors import InvalidArgument
from app.night.report_page import verdict
from app.night.run_files import summary_of
from app.telemetry.log import RUN_FIELDS

_ATTEMPTS = 3
_CALL_SECONDS = 10.0
_ALL_SECONDS = 60.0
_FIRST_REDIRECT = 300
_MOST_CAUSES = 5
_MESSAGE_CHARACTERS = 300

logger = logging.getLogger(__name__)


def announce(report: Mapping[str, Any], notify_url: str | None) -> None:
    """Log the end of the run, and post its summary to `notify_url`, if there is one.

    A chat that does not answer is logged; it does not change how the run has ended.
    """
    log = logger.info if report["success"] else logger.error
    log("run %s has ended: %s", report["run"], verdict(report), extra=_fields(report))
    if notify_url is None:
        return
    # A chat that sends its answer byte by byte must not hold the run up.
    thread = threading.Thread(target=_try_to_post, args=(notify_url, report), daemon=True)
    thread.start()
    thread.join(_ALL_SECONDS)
    if thread.is_alive():
        logger.warning("the end of run %s was not posted: no answer in time", report["run"])


def check_notify_url(url: str | None) -> None:
    """Raises InvalidArgument for what is no address of a webhook."""
    try:
        parts = urlsplit(url or "https://none")
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InvalidArgument("notify must be the address of a webhook, https://...")


def message_of(report: Mapping[str, Any]) -> str:
    """The verdict, and the most frequent causes of failures, a line each."""
    lines = [f"{report['run']}: {verdict(report)}. {report['rows']:,} rows."]
    for cause in report["failures"][:_MOST_CAUSES]:
        message = cause["message"][:_MESSAGE_CHARACTERS]
        lines.append(f"{cause['count']:,} {cause['reason']}, {cause['names'][0]}: {message}")
    return "\n".join(lines)


def _try_to_post(url: str, report: Mapping[str, Any]) -> None:
    retrying = Retrying(
        retry=retry_if_exception_type(requests.RequestException),
        wait=wait_exponential(max=_CALL_SECONDS),
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    try:
        retrying(_post, url, {"text": message_of(report)})
    except (requests.RequestException, ValueError) as error:
        # The address is a secret, and errors have it in their texts.
        logger.warning("the end of run %s was not posted: %s", report["run"], _reason(error))


def _post(url: str, body: Mapping[str, str]) -> None:
    """Chats refuse other fields than text. The answer's body is not read.

    Sources: developers.google.com/workspace/chat/quickstart/webhooks, and
    api.slack.com/messaging/webhooks.
    """
    with requests.post(
        url, json=body, timeout=_CALL_SECONDS, stream=True, allow_redirects=False
    ) as answer:
        answer.raise_for_status()
        if answer.status_code >= _FIRST_REDIRECT:
            raise requests.HTTPError(response=answer)


def _fields(report: Mapping[str, Any]) -> dict[str, Any]:
    return {RUN_FIELDS: summary_of(report)}


def _reason(error: Exception) -> str:
    if isinstance(error, requests.RequestException) and error.response is not None:
        return f"it answered {error.response.status_code}"
    return type(error).__name__
