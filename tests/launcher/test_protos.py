import subprocess
import sys

RUNTIME_LOADED = "[m for m in sys.modules if m.startswith('tensorflow.python')]"


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_protos_come_without_the_tensorflow_runtime() -> None:
    assert run(f"import sys, tfserving_launcher; print({RUNTIME_LOADED})") == "[]"


def test_the_service_never_loads_the_tensorflow_runtime() -> None:
    modules = "sys, app.wsgi, app.cli.predict, app.cli.inspect, app.storage.gcs"
    program = f"import {modules}; print({RUNTIME_LOADED})"
    assert run(program) == "[]"


def test_tensorflow_can_still_be_imported_afterwards() -> None:
    program = """
import tfserving_launcher.tensors as tensors, numpy as np
ours = tensors.to_proto(np.arange(3.0))
import tensorflow as tf
print(tf.make_ndarray(ours).tolist(), type(tf.make_tensor_proto(1)) is type(ours))
"""
    assert run(program) == "[0.0, 1.0, 2.0] True"


def test_loaded_tensorflow_is_left_alone() -> None:
    """Tensorflow that is loaded already is left as it is."""
    program = """
import tensorflow as tf
import tfserving_launcher.tensors as tensors
print(tensors.from_proto(tf.make_tensor_proto([1.5, 2.5])).tolist(), tf.constant(1).numpy())
"""
    assert run(program) == "[1.5, 2.5] 1"
