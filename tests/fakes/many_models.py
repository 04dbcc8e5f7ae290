"""Many small models with weights of their own: `python -m tests.fakes.many_models FOLDER COUNT`.

Model number n gives n times the sum of a row's three numbers. Their names are those of `name_of`.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any


def name_of(number: int) -> str:
    return f"site-{number:04}"


def save_models(folder: Path, count: int) -> None:
    """TensorFlow exports one; the others differ in their checkpoint, which takes less time."""
    import tensorflow as tf

    class Scaled(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def serve(self, x: Any) -> dict[str, Any]:
            return {"y": self.scale * tf.reduce_sum(x, axis=1)}

    with tempfile.TemporaryDirectory() as name:
        first = Path(name, "first")
        module = Scaled()
        tf.saved_model.save(module, str(first), signatures={"serving_default": module.serve})
        checkpoint = tf.train.load_checkpoint(str(first / "variables" / "variables"))
        names = list(checkpoint.get_variable_to_shape_map())
        values = [checkpoint.get_tensor(one) for one in names]
        for number in range(count):
            target = folder / name_of(number) / "1"
            shutil.copytree(first, target, ignore=shutil.ignore_patterns("variables"))
            (target / "variables").mkdir()
            tensors = [
                tf.constant(float(number)) if one.startswith("scale/") else tf.constant(value)
                for one, value in zip(names, values, strict=True)
            ]
            tf.raw_ops.SaveV2(
                prefix=str(target / "variables" / "variables"),
                tensor_names=names,
                shape_and_slices=[""] * len(names),
                tensors=tensors,
            )


if __name__ == "__main__":
    save_models(Path(sys.argv[1]), int(sys.argv[2]))
