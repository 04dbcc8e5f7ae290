"""Plans the input files of a job and their outputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from app.config.file_format import InputFormat, format_of_name
from app.config.job_spec import JobSpec
from app.errors import AlreadyExists, InvalidArgument, UnsupportedInput
from app.formats.manifest import Manifest, NameBudget, read_manifest
from app.planning.earlier_outputs import EarlierOutputs
from app.planning.fingerprint import file_fingerprint, is_made_by_job, is_output, job_fingerprint
from app.planning.output_paths import (
    STORED_AS_IT_IS,
    OutputPaths,
    named_paths,
    numbered_paths,
    single_paths,
)
from app.planning.selection import SelectedFile, Selection
from app.settings import Settings
from app.storage import Location, Storage, StoredFile

_ENCODINGS = (*STORED_AS_IT_IS, "gzip")
_SHOWN_FILES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTask:
    """One input file, the paths of its output and its errors file, and what exists there now.

    `manifest` holds the files of a file list, or the files of `input_format=file`; None for other
    formats. In the latter case `input` stands for all files.
    """

    input: StoredFile
    format: InputFormat
    manifest: Manifest | None
    output: Location
    gzip_output: bool
    errors_output: Location
    old_output: StoredFile | None
    old_errors: StoredFile | None
    fingerprint: str

    def read(self, storage: Storage) -> Iterator[bytes]:
        """Read the input; empty for `input_format=file`, whose files are in the manifest."""
        return iter(()) if self.format == "file" else storage.read(self.input)


@dataclass(frozen=True, slots=True)
class Plan:
    """The tasks of a job in order, and the number of hidden files and placeholders left out."""

    tasks: list[FileTask]
    left_out: int


def check_locations(spec: JobSpec, storage: Storage, model_storage: Storage) -> None:
    """Raise PermissionDenied for locations that may not be used; `model_storage` is the model's.

    Raises InvalidArgument for an output inside the model.
    """
    model_storage.check_allowed(spec.model)
    for location in (*spec.inputs, spec.output):
        storage.check_allowed(location)
    if spec.warm_up is not None:
        storage.check_allowed(spec.warm_up.path)
    _check_outside_model(spec.output, spec.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """What storage has of a job: its model, its inputs, and what is in its outputs' places."""

    model_files: list[StoredFile]
    selection: Selection
    outputs: EarlierOutputs


def plan_files(
    spec: JobSpec,
    storage: Storage,
    there: LookedUp,
    settings: Settings,
    check: Callable[[], object],
) -> Plan:
    """Plan the input files in order of their URIs; outputs mirror the trees below input folders.

    Calls `check` now and then. Raises UnsupportedInput for a file that cannot be read,
    InvalidArgument if an output would overwrite an input, the model or another output, and
    AlreadyExists if it would replace a file that no job wrote.
    """
    selection = there.selection
    selected = selection.files
    formats = [spec.input_format or format_of_name(one.name) for one in selected]
    for one in selected:
        storage.check_source(one.file.location)
        if one.file.content_encoding not in _ENCODINGS:
            raise UnsupportedInput(
                f"{one.file.uri}: stored with Content-Encoding {one.file.content_encoding}, and"
                " only gzip is read"
            )
    if spec.input_format == "file":
        return _plan_files_as_instances(spec, storage, there, settings)
    if spec.numbered_outputs:
        paths = [numbered_paths(spec, number, len(selected)) for number in range(len(selected))]
    else:
        paths = [named_paths(spec, *named) for named in zip(selected, formats, strict=True)]
    files = _without_own_outputs(list(zip(selected, formats, paths, strict=True)))
    selected, paths = [one for one, _, _ in files], [path for _, _, path in files]
    old = _check_and_find(spec, storage, selected, paths, there.outputs)
    of_job = job_fingerprint(there.model_files, spec, settings)
    tasks = []
    name_budget = NameBudget()
    for one, file_format, path in files:
        manifest = None
        if file_format == "file-list":
            manifest = read_manifest(one.file, storage, name_budget, check)
        follows_from = [one.file, *([] if manifest is None else manifest.found())]
        fingerprint = file_fingerprint(of_job, file_format, follows_from, gzip=path.gzip)
        tasks.append(
            _task(
                one.file,
                path,
                file_format=file_format,
                manifest=manifest,
                old=old,
                fingerprint=fingerprint,
            )
        )
    return Plan(tasks, selection.left_out)


def _plan_files_as_instances(
    spec: JobSpec, storage: Storage, there: LookedUp, settings: Settings
) -> Plan:
    """Plan the one task of `input_format=file`."""
    selection = there.selection
    path = numbered_paths(spec, 0, 1) if spec.numbered_outputs else single_paths(spec)
    selected = [
        one
        for one in selection.files
        if one.is_named
        or not (is_output(one.file) and one.file.location in (path.output, path.errors))
    ]
    old = _check_and_find(spec, storage, selected, [path], there.outputs)
    manifest = Manifest.of((one.file for one in selected), NameBudget())
    of_job = job_fingerprint(there.model_files, spec, settings)
    fingerprint = file_fingerprint(of_job, "file", manifest.found(), gzip=path.gzip)
    all_files = StoredFile(spec.inputs[0], sum(one.file.size for one in selected))
    task = _task(
        all_files,
        path,
        file_format="file",
        manifest=manifest,
        old=old,
        fingerprint=fingerprint,
    )
    return Plan([task], selection.left_out)


def _check_and_find(
    spec: JobSpec,
    storage: Storage,
    selected: list[SelectedFile],
    paths: list[OutputPaths],
    outputs: EarlierOutputs,
) -> dict[Location, StoredFile]:
    """Check that the outputs may be written, and find those that exist."""
    writes_errors = spec.on_error == "skip"
    for path in paths:
        storage.check_target(path.output)
        _check_outside_model(path.output, spec.model)
    _check_outputs(selected, paths, writes_errors=writes_errors)
    there = outputs.at([where for one in paths for where in (one.output, one.errors)], storage)
    if not spec.force:
        _check_made_by_jobs(paths, there, writes_errors=writes_errors)
    return there


def _task(
    file: StoredFile,
    path: OutputPaths,
    *,
    file_format: InputFormat,
    manifest: Manifest | None,
    old: Mapping[Location, StoredFile],
    fingerprint: str,
) -> FileTask:
    return FileTask(
        input=file,
        format=file_format,
        manifest=manifest,
        output=path.output,
        gzip_output=path.gzip,
        errors_output=path.errors,
        old_output=old.get(path.output),
        old_errors=old.get(path.errors),
        fingerprint=fingerprint,
    )


def _check_outside_model(output: Location, model: Location) -> None:
    """Raise InvalidArgument for an output inside the model's folder, with links resolved."""
    folder = model.identity.rstrip("/")
    if output.scheme == model.scheme and f"{output.identity}/".startswith(f"{folder}/"):
        raise InvalidArgument(
            f"output: {output} is inside the model {model}; give a folder outside of it",
            {"parameters": ["output"]},
        )
    versions, _, version = folder.rpartition("/")
    if not version.isdecimal() or output.scheme != model.scheme:
        return
    name = output.identity.rstrip("/")
    beside = name.removeprefix(f"{versions}/").partition("/")[0] if name != versions else ""
    # Files next to numbered versions are not part of the model; another number would be.
    if name == versions or (name.startswith(f"{versions}/") and beside.isdecimal()):
        raise InvalidArgument(
            f"output: {output} is among the versions of the model {model}; give another folder",
            {"parameters": ["output"]},
        )


def _check_made_by_jobs(
    paths: list[OutputPaths], there: Mapping[Location, StoredFile], *, writes_errors: bool
) -> None:
    """Raise AlreadyExists if an output would replace a file that no job wrote."""
    wanted = [path.output for path in paths]
    wanted += [path.errors for path in paths if writes_errors]
    others = [str(one) for one in wanted if one in there and not is_made_by_job(there[one])]
    if others:
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        raise AlreadyExists(
            f"output: {others[0]}{more} is there already, and no job has made it; move it away, or"
            " replace it with force=true",
            {"files_there": others[:_SHOWN_FILES]},
        )


def _without_own_outputs(
    files: list[tuple[SelectedFile, InputFormat, OutputPaths]],
) -> list[tuple[SelectedFile, InputFormat, OutputPaths]]:
    """Drop outputs of earlier calls from the inputs, where both share a folder."""
    made_of_others = {
        path
        for one, _, paths in files
        for path in (paths.output, paths.errors)
        if path != one.file.location
    }

    def is_own(one: SelectedFile) -> bool:
        return not one.is_named and is_output(one.file) and one.file.location in made_of_others

    return [file for file in files if not is_own(file[0])]


def _check_outputs(
    selected: Iterable[SelectedFile], paths: list[OutputPaths], *, writes_errors: bool
) -> None:
    taken = {one.file.identity: f"the input {one.file.uri}" for one in selected}
    outputs = [one.output for one in paths]
    for output in [*outputs, *(one.errors for one in paths)] if writes_errors else outputs:
        if what := taken.get(output.identity):
            raise InvalidArgument(
                f"output: {output} is {what} of this job and would be overwritten",
                {"parameters": ["output"]},
            )
        taken[output.identity] = "another output"
    for output in outputs:
        folders = PurePosixPath(output.path).parents if output.scheme == "file" else ()
        if clash := next((path for path in map(str, folders) if path in taken), None):
            raise InvalidArgument(
                f"output: {clash} is {taken[clash]} of this job, and would have to be a folder for"
                f" {output}",
                {"parameters": ["output"]},
            )
