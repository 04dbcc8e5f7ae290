"""What is noted about a local output: in a small file beside it.

A note names the size and the time of change of the content that it is about, so it holds only as
long as the output stays as it was. Both notes and outputs that are being written have hidden
names, and are no inputs.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

HIDDEN_PREFIX = ".embedded-tf-"


def hidden(path: Path, suffix: str) -> Path:
    """A name beside `path` that follows from it and is no input."""
    # A digest, because the longest name that there may be leaves no room for more.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:24]
    return path.with_name(f"{HIDDEN_PREFIX}{digest}.{suffix}")


def note_of(path: Path) -> Path:
    return hidden(path, "json")


def write_note(path: Path, stat: os.stat_result, metadata: Mapping[str, str]) -> None:
    """Notes `metadata` about the content with this `stat`, which may not be at `path` yet.

    What is noted about the content that is there stays as well: whichever of the two a crash
    leaves there is known.
    """
    if not metadata:
        return
    new = {"size": stat.st_size, "changed_ns": stat.st_mtime_ns, "metadata": dict(metadata)}
    contents = [new]
    try:
        there = path.stat()
        contents += [content for content in _contents(path) if _is_about(content, there)]
    except FileNotFoundError:
        pass  # the first content at this path
    part = hidden(path, "json.part")
    part.write_bytes(orjson.dumps({"file": path.name, "contents": contents}) + b"\n")
    part.replace(note_of(path))


def read_note(path: Path, stat: os.stat_result) -> dict[str, str]:
    """What was noted about this very content; nothing where that cannot be told."""
    for content in _contents(path):
        if _is_about(content, stat):
            return dict(content["metadata"])
    return {}


def _is_about(content: dict[str, Any], stat: os.stat_result) -> bool:
    return (content["size"], content["changed_ns"]) == (stat.st_size, stat.st_mtime_ns)


def _contents(path: Path) -> list[dict[str, Any]]:
    try:
        note = orjson.loads(note_of(path).read_bytes())
        # Version 0.1.0 noted one content, without a list.
        contents = note.get("contents", [note])
        return [
            {
                "size": content["size"],
                "changed_ns": content["changed_ns"],
                "metadata": {str(k): str(v) for k, v in content["metadata"].items()},
            }
            for content in contents
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # No note, or one that something else has made: the file counts as unknown.
        return []
