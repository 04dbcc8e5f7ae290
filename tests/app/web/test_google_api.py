"""System parameters of Google's APIs, and masks of fields."""

from typing import Any

import pytest

from app.errors import InvalidArgument
from app.web.google_api import masked, take_call_options

BODY: dict[str, Any] = {
    "name": "n",
    "outputInfo": {"gcsOutputDirectory": "gs://b/o", "more": 1},
    "jobs": [{"name": "a", "state": 1}, {"name": "b", "state": 2}],
}


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        ("name", {"name": "n"}),
        ("name , absent", {"name": "n"}),
        ("*", BODY),
        ("output_info.gcs_output_directory", {"outputInfo": {"gcsOutputDirectory": "gs://b/o"}}),
        ("outputInfo/more", {"outputInfo": {"more": 1}}),
        ("jobs(name)", {"jobs": [{"name": "a"}, {"name": "b"}]}),
        ("jobs(name,state),name", {"name": "n", "jobs": BODY["jobs"]}),
        ("jobs/name,jobs/state", {"jobs": BODY["jobs"]}),
    ],
)
def test_a_mask_keeps_what_it_names(mask: str, kept: dict[str, Any]) -> None:
    assert masked(BODY, mask) == kept


@pytest.mark.parametrize("mask", [",", "a,", "a(b", "a)b", "a()", "a.", "(a)", "a b", "a;b"])
def test_other_masks_are_refused(mask: str) -> None:
    with pytest.raises(InvalidArgument, match="a mask must be"):
        masked(BODY, mask)


def test_system_parameters_are_taken_out() -> None:
    parameters = {"$alt": "json;enum-encoding=int", "prettyPrint": "false", "key": "k", "a": "b"}
    options = take_call_options(parameters)
    assert (options.integer_enums, options.pretty, options.fields) == (True, False, "")
    assert parameters == {"a": "b"}
