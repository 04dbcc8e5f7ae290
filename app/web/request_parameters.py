"""What a request asks for: parameters of its query string and its body, and its preferences."""

from dataclasses import dataclass
from typing import Any

import orjson
from flask import request
from werkzeug.http import parse_dict_header

from app.config.field_names import field_names
from app.config.job_spec import LISTS_OF_NAMES, REPEATED
from app.config.json_depth import check_depth
from app.errors import InvalidArgument
from app.http_server.request_body import body_of

_LONGEST_WAIT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Preferences:
    """The header `Prefer`: whether to answer before the job ends, and how long to wait for that.

    Source: RFC 7240, sections 4.1 and 4.3.
    """

    respond_async: bool
    wait_seconds: float

    def applied(self, *, has_waited: bool) -> str:
        """The value of `Preference-Applied`; empty if none was."""
        names = ["respond-async"] if self.respond_async else []
        if has_waited:
            names.append(f"wait={self.wait_seconds:g}")
        return ", ".join(names)


def preferences() -> Preferences:
    """Those of the request. Unknown and malformed ones are ignored, as the RFC says."""
    given = parse_dict_header(", ".join(request.headers.getlist("Prefer")))
    names = {name.partition(";")[0].strip().lower(): value for name, value in given.items()}
    wait = (names.get("wait") or "").partition(";")[0].strip()
    seconds = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else 0.0
    return Preferences("respond-async" in names, min(seconds, _LONGEST_WAIT_SECONDS))


def job_parameters() -> dict[str, Any]:
    """The parameters of the query string and of a JSON body. Each may be given once."""
    parameters = url_parameters()
    if request.method == "POST" and (body := body_of(request)):
        for name, value in json_object(body).items():
            if name in parameters:
                raise InvalidArgument(
                    f"parameter {name} is given in the URL and in the body", {"parameters": [name]}
                )
            parameters[name] = value
    return parameters


def url_parameters() -> dict[str, Any]:
    """The parameters of the query string, which repeats a list's name for each value."""
    parameters: dict[str, Any] = {}
    for name, values in request.args.lists():
        if len(values) > 1 and name not in REPEATED:
            raise InvalidArgument(
                f"parameter {name} is given {len(values)} times", {"parameters": [name]}
            )
        parameters[name] = values if len(values) > 1 else values[0]
        if name in LISTS_OF_NAMES:
            parameters[name] = field_names(values, name)
    return parameters


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a body. Raises InvalidArgument."""
    if request.mimetype != "application/json":
        raise InvalidArgument(
            "the body must be a JSON object with Content-Type application/json,"
            f" its type is {request.mimetype or 'not given'}"
        )
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"the body is not JSON: {error.msg}") from None
    if not isinstance(body, dict):
        raise InvalidArgument(f"the body must be a JSON object, it is {type(body).__name__}")
    check_depth(body, "the body")
    return body
