"""The features that a graph parses, read from SavedModels that TensorFlow has made."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tfserving_launcher import parse_spec
from tfserving_launcher.parse_spec import read_parse_spec
from tfserving_launcher.wire_format import length_fields

TAXI = {
    "trip_miles": "float",
    "trip_start_hour": "int64",
    "fare": "float",
    "pickup_community_area": "int64",
    "payment_type": "bytes",
    "company": "bytes",
}


@pytest.mark.parametrize(
    ("model", "signature", "features"),
    [
        ("taxi", "serving_default", TAXI),
        ("taxi", "classify", TAXI),
        ("taxi", "regress", TAXI),
        (
            "taxi",
            "old",
            {"pickup_community_area": "int64", "trip_miles": "float", "company": "bytes"},
        ),
        (
            "taxi",
            "one_by_one",
            {"company": "bytes", "trip_miles": "float", "trip_start_hour": "int64"},
        ),
        ("taxi", "ragged", {"hours": "int64", "x": "float"}),
        ("taxi", "twice", {"b": "float"}),
        ("estimator", "serving_default", {"trip_miles": "float", "trip_start_hour": "int64"}),
        ("estimator", "predict", {"trip_miles": "float", "trip_start_hour": "int64"}),
    ],
)
def test_the_features_that_a_signature_parses_are_found(
    model: str, signature: str, features: dict[str, str], models: Path
) -> None:
    """Whatever operation parses them, in the graph or in a function that it calls."""
    assert read_parse_spec(models / model / "1" / "saved_model.pb", signature) == features


@pytest.mark.parametrize(
    ("model", "signature"),
    [("taxi", "text"), ("estimator", "text"), ("taxi", "absent"), ("linear", "serving_default")],
)
def test_what_other_signatures_parse_is_not_taken_for_it(
    model: str, signature: str, models: Path
) -> None:
    version = "10" if model == "linear" else "1"
    assert read_parse_spec(models / model / version / "saved_model.pb", signature) is None


def test_a_model_without_a_binary_file_tells_nothing(tmp_path: Path) -> None:
    assert read_parse_spec(tmp_path / "saved_model.pb", "serving_default") is None


def test_oversized_file_or_graph_tells_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or a graph that is too large tells nothing."""
    file = models / "estimator" / "1" / "saved_model.pb"
    with monkeypatch.context() as patch:
        patch.setattr(parse_spec, "LARGEST_FILE_BYTES", file.stat().st_size - 1)
        assert read_parse_spec(file, "predict") is None
        patch.setattr(parse_spec, "LARGEST_FILE_BYTES", file.stat().st_size)
        assert read_parse_spec(file, "predict") is not None
    monkeypatch.setattr(parse_spec, "_MOST_NODES", 1)
    assert read_parse_spec(file, "predict") is None


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda data: data.replace(b"trip_miles", b"trip_mi\xff\xff\xff")],
)
def test_unreadable_file_tells_nothing_and_is_logged(
    damage: Callable[[bytes], bytes],
    models: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a server has loaded all the same does not end a job."""
    file = tmp_path / "saved_model.pb"
    file.write_bytes(damage((models / "estimator" / "1" / "saved_model.pb").read_bytes()))
    assert read_parse_spec(file, "predict") is None
    assert "cannot be read" in caplog.text


def test_constant_of_many_names_is_not_unpacked(models: Path, tmp_path: Path) -> None:
    """Its shape may tell of any number of values, of which it holds the first one."""
    program = f"""
from pathlib import Path
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
model = SavedModel.FromString(Path({str(models / "taxi/1/saved_model.pb")!r}).read_bytes())
for function in model.meta_graphs[0].graph_def.library.function:
    for node in function.node_def:
        if node.op == "Const" and node.name.endswith("dense_keys"):
            node.attr["value"].tensor.tensor_shape.dim[0].size = 10**12
Path({str(tmp_path / "saved_model.pb")!r}).write_bytes(model.SerializeToString())
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    features = read_parse_spec(tmp_path / "saved_model.pb", "serving_default")
    assert features == {name: TAXI[name] for name in ("pickup_community_area",)} | {
        "payment_type": "bytes",
        "company": "bytes",
    }


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (b"", []),
        (b"\x08\x96\x01\x12\x02hi", [(2, b"hi")]),
        (b"\x0912345678\x0d1234\x1a\x00", [(3, b"")]),
        (b"\x82\x01\x01a", [(16, b"a")]),
    ],
)
def test_fields_with_a_length_are_told_from_others(
    message: bytes, fields: list[tuple[int, bytes]]
) -> None:
    found = [(number, bytes(content)) for number, content in length_fields(memoryview(message))]
    assert found == fields


@pytest.mark.parametrize("message", [b"\x12\x05ab", b"\x12", b"\xff" * 20, b"\x0b", b"\x08\x80"])
def test_what_is_no_message_is_told(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"no protocol buffer|beyond the end"):
        list(length_fields(memoryview(message)))
