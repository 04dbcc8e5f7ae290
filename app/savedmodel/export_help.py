"""Files of models that no model server loads, and how to make a SavedModel of them."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

_CHECKPOINT = re.compile(r"checkpoint|.*\.(?:ckpt|index|data-[0-9]{5}-of-[0-9]{5})", re.DOTALL)
_KERAS = "in Python, keras.models.load_model({name!r}).export({folder!r}) makes a SavedModel of it"
_KINDS = {
    ".keras": ("a model in Keras' own format", _KERAS),
    ".h5": ("a Keras model in HDF5", _KERAS),
    ".hdf5": ("a Keras model in HDF5", _KERAS),
    ".tflite": (
        "a TensorFlow Lite model",
        "it is served from a folder with a number, under the name model.tflite",
    ),
    ".onnx": ("an ONNX model", "the package onnx2tf makes a SavedModel of it"),
    ".pt": ("a PyTorch model", "it must be exported to a SavedModel, through ONNX for example"),
    ".pth": ("a PyTorch model", "it must be exported to a SavedModel, through ONNX for example"),
    ".pb": (
        "a graph without the folder of a SavedModel",
        (
            "if it is a saved_model.pb, put it under this name into a folder, with variables/"
            " beside it; a frozen graph is exported with tf.saved_model.save"
        ),
    ),
}
_WEIGHTS = ".weights.h5"


def how_to_export(names: Iterable[str]) -> str:
    """The hint to export a SavedModel from the first of these files that holds a model."""
    for name in sorted(names):
        kind = _kind(PurePosixPath(name).name)
        if kind is not None:
            what, help_ = kind
            folder = PurePosixPath(name).stem
            help_ = help_.format(name=PurePosixPath(name).name, folder=folder)
            return f"; {PurePosixPath(name).name} is {what}: {help_}"
    return ""


def _kind(name: str) -> tuple[str, str] | None:
    if name.endswith(_WEIGHTS):
        return (
            "a file of weights without their model",
            "in Python, build the model, model.load_weights({name!r}), model.export({folder!r})",
        )
    if _CHECKPOINT.fullmatch(name):
        return (
            "part of a checkpoint, which holds variables and no graph",
            "in Python, build the model, load the checkpoint, model.export('saved_model')",
        )
    return _KINDS.get(PurePosixPath(name).suffix.lower())
