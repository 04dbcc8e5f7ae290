"""The index of a checkpoint, as TensorFlow has written it and as it may come."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.savedmodel.tensor_bundle import DamagedIndex, UnreadIndex, shard_sizes
from tests.fakes.models import SHARDS


@pytest.fixture(scope="module")
def variables(models: Path) -> Path:
    return models / "shards" / "1" / "variables"


@pytest.fixture(scope="module")
def index(variables: Path) -> bytes:
    return (variables / "variables.index").read_bytes()


def test_data_files_have_the_bytes_of_the_index(variables: Path, index: bytes) -> None:
    """Each data file has just the bytes that the index tells."""
    there = {
        path.name.removeprefix("variables."): path.stat().st_size
        for path in variables.glob("*.data-*")
    }
    assert len(there) == SHARDS
    assert shard_sizes(index) == there


def test_partitioned_variables_measure_slices(models: Path) -> None:
    """Partitioned variables are measured by their slices."""
    folder = models / "tf1" / "1" / "variables"
    (data,) = folder.glob("*.data-*")
    assert shard_sizes((folder / "variables.index").read_bytes()) == {
        data.name.removeprefix("variables."): data.stat().st_size
    }


def test_an_index_cut_off_anywhere_is_damaged(index: bytes) -> None:
    for length in range(len(index)):
        with pytest.raises(DamagedIndex, match=f"cut off .* its {length} bytes"):
            shard_sizes(index[:length])


def test_changed_index_block_is_damaged(index: bytes) -> None:
    """An index with another byte in a block is damaged."""
    with pytest.raises(DamagedIndex, match="checksum"):
        shard_sizes(index[:40] + bytes([index[40] ^ 1]) + index[41:])


@given(st.data())
def test_whatever_is_changed_the_index_is_read_or_judged(index: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(index) - 1))
    changed = index[:place] + data.draw(st.binary(min_size=1, max_size=9)) + index[place + 1 :]
    try:
        sizes = shard_sizes(changed)
    except (DamagedIndex, UnreadIndex):
        return
    assert sizes == shard_sizes(index)
