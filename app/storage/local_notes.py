"""What is noted about a local output: in a small file beside it.

It holds only as long as the output itself is as it was then. Both that and an output that is being
written have hidden names, and are no inputs.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

HIDDEN_PREFIX = ".embedded-tf-"


def hidden(path: Path, suffix: str) -> Path:
    """A name beside `path` that follows from it and is no input."""
    # A digest, because the longest name that there may be leaves no room for more.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:24]
    return path.with_name(f"{HIDDEN_PREFIX}{digest}.{suffix}")


def note_of(path: Path) -> Path:
    return hidden(path, "json")


def write_note(path: Path, metadata: Mapping[str, str]) -> None:
    if not metadata:
        return
    stat = path.stat()
    note = {
        "file": path.name,
        "size": stat.st_size,
        "changed_ns": stat.st_mtime_ns,
        "metadata": dict(metadata),
    }
    new = hidden(path, "json.part")
    new.write_bytes(orjson.dumps(note) + b"\n")
    new.replace(note_of(path))


def read_note(path: Path, stat: os.stat_result) -> dict[str, str]:
    """What was noted about this very content; nothing where that cannot be told."""
    try:
        note = orjson.loads(note_of(path).read_bytes())
        if (note["size"], note["changed_ns"]) == (stat.st_size, stat.st_mtime_ns):
            return {str(name): str(value) for name, value in note["metadata"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # No note, or one that was cut off or made by something else: the file counts as unknown.
        return {}
    return {}
