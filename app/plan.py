"""Which input files a job has, and where the output of each goes."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from app.bad_rows import errors_name
from app.errors import BadParameter, NotFound, UnsupportedInput
from app.fingerprint import file_fingerprint, job_fingerprint
from app.job_spec import JobSpec
from app.settings import Settings
from app.storage import Location, Storage, StoredFile


@dataclass(frozen=True, slots=True)
class FileTask:
    """One input file and the places of its output and of its bad rows, with what is there now."""

    input: StoredFile
    output: Location
    errors_output: Location
    old_output: StoredFile | None
    old_errors: StoredFile | None
    fingerprint: str


def check_places(spec: JobSpec, storage: Storage) -> None:
    """Raises NotAllowed where the model, the input or the output may not be used."""
    for location in (spec.model, spec.input, spec.output):
        storage.check_allowed(location)


def plan_files(
    spec: JobSpec, storage: Storage, model_files: list[StoredFile], settings: Settings
) -> list[FileTask]:
    """The input's files in order of their names; outputs mirror the tree below the input's folder.

    Raises NotFound where the input matches nothing, UnsupportedInput for a file that cannot be
    read, BadParameter where an output would overwrite an input or another output.
    """
    folder = spec.input if spec.input.is_folder else spec.input.parent()
    inputs = _find_inputs(spec, storage)
    outputs = [spec.output.below(file.location.path.removeprefix(folder.path)) for file in inputs]
    for file, output in zip(inputs, outputs, strict=True):
        storage.check_target(output)
        if file.content_encoding not in ("", "identity"):
            raise UnsupportedInput(
                f"{file.uri}: stored with Content-Encoding {file.content_encoding},"
                " which is not read yet; store plain JSON lines"
            )
    errors_outputs = [_errors_output(output) for output in outputs]
    writes_errors = spec.on_error == "skip"
    _check_outputs(inputs, outputs, errors_outputs if writes_errors else [])
    of_job = job_fingerprint(model_files, spec, settings)
    there = storage.find_all([*outputs, *errors_outputs])
    return [
        FileTask(
            file,
            output,
            errors,
            there.get(output),
            there.get(errors),
            file_fingerprint(of_job, file),
        )
        for file, output, errors in zip(inputs, outputs, errors_outputs, strict=True)
    ]


def _errors_output(output: Location) -> Location:
    folder = output.parent()
    return folder.below(errors_name(output.path.removeprefix(folder.path)))


def _check_outputs(
    inputs: Iterable[StoredFile], outputs: list[Location], errors_outputs: list[Location]
) -> None:
    taken = {_place(file.location): "an input of this job" for file in inputs}
    for output in [*outputs, *errors_outputs]:
        if what := taken.get(_place(output)):
            raise BadParameter(
                f"output: {output} is {what} and would be overwritten", {"parameters": ["output"]}
            )
        taken[_place(output)] = "another output of this job"


def _place(location: Location) -> str:
    """What two names of one file have in common."""
    return str(location) if location.scheme == "gs" else os.path.realpath(location.path)


def _find_inputs(spec: JobSpec, storage: Storage) -> list[StoredFile]:
    location = spec.input
    if location.is_folder:
        files = storage.list_below(location)
        if spec.output.is_below(location) and spec.output != location:
            # Or a second call would take the outputs of the first one for inputs.
            files = [file for file in files if not file.location.is_below(spec.output)]
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
