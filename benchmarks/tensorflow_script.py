"""The rival: a careful script with TensorFlow in process.

    python -m benchmarks.tensorflow_script MODEL_URI INPUT_URI OUTPUT_URI

What a good engineer writes in an afternoon: orjson, NumPy, batches of 512, everything from and to
the same storage, nothing fetched or parsed twice. Its import of TensorFlow is part of the job.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from google.cloud.storage import Client

_BATCH = 512


def main(model_uri: str, input_uri: str, output_uri: str) -> None:
    import tensorflow as tf

    client = Client()
    with tempfile.TemporaryDirectory() as folder:
        bucket, _, prefix = model_uri.removeprefix("gs://").partition("/")
        for blob in client.list_blobs(bucket, prefix=prefix):
            target = Path(folder, blob.name.removeprefix(prefix))
            target.parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(target))
        model = tf.saved_model.load(str(Path(folder, "1")))
        predict = model.signatures["serving_default"]
        bucket, _, name = input_uri.removeprefix("gs://").partition("/")
        lines = client.bucket(bucket).blob(name).download_as_bytes().splitlines()
        specs = predict.structured_input_signature[1]
        written = [
            line
            for start in range(0, len(lines), _BATCH)
            for line in predict_batch(tf, predict, specs, lines[start : start + _BATCH])
        ]
        bucket, _, name = output_uri.removeprefix("gs://").partition("/")
        client.bucket(bucket).blob(name).upload_from_string(b"\n".join(written) + b"\n")


def predict_batch(tf: Any, predict: Any, specs: dict[str, Any], lines: list[bytes]) -> list[bytes]:
    rows = [orjson.loads(line) for line in lines]
    inputs = {}
    for name, spec in specs.items():
        named = isinstance(rows[0], dict) and "b64" not in rows[0]
        column = [row[name] for row in rows] if named else rows
        array = to_array(column, spec, tf)
        inputs[name] = tf.constant(array.reshape(-1, 1) if spec.shape[1:] == [1] else array)
    outputs = {name: value.numpy() for name, value in predict(**inputs).items()}
    if len(outputs) == 1:
        return dump_rows(next(iter(outputs.values())))
    names = sorted(outputs)
    return [
        orjson.dumps(
            {name: outputs[name][row] for name in names}, option=orjson.OPT_SERIALIZE_NUMPY
        )
        for row in range(len(lines))
    ]


def to_array(column: list[Any], spec: Any, tf: Any) -> Any:
    if spec.dtype == tf.string:
        if isinstance(column[0], dict):
            import base64

            return [base64.b64decode(value["b64"]) for value in column]
        return column
    return np.array(column, spec.dtype.as_numpy_dtype)


def dump_rows(array: Any) -> list[bytes]:
    if array.ndim == 1:
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in array]


if __name__ == "__main__":
    main(*sys.argv[1:])
