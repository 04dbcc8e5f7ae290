"""Every row of the table of faults, in one service after the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.soak import MOST_GROWTH, WARM_UP_JOBS, soak
from tests.faults.table import FAULTS, Fault, run
from tests.faults.world import World, world


@pytest.fixture(scope="session")
def everything(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(models, tmp_path_factory.mktemp("faults")) as everything:
        yield everything


@pytest.fixture(scope="session")
def undisturbed(everything: World) -> dict[str, bytes]:
    """The outputs of a job to which nothing happens."""
    assert everything.call().status_code == 200
    return everything.outputs()


def test_there_are_enough_faults_and_no_two_are_the_same() -> None:
    assert len({fault.id for fault in FAULTS}) == len(FAULTS) >= 60


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_the_promise_holds(fault: Fault, everything: World, undisturbed: dict[str, bytes]) -> None:
    run(fault, everything, undisturbed)


@pytest.mark.timeout(300)
def test_a_worker_gathers_nothing(everything: World, undisturbed: dict[str, bytes]) -> None:
    result = soak(everything, undisturbed, jobs=WARM_UP_JOBS * 2)
    assert result.growth <= MOST_GROWTH
    assert result.last.files <= result.warm.files
    assert result.last.threads <= result.warm.threads
