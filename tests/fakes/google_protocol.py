"""What fake-gcs-server lacks of Google's protocol, between its clients and it.

Source: cloud.google.com/storage/docs/performing-resumable-uploads (a status query is answered with
308 and the persisted range, or with the finished object) and
cloud.google.com/storage/docs/request-preconditions (ifGenerationMatch holds for resumable uploads,
when they begin and end, and for deletes). fake-gcs-server takes a status query for the end
of an upload, and ignores these preconditions.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlsplit

import orjson
import requests

_STATUS_QUERY = re.compile(r"bytes \*/(?:\*|[0-9]+)")
_BLOCK = re.compile(r"bytes (?P<first>[0-9]+)-(?P<last>[0-9]+)/(?P<total>\*|[0-9]+)")
_RANGE = re.compile(r"bytes=0-(?P<last>[0-9]+)")
_OBJECT = re.compile(r"/(?:upload/)?storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<name>.+))?")
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Upload:
    """A resumable upload: its object, its precondition, and what is persisted."""

    resource: str
    generation: str | None
    persisted: int = 0
    finished: Answer | None = None


Forward = Callable[[], Answer]


@dataclass(slots=True)
class GoogleProtocol:
    """Stands before the fake-gcs-server at `target`."""

    target: str
    _uploads: dict[str, _Upload] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, forward: Forward
    ) -> Answer:
        """As Google answers the request, which `forward` sends on."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        upload_id = query.get("upload_id")
        if parts.path.startswith("/upload/"):
            if method == "POST" and query.get("uploadType") == "resumable":
                return self._begin(parts.path, query, body, forward)
            if upload_id is not None and method == "PUT":
                return self._put(upload_id, headers.get("Content-Range", ""), forward)
            if upload_id is not None and method == "DELETE":
                with self._lock:
                    self._uploads.pop(upload_id, None)
        elif method == "DELETE" and (wanted := query.get("ifGenerationMatch")):
            there = self._generation(parts.path)
            if there not in (None, wanted):
                return _failed_precondition()
        return forward()

    def _begin(self, path: str, query: Mapping[str, str], body: bytes, forward: Forward) -> Answer:
        match = _OBJECT.fullmatch(path)
        assert match is not None
        name = query.get("name") or orjson.loads(body)["name"]
        upload = _Upload(
            f"/storage/v1/b/{match['bucket']}/o/{quote(name, safe='')}",
            query.get("ifGenerationMatch"),
        )
        if not self._holds(upload):
            return _failed_precondition()
        answer = forward()
        if answer.status == requests.codes.ok:
            upload_id = parse_qs(urlsplit(answer.headers["Location"]).query)["upload_id"][0]
            with self._lock:
                self._uploads[upload_id] = upload
        return answer

    def _put(self, upload_id: str, content_range: str, forward: Forward) -> Answer:
        with self._lock:
            upload = self._uploads.get(upload_id)
        if upload is None:
            return _error(404, "no such upload")
        if upload.finished is not None:
            return upload.finished
        if _STATUS_QUERY.fullmatch(content_range):
            return _incomplete(upload.persisted)
        # Without a range, one request has the whole content.
        block = _BLOCK.fullmatch(content_range or "bytes 0-0/1")
        if block is None or int(block["first"]) != upload.persisted:
            return _error(400, f"expected a block from byte {upload.persisted}: {content_range}")
        is_last = block["total"] != "*"
        if is_last and not self._holds(upload):
            with self._lock:
                del self._uploads[upload_id]
            return _failed_precondition()
        answer = forward()
        if answer.status == requests.codes.permanent_redirect:
            persisted = _RANGE.fullmatch(answer.headers.get("Range", ""))
            upload.persisted = int(persisted["last"]) + 1 if persisted else 0
        elif answer.status in (requests.codes.ok, requests.codes.created):
            upload.finished = answer
        return answer

    def _holds(self, upload: _Upload) -> bool:
        return upload.generation in (None, self._generation(upload.resource) or "0")

    def _generation(self, resource: str) -> str | None:
        answer = requests.get(self.target + resource, timeout=_TIMEOUT_SECONDS)
        return str(answer.json()["generation"]) if answer.ok else None


def object_name(path: str) -> str:
    """That of the object which a path of the JSON API is about; empty where it is of none."""
    match = _OBJECT.fullmatch(urlsplit(path).path)
    return unquote(match["name"] or "") if match else ""


def _incomplete(persisted: int) -> Answer:
    headers = {"Range": f"bytes=0-{persisted - 1}"} if persisted else {}
    return Answer(requests.codes.permanent_redirect, headers, b"")


def _failed_precondition() -> Answer:
    return _error(412, "At least one of the pre-conditions you specified did not hold.")


def _error(status: int, message: str) -> Answer:
    body = orjson.dumps({"error": {"code": status, "message": message}})
    return Answer(status, {"Content-Type": "application/json"}, body)
