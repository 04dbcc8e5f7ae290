"""Launch a throw-away `tensorflow_model_server` and call it in NumPy terms.

    with ModelServer("/models/energy/1") as server:
        server.signature().inputs            # {"x": TensorSpec(dtype=float32, shape=(None, 100))}
        server.predict({"x": rows})          # {"y": ndarray}
        future = server.submit({"x": rows})  # the same, in flight

`server.py` tells the story; each step has a file of its own: `program.py` finds the program,
`options.py` writes its command line, `process.py` runs and stops it, `readiness.py` waits for it,
`client.py` speaks to it, `tensors.py` turns arrays into protocol buffers and back.
"""

from tfserving_launcher.cpus import available_cpus
from tfserving_launcher.errors import (
    BadVersionFolder,
    ModelLoadError,
    ModelServerError,
    NotASavedModel,
    PredictError,
    ProgramNotFound,
    ServerExited,
    ServerTimeout,
    SignatureNotFound,
    TensorError,
)
from tfserving_launcher.memory import Memory, memory_left
from tfserving_launcher.options import ServerOptions
from tfserving_launcher.program import Program, find_program
from tfserving_launcher.server import ModelServer, PredictFuture
from tfserving_launcher.signatures import Signature, TensorSpec

__all__ = [
    "BadVersionFolder",
    "Memory",
    "ModelLoadError",
    "ModelServer",
    "ModelServerError",
    "NotASavedModel",
    "PredictError",
    "PredictFuture",
    "Program",
    "ProgramNotFound",
    "ServerExited",
    "ServerOptions",
    "ServerTimeout",
    "Signature",
    "SignatureNotFound",
    "TensorError",
    "TensorSpec",
    "available_cpus",
    "find_program",
    "memory_left",
]
