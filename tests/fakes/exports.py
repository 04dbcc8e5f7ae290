"""Models as people export them, an input for each, and what TensorFlow predicts in this process.

    python -m tests.fakes.exports FOLDER

makes NAME/model/1, NAME/in.jsonl (or .csv, .txt) and NAME/expected.json: the outputs by name.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

WORDS = ["ham", "eggs", "spam", "never seen"]
_RANDOM = np.random.default_rng(12)


@dataclass(frozen=True, slots=True)
class Export:
    """`lines` is the text of the input; `inputs` are the same rows for TensorFlow."""

    save: Callable[[Path], None]
    lines: str
    inputs: Mapping[str, Any]
    suffix: str = "jsonl"


def _jsonl(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _keras_table(suffix: str) -> Export:
    """Scalars of three types, as `keras.Input((1,))` is exported: [?, 1]."""
    ages = _RANDOM.normal(40, 10, 20).round(2)
    counts = _RANDOM.integers(0, 9, 20)
    words = [WORDS[n % len(WORDS)] for n in range(20)]

    def save(folder: Path) -> None:
        age = keras.Input((1,), name="age")
        count = keras.Input((1,), name="count", dtype="int64")
        word = keras.Input((1,), name="word", dtype="string")
        scale = keras.layers.Normalization()
        scale.adapt(ages[:, None])
        lookup = keras.layers.StringLookup(vocabulary=WORDS[:3], output_mode="one_hot")
        parts = [scale(age), keras.layers.Rescaling(0.1)(count), lookup(word)]
        score = keras.layers.Dense(3, activation="softmax", name="score")(
            keras.layers.Concatenate()(parts)
        )
        keras.Model([age, count, word], score).export(folder, verbose=False)

    rows = [
        {"age": float(a), "count": int(c), "word": w}
        for a, c, w in zip(ages, counts, words, strict=True)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["word", "age", "count"])
    writer.writeheader()
    writer.writerows(rows)
    inputs = {
        "age": tf.constant(ages[:, None], tf.float32),
        "count": tf.constant(counts[:, None], tf.int64),
        "word": tf.constant(np.array(words)[:, None]),
    }
    return Export(save, text.getvalue() if suffix == "csv" else _jsonl(rows), inputs, suffix)


def _keras_lstm() -> Export:
    """Sentences of token numbers, of different lengths."""
    rows = [[1 + (n * k) % 9 for k in range(1 + n % 6)] for n in range(24)]

    def save(folder: Path) -> None:
        tokens = keras.Input((None,), name="tokens", dtype="int32")
        embedded = keras.layers.Embedding(10, 4)(tokens)
        out = keras.layers.Dense(2)(keras.layers.LSTM(5)(embedded))
        keras.Model(tokens, out).export(folder, verbose=False)

    return Export(save, _jsonl(rows), {"tokens": [tf.constant([row], tf.int32) for row in rows]})


def _keras_text() -> Export:
    """Raw sentences; the model cuts them into words itself."""
    rows = ["ham and eggs", "spam", "", "eggs eggs eggs never seen"] * 3

    def save(folder: Path) -> None:
        cut = keras.layers.TextVectorization(
            vocabulary=["ham", "eggs", "spam", "and"], output_sequence_length=4
        )
        text = keras.Input((1,), name="text", dtype="string")
        embedded = keras.layers.Embedding(6, 3)(cut(text))
        out = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(embedded))
        keras.Model(text, out).export(folder, verbose=False)

    lines = "".join(row + "\n" for row in rows)
    return Export(save, lines, {"text": tf.constant(np.array(rows)[:, None])}, "txt")


def _keras_2() -> Export:
    rows = _RANDOM.normal(size=(15, 4)).round(3)

    def save(folder: Path) -> None:
        model = tf_keras.Sequential(
            [tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3, activation="tanh")]
        )
        model.export(folder)

    (name,) = ("input_1",)
    return Export(save, _jsonl(rows.tolist()), {name: tf.constant(rows, tf.float32)})


def _tf1() -> Export:
    rows = _RANDOM.normal(size=(9, 4)).round(3)

    def save(folder: Path) -> None:
        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 4], name="x")
            weights = v1.get_variable("w", initializer=np.eye(4, 2, dtype=np.float32) * 3)
            y = tf.matmul(x, weights)
            session.run(v1.global_variables_initializer())
            v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})

    return Export(save, _jsonl(rows.tolist()), {"x": tf.constant(rows, tf.float32)})


class _Module(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    """A table in an asset, a counter that each call moves, and a function that XLA compiles."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__()
        table = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(table, -1)
        self.calls = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def look_up(self, word: Any) -> dict[str, Any]:
        return {"number": self.table.lookup(word)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def count(self, x: Any) -> dict[str, Any]:
        self.calls.assign_add(1)
        return {"y": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")], jit_compile=True)
    def compiled(self, x: Any) -> dict[str, Any]:
        return {"y": tf.nn.softmax(x @ tf.transpose(x) @ x)[:, :1] * 0 + tf.nn.gelu(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image")])
    def mean_colour(self, image: Any) -> dict[str, Any]:
        def one(data: Any) -> Any:
            pixels = tf.io.decode_png(data, channels=3)
            return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[0, 1])

        return {"colour": tf.map_fn(one, image, fn_output_signature=tf.float32)}


def _module(signature: str, lines: str, inputs: Mapping[str, Any]) -> Export:
    def save(folder: Path) -> None:
        vocabulary = folder.parent / "words.txt"
        vocabulary.parent.mkdir(parents=True, exist_ok=True)
        vocabulary.write_text("".join(word + "\n" for word in WORDS[:3]))
        module = _Module(vocabulary)
        tf.saved_model.save(module, str(folder), signatures=getattr(module, signature))
        vocabulary.unlink()

    return Export(save, lines, inputs)


def _images() -> Export:
    images = [
        tf.io.encode_png(_RANDOM.integers(0, 255, (5, 4 + n, 3)).astype(np.uint8)).numpy()
        for n in range(4)
    ]
    rows = [{"b64": tf.io.encode_base64(image, pad=True).numpy().decode()} for image in images]
    for row in rows:
        # TensorFlow's base64 is the one for the web.
        row["b64"] = row["b64"].replace("-", "+").replace("_", "/")
    return _module("mean_colour", _jsonl(rows), {"image": tf.constant(images)})


def exports() -> dict[str, Export]:
    """All of them, by the names of their folders."""
    floats = _RANDOM.normal(size=(8, 3)).round(3)
    return {
        "keras_table": _keras_table("jsonl"),
        "keras_table_csv": _keras_table("csv"),
        "keras_lstm": _keras_lstm(),
        "keras_text": _keras_text(),
        "keras_2": _keras_2(),
        "tf1": _tf1(),
        "table_with_assets": _module("look_up", _jsonl(WORDS), {"word": tf.constant(WORDS)}),
        "stateful": _module("count", _jsonl([1.0, 2.0]), {"x": tf.constant([1.0, 2.0])}),
        "xla": _module("compiled", _jsonl(floats.tolist()), {"x": tf.constant(floats, tf.float32)}),
        "images": _images(),
    }


def _predicted(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What TensorFlow gives in this process; rows of different shapes are called one by one."""
    call = tf.saved_model.load(str(folder)).signatures["serving_default"]
    names = call.structured_input_signature[1]
    if len(inputs) == 1 and inputs.keys() != names.keys():
        # Keras has given the input a name of its own.
        inputs = dict(zip(names, inputs.values(), strict=True))
    (first, *_) = inputs.values()
    if not isinstance(first, list):
        return {name: value.numpy().tolist() for name, value in call(**inputs).items()}
    outputs: dict[str, list[Any]] = {}
    for row in range(len(first)):
        one = call(**{name: values[row] for name, values in inputs.items()})
        for name, value in one.items():
            outputs.setdefault(name, []).extend(value.numpy().tolist())
    return outputs


def build(target: Path) -> None:
    """All of them, below `target`."""
    for name, export in exports().items():
        keras.utils.set_random_seed(3)
        folder = target / name / "model" / "1"
        export.save(folder)
        (target / name / f"in.{export.suffix}").write_text(export.lines)
        (target / name / "expected.json").write_text(json.dumps(_predicted(folder, export.inputs)))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
