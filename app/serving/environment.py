"""Filters the environment that the model server is given.

A SavedModel is a program. It gets what a program needs to run, and none of this service's
credentials and settings.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from app.instance.workspace import JOB_VARIABLE

_NAMES = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "GLIBC_TUNABLES"})
# Of the loader, of Python for the Python model server, and of the libraries that compute.
_PREFIXES = (
    "LC_",
    "LD_",
    "DYLD_",
    "PYTHON",
    "TF_",
    "TENSORFLOW_",
    "XLA_",
    "OMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "ONEDNN_",
    "DNNL_",
    "CUDA_",
    "NVIDIA_",
    "MALLOC_",
)
_FOR_THE_SERVER = "MODEL_SERVER"


def server_environment(
    environ: Mapping[str, str], more: Iterable[str], folder: Path
) -> dict[str, str]:
    """The variables of `environ` that are passed on, those named in `more` included.

    What runs for the job in `folder` is marked as such. HOME and TMPDIR are the launcher's to give.
    """
    wanted = _NAMES.union(more)
    passed_on = {
        name: value
        for name, value in environ.items()
        if name in wanted or name.startswith(_PREFIXES) or _FOR_THE_SERVER in name
    }
    return {**passed_on, JOB_VARIABLE: str(folder)}
