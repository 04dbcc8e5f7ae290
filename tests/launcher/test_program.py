import sys
from pathlib import Path

import pytest

from tfserving_launcher import ProgramNotFound, _program, find_program, needs_stand_in


def program(folder: Path, name: str, usage: str = "--model_base_path=''") -> Path:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{usage}"\nexit 255\n')
    path.chmod(0o755)
    return path


def test_variable_is_command_line_and_first(tmp_path: Path) -> None:
    """The variable holds a command line and comes first."""
    program(tmp_path, "tensorflow_model_server")
    named = program(tmp_path, "my server")
    environ = {"TENSORFLOW_MODEL_SERVER": f"'{named}' --nice", "PATH": str(tmp_path)}
    assert find_program(environ).command == (str(named), "--nice")


def test_the_program_on_path_comes_second(tmp_path: Path) -> None:
    on_path = program(tmp_path, "tensorflow_model_server")
    assert find_program({"PATH": str(tmp_path)}).command == (str(on_path),)


def test_the_python_model_server_comes_last(tmp_path: Path) -> None:
    found = find_program({"PATH": str(tmp_path)})
    assert found.command == (sys.executable, "-m", "tfserving_launcher.python_server")
    assert found.knows("enable_serialization_as_tensor_content")
    assert not found.knows("enable_serialization")


def test_stand_in_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It names what to install; once a process, so the question is asked anew here."""
    _program._warn_of_stand_in.cache_clear()
    assert needs_stand_in({"PATH": str(tmp_path)})
    find_program({"PATH": str(tmp_path)})
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "tensorflow-model-server" in record.getMessage()


def test_no_stand_in_beside_a_program(tmp_path: Path) -> None:
    assert not needs_stand_in({"PATH": str(tmp_path), "TENSORFLOW_MODEL_SERVER": "server"})
    program(tmp_path, "tensorflow_model_server")
    assert not needs_stand_in({"PATH": str(tmp_path)})


def test_no_program_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any program the error says how to get one."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ProgramNotFound, match=r"TENSORFLOW_MODEL_SERVER.*tensorflow-cpu"):
        find_program({"PATH": str(tmp_path)})


def test_missing_named_program_is_named() -> None:
    """A named program that is not there is an error that names it."""
    with pytest.raises(ProgramNotFound, match=r"/no/such/program.*No such file"):
        find_program({"TENSORFLOW_MODEL_SERVER": "/no/such/program"})


def test_unparsable_variable_is_shown() -> None:
    """A variable that is no command line is an error that shows it."""
    with pytest.raises(ProgramNotFound, match="not a command line"):
        find_program({"TENSORFLOW_MODEL_SERVER": "server 'open quote"})


def test_only_flags_of_the_programs_own_usage_are_known(tmp_path: Path) -> None:
    found = program(tmp_path, "old", usage="--model_base_path='' --port=8500")
    assert not find_program({"TENSORFLOW_MODEL_SERVER": str(found)}).knows(
        "enable_serialization_as_tensor_content"
    )
