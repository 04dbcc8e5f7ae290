"""A task on local files, as planning makes it."""

from pathlib import Path

from app.config.job_spec import JobSpec
from app.planning.earlier_outputs import look_for_outputs
from app.planning.plan import FileTask, LookedUp, Plan, plan_files
from app.planning.selection import select_files
from app.settings import Settings
from app.storage import Location, Storage, parse_location

FINGERPRINT = "f" * 64


def location_of(path: Path) -> Location:
    return parse_location(str(path), parameter="test")


def local_task(storage: Storage, folder: Path, name: str = "a.jsonl") -> FileTask:
    """Reads `folder/in/NAME`, which it makes, and writes below `folder/out`."""
    source = folder / "in" / name
    source.parent.mkdir(exist_ok=True)
    source.write_text("1\n2\n")
    output = location_of(folder / "out" / name)
    errors = location_of(folder / "out" / f"{name}.errors.jsonl")
    there = storage.find_all([output, errors])
    file = storage.find(location_of(source))
    assert file is not None
    return FileTask(
        input=file,
        format="jsonl",
        manifest=None,
        output=output,
        gzip_output=False,
        errors_output=errors,
        old_output=there.get(output),
        old_errors=there.get(errors),
        fingerprint=FINGERPRINT,
    )


def planned(spec: JobSpec, storage: Storage) -> Plan:
    """The plan of a job whose model has no files."""
    there = LookedUp(
        model_files=[],
        selection=select_files(spec, storage),
        outputs=look_for_outputs(spec, storage),
    )
    return plan_files(spec, storage, there, Settings(), lambda: None)
