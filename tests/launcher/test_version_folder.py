"""The name of a version folder, before anything is started."""

from pathlib import Path

import pytest

from tfserving_launcher import BadVersionFolder, ModelServer, ModelServerError


@pytest.mark.parametrize("name", [str(2**63), "9" * 5000, "x1", "-1", "²"])
def test_a_name_that_is_no_int64_is_refused(name: str) -> None:
    with pytest.raises(BadVersionFolder), ModelServer(Path("/no/such/folder") / name):
        pass


@pytest.mark.parametrize("name", [str(2**63 - 1), "0" * 5000 + "7", "0"])
def test_a_name_that_is_an_int64_is_taken(name: str, tmp_path: Path) -> None:
    with pytest.raises((ModelServerError, OSError)) as caught, ModelServer(tmp_path / name):
        pass
    assert not isinstance(caught.value, BadVersionFolder | ValueError)
