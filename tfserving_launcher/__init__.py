"""Launch a throw-away `tensorflow_model_server` and call it in NumPy terms.

    with ModelServer("/models/energy/1") as server:
        server.signature().inputs            # {"x": TensorSpec(dtype=float32, shape=(None, 100))}
        server.predict({"x": rows})          # {"y": ndarray}
        future = server.submit({"x": rows})  # the same, in flight

README.md beside this file explains it. What is public is named in `__all__`, or is in the modules
`tensors` (arrays and TensorProto), `protos` (protocol buffers), `wire_format` (messages without
their types), `saved_model` (signatures in a file) and `parse_spec` (features that a graph parses).
All other modules are private: `_server` tells the story, `_program` finds the program, `_options`
writes its command line, `_process` runs and stops it, `_readiness` waits for it, `_client` calls
it, and `_confinement` keeps it to its own folder.
"""

from tfserving_launcher._cpus import available_cpus
from tfserving_launcher._errors import (
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
from tfserving_launcher._fork_server import fork_server
from tfserving_launcher._memory import Memory, memory_left, resident_bytes
from tfserving_launcher._options import ServerOptions, ServerOptionValues
from tfserving_launcher._orphans import adopt_orphans, end_orphans, protect_this_process
from tfserving_launcher._program import (
    FORK_SERVER_VARIABLE,
    PROGRAM_VARIABLE,
    Program,
    find_program,
    needs_stand_in,
)
from tfserving_launcher._removal import remove
from tfserving_launcher._server import DEFAULT_SIGNATURE, ModelServer, PredictFuture
from tfserving_launcher._signatures import Signature, TensorSpec

__all__ = [
    "DEFAULT_SIGNATURE",
    "FORK_SERVER_VARIABLE",
    "PROGRAM_VARIABLE",
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
    "ServerOptionValues",
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
    "needs_stand_in",
    "protect_this_process",
    "remove",
    "resident_bytes",
]
