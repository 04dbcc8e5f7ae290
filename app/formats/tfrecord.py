"""TFRecord files: each record is one instance, usually a serialized tf.Example."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

from app.codec.tf_examples import feature_json
from app.errors import RowError, UnsupportedInput
from app.formats.strings import StringReader, as_base64
from app.framing.lines import too_long
from app.framing.records import ByteRecords, as_records
from app.framing.tfrecord import FrameLost, Frames, read_frames


class TfRecordReader(StringReader):
    """An InstanceReader for TFRecord files."""

    unit: ClassVar[str] = "record"
    format_name: ClassVar[str] = "tfrecord"
    has_fields: ClassVar[bool] = True

    def read(self, blocks: Iterable[bytes]) -> Iterator[ByteRecords]:
        """Yield the records.

        Damaged and overlong ones are row errors; a damaged length ends the file.
        """
        number = 1
        try:
            for frames in read_frames(blocks, max_bytes=self._max_line_bytes):
                errors = self._errors(frames, number)
                contents: list[bytes | None] = list(frames.contents)
                for index, error in errors.items():
                    contents[index] = None
                    if not self._on_row_error(error, frames.contents[index]):
                        yield as_records(number, tuple(contents[:index]))
                        return
                yield as_records(number, tuple(contents))
                number += len(contents)
        except FrameLost as error:
            raise UnsupportedInput(
                f"{self._file}: record {number}, at byte {error.position} of the content: {error},"
                " so nothing from there on can be read",
                {"file": self._file, "record": number, "byte": error.position},
            ) from None

    def _errors(self, frames: Frames, number: int) -> dict[int, RowError]:
        """The row errors of frames that begin at record `number`, by index."""
        if frames.too_long:
            return {0: too_long(number, self._max_line_bytes)}
        words = "the data does not match its checksum"
        return {index: RowError(number + index, None, words) for index in frames.damaged()}

    def key_of(self, text: bytes, name: str) -> bytes:
        return feature_json(text, name)

    def as_json(self, text: bytes) -> bytes:
        return as_base64(text)
