"""URIs and the names of objects: nothing that comes from outside leaves its folder."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import InvalidArgument, InvalidModel, PermissionDenied
from app.savedmodel.fetch_model import local_path
from app.savedmodel.model_files import ModelFiles
from app.storage import Location, Storage, StoredFile, parse_location

NAMES = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "~", "%2e", "\0", "a\nb", "é"]) | st.text(max_size=3),
    min_size=1,
    max_size=6,
).map("/".join)


@given(NAMES)
@example("../x")
@example("a/../../x")
@example("/etc/passwd")
def test_a_models_file_stays_in_its_folder_or_is_refused(name: str) -> None:
    folder = Location("gs", "bucket", "models/m/")
    file = StoredFile(Location("gs", "bucket", folder.path + name), 1)
    version_dir = Path("/no/such/folder/1")
    try:
        place = local_path(file, ModelFiles(folder, "1", [file]), version_dir)
    except InvalidModel:
        return
    resolved = os.path.realpath(place)
    assert resolved.startswith(f"{version_dir}/")
    assert resolved == str(place)


@given(NAMES)
def test_local_output_name_stays_in_folder(name: str) -> None:
    """An outputs local name stays in its folder or is refused."""
    output = Location("file", "", "/no/such/out/").below(name)
    try:
        Storage(local_roots=None).check_target(output)
    except InvalidArgument:
        return
    assert (os.path.realpath(output.path) + "/").startswith("/no/such/out/")


@given(st.text(max_size=40) | NAMES.map("gs://bucket/".__add__) | NAMES.map("file:///".__add__))
def test_uri_round_trips_or_is_refused(uri: str) -> None:
    """A URI is taken apart or refused and means the same when written again."""
    try:
        location = parse_location(uri, parameter="p")
    except InvalidArgument as error:
        refusal = error.message
        assert refusal.startswith("p: ")  # most texts are refused, not all
        return
    assert not any(ord(character) < 32 for character in location.path)
    if location.scheme == "gs":
        assert str(location) == uri or (uri, str(location)) == ("gs://bucket", "gs://bucket/")
    else:
        assert os.path.isabs(location.path)  # noqa: PTH117  # as text
        assert ".." not in location.path.split("/")
    assert parse_location(str(location), parameter="p") == location


@given(NAMES)
def test_no_name_gets_past_the_allowed_prefixes(name: str) -> None:
    storage = Storage(allowed_uri_prefixes=(Location("gs", "bucket", "team/a"),))
    location = Location("gs", "bucket", "team/a/" + name)
    try:
        storage.check_allowed(location)
    except PermissionDenied:
        return
    resolved = os.path.normpath("/team/a/" + name)
    assert resolved == "/team/a" or resolved.startswith("/team/a/")


@pytest.mark.parametrize("path", ["team/b/x", "team/ab/x", "team", "", "team/a/../b/x"])
def test_what_only_begins_like_a_prefix_is_not_below_it(path: str) -> None:
    storage = Storage(allowed_uri_prefixes=(Location("gs", "bucket", "team/a"),))
    with pytest.raises(PermissionDenied, match="ALLOWED_URI_PREFIXES"):
        storage.check_allowed(Location("gs", "bucket", path))


def test_a_whole_bucket_may_be_allowed() -> None:
    storage = Storage(allowed_uri_prefixes=(Location("gs", "bucket", ""),))
    storage.check_allowed(Location("gs", "bucket", "x"))
    with pytest.raises(PermissionDenied):
        storage.check_allowed(Location("gs", "bucket-2", "x"))
