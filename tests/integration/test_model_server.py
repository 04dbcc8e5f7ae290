"""The launcher with the model server program that is found on this machine."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.fakes.dtypes import DTYPES
from tfserving_launcher import (
    ModelLoadError,
    ModelServer,
    PredictError,
    Program,
    ServerExited,
    ServerOptions,
    ServerTimeout,
    SignatureNotFound,
    TensorError,
    TensorSpec,
    find_program,
)


def test_a_signature_tells_inputs_and_outputs(zoo: ModelServer) -> None:
    signature = zoo.signature()
    assert signature.inputs == {"x": TensorSpec(np.dtype(np.float32), (None, 3))}
    assert signature.outputs == {"y": TensorSpec(np.dtype(np.float32), (None, 3))}
    assert zoo.signature("any_rank").inputs["x"].shape is None
    assert list(zoo.signature("named").inputs) == ["count", "name", "price", "sold"]


def test_the_initialisation_op_is_no_signature(models: Path) -> None:
    with ModelServer(models / "linear" / "9") as server:
        assert server.signature_names() == ["serving_default"]


def test_predict_takes_lists_and_gives_arrays(zoo: ModelServer) -> None:
    outputs = zoo.predict({"x": [[1, 2, 3], [4, 5, 6]]})
    assert list(outputs) == ["y"]
    assert outputs["y"].dtype == np.float32
    assert outputs["y"].tolist() == [[3.0, 5.0, 7.0], [9.0, 11.0, 13.0]]


def test_answers_without_tensor_content_are_the_same(models: Path, zoo: ModelServer) -> None:
    program = dataclasses.replace(find_program(), usage="--model_base_path=")
    with ModelServer(models / "zoo" / "1", program=program) as server:
        for dtype in DTYPES:
            of_dtype: dict[str, list[Any]] = {"string": ["a", "b"], "bool": [True, False]}
            values = of_dtype.get(dtype, [3, 7])
            rows = {"x": [values, values[::-1]]}
            name = f"vector_{dtype}"
            answer = server.predict(rows, signature_name=name)["y"]
            expected = zoo.predict(rows, signature_name=name)["y"]
            assert answer.dtype == expected.dtype
            assert answer.tolist() == expected.tolist()


def test_more_calls_than_fit_in_flight_are_all_answered(zoo: ModelServer) -> None:
    futures = [zoo.submit({"x": np.full((1, 3), i, np.float32)}) for i in range(100)]
    assert [f.result()["y"][0, 0] for f in futures] == [2.0 * i + 1 for i in range(100)]


def test_answers_larger_than_the_grpc_default_arrive(zoo: ModelServer) -> None:
    rows = np.zeros((3_000_000, 2), np.float32)
    assert zoo.predict({"x": rows}, signature_name="any_length")["y"].nbytes == rows.nbytes


def test_unknown_signature_lists_known_ones(zoo: ModelServer) -> None:
    """An unknown signature is an error that lists those there are."""
    with pytest.raises(SignatureNotFound, match="no signature 'other'; it has any_length"):
        zoo.signature("other")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"z": [[1.0]]}, "no input z; it has x"),
        ({"x": [["a", "b", "c"]]}, "the values are <U1"),
    ],
)
def test_unfit_inputs_are_refused_before_call(
    inputs: dict[str, object], words: str, zoo: ModelServer
) -> None:
    """Inputs that do not fit are refused before the call."""
    with pytest.raises(TensorError, match=words):
        zoo.predict(inputs)


def test_out_of_range_integers_are_refused(zoo: ModelServer) -> None:
    """Integers out of range are refused before the call."""
    with pytest.raises(TensorError, match="out of its range"):
        zoo.predict({"x": [300]}, signature_name="scalar_int8")


def test_a_missing_input_is_refused_by_the_server(zoo: ModelServer) -> None:
    with pytest.raises(PredictError, match="INVALID_ARGUMENT: input size does not match"):
        zoo.predict({"price": [1.0]}, signature_name="named")


def test_an_op_that_fails_is_told_with_its_message(zoo: ModelServer) -> None:
    with pytest.raises(PredictError, match="x must be positive") as caught:
        zoo.predict({"x": [1.0, -1.0]}, signature_name="failing")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_call_that_takes_too_long_is_given_up(models: Path) -> None:
    with ModelServer(models / "zoo" / "1") as server, pytest.raises(ServerTimeout, match=r"0.3 s"):
        server.predict({"x": [1000.0]}, signature_name="slow", timeout_seconds=0.3)


def test_asked_version_is_served_beside_higher(models: Path) -> None:
    """The version asked for is served though a higher one lies beside it."""
    with ModelServer(models / "linear" / "9") as server:
        assert server.predict({"x": [[1, 1, 1, 1]]})["y"].tolist() == [[9.0] * 4]


def test_unrestorable_python_objects_do_not_matter(models: Path) -> None:
    """Python objects that cannot be restored do not matter."""
    with ModelServer(models / "foreign_objects" / "1") as server:
        assert server.predict({"x": [[1, 0, 0, 0]]})["y"].tolist() == [[10.0, 0, 0, 0]]


def test_tensorflow_loader_fails_on_those_objects(models: Path) -> None:
    """Tensorflows own loader does fail on those objects."""
    program = (
        f"import tensorflow as tf; tf.saved_model.load({str(models / 'foreign_objects' / '1')!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode != 0


def test_truncated_model_has_servers_reason(models: Path) -> None:
    """A truncated model is told apart with the server's reason."""
    with pytest.raises(ModelLoadError) as caught, ModelServer(models / "broken" / "1"):
        pass
    assert ":" in caught.value.reason
    assert caught.value.reason in caught.value.output


def test_a_server_killed_in_a_call_is_told_apart(models: Path) -> None:
    with ModelServer(models / "zoo" / "1") as server:
        future = server.submit({"x": [10_000.0]}, signature_name="slow")
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerExited, match="killed by SIGKILL while it was serving") as caught:
            future.result()
        assert caught.value.exit_code == -signal.SIGKILL


def test_a_body_that_raises_leaves_no_server(models: Path) -> None:
    server = ModelServer(models / "linear" / "9")
    with pytest.raises(ZeroDivisionError), server:
        raise ZeroDivisionError
    assert not psutil.pid_exists(server.pid)


@pytest.mark.parametrize("how", ["ignores_sigterm", "forks"])
def test_resisting_server_is_stopped_with_its_group(
    how: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that resists is stopped with its whole group."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    command = (sys.executable, "-m", "tests.fakes.misbehaving_server", how)
    options = ServerOptions(stop_grace_seconds=0.2, output_tail_bytes=1000)
    program = Program(command, "a test", usage="")
    with ModelServer(models / "linear" / "9", options, program=program) as server:
        assert server.predict({"x": [[1, 0, 0, 0]]})["y"][0, 0] == 9.0
        group = os.getpgid(server.pid)
    assert [p for p in psutil.process_iter() if _group(p) == group] == []


def _group(process: psutil.Process) -> int:
    try:
        # Who adopts an orphan may take its time to collect it.
        return -1 if process.status() == psutil.STATUS_ZOMBIE else os.getpgid(process.pid)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return -1


def test_variables_may_go_after_load(models: Path, tmp_path: Path) -> None:
    """Variables may be removed once the model is loaded."""
    shutil.copytree(models / "linear" / "9", tmp_path / "9")
    with ModelServer(tmp_path / "9") as server:
        shutil.rmtree(tmp_path / "9" / "variables")
        assert server.predict({"x": [[1, 0, 0, 0]]})["y"][0, 0] == 9.0
