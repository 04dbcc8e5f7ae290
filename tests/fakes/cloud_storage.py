"""Cloud Storage as its documents have it, in memory: what no emulator that is at hand holds.

Preconditions hold for every write, checksums are compared before anything appears, gzipped objects
are transcoded for clients that do not take gzip, lists come in pages, and resumable uploads follow
their protocol to the letter. Sources, below cloud.google.com/storage/docs: json_api/v1/objects,
performing-resumable-uploads, request-preconditions, hashes-etags and transcoding.
"""

import base64
import gzip
import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import google_crc32c
import orjson

from tests.fakes.google_protocol import Answer

UNIT_BYTES = 256 * 1024
_BLOCK = re.compile(r"bytes (?P<first>[0-9]+)-(?P<last>[0-9]+)/(?P<total>\*|[0-9]+)")
_STATUS_QUERY = re.compile(r"bytes \*/(?P<total>\*|[0-9]+)")
_RANGE = re.compile(r"bytes=(?P<first>[0-9]+)-(?P<last>[0-9]*)")
_PATH = re.compile(
    r"(?:/upload|/download)?/storage/v1/b(?:/(?P<bucket>[^/]+))?(?P<objects>/o)?(?:/(?P<name>.+))?"
)
_FIRST_GENERATION = 1_700_000_000_000_000


class Refused(Exception):
    """A request that Cloud Storage answers with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(
            status,
            {"Content-Type": "application/json"},
            orjson.dumps({"error": {"code": status, "message": message}}),
        )


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One generation of an object."""

    bucket: str
    name: str
    content: bytes
    generation: int
    described: Mapping[str, Any]

    def resource(self) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "bucket": self.bucket,
            "name": self.name,
            "size": str(len(self.content)),
            "generation": str(self.generation),
            "metageneration": "1",
            "crc32c": crc32c(self.content),
            **{
                field: self.described[field]
                for field in ("contentType", "contentEncoding", "metadata")
                if self.described.get(field)
            },
        }


@dataclass(slots=True)
class _Session:
    """A resumable upload."""

    bucket: str
    name: str
    query: Mapping[str, str]
    described: Mapping[str, Any]
    content: bytearray = field(default_factory=bytearray)
    finished: StoredObject | None = None


@dataclass(slots=True)
class CloudStorage:
    """All buckets. `page_size` is the most that one page of a list holds."""

    page_size: int = 1000
    _buckets: dict[str, dict[str, StoredObject]] = field(default_factory=dict)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _generation: int = _FIRST_GENERATION
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one request, whose `target` is a path with its query."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in headers.items()}
        match = _PATH.fullmatch(parts.path)
        try:
            with self._lock:
                if match is None:
                    raise Refused(404, f"no such path: {parts.path}")
                if match["objects"] is None:
                    return self._buckets_answer(method, match["bucket"], body)
                if match["bucket"] not in self._buckets:
                    raise Refused(404, "The specified bucket does not exist.")
                if parts.path.startswith("/upload/"):
                    return self._upload(method, match["bucket"], query, headers, body)
                name = unquote(match["name"] or "")
                if not name:
                    return _json(self._listed(match["bucket"], query))
                return self._of_object(method, match["bucket"], name, query, headers, body)
        except Refused as refused:
            return refused.answer

    def _buckets_answer(self, method: str, bucket: str | None, body: bytes) -> Answer:
        if method == "POST":
            bucket = str(orjson.loads(body)["name"])
            self._buckets.setdefault(bucket, {})
            return _json({"kind": "storage#bucket", "name": bucket})
        return _json({"items": [{"name": name} for name in self._buckets]})

    def _listed(self, bucket: str, query: Mapping[str, str]) -> dict[str, Any]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        names = sorted(name for name in self._buckets[bucket] if name.startswith(prefix))
        entries: dict[str, bool] = {}
        for name in names:
            rest = name.removeprefix(prefix)
            if delimiter and delimiter in rest:
                entries[prefix + rest.partition(delimiter)[0] + delimiter] = False
            else:
                entries[name] = True
        after = query.get("pageToken", "")
        left = [entry for entry in entries if entry > after]
        size = min(self.page_size, int(query.get("maxResults", self.page_size)))
        page = left[:size]
        objects = [self._buckets[bucket][entry].resource() for entry in page if entries[entry]]
        folders = [entry for entry in page if not entries[entry]]
        return {
            "kind": "storage#objects",
            **({"items": objects} if objects else {}),
            **({"prefixes": folders} if folders else {}),
            **({"nextPageToken": page[-1]} if len(left) > size else {}),
        }

    def _of_object(
        self,
        method: str,
        bucket: str,
        name: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        there = self._buckets[bucket].get(name)
        if there is None or query.get("generation") not in (None, str(there.generation)):
            raise Refused(404, f"No such object: {bucket}/{name}")
        self._check_generation(bucket, name, query)
        if method == "DELETE":
            del self._buckets[bucket][name]
            return Answer(204, {}, b"")
        if method == "PATCH":
            change = orjson.loads(body)
            metadata = {**there.described.get("metadata", {}), **change.get("metadata", {})}
            described = {**there.described, **change, "metadata": metadata}
            there = StoredObject(bucket, name, there.content, there.generation, described)
            self._buckets[bucket][name] = there
        if query.get("alt") == "media":
            return _media(there, headers)
        return _json(there.resource())

    def _upload(
        self,
        method: str,
        bucket: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        if upload_id := query.get("upload_id"):
            return self._resume(method, upload_id, headers, body)
        kind = query.get("uploadType")
        if kind == "resumable":
            described = orjson.loads(body or b"{}")
            name = query.get("name") or described["name"]
            self._check_generation(bucket, name, query)
            upload_id = uuid.uuid4().hex
            self._sessions[upload_id] = _Session(bucket, name, query, described)
            url = f"http://{headers['host']}/upload/storage/v1/b/{bucket}/o"
            location = f"{url}?uploadType=resumable&name={quote(name, '')}&upload_id={upload_id}"
            return Answer(200, {"Location": location}, b"")
        if kind == "multipart":
            described, content = _parts(headers.get("content-type", ""), body)
        else:
            described, content = {"contentType": headers.get("content-type", "")}, body
        name = query.get("name") or described["name"]
        return _json(self._publish(bucket, name, query, described, content).resource())

    def _resume(
        self, method: str, upload_id: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        session = self._sessions.get(upload_id)
        if session is None:
            raise Refused(404, "no such upload")
        if method == "DELETE":
            if session.finished is None:
                del self._sessions[upload_id]
            return Answer(499, {}, b"")
        if session.finished is not None:
            return _json(session.finished.resource())
        content_range = headers.get("content-range", f"bytes 0-{len(body) - 1}/{len(body)}")
        if asked := _STATUS_QUERY.fullmatch(content_range):
            total = asked["total"]
        else:
            total = self._append(session, content_range, body)
        if total == "*" or int(total) != len(session.content):
            return _incomplete(len(session.content))
        del self._sessions[upload_id]
        described = {**session.described, **_hash_of(headers)}
        content = bytes(session.content)
        self._check_generation(session.bucket, session.name, session.query)
        session.finished = self._publish(
            session.bucket, session.name, session.query, described, content
        )
        session.content.clear()
        self._sessions[upload_id] = session
        return _json(session.finished.resource())

    def _append(self, session: _Session, content_range: str, body: bytes) -> str:
        block = _BLOCK.fullmatch(content_range)
        if block is None or int(block["last"]) - int(block["first"]) + 1 != len(body):
            raise Refused(400, f"Content-Range {content_range!r} of {len(body)} bytes")
        first, there = int(block["first"]), len(session.content)
        if first > there:
            raise Refused(503, f"the upload offset is {first}, and {there} bytes are there")
        if block["total"] == "*" and len(body) % UNIT_BYTES:
            raise Refused(400, "a block must be a multiple of 256 KiB")
        session.content += body[there - first :]
        return block["total"]

    def _publish(
        self,
        bucket: str,
        name: str,
        query: Mapping[str, str],
        described: Mapping[str, Any],
        content: bytes,
    ) -> StoredObject:
        if described.get("crc32c") not in (None, crc32c(content)):
            raise Refused(
                400,
                f"Provided CRC32C {described['crc32c']!r} doesn't match calculated CRC32C"
                f" {crc32c(content)!r}.",
            )
        self._check_generation(bucket, name, query)
        self._generation += 1
        new = StoredObject(bucket, name, content, self._generation, dict(described))
        self._buckets[bucket][name] = new
        return new

    def _check_generation(self, bucket: str, name: str, query: Mapping[str, str]) -> None:
        there = self._buckets[bucket].get(name)
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (0 if there is None else there.generation):
            raise Refused(412, "At least one of the pre-conditions you specified did not hold.")


def crc32c(content: bytes) -> str:
    """The checksum as the JSON API writes it."""
    checksum: Any = google_crc32c.Checksum(content)  # type: ignore[no-untyped-call]  # carries no types
    return base64.b64encode(checksum.digest()).decode()


def _media(there: StoredObject, headers: Mapping[str, str]) -> Answer:
    encoding = there.described.get("contentEncoding", "")
    answered = {
        "Content-Type": there.described.get("contentType") or "application/octet-stream",
        "X-Goog-Generation": str(there.generation),
        "X-Goog-Hash": f"crc32c={crc32c(there.content)}",
    }
    if encoding == "gzip" and "gzip" not in headers.get("accept-encoding", ""):
        # Decompressive transcoding, which ignores ranges.
        return Answer(200, answered, gzip.decompress(there.content))
    if encoding:
        answered["Content-Encoding"] = encoding
    wanted = _RANGE.fullmatch(headers.get("range", ""))
    if wanted is None:
        return Answer(200, answered, there.content)
    size, first = len(there.content), int(wanted["first"])
    if first >= size:
        raise Refused(416, "the range is not satisfiable")
    last = min(int(wanted["last"] or size), size - 1)
    answered["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, answered, there.content[first : last + 1])


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The description and the content of a multipart/related body."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    try:
        _, description, content, _ = body.split(b"--" + boundary)
        described = orjson.loads(description.partition(b"\r\n\r\n")[2])
    except ValueError:
        raise Refused(400, "the body is not what multipart/related has") from None
    # Each part ends with the line break before the next boundary.
    content_headers, _, rest = content.partition(b"\r\n\r\n")
    media_type = content_headers.partition(b":")[2].strip().decode()
    return {"contentType": media_type, **described}, rest.removesuffix(b"\r\n")


def _hash_of(headers: Mapping[str, str]) -> dict[str, str]:
    name, _, value = headers.get("x-goog-hash", "").partition("=")
    return {"crc32c": value} if name == "crc32c" else {}


def _incomplete(persisted: int) -> Answer:
    return Answer(308, {"Range": f"bytes=0-{persisted - 1}"} if persisted else {}, b"")


def _json(body: object) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, orjson.dumps(body))
