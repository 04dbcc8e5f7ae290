"""Filters the model server's environment.

A SavedModel is a program. It gets what a program needs to run, but no credentials or settings of
this service.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from app.instance.workspace import JOB_VARIABLE

_NAMES = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "GLIBC_TUNABLES"})
# Variables of the dynamic loader, of Python for the stand-in, and of numeric libraries.
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
    """The variables of `environ` to pass on, with those named in `more`.

    Adds a variable that marks processes of the job in `folder`. The launcher sets HOME and TMPDIR.
    """
    wanted = _NAMES.union(more)
    passed_on = {
        name: value
        for name, value in environ.items()
        if name in wanted or name.startswith(_PREFIXES) or _FOR_THE_SERVER in name
    }
    return {**passed_on, JOB_VARIABLE: str(folder)}
