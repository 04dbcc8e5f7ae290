"""A model of taxi rides over tf.Examples, with the features of TFX's Chicago taxi example.

Its signatures differ in how they parse them: `serving_default` (ParseExampleV2 in a function),
`classify`, `regress`, `old` (ParseExample), `one_by_one` (ParseSingleExample inside a map),
`ragged`, and `twice`, which parses one feature with two types. `text` parses nothing. `estimator`
has its nodes in the graph itself, as Estimators export them.
"""

from pathlib import Path
from typing import Any

import tensorflow as tf

_STRINGS = tf.TensorSpec([None], tf.string)

FEATURES = {
    "trip_miles": tf.io.FixedLenFeature([], tf.float32),
    "trip_start_hour": tf.io.FixedLenFeature([], tf.int64),
    "fare": tf.io.FixedLenFeature([], tf.float32, default_value=-1.0),
    "pickup_community_area": tf.io.VarLenFeature(tf.int64),
    "payment_type": tf.io.VarLenFeature(tf.string),
    "company": tf.io.VarLenFeature(tf.string),
}


def _dense(parsed: dict[str, Any]) -> dict[str, Any]:
    """One value for each ride and feature: that of the sparse ones, or what stands for none."""
    missing = {tf.int64: -1, tf.string: "none"}
    return {
        name: tf.sparse.to_dense(value, default_value=missing[value.dtype])[:, 0]
        if isinstance(value, tf.sparse.SparseTensor)
        else value
        for name, value in parsed.items()
    }


def _score(rides: dict[str, Any]) -> Any:
    area = tf.cast(rides["pickup_community_area"], tf.float32)
    hour = tf.cast(rides["trip_start_hour"], tf.float32)
    return rides["trip_miles"] + 100 * area + hour / 100 + 1000 * rides["fare"]


def _parsed(examples: Any) -> dict[str, Any]:
    # A row more, or a batch without any value would have no column for the sparse features.
    full = tf.train.Example()
    full.features.feature["trip_miles"].float_list.value.append(0.0)
    full.features.feature["trip_start_hour"].int64_list.value.append(0)
    full.features.feature["pickup_community_area"].int64_list.value.append(0)
    for name in ("payment_type", "company"):
        full.features.feature[name].bytes_list.value.append(b"")
    padded = tf.concat([examples, [full.SerializeToString()]], axis=0)
    rides = _dense(tf.io.parse_example(padded, FEATURES))
    return {name: value[:-1] for name, value in rides.items()}


@tf.function(input_signature=[_STRINGS])
def _predict(examples: Any) -> dict[str, Any]:
    rides = _parsed(examples)
    return {
        "score": _score(rides),
        "who": tf.strings.join([rides["payment_type"], rides["company"]], "/"),
    }


@tf.function(input_signature=[_STRINGS])
def _classify(inputs: Any) -> dict[str, Any]:
    rides = _parsed(inputs)
    return {"classes": rides["company"][:, None], "scores": _score(rides)[:, None]}


@tf.function(input_signature=[_STRINGS])
def _regress(inputs: Any) -> dict[str, Any]:
    return {"outputs": _score(_parsed(inputs))[:, None]}


@tf.function(input_signature=[_STRINGS])
def _old(examples: Any) -> dict[str, Any]:
    parsed = tf.raw_ops.ParseExample(
        serialized=examples,
        names=[],
        sparse_keys=["pickup_community_area"],
        dense_keys=["trip_miles", "company"],
        dense_defaults=[tf.constant([0.0]), tf.constant(["none"])],
        sparse_types=[tf.int64],
        dense_shapes=[[1], [1]],
    )
    return {"miles": parsed.dense_values[0], "company": parsed.dense_values[1]}


@tf.function(input_signature=[_STRINGS])
def _one_by_one(examples: Any) -> dict[str, Any]:
    def parse(example: Any) -> Any:
        parsed = tf.raw_ops.ParseSingleExample(
            serialized=example,
            dense_defaults=[tf.constant([0.0]), tf.zeros([0], tf.int64)],
            num_sparse=1,
            sparse_keys=["company"],
            dense_keys=["trip_miles", "trip_start_hour"],
            sparse_types=[tf.string],
            dense_shapes=[[1], [1]],
        )
        return parsed.dense_values[0]

    return {"miles": tf.map_fn(parse, examples, fn_output_signature=tf.float32)}


@tf.function(input_signature=[_STRINGS])
def _ragged(examples: Any) -> dict[str, Any]:
    spec = {"hours": tf.io.RaggedFeature(tf.int64), "x": tf.io.FixedLenFeature([2], tf.float32)}
    parsed = tf.io.parse_example(examples, spec)
    total = tf.reduce_sum(parsed["hours"], axis=1)
    return {"hours": total, "x": parsed["x"]}


@tf.function(input_signature=[_STRINGS])
def _twice(examples: Any) -> dict[str, Any]:
    first = tf.io.parse_example(examples, {"a": tf.io.FixedLenFeature([], tf.float32, 0.0)})
    second = tf.io.parse_example(
        examples,
        {"a": tf.io.VarLenFeature(tf.int64), "b": tf.io.FixedLenFeature([], tf.float32, 0.0)},
    )
    return {"a": first["a"] + second["b"] + tf.cast(tf.size(second["a"]), tf.float32)}


@tf.function(input_signature=[_STRINGS])
def _text(examples: Any) -> dict[str, Any]:
    return {"size": tf.strings.length(examples)}


def save_taxi(folder: Path) -> None:
    """Classify and regress signatures are what other exporters than this write."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    signatures = {
        "serving_default": _predict,
        "classify": _classify,
        "regress": _regress,
        "old": _old,
        "one_by_one": _one_by_one,
        "ragged": _ragged,
        "twice": _twice,
        "text": _text,
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    file = folder / "saved_model.pb"
    saved_model = SavedModel.FromString(file.read_bytes())
    for method in ("classify", "regress"):
        definition = saved_model.meta_graphs[0].signature_def[method]
        definition.method_name = f"tensorflow/serving/{method}"
    file.write_bytes(saved_model.SerializeToString())


def save_estimator(folder: Path) -> None:
    """A graph of TensorFlow 1 without functions; `predict` has its input under another name."""
    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        examples = v1.placeholder(tf.string, [None], name="input_example_tensor")
        texts = v1.placeholder(tf.string, [None], name="texts")
        spec = {
            "trip_miles": tf.io.FixedLenFeature([], tf.float32),
            "trip_start_hour": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
        }
        parsed = v1.parse_example(examples, spec)
        score = parsed["trip_miles"] + tf.cast(parsed["trip_start_hour"], tf.float32)
        info = v1.saved_model.build_tensor_info
        definition = v1.saved_model.signature_def_utils.build_signature_def
        signatures = {
            "serving_default": v1.saved_model.regression_signature_def(examples, score),
            "predict": definition(
                {"examples": info(examples)}, {"y": info(score)}, "tensorflow/serving/predict"
            ),
            "text": definition(
                {"texts": info(texts)},
                {"size": info(tf.strings.length(texts))},
                "tensorflow/serving/predict",
            ),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.SERVING], signature_def_map=signatures
        )
        builder.save()
