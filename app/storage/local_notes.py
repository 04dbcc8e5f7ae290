"""Metadata of a local output, in a small hidden file in the same folder.

The metadata names the size and mtime of its output, so it expires when the output changes.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

HIDDEN_PREFIX = ".embedded-tf-"


def hidden(path: Path, suffix: str) -> Path:
    """A hidden name in the folder of `path`, derived from it. Hidden files are no inputs."""
    # A digest, because a name of maximum length leaves no room for a suffix.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:24]
    return path.with_name(f"{HIDDEN_PREFIX}{digest}.{suffix}")


def note_of(path: Path) -> Path:
    return hidden(path, "json")


def write_note(path: Path, stat: os.stat_result, metadata: Mapping[str, str]) -> None:
    """Save `metadata` for the content with this `stat`, which may not be at `path` yet.

    Keeps the metadata of the current content as well, so a crash between the two is safe.
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
    """The metadata of this content; empty if there is none."""
    for content in _contents(path):
        if _is_about(content, stat):
            return dict(content["metadata"])
    return {}


def _is_about(content: dict[str, Any], stat: os.stat_result) -> bool:
    return (content["size"], content["changed_ns"]) == (stat.st_size, stat.st_mtime_ns)


def _contents(path: Path) -> list[dict[str, Any]]:
    try:
        note = orjson.loads(note_of(path).read_bytes())
        # Version 0.1.0 wrote a single entry, without a list.
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
        # No metadata, or another program's file: the output counts as unknown.
        return []
