"""Jobs over a queue that errs, and in instances that die: each output once, none lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.job_fleet import Outcome, run_over_queue, run_without_queue

JOBS = 16
DEATHS = 2


@pytest.mark.readme("jobs that last")
@pytest.mark.parametrize("run", [run_over_queue, run_without_queue])
def test_each_output_is_made_once_and_no_job_is_lost(
    run: Callable[[Path, Path, int, int], Outcome], models: Path, tmp_path: Path
) -> None:
    outcome = run(models, tmp_path, JOBS, DEATHS)
    assert outcome.is_right, outcome
    assert outcome.deaths == DEATHS
    if run is run_over_queue:
        assert outcome.deliveries > JOBS
