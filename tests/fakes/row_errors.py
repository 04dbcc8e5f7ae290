from app.errors import RowError
from app.framing.records import RowErrorSink


def raising(file: str) -> RowErrorSink:
    """Raises what the first bad row of `file` becomes."""

    def raise_it(error: RowError, _: bytes) -> bool:
        raise error.as_error(file, "line")

    return raise_it
