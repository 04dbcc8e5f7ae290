"""What becomes of a model's file on its way: lost, cut off, or a pointer in its place."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 12345\n"
)


def _bisect(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "halved": _bisect,
    "pointer": lambda path: path.write_bytes(POINTER),
}


def copy_of(model: Path, target: Path) -> Path:
    """A model's folder to damage, with whatever was in its place gone."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(model, target)
    return target
