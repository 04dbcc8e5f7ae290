"""SavedModels for the benchmark: `python -m benchmarks.models FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.cases import FLOATS, INTEGERS, LONG_ROW, STRINGS

_ROWS = [tf.TensorSpec([None, 100], tf.float32, name="x")]


class _Network(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    def __init__(self) -> None:
        super().__init__()
        self.first = tf.Variable(tf.random.stateless_normal([100, 64], [1, 2]) / 10)
        self.second = tf.Variable(tf.random.stateless_normal([64, 10], [3, 4]) / 8)

    @tf.function(input_signature=_ROWS)
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": tf.nn.softmax(tf.nn.relu(x @ self.first) @ self.second)}


class _Weights(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    def __init__(self, megabytes: int) -> None:
        super().__init__()
        self.weights = [
            tf.Variable(tf.random.stateless_normal([250_000, 100], [n, n]))
            for n in range(megabytes // 100)
        ]

    @tf.function(input_signature=_ROWS)
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": tf.add_n([tf.reduce_sum(x * w[:1], axis=1) for w in self.weights])}


def _tabular(**columns: Any) -> dict[str, Any]:
    numbers = [tf.cast(v, tf.float32) for n, v in columns.items() if not n.startswith("s")]
    lengths = [tf.cast(tf.strings.length(v), tf.float32) for n, v in columns.items() if n[0] == "s"]
    return {"score": tf.add_n(numbers + lengths)}


def _columns(shape: list[int | None]) -> dict[str, Any]:
    names = {"f": (FLOATS, tf.float32), "i": (INTEGERS, tf.int64), "s": (STRINGS, tf.string)}
    return {
        f"{kind}{number}": tf.TensorSpec(shape, dtype, name=f"{kind}{number}")
        for kind, (count, dtype) in names.items()
        for number in range(count)
    }


def _long(x: Any) -> dict[str, Any]:
    folded = tf.reshape(x, [-1, 220, 200])
    return {
        "low": tf.reduce_min(tf.reshape(folded, [-1, 22, 10, 200]), axis=2)[:, :, :20],
        "mean": tf.reduce_mean(tf.reshape(folded, [-1, 22, 10, 200]), axis=2)[:, :, :20],
        "high": tf.reduce_max(tf.reshape(folded, [-1, 22, 10, 200]), axis=2)[:, :, :20],
    }


def build(folder: Path) -> None:
    """All models, one folder each, below `folder`."""

    def save(name: str, module: Any, function: Any) -> None:
        tf.saved_model.save(module, str(folder / name / "1"), signatures=function)

    def function(run: Any, **specs: Any) -> Any:
        return tf.function(run, input_signature=None).get_concrete_function(**specs)

    network = _Network()
    save("network", network, network.serve)
    weights = _Weights(300)
    save("large", weights, weights.serve)
    save("tabular", tf.Module(), function(_tabular, **_columns([None])))
    save("columns_of_one", tf.Module(), function(_tabular, **_columns([None, 1])))
    save(
        "long",
        tf.Module(),
        function(_long, x=tf.TensorSpec([None, LONG_ROW], tf.float32, name="x")),
    )
    save(
        "binary",
        tf.Module(),
        function(
            lambda image: {"size": tf.strings.length(image)},
            image=tf.TensorSpec([None], tf.string, name="image"),
        ),
    )
    save(
        "scalar",
        tf.Module(),
        function(lambda x: {"y": 2 * x + 1}, x=tf.TensorSpec([None], tf.float32, name="x")),
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
