"""SavedModels for the tests, made by TensorFlow itself.

    python -m tests.fakes.models FOLDER

`zoo/1` has a signature for each thing that a signature can be; `linear` has two versions that
answer differently; `unversioned` is a SavedModel without a version folder; `broken/1` has its
variables cut off, and `changed/1` other bytes in them; `foreign_objects/1` holds Python objects
that nobody can restore; `formats/1` takes the same numbers as vectors, as named columns, and as
serialized tf.Examples; `shards/1` and `shards/2` have variables in several data files; `tf1/1` has
variables, one of them partitioned, and `tf1_constant/1` has none, both as TensorFlow 1 saves them;
`table/1` has a table in a file, and two signatures, of which one uses no variable; `untracked/1` is
a Keras model without its variables; `no_tables/1` does not initialise its table; `taxi/1` and
`estimator/1` are described in taxi.py; `composite/1` has tensors that are not dense;
`renamed/1` has one signature, under another name than `serving_default`; `hostile/1` reads and
writes files.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.fakes.dtypes import DTYPES
from tests.fakes.taxi import save_estimator, save_taxi

# Data files of `shards`: one for each variable, with the object graph in the last one.
SHARDS = 3


def _function(run: Callable[..., Any], **inputs: tuple[str, Sequence[int | None] | None]) -> Any:
    specs = [
        tf.TensorSpec(shape, dtype=getattr(tf, dtype), name=name)
        for name, (dtype, shape) in inputs.items()
    ]
    return tf.function(run, input_signature=specs).get_concrete_function()


def _zoo() -> dict[str, Any]:
    def identity(x: Any) -> dict[str, Any]:
        return {"y": tf.identity(x)}

    def failing(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x must be positive")]):
            return {"y": tf.sqrt(x)}

    def eights(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(x)[0], 8)]):
            return {"y": tf.identity(x)}

    def slow(x: Any) -> dict[str, Any]:
        matrix = tf.random.uniform([600, 600])
        steps = tf.cast(tf.reduce_max(x) * 100, tf.int32)
        total = tf.while_loop(
            lambda i, _: i < steps, lambda i, m: (i + 1, tf.nn.softmax(m @ matrix)), (0, matrix)
        )
        return {"y": x + 0 * tf.reduce_sum(total[1])}

    signatures = {f"scalar_{dtype}": _function(identity, x=(dtype, [None])) for dtype in DTYPES} | {
        f"vector_{dtype}": _function(identity, x=(dtype, [None, 2])) for dtype in DTYPES
    }
    return signatures | {
        "serving_default": _function(lambda x: {"y": 2 * x + 1}, x=("float32", [None, 3])),
        "matrix": _function(identity, x=("float32", [None, 2, 3])),
        "any_length": _function(identity, x=("float32", [None, None])),
        # One number from rows of any length; rows that hold a negative one fail.
        "sum": _function(
            lambda x: {"sum": tf.reduce_sum(failing(x)["y"] ** 2, axis=1)},
            x=("float32", [None, None]),
        ),
        "any_rank": _function(identity, x=("float32", None)),
        "string_matrix": _function(identity, x=("string", [None, 2, 2])),
        "named": _function(
            lambda price, count, name, sold: {
                "total": price * tf.cast(count, tf.float32),
                "label": tf.strings.join([name, tf.strings.as_string(count)], ":"),
                "both": tf.stack([price, price], axis=1),
                "sold%": sold,
            },
            price=("float32", [None]),
            count=("int64", [None]),
            name=("string", [None]),
            sold=("bool", [None]),
        ),
        # As Keras exports a table: each column with a dimension of 1.
        "columns": _function(
            lambda price, count, name, sold: {
                "total": price * tf.cast(count, tf.float32),
                "label": tf.strings.join([name, tf.strings.as_string(count)], ":"),
                "sold": sold,
            },
            price=("float32", [None, 1]),
            count=("int64", [None, 1]),
            name=("string", [None, 1]),
            sold=("bool", [None, 1]),
        ),
        "one_column": _function(identity, x=("float32", [None, 1])),
        "one_text": _function(
            lambda text: {"y": tf.strings.upper(text)}, text=("string", [None, 1])
        ),
        "image": _function(
            lambda data: {"raw": data, "raw_bytes": data, "size": tf.strings.length(data)},
            data=("string", [None]),
        ),
        "not_text": _function(lambda data: {"raw": data}, data=("string", [None])),
        "only_bytes": _function(lambda data: {"raw_bytes": data}, data=("string", [None])),
        "logarithm": _function(lambda x: {"y": tf.math.log(x)}, x=("float32", [None, 2])),
        "total": _function(lambda x: {"y": tf.reduce_sum(x)}, x=("float32", [None])),
        "one_short": _function(lambda x: {"y": x[:-1]}, x=("float32", [None])),
        "empty_rows": _function(lambda x: {"y": x[:, :0, :]}, x=("float32", [None, 2, 3])),
        "fixed": _function(
            lambda x: {"y": x, "sum": tf.fill([4], tf.reduce_sum(x))}, x=("float32", [4, 2])
        ),
        "no_batch": _function(identity, x=("float32", [])),
        # Inputs and outputs without a batch dimension, as TF1 exports them.
        "dropout": _function(
            lambda x, keep_prob, mean: {
                "y": (x - mean) * keep_prob,
                "step": tf.constant(7, tf.int64),
                "rate": 1 - keep_prob,
            },
            x=("float32", [None, 3]),
            keep_prob=("float32", []),
            mean=("float32", [3]),
        ),
        # Take eight rows and no other number; only the answers, or the outputs, show it.
        "in_eights": _function(eights, x=("float32", [None, 2])),
        "to_eight": _function(
            lambda x: {"y": tf.concat([x, tf.zeros([8 - tf.shape(x)[0], 2])], axis=0)},
            x=("float32", [None, 2]),
        ),
        "eight": _function(
            lambda x: {"y": tf.zeros([8, 2]), "z": x[:, 0]}, x=("float32", [None, 2])
        ),
        "complex": _function(lambda x: {"y": tf.cast(x, tf.complex64)}, x=("float32", [None])),
        "failing": _function(failing, x=("float32", [None])),
        "mask": _function(lambda x: {"y": x[:, None] + tf.zeros([65_536])}, x=("float32", [None])),
        "million": _function(
            lambda x: {"y": x[:, None] + tf.zeros([1_000_000])}, x=("float32", [None])
        ),
        # As many numbers, or bytes of text, a row as the largest value in the batch says.
        "as_many": _function(
            lambda x: {"y": tf.fill([tf.shape(x)[0], tf.reduce_max(x)], 0.1)},
            x=("int32", [None]),
        ),
        "as_long": _function(
            lambda x: {
                "y": tf.map_fn(
                    lambda size: tf.strings.reduce_join(tf.fill([size], "abcdefgh")),
                    x // 8,
                    fn_output_signature=tf.string,
                )
            },
            x=("int32", [None]),
        ),
        "slow": _function(slow, x=("float32", [None])),
    }


_ROWS = [tf.TensorSpec([None, 4], tf.float32, name="x")]


class _Linear(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.eye(4) * factor)

    @tf.function(input_signature=_ROWS)
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": x @ self.weights}


def build(folder: Path) -> None:
    """All models, below `folder`."""
    tf.saved_model.save(tf.Module(), str(folder / "zoo" / "1"), signatures=_zoo())
    for version, factor in (("9", 9.0), ("10", 10.0)):
        model = _Linear(factor)
        tf.saved_model.save(model, str(folder / "linear" / version), signatures=model.serve)
    _save_formats(folder / "formats" / "1")
    _save_shards(folder / "shards")
    _save_tf1(folder / "tf1" / "1", folder / "tf1_constant" / "1")
    _save_table(folder / "table" / "1")
    save_taxi(folder / "taxi" / "1")
    tf.saved_model.save(tf.Module(), str(folder / "composite" / "1"), signatures=_composite())
    score = _function(lambda x: {"y": x * 2}, x=("float32", [None]))
    tf.saved_model.save(tf.Module(), str(folder / "renamed" / "1"), signatures={"score": score})
    save_estimator(folder / "estimator" / "1")
    tf.saved_model.save(tf.Module(), str(folder / "hostile" / "1"), signatures=_hostile())
    shutil.copytree(folder / "linear" / "9", folder / "unversioned")
    shutil.copytree(folder / "linear" / "9", folder / "broken" / "1")
    for variables in (folder / "broken" / "1" / "variables").glob("*.data*"):
        variables.write_bytes(variables.read_bytes()[:7])
    shutil.copytree(folder / "linear" / "9", folder / "changed" / "1")
    for variables in (folder / "changed" / "1" / "variables").glob("*.data*"):
        variables.write_bytes(bytes(byte ^ 1 for byte in variables.read_bytes()))
    _save_with_foreign_objects(folder / "foreign_objects" / "1", folder / "linear" / "10")
    _save_untracked(folder / "untracked" / "1")
    _save_without_tables(folder / "no_tables" / "1")


class _Product(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    def __init__(self) -> None:
        super().__init__()
        self.weights = [tf.Variable(tf.eye(4) * factor) for factor in (2.0, 3.0, 5.0)]

    @tf.function(input_signature=_ROWS)
    def serve(self, x: Any) -> dict[str, Any]:
        for weights in self.weights:
            x @= weights
        return {"y": x}


def _save_shards(folder: Path) -> None:
    one_each = tf.train.experimental.MaxShardSizePolicy(max_shard_size=4 * 4 * 4)
    options = tf.saved_model.SaveOptions(experimental_sharding_callback=one_each)
    model = _Product()
    for version in ("1", "2"):
        tf.saved_model.save(model, str(folder / version), model.serve, options)


def _save_tf1(variable: Path, constant: Path) -> None:
    v1 = tf.compat.v1
    for folder, has_variables in ((variable, True), (constant, False)):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 4], name="x")
            y = x * 2
            if has_variables:
                ones = v1.ones_initializer()
                y += v1.get_variable("whole", [4], initializer=ones, use_resource=False)
                halves = v1.fixed_size_partitioner(2)
                parts = v1.get_variable("parts", [4], initializer=ones, partitioner=halves)
                y *= tf.convert_to_tensor(parts)
            session.run(v1.global_variables_initializer())
            v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})


def _save_table(folder: Path) -> None:
    words = folder.parent / "words.txt"
    words.parent.mkdir()
    words.write_text("".join(f"word {number}\n" for number in range(200)))
    model = _Linear(2.0)
    model.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )
    find = _function(lambda word: {"number": model.table.lookup(word)}, word=("string", [None]))
    signatures = {"serving_default": model.serve, "find": find}
    tf.saved_model.save(model, str(folder), signatures)
    words.unlink()


def _composite() -> dict[str, Any]:
    """Signatures with tensors that are not dense."""
    floats = tf.TensorSpec([None, 3], tf.float32, name="x")
    runs = {
        "ragged_output": (
            tf.TensorSpec([None], tf.string, name="x"),
            lambda x: {"words": tf.strings.split(x), "n": tf.strings.length(x)},
        ),
        "sparse_output": (floats, lambda x: {"s": tf.sparse.from_dense(x)}),
        "sparse_input": (
            tf.SparseTensorSpec([None, 3], tf.float32),
            lambda x: {"y": tf.sparse.to_dense(x)},
        ),
        "ragged_input": (
            tf.RaggedTensorSpec([None, None], tf.float32),
            lambda x: {"y": tf.reduce_sum(x, axis=1)},
        ),
    }
    return {
        name: tf.function(run, input_signature=[spec]).get_concrete_function()
        for name, (spec, run) in runs.items()
    }


def _formats() -> dict[str, Any]:
    def predict(x: Any) -> dict[str, Any]:
        return {"scores": x * 2 + 1, "total": tf.reduce_sum(x, axis=1)}

    def parsed(examples: Any) -> Any:
        features = {"x": tf.io.FixedLenFeature([4], tf.float32)}
        return tf.io.parse_example(examples, features)["x"]

    def classify(inputs: Any) -> dict[str, Any]:
        labels = tf.constant(["low", "mid", "high", 'a "quoted", one'])
        x = parsed(inputs)
        return {"classes": tf.tile(labels[None], [tf.shape(x)[0], 1]), "scores": x}

    columns = {name: ("float32", [None]) for name in "abcd"}
    return {
        "serving_default": _function(predict, x=("float32", [None, 4])),
        "columns": _function(lambda a, b, c, d: predict(tf.stack([a, b, c, d], axis=1)), **columns),
        "examples": _function(
            lambda examples: predict(parsed(examples)), examples=("string", [None])
        ),
        "classify": _function(classify, inputs=("string", [None])),
        "scores_only": _function(
            lambda inputs: {"scores": parsed(inputs)}, inputs=("string", [None])
        ),
        "regress": _function(
            lambda inputs: {"outputs": parsed(inputs)[:, :1]}, inputs=("string", [None])
        ),
        "typed": _function(
            lambda count, price, name, sold: {
                "count": count,
                "price": price,
                "name": name,
                "sold": sold,
                "raw_bytes": name,
            },
            count=("int64", [None]),
            price=("float32", [None]),
            name=("string", [None]),
            sold=("bool", [None]),
        ),
        "lengths": _function(
            lambda data: {"size": tf.strings.length(data), "head": tf.strings.substr(data, 0, 2)},
            data=("string", [None]),
        ),
        "defaults": _function(
            lambda x, factor, offset: {"y": x * factor + offset},
            x=("float32", [None]),
            factor=("float32", [None]),
            offset=("float32", []),
        ),
    }


def _save_formats(folder: Path) -> None:
    """Classify and regress signatures, and defaults, are written by other exporters than this."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    tf.saved_model.save(tf.Module(), str(folder), signatures=_formats())
    file = folder / "saved_model.pb"
    saved_model = SavedModel.FromString(file.read_bytes())
    signatures = saved_model.meta_graphs[0].signature_def
    methods = {"classify": "classify", "scores_only": "classify", "regress": "regress"}
    for name, method in methods.items():
        signatures[name].method_name = f"tensorflow/serving/{method}"
    for name, default in (("factor", [10.0]), ("offset", 0.5)):
        proto = tf.make_tensor_proto(default, tf.float32)
        signatures["defaults"].defaults[name].CopyFrom(proto)
    file.write_bytes(saved_model.SerializeToString())


def _hostile() -> dict[str, Any]:
    def write_one(row: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(*row)]):
            return tf.identity(row[0])

    def write(path: Any, content: Any) -> dict[str, Any]:
        return {
            "path": tf.map_fn(write_one, (path, content), fn_output_signature=tf.string),
        }

    def read(path: Any) -> dict[str, Any]:
        content = tf.map_fn(tf.io.read_file, path, fn_output_signature=tf.string)
        return {"content_bytes": content}

    return {
        "serving_default": _function(read, path=("string", [None])),
        "writes": _function(write, path=("string", [None]), content=("string", [None])),
    }


def _save_with_foreign_objects(folder: Path, source: Path) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    shutil.copytree(source, folder)
    file = folder / "saved_model.pb"
    saved_model = SavedModel.FromString(file.read_bytes())
    node = saved_model.meta_graphs[0].object_graph_def.nodes[0]
    node.children.add(node_id=10**6, local_name="optimizer")
    file.write_bytes(saved_model.SerializeToString())


def _save_untracked(folder: Path) -> None:
    """As users of Keras 3 do who know tf.saved_model.save from Keras 2."""
    import keras

    tf.saved_model.save(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), str(folder))


def _save_without_tables(folder: Path) -> None:
    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.string, [None], name="x")
        values = tf.lookup.KeyValueTensorInitializer(["a"], [1.0])
        y = tf.lookup.StaticHashTable(values, 0.0).lookup(x)
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


if __name__ == "__main__":
    build(Path(sys.argv[1]))
