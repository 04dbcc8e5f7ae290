"""Sends a model requests before its first row, as the parameter warm_up_data_path asks.

The first call of a model may take long: graphs are optimised, tables are filled, memory is
allocated. TF Serving replays `assets.extra/tf_serving_warmup_requests` by itself while it loads.
"""

from collections.abc import Iterator

import numpy as np

from app.config.file_format import InputFormat, format_of_name
from app.errors import InputError, NotFound, RowError, ServerFailed, TooLarge, WarmUpFailed
from app.formats.context import ReaderContext
from app.formats.registry import open_reader
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


def warm_up(job: JobContext, served: ServedModel, storage: Storage) -> None:
    """Send the requests of the job's warm-up file, if it has one and the server has not had them.

    Raises WarmUpFailed with the number of the request that cannot be read or is refused, NotFound,
    TooLarge for a file with too much, ServerFailed, and what storage raises.
    """
    wanted = job.spec.warm_up
    if wanted is None or (mark := (str(wanted.path), served.signature.name)) in served.warmed_up:
        return
    with job.phase("warm_up", f"warming the model up with {wanted.path}"):
        requests = read_requests(job, served, _file(wanted.path, storage), storage)
        for _ in range(wanted.count):
            for number, request in enumerate(requests, 1):
                _replay(served, request, f"warm-up: {wanted.path}, request {number}")
    served.warmed_up.add(mark)


def _file(path: Location, storage: Storage) -> StoredFile:
    file = storage.find(path)
    if file is None:
        raise NotFound(f"warm_up_data_path: nothing at {path}")
    return file


def read_requests(
    job: JobContext, served: ServedModel, file: StoredFile, storage: Storage
) -> list[WarmUpRequest]:
    """The requests in a file of any form. Raises WarmUpFailed, and TooLarge for too many."""
    if file.size > MOST_BYTES:
        raise TooLarge(
            f"warm-up: {file.uri} has {file.size} bytes, and at most {MOST_BYTES} are taken"
        )
    content = job.deadline.run(lambda: b"".join(storage.read(file)))
    if holds_messages(file.location.path):
        found = parse_requests(content, file.uri)
    else:
        found = _requests_of_lines(job, served, file, content)
    requests: list[WarmUpRequest] = []
    for request in found:
        job.deadline.remaining()
        if len(requests) == MOST_REQUESTS:
            raise TooLarge(f"warm_up_data_path: {file.uri} has more than {MOST_REQUESTS} requests")
        requests.append(request)
    if not requests:
        raise WarmUpFailed(f"warm-up: {file.uri} holds no request")
    return requests


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
            ReaderContext(
                file=file.uri,
                signature=served.signature,
                fields=job.spec.fields,
                on_row_error=refuse,
                max_line_bytes=job.settings.max_line_bytes,
                integer_strings=job.spec.integer_strings,
                row_signatures=served.row_signatures,
                parse_spec=served.parse_spec,
            ),
            output_format="jsonl",
            manifest=None,
            storage=job.storage,
        )
        for records in reader.read([content]):
            for record in _one_by_one(records):
                for group in reader.instances(record).groups:
                    tensors = _of_size(group.tensors, served.fixed_rows)
                    yield WarmUpRequest(
                        {**constants, **tensors}, served.signature.name, output_filter
                    )
    except InputError as error:
        raise WarmUpFailed(f"warm-up: {error.message}") from None


def _one_by_one(records: Records) -> Iterator[Records]:
    for index in range(len(records.ends)):
        yield records.part(index, index + 1)


def _of_size(tensors: Tensors, rows: int | None) -> Tensors:
    """A row as often as the signature wants rows."""
    if rows in (None, 1):
        return tensors
    return {name: np.repeat(array, rows, axis=0) for name, array in tensors.items()}


def _replay(served: ServedModel, request: WarmUpRequest, name: str) -> None:
    try:
        served.server.replay(request.tensors, request.signature_name, request.output_filter)
    except (ServerExited, ServerTimeout) as error:
        raise ServerFailed(f"{name}: {without_own_paths(error)}") from None
    except ModelServerError as error:
        raise WarmUpFailed(f"{name}: {without_own_paths(error)}") from None
