import sys
from pathlib import Path

import pytest

from tfserving_launcher import ProgramNotFound, find_program


def program(folder: Path, name: str, usage: str = "--model_base_path=''") -> Path:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{usage}"\nexit 255\n')
    path.chmod(0o755)
    return path


def test_the_variable_holds_a_command_line_and_comes_first(tmp_path: Path) -> None:
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


def test_without_any_program_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ProgramNotFound, match=r"TENSORFLOW_MODEL_SERVER.*tensorflow-cpu"):
        find_program({"PATH": str(tmp_path)})


def test_a_named_program_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(ProgramNotFound, match=r"/no/such/program.*No such file"):
        find_program({"TENSORFLOW_MODEL_SERVER": "/no/such/program"})


def test_a_variable_that_is_no_command_line_is_an_error_that_shows_it() -> None:
    with pytest.raises(ProgramNotFound, match="not a command line"):
        find_program({"TENSORFLOW_MODEL_SERVER": "server 'open quote"})


def test_only_flags_of_the_programs_own_usage_are_known(tmp_path: Path) -> None:
    found = program(tmp_path, "old", usage="--model_base_path='' --port=8500")
    assert not find_program({"TENSORFLOW_MODEL_SERVER": str(found)}).knows(
        "enable_serialization_as_tensor_content"
    )
