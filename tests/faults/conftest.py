import pytest

pytest.register_assert_rewrite("tests.faults.table")


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Each fault looks for what it has left itself: workers come and go here."""
