"""Sends a model requests before its first row, as the parameter warm_up_data_path asks.

The first call of a model may take long: graphs are optimised, tables are filled, memory is
allocated. TF Serving replays `assets.extra/tf_serving_warmup_requests` by itself while it loads.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import orjson

from app.config.file_format import InputFormat, format_of_name
from app.config.job_spec import WarmUp
from app.errors import InputError, NotFound, RowError, ServerFailed, TooLarge, WarmUpFailed
from app.formats.registry import open_reader
from app.framing.gzipped import unpacked
from app.framing.records import Records
from app.job.context import JobContext
from app.job.served_model import ServedModel
from app.serving.error_translation import without_own_paths
from app.serving.supervised_server import Tensors
from app.serving.warm_up_requests import (
    MOST_BYTES,
    MOST_REQUESTS,
    WarmUpRequest,
    holds_messages,
    parse_requests,
)
from app.storage import Location, Storage, StoredFile
from tfserving_launcher import ModelServerError, ServerExited, ServerTimeout

_LINE_FORMATS: tuple[InputFormat, ...] = ("jsonl", "text")


def warm_up(job: JobContext, served: ServedModel) -> None:
    """Send the requests of the warm-up file, if there is one and the server has not had them.

    It is the job's, or else the instance's own for MODEL. Raises WarmUpFailed with the number of
    the request that cannot be read or is refused, NotFound, TooLarge for a file with too much,
    ServerFailed, and what storage raises.
    """
    wanted, storage = _wanted(job)
    if wanted is None:
        return
    with job.phase("warm_up", f"warming the model up with {wanted.path}"):
        file = _file(wanted.path, storage)
        mark = (file.uri, file.generation, file.size, wanted.count, *_called_with(job, served))
        if mark in served.warmed_up:
            return
        requests = read_requests(job, served, file, storage)
        for _ in range(wanted.count):
            for number, request in enumerate(requests, 1):
                _replay(served, request, f"warm-up: {wanted.path}, request {number}")
    served.warmed_up.add(mark)


def has_warm_up(job: JobContext) -> bool:
    """Whether `warm_up` may have something to send."""
    return _wanted(job)[0] is not None


def _wanted(job: JobContext) -> tuple[WarmUp | None, Storage]:
    settings = job.settings
    is_own = job.spec.model == settings.model and settings.warm_up_data_path is not None
    if job.spec.warm_up is not None or not is_own:
        return job.spec.warm_up, job.storage
    assert settings.warm_up_data_path is not None
    return WarmUp(settings.warm_up_data_path, settings.warm_up_count), job.model_storage


def _called_with(job: JobContext, served: ServedModel) -> tuple[str, ...]:
    """What else decides which graph a call runs."""
    constants = orjson.dumps(job.spec.constants, option=orjson.OPT_SORT_KEYS).decode()
    return served.signature.name, constants, *sorted(job.spec.output_filter)


def _file(path: Location, storage: Storage) -> StoredFile:
    file = storage.find(path)
    if file is None:
        raise NotFound(f"warm_up_data_path: nothing at {path}")
    return file


def read_requests(
    job: JobContext,
    served: ServedModel,
    file: StoredFile,
    storage: Storage,
    *,
    most: int | None = None,
) -> list[WarmUpRequest]:
    """The requests in a file of any form, or the first ones of it.

    Raises WarmUpFailed, and TooLarge for a file with too much.
    """
    content = job.deadline.run(_content, job, file, storage)
    if holds_messages(file.location.path):
        found = parse_requests(content, file.uri)
    else:
        found = _requests_of_lines(job, served, file, content)
    requests: list[WarmUpRequest] = []
    for request in islice(found, most):
        job.deadline.remaining()
        if len(requests) == MOST_REQUESTS:
            raise TooLarge(f"warm-up: {file.uri} has more than {MOST_REQUESTS} requests")
        requests.append(request)
    if not requests:
        raise WarmUpFailed(f"warm-up: {file.uri} holds no request")
    return requests


def _content(job: JobContext, file: StoredFile, storage: Storage) -> bytes:
    content = bytearray()
    for block in unpacked(storage.read(file), file=file.uri):
        job.deadline.remaining()
        content += block
        if len(content) > MOST_BYTES:
            raise TooLarge(f"warm-up: {file.uri}: at most {MOST_BYTES} bytes are taken")
    return bytes(content)


def _requests_of_lines(
    job: JobContext, served: ServedModel, file: StoredFile, content: bytes
) -> Iterator[WarmUpRequest]:
    """One request for each line, which is an instance as in an input."""
    constants, output_filter = served.server.for_all_calls

    def refuse(error: RowError, text: bytes) -> bool:
        del text
        what = "" if error.field is None else f", field {error.field}"
        raise WarmUpFailed(f"warm-up: {file.uri}, line {error.number}{what}: {error.message}")

    file_format = format_of_name(file.location.path)
    if file_format not in _LINE_FORMATS:
        raise WarmUpFailed(
            f"warm-up: {file.uri}: expected JSON lines, lines of text (.txt) or a serialized"
            f" PredictRequest (.bin), the name says {file_format}"
        )
    try:
        reader = open_reader(
            file_format,
            served.reader_context(job, file.uri, refuse),
            output_format="jsonl",
            manifest=None,
            storage=job.storage,
        )
        for records in reader.read([content]):
            for record in _one_by_one(records):
                for group in reader.instances(record).groups:
                    yield WarmUpRequest(
                        group.tensors,
                        served.signature.name,
                        output_filter,
                        served.fixed_rows,
                        constants,
                    )
    except InputError as error:
        raise WarmUpFailed(f"warm-up: {error.message}") from None


def _one_by_one(records: Records) -> Iterator[Records]:
    for index in range(len(records.ends)):
        yield records.part(index, index + 1)


def of_size(tensors: Tensors, rows: int | None) -> Tensors:
    """A row as often as the signature wants rows."""
    if rows in (None, 1):
        return tensors
    return {name: np.repeat(array, rows, axis=0) for name, array in tensors.items()}


def _replay(served: ServedModel, request: WarmUpRequest, name: str) -> None:
    tensors = {**request.constants, **of_size(request.tensors, request.rows)}
    try:
        served.server.replay(tensors, request.signature_name, request.output_filter)
    except (ServerExited, ServerTimeout) as error:
        raise ServerFailed(f"{name}: {without_own_paths(error)}") from None
    except ModelServerError as error:
        raise WarmUpFailed(f"{name}: {without_own_paths(error)}") from None
