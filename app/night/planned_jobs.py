"""The jobs of a run, as a manifest or a template asks for them."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import orjson

from app.config.job_spec import JobSpec, parse_job_spec
from app.errors import InvalidArgument, JobError, NotFound, shortened
from app.storage import Location, Storage, parse_location

# Beside a model, parameters for its jobs.
MODEL_PARAMETERS_FILE = "embedded-tf.json"
_PLACES = ("model", "input", "output")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DATE = re.compile(r"date(?:-(?P<days>[0-9]{1,4}))?")
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a run. Its name is unique in the run."""

    name: str
    spec: JobSpec


class InvalidPlan(InvalidArgument):
    """A plan that cannot be run. The message has all that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        shown = "; ".join(problems[:_MOST_SHOWN])
        more = f"; and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
        super().__init__(f"{len(problems)} problems: {shown}{more}", {"problems": problems})


@dataclass(frozen=True, slots=True)
class Template:
    """Places with placeholders: `{name}` is what the star in `models` stands for, `{date}` the day
    of the run, `{date-1}` the day before.
    """

    models: str
    inputs: tuple[str, ...]
    output: str


def read_manifest(
    location: Location, parameters: Mapping[str, Any], day: date, storage: Storage
) -> list[PlannedJob]:
    """Read JSON lines, or csv with a header; each is the parameters of a job and its `name`.

    `parameters` are those of all jobs; a line's own come before them. Without a name a job has that
    of its model. Raises NotFound, and InvalidPlan with all lines that are wrong.
    """
    loaded = storage.load(location)
    if loaded is None:
        raise NotFound(f"manifest: there is no {location}")
    try:
        text = loaded.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidPlan([f"{location} is not UTF-8: {error.reason}"]) from None
    rows = _csv_rows(text) if location.path.endswith(".csv") else _json_rows(text)
    jobs = []
    problems = []
    for number, row in rows:
        try:
            given = _parsed(row)
            name = given.pop("name", None)
            jobs.append(_planned(name, {**parameters, **given}, day))
        except JobError as error:
            problems.append(f"line {number}: {error.message}")
    if not jobs and not problems:
        problems.append(f"{location} names no jobs")
    problems += _repeated_names(jobs)
    if problems:
        raise InvalidPlan(problems)
    return jobs


def expand_template(
    template: Template, parameters: Mapping[str, Any], day: date, storage: Storage
) -> list[PlannedJob]:
    """One job for each folder that the star stands for.

    A file `embedded-tf.json` in such a folder has parameters of its jobs, which come before
    `parameters`. Raises NotFound if there are no such folders, and InvalidPlan.
    """
    before, star, after = template.models.partition("*")
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
    jobs, problems = [], []
    for name in names:
        given: dict[str, Any] = {
            "model": f"{before}{name}{after.rstrip('/')}/",
            "input": [one.replace("{name}", name) for one in template.inputs],
            "output": template.output.replace("{name}", name),
        }
        try:
            if name in own:
                given = {**_model_parameters(own[name], storage), **given}
            jobs.append(_planned(name, {**parameters, **given}, day))
        except JobError as error:
            problems.append(f"{name}: {error.message}")
    if problems:
        raise InvalidPlan(problems)
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


def _model_parameters(location: Location, storage: Storage) -> dict[str, Any]:
    loaded = storage.load(location)
    try:
        given = orjson.loads(b"{}" if loaded is None else loaded.content)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"{location} is not JSON: {error.msg}") from None
    if not isinstance(given, dict):
        raise InvalidArgument(f"{location} must hold a JSON object")
    if places := [name for name in _PLACES if name in given]:
        raise InvalidArgument(f"{location} must not set {', '.join(places)}")
    return given


def _planned(name: Any, parameters: dict[str, Any], day: date) -> PlannedJob:
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidArgument(f"name must be a string, it is {shortened(str(name))!r}")
    places = {key: _with_dates(parameters[key], day) for key in _PLACES if key in parameters}
    spec = parse_job_spec({**parameters, **places}, relative_paths=True)
    return PlannedJob(name or _name_of_model(spec.model), spec)


def _with_dates(value: Any, day: date) -> Any:
    """Replace `{date}` and `{date-N}`. Raises InvalidArgument for other placeholders."""
    if isinstance(value, list | tuple):
        return [_with_dates(one, day) for one in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        known = _DATE.fullmatch(match[1])
        if known is None:
            raise InvalidArgument(
                f"unknown placeholder {match[0]}; known are {{name}}, {{date}} and {{date-1}}"
            )
        return (day - timedelta(days=int(known["days"] or 0))).isoformat()

    return _PLACEHOLDER.sub(replaced, value)


def _name_of_model(model: Location) -> str:
    parts = [part for part in model.path.split("/") if part]
    return next((part for part in reversed(parts) if not part.isdigit()), "model")


def _json_rows(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text), restkey="")
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
