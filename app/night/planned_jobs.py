"""The jobs of a run, as a manifest or a template asks for them."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import orjson

from app.config.job_spec import JobSpec, parse_job_spec
from app.errors import InvalidArgument, JobError, NotFound, shortened
from app.storage import Loaded, Location, Storage, parse_location

# Beside a model, parameters for its jobs.
MODEL_PARAMETERS_FILE = "embedded-tf.json"
_PLACES = ("model", "input", "output")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DATE = re.compile(r"date(?:-(?P<days>[0-9]{1,4}))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WILDCARD = re.compile(r"[*?]")
_LONGEST_NAME = 500
_MOST_MANIFEST_BYTES = 256_000_000
_MOST_SHOWN = 20
_PARALLEL_LOADS = 16


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a run. Its name is unique in the run."""

    name: str
    spec: JobSpec


class InvalidPlan(InvalidArgument):
    """A plan that cannot be run. The message has all that is wrong with it.

    `jobs` are those of the plan that nothing is wrong with so far.
    """

    def __init__(self, problems: Sequence[str], jobs: Sequence["PlannedJob"] = ()) -> None:
        self.problems = problems
        self.jobs = jobs
        shown = "; ".join(problems[:_MOST_SHOWN])
        more = f"; and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
        super().__init__(f"{len(problems)} problems: {shown}{more}", {"problems": list(problems)})


@dataclass(frozen=True, slots=True)
class Template:
    """Places with placeholders: `{name}` is what the star in `models` stands for, `{date}` the day
    of the run, `{date-1}` the day before.
    """

    models: str
    inputs: tuple[str, ...]
    output: str


def jobs_of_manifest(
    content: bytes, location: Location, parameters: Mapping[str, Any], day: date
) -> list[PlannedJob]:
    """Parse JSON lines, or csv with a header; each is the parameters of a job and its `name`.

    `parameters` are those of all jobs; a line's own come before them. Without a name a job has that
    of its model. Raises InvalidPlan with all lines that are wrong.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidPlan([f"{location} is not UTF-8: {error.reason}"]) from None
    rows = _csv_rows(text) if location.path.endswith(".csv") else _json_rows(text)
    jobs: list[PlannedJob] = []
    problems = []
    try:
        for number, row in rows:
            try:
                given = _parsed(row)
                name = given.pop("name", None)
                dated = _dated({**parameters, **given}, day, name)
                jobs.append(_planned(name, dated))
            except JobError as error:
                problems.append(f"line {number}: {error.message}")
    except csv.Error as error:
        problems.append(f"{location} is no csv: {error}")
    if not jobs and not problems:
        problems.append(f"{location} names no jobs")
    problems += _repeated_names(jobs)
    if problems:
        raise InvalidPlan(problems, jobs)
    return jobs


def load_manifest(location: Location, storage: Storage) -> bytes:
    """The content of a manifest. Raises NotFound, and InvalidArgument for one that is too large."""
    file = storage.find(location)
    if file is None:
        raise NotFound(f"manifest: there is no {location}")
    if file.size > _MOST_MANIFEST_BYTES:
        raise InvalidArgument(
            f"manifest: {location} has {file.size} bytes, and {_MOST_MANIFEST_BYTES} are the most"
        )
    loaded = storage.load(location)
    if loaded is None:
        raise NotFound(f"manifest: there is no {location}")
    return loaded.content


def expand_template(
    template: Template, parameters: Mapping[str, Any], day: date, storage: Storage
) -> list[PlannedJob]:
    """One job for each folder that the star stands for.

    A file `embedded-tf.json` in such a folder has parameters of its jobs, which come before
    `parameters`. Raises NotFound if there are no such folders, and InvalidPlan.
    """
    models = _with_dates(template.models, day, None)
    before, star, after = models.partition("*")
    if not star or "*" in after or not before.endswith("/") or not after.startswith("/"):
        raise InvalidArgument(
            "models must hold one star for a folder, as in gs://b/models/*/, it is"
            f" {shortened(template.models)!r}",
            {"parameters": ["models"]},
        )
    folder = parse_location(before, parameter="models")
    inside = after.strip("/")
    names, own = _folders(folder, f"/{inside}/" if inside else "/", storage)
    if not names:
        raise NotFound(f"models: there are no folders {template.models}")
    own_parameters = _load_all(own, storage)
    jobs: list[PlannedJob] = []
    problems = []
    for name in names:
        try:
            given: dict[str, Any] = {
                "model": f"{before}{_plain(name)}{after.rstrip('/')}/",
                "input": [_with_dates(one, day, name) for one in template.inputs],
                "output": _with_dates(template.output, day, name),
            }
            if name in own:
                given = {**_model_parameters(own[name], own_parameters[name]), **given}
            jobs.append(_planned(name, {**parameters, **given}))
        except JobError as error:
            problems.append(f"{name}: {error.message}")
    if problems:
        raise InvalidPlan(problems, jobs)
    return jobs


def _folders(
    folder: Location, inside: str, storage: Storage
) -> tuple[list[str], dict[str, Location]]:
    """The names of the folders that have something at `inside`, and their files of parameters."""
    names: dict[str, None] = {}
    own: dict[str, Location] = {}
    for file in storage.list_below(folder):
        name, slash, rest = file.location.path.removeprefix(folder.path).partition("/")
        if not slash or not name or name.startswith(("_", ".")):
            continue
        if f"/{rest}".startswith(inside):
            names[name] = None
        if rest == MODEL_PARAMETERS_FILE:
            own[name] = file.location
    return sorted(names), own


def _load_all(locations: Mapping[str, Location], storage: Storage) -> dict[str, Loaded | None]:
    with ThreadPoolExecutor(_PARALLEL_LOADS) as pool:
        return dict(zip(locations, pool.map(storage.load, locations.values()), strict=True))


def _model_parameters(location: Location, loaded: Loaded | None) -> dict[str, Any]:
    try:
        given = orjson.loads(b"{}" if loaded is None else loaded.content)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"{location} is not JSON: {error.msg}") from None
    if not isinstance(given, dict):
        raise InvalidArgument(f"{location} must hold a JSON object")
    if places := [name for name in _PLACES if name in given]:
        raise InvalidArgument(f"{location} must not set {', '.join(places)}")
    return given


def _planned(name: Any, parameters: dict[str, Any]) -> PlannedJob:
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise InvalidArgument(f"name must be a string, it is {shortened(str(name))!r}")
    if name is not None and (_CONTROL.search(name) or len(name) > _LONGEST_NAME):
        raise InvalidArgument(
            f"name must be at most {_LONGEST_NAME} characters without control characters, it is"
            f" {shortened(name)!r}"
        )
    spec = parse_job_spec(parameters, relative_paths=True)
    return PlannedJob(name or _name_of_model(spec.model), spec)


def _plain(name: str) -> str:
    """Raises InvalidArgument for a folder whose name would be a wildcard in an input."""
    if _WILDCARD.search(name):
        raise InvalidArgument(f"a folder of a template must not have * or ? in its name: {name!r}")
    return name


def _dated(parameters: dict[str, Any], day: date, name: str | None) -> dict[str, Any]:
    places = {key: _with_dates(parameters[key], day, name) for key in _PLACES if key in parameters}
    return {**parameters, **places}


def _with_dates(value: Any, day: date, name: str | None) -> Any:
    """Replace `{date}`, `{date-N}` and `{name}`. Raises InvalidArgument for other placeholders."""
    if isinstance(value, list | tuple):
        return [_with_dates(one, day, name) for one in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[1] == "name" and isinstance(name, str):
            return name
        known = _DATE.fullmatch(match[1])
        if known is None:
            raise InvalidArgument(
                f"unknown placeholder {match[0]}; known are {{name}}, where the job has one,"
                " {date} and {date-1}"
            )
        try:
            return (day - timedelta(days=int(known["days"] or 0))).isoformat()
        except OverflowError:
            raise InvalidArgument(f"there is no day {match[0]} before {day}") from None

    return _PLACEHOLDER.sub(replaced, value)


def _name_of_model(model: Location) -> str:
    parts = [part for part in model.path.split("/") if part]
    return next((part for part in reversed(parts) if not part.isdigit()), "model")


def _json_rows(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    header = list(reader.fieldnames or ())
    if repeated := sorted({one for one in header if header.count(one) > 1 or not one}):
        raise InvalidPlan([f"the header has the column {repeated[0]!r} more than once, or empty"])
    for row in reader:
        yield reader.line_num, row


def _parsed(row: Any) -> dict[str, Any]:
    if isinstance(row, str):
        try:
            row = orjson.loads(row)
        except orjson.JSONDecodeError as error:
            raise InvalidArgument(f"no JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise InvalidArgument("expected a JSON object with the parameters of a job")
        return row
    if "" in row:
        raise InvalidArgument("more cells than the header has")
    return {name: value for name, value in row.items() if value not in (None, "")}


def _repeated_names(jobs: Iterable[PlannedJob]) -> list[str]:
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for job in jobs:
        if job.name in seen:
            repeated[job.name] = None
        seen.add(job.name)
    return [f"two jobs are called {name!r}: give each a name of its own" for name in repeated]
