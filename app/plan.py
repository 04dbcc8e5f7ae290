"""Which input files a job has, and where the output of each goes."""

import os
from dataclasses import dataclass

from app.errors import BadParameter, NotFound, UnsupportedInput
from app.job_spec import JobSpec
from app.storage import Location, Storage, StoredFile


@dataclass(frozen=True, slots=True)
class FileTask:
    """One input file and the place of its output."""

    input: StoredFile
    output: Location


def plan_files(spec: JobSpec, storage: Storage) -> list[FileTask]:
    """The input's files in order of their names; outputs mirror the tree below the input's folder.

    Raises NotFound where the input matches nothing, UnsupportedInput for a file that cannot be
    read, BadParameter where an output would overwrite an input.
    """
    folder = spec.input if spec.input.is_folder else spec.input.parent()
    tasks = [
        FileTask(file, spec.output.below(file.location.path.removeprefix(folder.path)))
        for file in _find_inputs(spec.input, storage)
    ]
    inputs = {_place(task.input.location) for task in tasks}
    for task in tasks:
        storage.check_target(task.output)
        if _place(task.output) in inputs:
            raise BadParameter(
                f"output: {task.output} is an input of this job and would be overwritten",
                {"parameters": ["output"]},
            )
        if task.input.content_encoding not in ("", "identity"):
            raise UnsupportedInput(
                f"{task.input.uri}: stored with Content-Encoding {task.input.content_encoding},"
                " which is not read yet; store plain JSON lines"
            )
    return tasks


def _place(location: Location) -> str:
    """What two names of one file have in common."""
    return str(location) if location.scheme == "gs" else os.path.realpath(location.path)


def _find_inputs(location: Location, storage: Storage) -> list[StoredFile]:
    if location.is_folder:
        files = storage.list_below(location)
        if not files:
            raise NotFound(f"input: nothing below {location}")
        return files
    file = storage.find(location)
    if file is None:
        hint = ""
        if storage.list_below(location.as_folder()):
            hint = f"; there are files below {location}/, which needs the closing slash"
        raise NotFound(f"input: no such object or file: {location}{hint}")
    return [file]
