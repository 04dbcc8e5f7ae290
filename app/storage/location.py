"""Locations: gs:// URIs and local paths, validated and parsed."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal
from urllib.parse import unquote

from app.errors import InvalidArgument, shortened

# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
# Fits the longest bucket and object names, and the longest Linux path.
_LONGEST_URI = 4096
_SHOWN_CHARACTERS = 300
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Location:
    """An object, a file or a folder. A folder's `path` ends in `/`, or is empty for a bucket.

    `path` is the object's name in its bucket, or an absolute local path.
    """

    scheme: Literal["gs", "file"]
    bucket: str
    path: str

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.path}" if self.scheme == "gs" else self.path

    @property
    def is_folder(self) -> bool:
        return not self.path or self.path.endswith("/")

    @property
    def identity(self) -> str:
        """The same text for all names of one object or file, with links resolved."""
        return str(self) if self.scheme == "gs" else os.path.realpath(self.path)

    def as_folder(self) -> "Location":
        """Return the location with a trailing slash."""
        return self if self.is_folder else replace(self, path=self.path + "/")

    def parent(self) -> "Location":
        """The folder that an object or file is in."""
        return replace(self, path=self.path[: self.path.rfind("/") + 1])

    def is_below(self, folder: "Location") -> bool:
        """Whether this is in `folder` or in a folder of it."""
        return (self.scheme, self.bucket) == (folder.scheme, folder.bucket) and (
            self.path.startswith(folder.path)
        )

    def below(self, name: str) -> "Location":
        """The location of the relative `name` in this folder."""
        return replace(self, path=self.as_folder().path + name)


def parse_location(uri: str, *, parameter: str, relative: bool = True) -> Location:
    """Parse `gs://bucket/name`, `file:///path` or a plain path, which may be `relative`.

    Raises InvalidArgument, naming `parameter`.
    """
    if len(uri) > _LONGEST_URI:
        raise InvalidArgument(
            f"{parameter}: {len(uri)} characters, which is more than a URI can have; it begins"
            f" {uri[:80]!r}"
        )
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{parameter}: not UTF-8: {uri[:80]!r}") from None
    shown = shortened(uri, _SHOWN_CHARACTERS)
    if _CONTROL_CHARACTERS.search(uri):
        raise InvalidArgument(f"{parameter}: control characters in {shown!r}")
    if uri.startswith("gs://"):
        return _object(uri, parameter)
    if uri.startswith("file://"):
        path = unquote(uri.removeprefix("file://").removeprefix("localhost"))
        if not path.startswith("/"):
            raise InvalidArgument(f"{parameter}: expected file:///path, it is {shown!r}")
        if _CONTROL_CHARACTERS.search(path):
            raise InvalidArgument(f"{parameter}: control characters in {shown!r}")
        return _local(path)
    if "://" in uri:
        scheme = uri.partition("://")[0]
        raise InvalidArgument(
            f"{parameter}: expected a gs:// URI or a local path, {shortened(scheme)}:// is neither:"
            f" {shown!r}"
        )
    if not relative and not uri.startswith("/"):
        raise InvalidArgument(
            f"{parameter}: expected a gs:// URI or an absolute path, it is {shown!r}"
        )
    return _local(uri)


def common_prefix(names: Collection[str]) -> str:
    """The longest text that all names begin with."""
    first, last = min(names), max(names)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: len(list(same))]


def _object(uri: str, parameter: str) -> Location:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidArgument(
            f"{parameter}: no valid bucket name in {shortened(uri, _SHOWN_CHARACTERS)!r}"
        )
    # cloud.google.com/storage/docs/objects#naming
    if name in (".", ".."):
        raise InvalidArgument(f"{parameter}: no object can be named {name!r}")
    return Location("gs", bucket, name)


def _local(path: str) -> Location:
    if path.startswith("/"):
        # abspath keeps two leading slashes, because POSIX gives them a meaning of their own.
        path = "/" + path.lstrip("/")
    # abspath drops the trailing slash, which marks a folder.
    slash = "/" if path.endswith("/") and os.path.abspath(path) != "/" else ""  # noqa: PTH100
    return Location("file", "", os.path.abspath(path) + slash)  # noqa: PTH100  # keeps links
