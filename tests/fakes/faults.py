from app.errors import RowFault
from app.lines import OnFault


def raising(file: str) -> OnFault:
    """Raises what the first bad row of `file` becomes."""

    def raise_it(fault: RowFault, _: bytes) -> bool:
        raise fault.as_error(file, "line")

    return raise_it
