"""The errors that end a job, with their HTTP statuses.

JobError                   code  status               worth trying again as it is
├── InvalidArgument        400   INVALID_ARGUMENT     no
├── PermissionDenied       403   PERMISSION_DENIED    no
├── NotFound               404   NOT_FOUND            no
├── AlreadyExists          409   ALREADY_EXISTS       no
├── FailedPrecondition     400   FAILED_PRECONDITION  no
├── Aborted                409   ABORTED              yes
│   └── LeaseHeld                                    (another instance runs the job)
├── UnsupportedEncoding    415   INVALID_ARGUMENT     no
├── InvalidModel           422   FAILED_PRECONDITION  no
├── NoValidRows            422   INVALID_ARGUMENT     no
├── InputError                                       (something is wrong with an input)
│   ├── TooLarge           413   OUT_OF_RANGE         no
│   ├── InvalidInstance    422   INVALID_ARGUMENT     no
│   ├── ModelFailed        422   INVALID_ARGUMENT     no
│   ├── TooManyRowErrors   422   INVALID_ARGUMENT     no
│   └── UnsupportedInput   422   INVALID_ARGUMENT     no
├── Busy                   429   RESOURCE_EXHAUSTED   yes
├── Cancelled              499   CANCELLED            yes
├── InternalError          500   INTERNAL             no
├── NoModelServer          500   INTERNAL             no
├── StorageFailed          502   UNAVAILABLE          yes
│   └── TransferBroken                               (the file is begun again first)
├── QueueFailed            502   UNAVAILABLE          yes
├── ServerFailed           503   UNAVAILABLE          yes
├── ShuttingDown           503   UNAVAILABLE          yes
├── DeliveryEnded          503   UNAVAILABLE          yes
└── DeadlineExceeded       504   DEADLINE_EXCEEDED    yes

`code` is the HTTP status; `status` the name of the google.rpc code (google/rpc/code.proto). Bodies
are those of Google's APIs: google.aip.dev/193.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

_LONGEST_MESSAGE = 4000
_LONGEST_DETAIL = 1000
_DOMAIN = "embedded-tf"
_TYPES = "type.googleapis.com/google."


def shortened(text: str, longest: int = 80) -> str:
    """Shorten a text from outside, and append its length."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}... ({len(text)} characters)"


class JobError(Exception):
    """Base of the errors that end a job. Long messages and details are shortened."""

    code: ClassVar[int]
    status: ClassVar[str]
    is_retryable: ClassVar[bool] = False
    retry_after_seconds: int | None = None

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        self.message = shortened(message, _LONGEST_MESSAGE)
        super().__init__(self.message)
        self.details = {name: _bounded(value) for name, value in (details or {}).items()}
        # Fields of the log record at the job's end; empty if no job began.
        self.job_fields: dict[str, Any] = {}

    @property
    def reason(self) -> str:
        """A stable name of this kind of error, as in ErrorInfo: LEASE_HELD."""
        return reason_of(type(self).__name__)

    def as_json(self) -> dict[str, Any]:
        """The body of an error response."""
        return {
            "error": {
                "code": self.code,
                "status": self.status,
                "message": self.message,
                "details": typed_details(self.reason, self.details, self.retry_after_seconds),
            }
        }


def reason_of(name: str) -> str:
    """The name of a class as google.rpc.ErrorInfo spells reasons: upper case, with underscores."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()


def typed_details(
    reason: str, details: Mapping[str, Any], retry_after_seconds: int | None
) -> list[dict[str, Any]]:
    """The details as typed messages: ErrorInfo, RetryInfo, and all of them as a Struct.

    Source: google/rpc/error_details.proto; protobuf.dev/programming-guides/json for Any.
    """
    scalars = {
        name: str(value)
        for name, value in details.items()
        if isinstance(value, str | int | float) and value != ""
    }
    typed: list[dict[str, Any]] = [
        {
            "@type": f"{_TYPES}rpc.ErrorInfo",
            "reason": reason,
            "domain": _DOMAIN,
            "metadata": scalars,
        }
    ]
    if retry_after_seconds is not None:
        retry = {"@type": f"{_TYPES}rpc.RetryInfo", "retryDelay": f"{retry_after_seconds}s"}
        typed.append(retry)
    if details:
        typed.append({"@type": f"{_TYPES}protobuf.Struct", "value": dict(details)})
    return typed


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return shortened(value, _LONGEST_DETAIL)
    if isinstance(value, list):
        return [_bounded(one) for one in value]
    return value


class InvalidArgument(JobError):
    """A parameter is missing, unknown or malformed."""

    code = 400
    status = "INVALID_ARGUMENT"


class PermissionDenied(JobError):
    """A URI is outside the allowed locations, or storage denies access to it."""

    code = 403
    status = "PERMISSION_DENIED"


class NotFound(JobError):
    """The model or an input does not exist, or an input matches nothing."""

    code = 404
    status = "NOT_FOUND"


class AlreadyExists(JobError):
    """An output would replace a file that no job wrote."""

    code = 409
    status = "ALREADY_EXISTS"


class FailedPrecondition(JobError):
    """What is asked for does not fit the state of the job, or the settings of the service."""

    code = 400
    status = "FAILED_PRECONDITION"


class Aborted(JobError):
    """Another program changed an input, or wrote an output, while the job ran."""

    code = 409
    status = "ABORTED"
    is_retryable = True
    retry_after_seconds = 5


class LeaseHeld(Aborted):
    """Another instance runs the job. `retry_after_seconds` is when its lease may have ended."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class InputError(JobError):
    """Base of errors of an input: a row, a file, or too much of either."""


class TooLarge(InputError):
    """A model, a line or a request is larger than this instance accepts."""

    code = 413
    status = "OUT_OF_RANGE"


class UnsupportedEncoding(JobError):
    """The request body has an unsupported Content-Encoding."""

    code = 415
    status = "INVALID_ARGUMENT"


class InvalidModel(JobError):
    """The model is not a SavedModel, or cannot be loaded or called."""

    code = 422
    status = "FAILED_PRECONDITION"


class WarmUpFailed(JobError):
    """A request of a warm-up file cannot be read, or the model refuses it."""

    code = 422
    status = "FAILED_PRECONDITION"


class InvalidInstance(InputError):
    """A record is not a valid instance of the model."""

    code = 422
    status = "INVALID_ARGUMENT"


class ModelFailed(InputError):
    """The model fails on a row that fits its signature, or on a batch as a whole."""

    code = 422
    status = "INVALID_ARGUMENT"


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a record cannot be predicted. `number` is its position in the file, from 1.

    `field` is an input's name with the path in it, or a column. `kind` is the error to raise if the
    row ends the job. `shows_all` is False if only the beginning of the record is known.
    """

    number: int
    field: str | None
    message: str
    kind: type[JobError] = InvalidInstance
    shows_all: bool = True

    def as_error(self, file: str, unit: str) -> JobError:
        """`unit` is what a record of the file is called: line, row or record."""
        where = f"{file}, {unit} {self.number}"
        if self.field is not None:
            where += f", field {self.field}"
        return self.kind(
            f"{where}: {self.message}", {"file": file, unit: self.number, "field": self.field}
        )


class NoValidRows(JobError):
    """All rows of a job are invalid."""

    code = 422
    status = "INVALID_ARGUMENT"


class TooManyRowErrors(InputError):
    """A file has more row errors than MAX_ERROR_FRACTION allows."""

    code = 422
    status = "INVALID_ARGUMENT"


class UnsupportedInput(InputError):
    """An input file has an unsupported format."""

    code = 422
    status = "INVALID_ARGUMENT"


class Busy(JobError):
    """Another job is running in this instance."""

    code = 429
    status = "RESOURCE_EXHAUSTED"
    is_retryable = True
    retry_after_seconds = 5


class Cancelled(JobError):
    """Somebody cancelled the job, or its client disconnected with CANCEL_ON_HANG_UP."""

    code = 499
    status = "CANCELLED"
    is_retryable = True


class InternalError(JobError):
    """A bug in this program. The log has the traceback."""

    code = 500
    status = "INTERNAL"


class NoModelServer(JobError):
    """The instance has no model server program."""

    code = 500
    status = "INTERNAL"


class StorageFailed(JobError):
    """Storage failed in spite of retries."""

    code = 502
    status = "UNAVAILABLE"
    is_retryable = True
    retry_after_seconds = 5


class TransferBroken(StorageFailed):
    """A download is damaged, or an upload lost: only the whole file can be retried."""


class QueueFailed(JobError):
    """The queue has not taken the job."""

    code = 502
    status = "UNAVAILABLE"
    is_retryable = True
    retry_after_seconds = 5


class ServerFailed(JobError):
    """The model server died or hung."""

    code = 503
    status = "UNAVAILABLE"
    is_retryable = True
    retry_after_seconds = 5


class NotReady(JobError):
    """The instance is still loading its model."""

    code = 503
    status = "UNAVAILABLE"
    is_retryable = True
    retry_after_seconds = 5


class ShuttingDown(JobError):
    """The instance is ending."""

    code = 503
    status = "UNAVAILABLE"
    is_retryable = True
    retry_after_seconds = 5


class DeliveryEnded(JobError):
    """The job does not fit into one delivery of the queue. What is complete stays."""

    code = 503
    status = "UNAVAILABLE"
    is_retryable = True
    retry_after_seconds = 1


class DeadlineExceeded(JobError):
    """The job's time is up."""

    code = 504
    status = "DEADLINE_EXCEEDED"
    is_retryable = True
