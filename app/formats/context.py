"""What every format does with an input file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from app.config.job_spec import InstanceFields
from app.framing.records import Records, RowErrorSink
from tfserving_launcher import Signature
from tfserving_launcher.parse_spec import FeatureTypes
from tfserving_launcher.tensors import Array

R = TypeVar("R", bound=Records)


def _not_told() -> FeatureTypes | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderContext:
    """What every reader is made with: the URI of its `file` is for errors.

    `parse_spec` gives the features that the signature's graph parses, or None; it is called only
    by readers that need it, because it reads the model's file.
    """

    file: str
    signature: Signature
    fields: InstanceFields
    on_row_error: RowErrorSink
    max_line_bytes: int
    integer_strings: bool = False
    parse_spec: Callable[[], FeatureTypes | None] = _not_told


@dataclass(frozen=True, slots=True)
class PassthroughFields:
    """What is written beside each prediction: a JSON text for every name, row by row.

    With no names there is nothing, and `rows` is empty.
    """

    names: tuple[str, ...] = ()
    rows: list[tuple[bytes, ...]] = field(default_factory=list)

    def at(self, indices: Sequence[int]) -> "PassthroughFields":
        """Those of the rows at these indices."""
        if not self.names:
            return self
        return PassthroughFields(self.names, [self.rows[index] for index in indices])


@dataclass(frozen=True, slots=True)
class Instances:
    """The good rows of a batch: tensors by input, the batch first; empty where no row is good."""

    tensors: dict[str, Array]
    passthrough: PassthroughFields = field(default_factory=PassthroughFields)


class InstanceReader(Protocol, Generic[R]):
    """Reads one input file from its beginning. Made anew for each file.

    Making one raises UnsupportedInput where the signature cannot be given rows of this format.
    """

    # What one record is called, in errors.
    unit: ClassVar[str]

    def read(self, blocks: Iterable[bytes]) -> Iterator[R]:
        """The records of the file, which comes in blocks that are not compressed.

        Raises UnsupportedInput where the file cannot be read any further.
        """

    def instances(self, batch: R) -> Instances:
        """Without the bad rows, of which the reader's error sink is told first."""

    def rows(self, batch: R) -> list[tuple[int, bytes]]:
        """The records that may be instances, each with its number."""

    def passthrough_names(self) -> tuple[str, ...]:
        """What comes beside each prediction; known once the first record is read."""

    def as_json(self, text: bytes) -> bytes:
        """A bad record as JSON, for the file of these."""

    def key(self, text: bytes) -> bytes | None:
        """The JSON text of a bad row's key; None where there is none, or none to be found."""
