"""The soak of kept model servers, in short."""

import pytest

from tests.faults.kept_models import kept_models, soak
from tfserving_launcher import needs_stand_in


@pytest.mark.skipif(not needs_stand_in(), reason="counts the servers that a fork server has forked")
@pytest.mark.readme("kept model servers")
def test_no_answer_comes_from_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORFLOW_FORK_SERVER", raising=False)
    with kept_models() as kept:
        soak(kept, 40)
    assert kept.seen["kept"] > 0
    assert kept.seen["killed"] == 3
    assert kept.seen["changed"] == 2
