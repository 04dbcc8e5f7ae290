"""The folder of the tensorflow package, importable without running its `__init__.py`."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def put_plain_tensorflow() -> bool:
    """From now on `tensorflow` is a plain folder here; False where it is loaded already.

    Modules below it import as usual, and what `tensorflow/__init__.py` gathers is not there.
    Raises ImportError where there is no such folder.
    """
    if "tensorflow" in sys.modules:
        return False
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(
            "the _pb2 modules of TensorFlow are needed: install tensorflow-cpu, or put the"
            " package's *_pb2.py files on the Python path",
            name="tensorflow",
        )
    folder = ModuleType("tensorflow")
    folder.__path__ = list(spec.submodule_search_locations)
    folder.__spec__ = spec
    sys.modules["tensorflow"] = folder
    return True


@contextmanager
def tensorflow_as_a_plain_folder() -> Iterator[None]:
    """While the block runs; afterwards `import tensorflow` brings the real package again."""
    put = put_plain_tensorflow()
    try:
        yield
    finally:
        if put:
            # The _pb2 modules stay: a second copy of a message type would not be the same type.
            for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
                if not name.endswith("_pb2"):
                    del sys.modules[name]
