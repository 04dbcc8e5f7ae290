"""The few parts of TensorFlow that serve a SavedModel: kernels, session, loader.

`import tensorflow` takes over two seconds, most of them for Keras, datasets and the public names;
these parts take half of one. They are private modules, so where a version of the package has moved
them, the same things are taken from the public names of the whole.
"""

import importlib
import os
from dataclasses import dataclass
from typing import Any

from tfserving_launcher._plain_tensorflow import put_plain_tensorflow

_SAVED_MODEL_MODULE = "tensorflow.core.protobuf.saved_model_pb2"
_LOADER_MODULE = "tensorflow.python.saved_model.loader_impl"
_WHOLE_PACKAGE = "PYTHON_MODEL_SERVER_WHOLE_TENSORFLOW"


@dataclass(frozen=True, slots=True)
class TensorFlowRuntime:
    """TensorFlow's own functions and classes, which carry no types."""

    session: Any
    graph: Any
    config_proto: Any
    errors: Any
    saved_model_loader: Any
    saved_model_proto: Any


def load_runtime(command: list[str]) -> TensorFlowRuntime:
    """The parts alone where they can be had, else from the whole package.

    Its kernels cannot be loaded twice, so the latter takes a fresh start of this program, by
    `command`.
    """
    if os.environ.get(_WHOLE_PACKAGE):
        return _from_package()
    try:
        return _from_parts()
    except (ImportError, AttributeError):
        os.environ[_WHOLE_PACKAGE] = "1"
        os.execv(command[0], command)  # noqa: S606  # this very program, started anew


def _from_parts() -> TensorFlowRuntime:
    put_plain_tensorflow()
    part = importlib.import_module
    # The kernels; without them the other modules find no operations.
    part("tensorflow.python.pywrap_tensorflow")
    return TensorFlowRuntime(
        session=part("tensorflow.python.client.session").Session,
        graph=part("tensorflow.python.framework.ops").Graph,
        config_proto=part("tensorflow.core.protobuf.config_pb2").ConfigProto,
        errors=part("tensorflow.python.framework.errors_impl"),
        saved_model_loader=part(_LOADER_MODULE).SavedModelLoader,
        saved_model_proto=part(_SAVED_MODEL_MODULE).SavedModel,
    )


def _from_package() -> TensorFlowRuntime:
    tf = importlib.import_module("tensorflow")
    return TensorFlowRuntime(
        session=tf.compat.v1.Session,
        graph=tf.Graph,
        config_proto=tf.compat.v1.ConfigProto,
        errors=tf.errors,
        saved_model_loader=importlib.import_module(_LOADER_MODULE).SavedModelLoader,
        saved_model_proto=importlib.import_module(_SAVED_MODEL_MODULE).SavedModel,
    )
