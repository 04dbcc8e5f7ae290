"""The protocol buffers of TensorFlow Serving, imported without TensorFlow.

The generated modules of the package tensorflow-serving-api import `tensorflow.core...._pb2`.
Importing those in the ordinary way runs `tensorflow/__init__.py`: two seconds and half a gigabyte.
They need nothing of it, so while they are imported the name `tensorflow` stands for a plain
folder: that of the installed package, or one that holds only the `_pb2` files.
The name is given back afterwards, so that `import tensorflow` still brings the real package.
"""

import importlib
from typing import Any

from tfserving_launcher._plain_tensorflow import tensorflow_as_a_plain_folder

with tensorflow_as_a_plain_folder():
    _types = importlib.import_module("tensorflow.core.framework.types_pb2")
    _example = importlib.import_module("tensorflow.core.example.example_pb2")
    _tensor = importlib.import_module("tensorflow.core.framework.tensor_pb2")
    _meta_graph = importlib.import_module("tensorflow.core.protobuf.meta_graph_pb2")
    _bundle = importlib.import_module("tensorflow.core.protobuf.tensor_bundle_pb2")
    _node = importlib.import_module("tensorflow.core.framework.node_def_pb2")
    _apis = {
        name: importlib.import_module(f"tensorflow_serving.apis.{name}")
        for name in (
            "get_model_metadata_pb2",
            "get_model_status_pb2",
            "model_service_pb2_grpc",
            "predict_pb2",
            "prediction_log_pb2",
            "prediction_service_pb2_grpc",
        )
    }

# The generated modules carry no type information, so these are Any to the type checker.
DataType: Any = _types.DataType
Example: Any = _example.Example
TensorProto: Any = _tensor.TensorProto
SignatureDef: Any = _meta_graph.SignatureDef
CollectionDef: Any = _meta_graph.CollectionDef
BundleHeaderProto: Any = _bundle.BundleHeaderProto
BundleEntryProto: Any = _bundle.BundleEntryProto
NodeDef: Any = _node.NodeDef
GetModelMetadataRequest: Any = _apis["get_model_metadata_pb2"].GetModelMetadataRequest
GetModelMetadataResponse: Any = _apis["get_model_metadata_pb2"].GetModelMetadataResponse
SignatureDefMap: Any = _apis["get_model_metadata_pb2"].SignatureDefMap
GetModelStatusRequest: Any = _apis["get_model_status_pb2"].GetModelStatusRequest
GetModelStatusResponse: Any = _apis["get_model_status_pb2"].GetModelStatusResponse
ModelVersionStatus: Any = _apis["get_model_status_pb2"].ModelVersionStatus
PredictRequest: Any = _apis["predict_pb2"].PredictRequest
PredictionLog: Any = _apis["prediction_log_pb2"].PredictionLog
PredictResponse: Any = _apis["predict_pb2"].PredictResponse
ModelServiceStub: Any = _apis["model_service_pb2_grpc"].ModelServiceStub
PredictionServiceStub: Any = _apis["prediction_service_pb2_grpc"].PredictionServiceStub
model_service: Any = _apis["model_service_pb2_grpc"]
prediction_service: Any = _apis["prediction_service_pb2_grpc"]
