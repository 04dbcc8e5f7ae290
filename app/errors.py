"""The errors that end a job, with their HTTP statuses.

JobError                   code  status               worth trying again as it is
├── InvalidArgument        400   INVALID_ARGUMENT     no
├── PermissionDenied       403   PERMISSION_DENIED    no
├── NotFound               404   NOT_FOUND            no
├── AlreadyExists          409   ALREADY_EXISTS       no
├── Aborted                409   ABORTED              yes
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
├── ServerFailed           503   UNAVAILABLE          yes
├── ShuttingDown           503   UNAVAILABLE          yes
└── DeadlineExceeded       504   DEADLINE_EXCEEDED    yes

`code` is the HTTP status; `status` the name of the google.rpc code (google/rpc/code.proto).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

_LONGEST_MESSAGE = 4000
_LONGEST_DETAIL = 1000


def shortened(text: str, longest: int = 80) -> str:
    """Shorten a text from outside, and append its length."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}... ({len(text)} characters)"


class JobError(Exception):
    """Base of the errors that end a job. Long messages and details are shortened."""

    code: ClassVar[int]
    status: ClassVar[str]
    retry_after_seconds: ClassVar[int | None] = None

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        self.message = shortened(message, _LONGEST_MESSAGE)
        super().__init__(self.message)
        self.details = {name: _bounded(value) for name, value in (details or {}).items()}
        # Fields of the log record at the job's end; empty if no job began.
        self.job_fields: dict[str, Any] = {}

    def as_json(self) -> dict[str, Any]:
        """The body of an error response."""
        return {
            "error": {
                "code": self.code,
                "status": self.status,
                "message": self.message,
                "details": self.details,
            }
        }


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


class Aborted(JobError):
    """Another program changed an input, or wrote an output, while the job ran."""

    code = 409
    status = "ABORTED"
    retry_after_seconds = 5


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
    retry_after_seconds = 5


class Cancelled(JobError):
    """The client disconnected, and CANCEL_ON_HANG_UP is true."""

    code = 499
    status = "CANCELLED"


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
    retry_after_seconds = 5


class TransferBroken(StorageFailed):
    """A download is damaged, or an upload lost: only the whole file can be retried."""


class ServerFailed(JobError):
    """The model server died or hung."""

    code = 503
    status = "UNAVAILABLE"
    retry_after_seconds = 5


class ShuttingDown(JobError):
    """The instance is ending."""

    code = 503
    status = "UNAVAILABLE"
    retry_after_seconds = 5


class DeadlineExceeded(JobError):
    """The job's time is up."""

    code = 504
    status = "DEADLINE_EXCEEDED"
