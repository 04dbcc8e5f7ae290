"""SavedModels that differ in one number: `python -m tests.fakes.factors FOLDER COUNT`.

Model N is in `N/1`, and answers a row of one float with N times it.
"""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

_ROWS = [tf.TensorSpec([None, 1], tf.float32, name="x")]


class _Times(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor)

    @tf.function(input_signature=_ROWS)
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": x * self.factor}


def build(folder: Path, count: int) -> None:
    """All models, below `folder`."""
    for number in range(1, count + 1):
        model = _Times(float(number))
        tf.saved_model.save(model, str(folder / str(number) / "1"), signatures=model.serve)


if __name__ == "__main__":
    build(Path(sys.argv[1]), int(sys.argv[2]))
