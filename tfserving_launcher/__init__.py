"""Launch a throw-away `tensorflow_model_server` and call it in NumPy terms.

    with ModelServer("/models/energy/1") as server:
        server.signature().inputs            # {"x": TensorSpec(dtype=float32, shape=(None, 100))}
        server.predict({"x": rows})          # {"y": ndarray}
        future = server.submit({"x": rows})  # the same, in flight

`server.py` tells the story; each step has a file of its own: `program.py` finds the program,
`options.py` writes its command line, `process.py` runs and stops it, `readiness.py` waits for it,
`client.py` speaks to it, `tensors.py` turns arrays into protocol buffers and back.
`confinement.py` keeps it to its own folder with `landlock.py` and `socket_filter.py`; `orphans.py`
and `removal.py` end what it has left.
`parse_spec.py` tells which features a graph parses out of tf.Examples.
"""

from tfserving_launcher.cpus import available_cpus
from tfserving_launcher.errors import (
    BadVersionFolder,
    ConfinementFailed,
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
from tfserving_launcher.fork_server import fork_server
from tfserving_launcher.memory import Memory, memory_left
from tfserving_launcher.options import ServerOptions
from tfserving_launcher.orphans import adopt_orphans, end_orphans
from tfserving_launcher.program import FORK_SERVER_VARIABLE, Program, find_program
from tfserving_launcher.removal import remove
from tfserving_launcher.server import ModelServer, PredictFuture
from tfserving_launcher.signatures import Signature, TensorSpec

__all__ = [
    "FORK_SERVER_VARIABLE",
    "BadVersionFolder",
    "ConfinementFailed",
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
    "adopt_orphans",
    "available_cpus",
    "end_orphans",
    "find_program",
    "fork_server",
    "memory_left",
    "remove",
]
