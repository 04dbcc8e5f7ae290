"""A SavedModel loaded as the real server loads it: the tagged meta graph, in a session.

Source: tensorflow/cc/saved_model/loader.cc and servables/tensorflow/predict_util.cc. The Python
objects that Keras stores beside the graph are never touched: for many published models they can
no longer be restored, and predictions do not need them.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfserving_launcher.python_server.tensorflow_runtime import TensorFlowRuntime
from tfserving_launcher.tensors import Array, from_proto


class Refusal(Exception):
    """A call that the real server refuses: `code` is the name of the gRPC status."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LoadedModel:
    """The session of one loaded SavedModel version."""

    def __init__(
        self,
        version_dir: Path,
        runtime: TensorFlowRuntime,
        *,
        tags: list[str],
        intra_op_threads: int,
        inter_op_threads: int,
    ) -> None:
        config = runtime.config_proto(
            intra_op_parallelism_threads=intra_op_threads,
            inter_op_parallelism_threads=inter_op_threads,
        )
        self._errors = runtime.errors
        self._session = runtime.session(graph=runtime.graph(), config=config)
        loader = runtime.saved_model_loader(str(version_dir))
        saver, _ = loader.load_graph(self._session.graph, tags)
        # The real server takes a model without this file for one without variables.
        if (version_dir / "variables" / "variables.index").exists():
            loader.restore_variables(self._session, saver)
        loader.run_init_ops(self._session, tags)
        meta_graph = loader.get_meta_graph_def_from_tags(tags)
        self.signature_defs: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._callables: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def predict(
        self, signature_name: str, inputs: Mapping[str, Array], output_filter: list[str]
    ) -> dict[str, Array]:
        """Outputs by name. Raises Refusal."""
        name = signature_name or "serving_default"
        signature = self.signature_defs.get(name)
        if signature is None:
            raise Refusal("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        feeds = _feeds(signature, inputs)
        for output in output_filter:
            if output not in signature.outputs:
                raise Refusal(
                    "INVALID_ARGUMENT", f"output tensor alias not found in signature: {output}"
                )
        fetches = tuple(output_filter or sorted(signature.outputs))
        run = self._callable(name, signature, tuple(feeds), fetches)
        try:
            values = run(*feeds.values())
        except self._errors.OpError as error:
            raise Refusal(self._code_name(error.error_code), error.message) from error
        except (TypeError, ValueError) as error:
            raise Refusal("INVALID_ARGUMENT", str(error)) from error
        return dict(zip(fetches, values, strict=True))

    def _code_name(self, number: int) -> str:
        names: dict[int, str] = {
            value: name
            for name, value in vars(self._errors).items()
            if name.isupper() and isinstance(value, int)
        }
        return names.get(number, "UNKNOWN")

    def _callable(
        self, name: str, signature: Any, feeds: tuple[str, ...], fetches: tuple[str, ...]
    ) -> Callable[..., Any]:
        key = (name, feeds, fetches)
        with self._lock:
            if key not in self._callables:
                self._callables[key] = self._session.make_callable(
                    [signature.outputs[fetch].name for fetch in fetches],
                    feed_list=[signature.inputs[feed].name for feed in feeds],
                )
            return self._callables[key]


def _feeds(signature: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    if unknown := sorted(inputs.keys() - signature.inputs.keys()):
        raise Refusal(
            "INVALID_ARGUMENT",
            f"Inputs contains invalid name. Tensors not in signature: {', '.join(unknown)}",
        )
    missing = sorted(signature.inputs.keys() - inputs.keys())
    defaults = {name: from_proto(proto) for name, proto in signature.defaults.items()}
    if not all(name in defaults for name in missing):
        raise Refusal(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(inputs)}!={len(signature.inputs)} len"
            f"({{{','.join(sorted(inputs))}}}) != len({{{','.join(sorted(signature.inputs))}}}).",
        )
    return {
        name: inputs[name] if name in inputs else defaults[name]
        for name in sorted(signature.inputs)
    }
