from app.errors import RowError
from app.framing.records import RowErrorSink


def raising(file: str) -> RowErrorSink:
    """Raises what the first bad row of `file` becomes."""

    def raise_it(error: RowError, text: bytes) -> bool:  # noqa: ARG001  # as all of the type
        raise error.as_error(file, "line")

    return raise_it
