"""The protocol buffers of TensorFlow Serving, imported without TensorFlow.

The generated modules of the package tensorflow-serving-api import `tensorflow.core...._pb2`.
Importing those in the ordinary way runs `tensorflow/__init__.py`: two seconds and half a gigabyte.
They need nothing of it, so while they are imported the name `tensorflow` stands for a plain
folder: that of the installed package, or one that holds only the `_pb2` files.
The name is given back afterwards, so that `import tensorflow` still brings the real package.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def _tensorflow_as_a_plain_folder() -> Iterator[None]:
    if "tensorflow" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(
            "the _pb2 modules of TensorFlow are needed: install tensorflow-cpu, or put the"
            " package's *_pb2.py files on the Python path",
            name="tensorflow",
        )
    folder = ModuleType("tensorflow")
    folder.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = folder
    try:
        yield
    finally:
        # The _pb2 modules stay: a second copy of a message type would not be the same type.
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
            if not name.endswith("_pb2"):
                del sys.modules[name]


with _tensorflow_as_a_plain_folder():
    _types = importlib.import_module("tensorflow.core.framework.types_pb2")
    _tensor = importlib.import_module("tensorflow.core.framework.tensor_pb2")
    _apis = {
        name: importlib.import_module(f"tensorflow_serving.apis.{name}")
        for name in (
            "get_model_metadata_pb2",
            "get_model_status_pb2",
            "model_service_pb2_grpc",
            "predict_pb2",
            "prediction_service_pb2_grpc",
        )
    }

# The generated modules carry no type information, so these are Any to the type checker.
DataType: Any = _types.DataType
TensorProto: Any = _tensor.TensorProto
GetModelMetadataRequest: Any = _apis["get_model_metadata_pb2"].GetModelMetadataRequest
GetModelMetadataResponse: Any = _apis["get_model_metadata_pb2"].GetModelMetadataResponse
SignatureDefMap: Any = _apis["get_model_metadata_pb2"].SignatureDefMap
GetModelStatusRequest: Any = _apis["get_model_status_pb2"].GetModelStatusRequest
GetModelStatusResponse: Any = _apis["get_model_status_pb2"].GetModelStatusResponse
ModelVersionStatus: Any = _apis["get_model_status_pb2"].ModelVersionStatus
PredictRequest: Any = _apis["predict_pb2"].PredictRequest
PredictResponse: Any = _apis["predict_pb2"].PredictResponse
ModelServiceStub: Any = _apis["model_service_pb2_grpc"].ModelServiceStub
PredictionServiceStub: Any = _apis["prediction_service_pb2_grpc"].PredictionServiceStub
model_service: Any = _apis["model_service_pb2_grpc"]
prediction_service: Any = _apis["prediction_service_pb2_grpc"]
