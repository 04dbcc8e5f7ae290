"""The rival of many models: a script that loops over them with TensorFlow in process.

    python -m benchmarks.tensorflow_loop FOLDER

Its import of TensorFlow is part of the night. One model that ends the process ends the night.
"""

import sys
from pathlib import Path

from benchmarks.tensorflow_script import predict_batch

_BATCH = 512


def main(folder: Path) -> None:
    import tensorflow as tf

    for path in sorted((folder / "models").iterdir()):
        model = tf.saved_model.load(str(path / "1"))
        predict = model.signatures["serving_default"]
        specs = predict.structured_input_signature[1]
        lines = (folder / "in" / path.name / "a.jsonl").read_bytes().splitlines()
        written = [
            line
            for start in range(0, len(lines), _BATCH)
            for line in predict_batch(tf, predict, specs, lines[start : start + _BATCH])
        ]
        output = folder / "script" / path.name / "a.jsonl"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(b"\n".join(written) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
