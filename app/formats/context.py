"""What readers of all formats have in common."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from app.codec.row_groups import RowGroup
from app.config.file_format import CsvDialect
from app.config.job_spec import InstanceFields
from app.framing.records import Records, RowErrorSink
from tfserving_launcher import Signature
from tfserving_launcher.parse_spec import FeatureTypes

R = TypeVar("R", bound=Records)


def _not_told() -> FeatureTypes | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderContext:
    """What every reader is made with. `file` is the URI for error messages.

    `row_signatures` are those of the model that take rows as they are, for error messages.
    `parse_spec` returns the features that the signature's graph parses, or None. It reads the
    model's file, so only readers that need it call it.
    """

    file: str
    signature: Signature
    fields: InstanceFields
    on_row_error: RowErrorSink
    max_line_bytes: int
    integer_strings: bool = False
    dialect: CsvDialect = field(default_factory=CsvDialect)
    row_signatures: tuple[str, ...] = ()
    parse_spec: Callable[[], FeatureTypes | None] = _not_told


@dataclass(frozen=True, slots=True)
class PassthroughFields:
    """Fields written beside each prediction: for each row, a JSON text for each name.

    `rows` is empty if there are no names.
    """

    names: tuple[str, ...] = ()
    rows: list[tuple[bytes, ...]] = field(default_factory=list)

    def at(self, indices: Sequence[int]) -> "PassthroughFields":
        """The fields of the rows at these indices."""
        if not self.names:
            return self
        return PassthroughFields(self.names, [self.rows[index] for index in indices])


@dataclass(frozen=True, slots=True)
class Instances:
    """The valid rows of a batch, in groups of one shape; no group if there are none."""

    groups: tuple[RowGroup, ...]
    passthrough: PassthroughFields = field(default_factory=PassthroughFields)


class InstanceReader(Protocol, Generic[R]):
    """Reads one input file, from its beginning. Each file has a reader of its own.

    Making one raises UnsupportedInput where the signature cannot be given rows of this format.
    """

    # What one record is called, in errors.
    unit: ClassVar[str]

    def read(self, blocks: Iterable[bytes]) -> Iterator[R]:
        """The records of the file. `blocks` are its uncompressed bytes.

        Raises UnsupportedInput if the file cannot be read any further.
        """

    def instances(self, batch: R) -> Instances:
        """The valid instances. Row errors go to the sink first."""

    def rows(self, batch: R) -> list[tuple[int, bytes]]:
        """The records that may be instances, each with its number."""

    def passthrough_names(self) -> tuple[str, ...]:
        """The names of the passthrough fields. Known once the first record is read."""

    def as_json(self, text: bytes) -> bytes:
        """An invalid record as JSON, for the errors file."""

    def key(self, text: bytes) -> bytes | None:
        """The JSON text of an invalid record's key, or None if none can be found."""
