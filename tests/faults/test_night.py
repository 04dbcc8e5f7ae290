"""A night on each engine: what can be done is done once, and the rest is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.night import Night, make_night, run_array, run_local, run_over_queue

MODELS = 22
MOST_ROWS = 200


@pytest.fixture
def night(tmp_path: Path) -> Night:
    models = tmp_path / "saved"
    argv = [sys.executable, "-m", "tests.fakes.many_models", str(models), str(MODELS)]
    subprocess.run(argv, stderr=subprocess.DEVNULL, check=True)
    return make_night(tmp_path / "night", models, MODELS, MOST_ROWS)


@pytest.mark.readme("many models by one command")
def test_a_night_that_is_killed_goes_on(night: Night) -> None:
    outcome = run_local(night)
    assert outcome.is_right, outcome.in_words()
    assert outcome.exit_status == 1


def test_a_night_over_a_queue_that_errs(night: Night, tmp_path: Path) -> None:
    outcome = run_over_queue(night, tmp_path, deaths=1)
    assert outcome.is_right, outcome.in_words()
    assert outcome.exit_status == 1


def test_tasks_of_an_array_take_over_what_one_has_left(night: Night, tmp_path: Path) -> None:
    outcome = run_array(night, tmp_path)
    assert outcome.is_right, outcome.in_words()
    # A platform would repeat a whole task for one bad model.
    assert outcome.exit_status == 0
