"""Predictions of signatures that classify or regress, as TF Serving's REST API writes `results`.

A classification is a list of `[label, score]`, a regression a number. A label is "" where the model
gives none, a score 0.0. Source: tensorflow_serving/servables/tensorflow/classifier.cc and
regressor.cc, tensorflow_serving/util/json_tensor.cc (MakeJsonFromClassificationResult).
"""

from collections.abc import Mapping

import orjson

from app.codec.predictions import json_column
from app.codec.signatures import CLASSES, SCORES, VALUES
from app.errors import InvalidModel
from tfserving_launcher.tensors import Array


def classification_cells(outputs: Mapping[str, Array], rows: int) -> list[bytes]:
    """The JSON of each of the first `rows` rows. Raises InvalidModel."""
    for name, array in outputs.items():
        if array.ndim != 2:
            raise InvalidModel(
                f"output {name} has the shape {list(array.shape)}; a classification has the shape"
                " [batch, classes]",
                {"output": name},
            )
    if len({array.shape for array in outputs.values()}) > 1:
        raise InvalidModel(f"outputs {CLASSES} and {SCORES} differ in their numbers of classes")
    size = next(iter(outputs.values())).shape[1]
    labels = _cells(CLASSES, outputs, rows, missing=b'""', size=size)
    scores = _cells(SCORES, outputs, rows, missing=b"0.0", size=size)
    return [
        b"[" + b",".join(b"[" + b",".join(pair) + b"]" for pair in zip(*row, strict=True)) + b"]"
        for row in zip(labels, scores, strict=True)
    ]


def regression_cells(outputs: Mapping[str, Array], rows: int) -> list[bytes]:
    """The JSON of each of the first `rows` rows. Raises InvalidModel."""
    values = outputs[VALUES]
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InvalidModel(
            f"output {VALUES} has the shape {list(values.shape)}; a regression has the shape"
            " [batch] or [batch, 1]",
            {"output": VALUES},
        )
    return json_column(VALUES, values[:rows])


def _cells(
    name: str, outputs: Mapping[str, Array], rows: int, *, missing: bytes, size: int
) -> list[list[bytes]]:
    """The JSON of each class of each row."""
    if name not in outputs:
        return [[missing] * size] * rows
    lists = json_column(name, outputs[name][:rows])
    if name == SCORES:
        return [text[1:-1].split(b",") if size else [] for text in lists]
    return [[orjson.dumps(label) for label in orjson.loads(text)] for text in lists]
