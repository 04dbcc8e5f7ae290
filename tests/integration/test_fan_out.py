"""`embedded-tf fan-out`: many jobs by one command, killed and called again."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.waiting import until

JOBS = 4
BROKEN = ("broken-row", "no-model", "no-version")
NO_INPUT = ("silent",)
QUICK = "0.01\n"
SLOW = "0.5\n" * 2


class Night:
    """A folder of models, and one of inputs of a day."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder = folder
        self.names = [f"site-{number:02}" for number in range(JOBS)]
        for name in (*self.names, *BROKEN, *NO_INPUT):
            shutil.copytree(models / "zoo", folder / "models" / name)
            data = folder / "in" / name / "2026-03-01"
            data.mkdir(parents=True)
            if name not in NO_INPUT:
                (data / "a.jsonl").write_text(QUICK)
        (folder / "in" / "broken-row" / "2026-03-01" / "a.jsonl").write_text("[1]\n")
        (folder / "models" / "no-model" / "1" / "saved_model.pb").unlink()
        shutil.move(folder / "models" / "no-version" / "1", folder / "models" / "no-version" / "x")

    def slow(self, rows: str = SLOW) -> None:
        """Have each job take some time."""
        for name in self.names:
            (self.folder / "in" / name / "2026-03-01" / "a.jsonl").write_text(rows)

    def argv(self, *more: str) -> list[str]:
        folder = self.folder
        return [
            *(sys.executable, "-m", "app.cli", "fan-out", "--signature-name", "slow"),
            *("--models", f"{folder}/models/*/", "--input", f"{folder}/in/{{name}}/{{date}}/"),
            *("--output", f"{folder}/out/{{name}}/", "--reports", f"{folder}/reports"),
            *("--date", "2026-03-01", "--workers", "2", *more),
        ]

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The command in the background, which does not outlive the block."""
        with subprocess.Popen(
            self.argv(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.argv(*more), capture_output=True, text=True, timeout=110, check=False
        )

    def report(self, run: str = "models-2026-03-01") -> dict[str, Any]:
        body: dict[str, Any] = json.loads(
            (self.folder / "reports" / run / "report.json").read_text()
        )
        return body

    def states(self, run: str = "models-2026-03-01") -> dict[str, str]:
        return {job["name"]: job["state"] for job in self.report(run)["jobs"]}

    def is_running(self) -> bool:
        """Whether a worker has begun a job."""
        records = (self.folder / "reports").rglob("jobs/*.json")
        return any(b"JOB_STATE_RUNNING" in path.read_bytes() for path in records)

    def outputs(self) -> dict[str, int]:
        """When each output was made, by its job's name."""
        return {
            path.parent.name: path.stat().st_mtime_ns
            for path in (self.folder / "out").rglob("*.jsonl")
        }


@pytest.fixture
def night(tmp_path: Path, models: Path) -> Night:
    return Night(tmp_path, models)


def descendants() -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):
        try:
            if "app.night.worker" in process.cmdline():
                yield process
        except psutil.NoSuchProcess:
            continue


@pytest.mark.readme("many models by one command")
def test_all_that_can_be_done_is_done_and_the_rest_is_named(night: Night) -> None:
    ran = night.run()
    assert ran.returncode == 1, ran.stderr
    assert json.loads(ran.stdout)["states"] == {
        "succeeded": JOBS,
        "reused": 0,
        "failed": 1,
        "missing model": 2,
        "no input": 1,
        "cancelled": 0,
        "running": 0,
        "never ran": 0,
    }
    states = night.states()
    assert {name for name in night.names if states[name] == "succeeded"} == set(night.names)
    assert states["broken-row"] == "failed"
    assert states["no-model"] == states["no-version"] == "missing model"
    assert states["silent"] == "no input"
    report = night.report()
    assert report["complete"]
    assert report["total"] == len(states) == JOBS + 4
    (broken,) = [job for job in report["jobs"] if job["name"] == "broken-row"]
    assert broken["error"]["status"] == "INVALID_ARGUMENT"
    assert "broken-row: failed" in ran.stderr
    made = night.outputs()
    assert set(made) == set(night.names)

    # The same again: outputs tell what is done, and what has failed stays failed.
    assert night.run().returncode == 1
    assert night.report()["states"]["reused"] == JOBS
    assert night.outputs() == made
    shutil.rmtree(night.folder / "out" / "site-03")
    (night.folder / "in" / "broken-row" / "2026-03-01" / "a.jsonl").write_text(QUICK)
    (night.folder / "in" / "silent" / "2026-03-01" / "a.jsonl").write_text(QUICK)
    shutil.rmtree(night.folder / "models" / "no-model")
    shutil.rmtree(night.folder / "models" / "no-version")
    assert night.run("--retry-failed").returncode == 1
    states = night.states()
    assert states["site-03"] == states["broken-row"] == states["silent"] == "succeeded"
    # The frozen manifest has them still.
    assert states["no-model"] == states["no-version"] == "missing model"


def test_a_killed_command_goes_on_where_it_stopped(night: Night) -> None:
    """Every output is made once."""
    night.slow()
    with night.running() as process:
        until(lambda: len(night.outputs()) >= 1)
        process.kill()
    made = night.outputs()
    assert len(made) < JOBS
    assert night.report()["complete"] is False
    ran = night.run()
    assert ran.returncode == 1, ran.stderr
    states = night.states()
    assert {states[name] for name in night.names} == {"succeeded", "reused"}
    assert made.items() <= night.outputs().items()
    assert set(night.outputs()) == set(night.names)


def test_a_worker_that_dies_is_replaced(night: Night) -> None:
    night.slow()
    with night.running() as process:
        until(lambda: len(night.outputs()) >= 1)
        next(descendants()).kill()
        _, errors = process.communicate(timeout=110)
    assert process.returncode == 1
    # A job whose worker died after its output and before its record finds the output there.
    states = night.report()["states"]
    assert states["succeeded"] + states["reused"] == JOBS, errors.decode()


def test_two_commands_at_once_share_the_work(night: Night) -> None:
    with night.running() as first:
        second = night.run()
        first.communicate(timeout=110)
    assert second.returncode == first.returncode == 1, second.stderr
    states = night.states()
    assert {states[name] for name in night.names} <= {"succeeded", "reused"}
    assert set(night.outputs()) == set(night.names)


def test_ctrl_c_lets_running_jobs_end(night: Night) -> None:
    night.slow()
    with night.running() as process:
        until(lambda: len(night.outputs()) >= 1)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"running jobs end, and no others begin" in errors
    states = json.loads(told)["states"]
    assert states["never ran"] > 0
    assert states["running"] == 0
    assert sum(states.values()) == JOBS + 4
    assert not list(descendants())


def test_a_second_ctrl_c_stops_running_jobs(night: Night) -> None:
    night.slow("10000\n")
    with night.running() as process:
        until(night.is_running)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while b"Ctrl-C again" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not list(descendants())
    assert night.outputs() == {}


def test_on_a_terminal_a_run_is_a_live_table(night: Night) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    shown = bytearray()
    with subprocess.Popen(
        night.argv(), env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        with suppress(OSError):  # the terminal is gone with the command
            while block := os.read(ours, 65536):
                shown += block
    os.close(ours)
    assert process.returncode == 1
    text = shown.decode()
    assert f"{JOBS + 4}/{JOBS + 4}" in text
    assert "1 failed" in text
    assert "rows/s" in text
    assert re.search("slow +site-0", text)
    assert re.search("failed +broken-row +INVALID_INSTANCE", text)
    # What is wrong with a job is told once, at the end.
    assert text.count("a.jsonl, line 1") == 1


def test_a_plan_is_shown_and_nothing_written(night: Night) -> None:
    ran = night.run("--dry-run")
    assert ran.returncode == 0
    words = (f"{JOBS + 4} jobs", f"{JOBS + 1} ready", "2 missing model", "1 no input")
    assert all(word in ran.stderr for word in words), ran.stderr
    assert not (night.folder / "reports").exists()
    assert not (night.folder / "out").exists()


def test_some_jobs_only(night: Night) -> None:
    assert night.run("--only", "site-00", "--only", "site-01", "--run", "two").returncode == 1
    assert set(night.outputs()) == {"site-00", "site-01"}
    assert night.run("--limit", "3", "--run", "three").returncode == 1
    assert night.report("three")["states"]["never ran"] == JOBS + 1 - 3
    assert night.run("--only", "absent").returncode == 2


def test_a_limit_again_and_again_comes_to_the_end(night: Night) -> None:
    for _ in range(3):  # four that succeed, and one that fails
        assert set(night.outputs()) != set(night.names)
        night.run("--limit", "2")
    assert set(night.outputs()) == set(night.names)


def test_another_plan_of_the_same_name_is_refused(night: Night) -> None:
    assert night.run("--only", "site-00").returncode == 1
    for option in ("--require-input", "--force", "--batch-size=7"):
        ran = night.run(option)
        assert ran.returncode == 2
        assert "there is a run models-2026-03-01 with another plan" in ran.stderr


def test_a_run_without_its_manifest_begins_anew(night: Night) -> None:
    """Whatever records are there, they are not of this run."""
    assert night.run("--only", "site-00").returncode == 1
    (night.folder / "reports" / "models-2026-03-01" / "manifest.json").unlink()
    shutil.rmtree(night.folder / "out")
    assert night.run("--only", "site-00").returncode == 1
    assert set(night.outputs()) == {"site-00"}


def test_a_record_that_cannot_be_read_is_a_failure(night: Night) -> None:
    assert night.run("--only", "site-00").returncode == 1
    (record,) = (night.folder / "reports").rglob("jobs/models-*.json")
    record.write_text("garbage")
    ran = night.run("--only", "site-00")
    assert ran.returncode == 1
    assert night.states()["site-00"] == "failed"
    assert "is no record of a job" in ran.stderr


def test_a_bad_report_of_the_day_before_stops_nothing(night: Night) -> None:
    for content in ("{}", "x"):
        before = night.folder / "reports" / "models-2026-02-28" / "report.json"
        before.parent.mkdir(parents=True, exist_ok=True)
        before.write_text(content)
        assert night.run("--only", "site-00").returncode == 1
        assert night.states()["site-00"] in ("succeeded", "reused")


def manifest_of(tmp_path: Path, models: Path, *lines: dict[str, str]) -> list[str]:
    """The command for a manifest of these lines, which differ from each other."""
    same = {"model": str(models / "zoo"), "output": f"{tmp_path}/o/"}
    manifest = tmp_path / "night.jsonl"
    manifest.write_text("".join(json.dumps({**same, **line}) + "\n" for line in lines))
    argv = [sys.executable, "-m", "app.cli", "fan-out", "--manifest", str(manifest)]
    return [*argv, "--reports", f"{tmp_path}/reports", "--date", "2026-03-01"]


def called(argv: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)


def test_inputs_that_come_later_may_not_collide(tmp_path: Path, models: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "x.jsonl").write_text("[1, 2, 3]\n")
    lines = [{"name": name, "input": f"{tmp_path}/{name}/x.jsonl"} for name in ("a", "b")]
    argv = manifest_of(tmp_path, models, *lines)
    assert called(argv).returncode == 0
    (tmp_path / "b" / "x.jsonl").write_text("[4, 5, 6]\n")
    ran = called(argv)
    assert ran.returncode == 2
    assert f"would both write {tmp_path}/o/x.jsonl" in ran.stderr
    assert (tmp_path / "o" / "x.jsonl").read_text() == "[3.0,5.0,7.0]\n"


def test_all_that_is_wrong_with_a_manifest_is_told(tmp_path: Path, models: Path) -> None:
    (tmp_path / "x.jsonl").write_text("[1, 2, 3]\n")
    lines = [{"name": name, "input": f"{tmp_path}/x.jsonl"} for name in ("a", "b")]
    argv = manifest_of(tmp_path, models, *lines, {"name": "c", "surprise": "1"})
    ran = called(argv)
    assert ran.returncode == 2
    assert "unknown parameter 'surprise'" in ran.stderr
    assert "a and b would both write" in ran.stderr


def test_a_manifest_that_has_changed_is_refused(tmp_path: Path, models: Path) -> None:
    (tmp_path / "x.jsonl").write_text("[1, 2, 3]\n")
    line = {"name": "a", "input": f"{tmp_path}/x.jsonl"}
    assert called(manifest_of(tmp_path, models, line)).returncode == 0
    ran = called(manifest_of(tmp_path, models, line, {**line, "name": "b"}))
    assert ran.returncode == 2
    assert "with another plan (sha256 differ)" in ran.stderr


def test_conflicts_are_told_before_anything_runs(tmp_path: Path, models: Path) -> None:
    (tmp_path / "in.jsonl").write_text("[1, 2, 3]\n")
    line = {
        "model": str(models / "zoo"),
        "input": f"{tmp_path}/in.jsonl",
        "output": f"{tmp_path}/o/",
    }
    lines = [json.dumps({**line, "name": name}) for name in ("a", "b")]
    manifest = tmp_path / "night.jsonl"
    argv = [sys.executable, "-m", "app.cli", "fan-out", "--manifest", str(manifest)]
    argv += ["--reports", f"{tmp_path}/reports", "--date", "2026-03-01"]
    manifest.write_text("\n".join(lines))
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert f"a and b would both write {tmp_path}/o/in.jsonl" in ran.stderr
    assert not (tmp_path / "reports").exists()
    manifest.write_text(lines[0])
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "o" / "in.jsonl").read_text() == "[3.0,5.0,7.0]\n"
    report = [sys.executable, "-m", "app.cli", "report", "night-2026-03-01"]
    told = subprocess.run(
        [*report, "--reports", f"{tmp_path}/reports"], capture_output=True, timeout=60, check=True
    )
    assert json.loads(told.stdout)["states"]["succeeded"] == 1
    missing = subprocess.run(
        [*report[:-1], "other", "--reports", f"{tmp_path}/reports"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert missing.returncode == 1


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No records but those of the runs."""
    monkeypatch.delenv("JOBS_URI", raising=False)
    assert "STORAGE_EMULATOR_HOST" not in os.environ
