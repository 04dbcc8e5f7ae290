"""Which columns of a table are which inputs, told from the header."""

from dataclasses import dataclass

from app.errors import UnsupportedInput
from app.job_spec import InstanceFields
from app.json_values import shown_names
from tfserving_launcher import Signature
from tfserving_launcher.tensors import family


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """The columns of one file, by their places.

    `inputs` has the one column of each input, or for the only input, where `vector` names it, all
    columns that it is made of.
    """

    names: tuple[str, ...]
    inputs: dict[str, tuple[int, ...]]
    vector: str | None
    key: int | None


def match_columns(
    names: tuple[str, ...], signature: Signature, fields: InstanceFields, file: str
) -> CsvColumns:
    """Columns are the inputs by name, or in order the numbers of the only input.

    In order of the header, or of `included_fields`. Raises UnsupportedInput.
    """
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UnsupportedInput(f"{file}: two columns have the same name: {shown_names(twice)}")
    asked = (*filter(None, [fields.key]), *(fields.included or ()))
    if missing := [name for name in asked if name not in names]:
        raise UnsupportedInput(
            f"{file}: no column {shown_names(missing)}; the header has {shown_names(names)}"
        )
    key = None if fields.key is None else names.index(fields.key)
    order = names if fields.included is None else fields.included
    seen = {name: names.index(name) for name in order if fields.sees(name)}
    # One without a batch dimension has no value for a row: its default is all there is.
    inputs = {name: spec for name, spec in signature.inputs.items() if spec.shape != ()}
    if _is_one_vector(signature, seen):
        (vector,) = signature.inputs
        return CsvColumns(names, {vector: tuple(seen.values())}, vector, key)
    if missing := [name for name in inputs if name not in seen and name not in signature.defaults]:
        raise UnsupportedInput(
            f"{file}: no column for the input {shown_names(missing)} of the signature; the header"
            f" has {shown_names(names)}"
        )
    if unknown := [name for name in seen if name not in inputs]:
        raise UnsupportedInput(
            f"{file}: the signature has no input {shown_names(unknown)}, only"
            f" {shown_names(inputs)}; excluded_fields keeps a column from the model"
        )
    if not seen:
        raise UnsupportedInput(
            f"{file}: no column is an input; the header has {shown_names(names)}"
        )
    return CsvColumns(names, {name: (place,) for name, place in seen.items()}, None, key)


def _is_one_vector(signature: Signature, seen: dict[str, int]) -> bool:
    if len(signature.inputs) != 1:
        return False
    ((name, spec),) = signature.inputs.items()
    if not seen or name in seen or family(spec.dtype) not in ("float", "integer"):
        return False
    return spec.shape is None or (len(spec.shape) == 2 and spec.shape[1] in (None, len(seen)))
