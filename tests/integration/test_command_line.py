"""Jobs from the command line, on local files: no cloud, no HTTP."""

import gzip
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.fakes.error_details import details_of
from tests.fakes.processes import NOT_FORKED, answers, running
from tfserving_launcher import PROGRAM_VARIABLE, find_program

ROW = "[1,2,3,4]\n"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(models: Path, tmp_path: Path) -> Run:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.jsonl").write_text(ROW * 3)
    (tmp_path / "in" / "deep" / "b.jsonl").write_text(ROW)

    # Where it is named, no warning of a stand-in comes before what a test looks at.
    program = shlex.join(find_program().command)

    def predict(*flags: str, **options: str | list[str]) -> "subprocess.CompletedProcess[str]":
        values = {
            "model": str(models / "linear"),
            "input": "in/",
            "output": "out",
            **options,
        }
        argv = [
            argument
            for name, given in values.items()
            for value in ([given] if isinstance(given, str) else given)
            for argument in (f"--{name}", value)
        ]
        return subprocess.run(
            [sys.executable, "-m", "app.cli", "predict", *argv, *flags],
            cwd=tmp_path,
            env={PROGRAM_VARIABLE: program, **os.environ},
            capture_output=True,
            text=True,
            check=False,
        )

    return predict


def files(folder: Path) -> list[str]:
    """Those that are seen: beside an output lies a hidden note on how it was made."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".embedded-tf-")
    )


def test_local_job_prints_only_its_report(run: Run, tmp_path: Path) -> None:
    """A job on local files prints its report and nothing else."""
    done = run()
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["state"], report["predictions"]) == ("SUCCEEDED", 4)
    assert report["model_version"] == "10"
    assert files(tmp_path / "out") == ["a.jsonl", "deep/b.jsonl"]
    assert (tmp_path / "out" / "a.jsonl").read_text() == "[10.0,20.0,30.0,40.0]\n" * 3
    assert done.stderr == ""


@pytest.mark.parametrize("model", ["unversioned", "linear/9/", "file://{models}/unversioned"])
def test_a_saved_model_needs_no_version_folder(
    model: str, run: Run, tmp_path: Path, models: Path
) -> None:
    uri = model.format(models=models) if "{" in model else str(models / model)
    assert run(model=uri, input="in/a.jsonl").returncode == 0
    assert (tmp_path / "out" / "a.jsonl").read_text() == "[9.0,18.0,27.0,36.0]\n" * 3


def test_a_table_without_a_header_is_predicted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / "b.csv").write_text("1;2;3;4\n5;6;7;8\n")
    flags = {"input": "in/b.csv", "csv-delimiter": ";"}
    refused = run(**flags)
    assert refused.returncode == 1
    assert "csv_header=false takes it as data" in refused.stderr
    assert run(**flags, **{"csv-header": "false"}).returncode == 0
    assert (tmp_path / "out" / "b.csv.jsonl").read_text().count("\n") == 2


def test_failed_job_exits_1_without_output(run: Run, tmp_path: Path, models: Path) -> None:
    """A job that fails exits with 1 and leaves no output."""
    (tmp_path / "in" / "a.jsonl").write_text(ROW + "oops\n")
    done = run()
    assert done.returncode == 1
    body = json.loads(done.stdout)["error"]
    assert (body["code"], body["status"]) == (422, "INVALID_ARGUMENT")
    assert "in/a.jsonl, line 2: invalid JSON" in body["message"]
    command = f"embedded-tf inspect {models / 'linear'}/"
    assert done.stderr == f"error: {body['message']}\nwhat the model takes: {command}\n"
    assert details_of(body)["inspect"] == command
    assert not (tmp_path / "out").exists()
    assert files(tmp_path) == ["in/a.jsonl", "in/deep/b.jsonl"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "s3://bucket/model"}, "s3://"),
        ({"batch-size": "0"}, "batch_size"),
        ({"batch-size": "many"}, "not a valid integer"),
        ({"on-error": "ignore"}, "on-error"),
    ],
)
def test_wrong_usage_exits_with_2(options: dict[str, str], words: str, run: Run) -> None:
    done = run(**options)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_folder_without_its_slash_is_told_of(run: Run) -> None:
    done = run(input="in")
    assert done.returncode == 1
    assert "which needs the closing slash" in done.stderr


def test_folder_links_are_followed_without_loops(run: Run, tmp_path: Path) -> None:
    """Links to folders are followed but not in circles."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.jsonl").write_text(ROW)
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    assert run().returncode == 0
    assert files(tmp_path / "out") == ["a.jsonl", "deep/b.jsonl", "linked/c.jsonl"]


def test_output_that_is_input_by_alias_is_refused(run: Run, tmp_path: Path) -> None:
    """An output that is the input under another name is refused."""
    (tmp_path / "other").symlink_to(tmp_path / "in")
    done = run(output="other")
    assert done.returncode == 2
    assert "would be overwritten" in done.stderr
    assert (tmp_path / "in" / "a.jsonl").read_text() == ROW * 3


def test_inputs_repeat_and_hold_wildcards(run: Run, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.jsonl.gz").write_bytes(gzip.compress(ROW.encode()))
    done = run(input=["in/**/b.*", "more/?.jsonl.gz"], **{"output-compression": "gzip"})
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == ["c.jsonl.gz", "deep/b.jsonl.gz"]
    zipped = (tmp_path / "out" / "deep" / "b.jsonl.gz").read_bytes()
    assert gzip.decompress(zipped) == b"[10.0,20.0,30.0,40.0]\n"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("in/a.jsonl/deeper", "would have to be a folder"),
        ("file/deeper", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_unwritable_output_is_wrong_usage(
    output: str, words: str, run: Run, tmp_path: Path
) -> None:
    """An output that cannot be written there is wrong usage."""
    (tmp_path / "file").write_text("")
    done = run(output=output)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_name_that_is_no_text_is_told_of(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / os.fsdecode(b"\xff.jsonl")).write_text(ROW)
    done = run()
    assert done.returncode == 1
    assert "not UTF-8 text" in done.stderr


def test_file_uris_keep_question_marks_and_hashes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / "a.jsonl#b").write_text(ROW)
    assert run(input=f"file://{tmp_path}/in/a.jsonl%23b").returncode == 0
    assert files(tmp_path / "out") == ["a.jsonl#b"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"included-fields": "a,b,c,d"}, 0, ""),
        ({"excluded-fields": ['""', '"last, first",id']}, 0, ""),
        ({"excluded-fields": 'Unnamed: 0,id,"last, first"'}, 0, ""),
        ({"excluded-fields": "age,id"}, 1, "in.csv: no column age; the header has column 1, which"),
        ({"excluded-fields": 'id,"last'}, 2, "excluded_fields must be names separated by commas"),
        (
            {},
            1,
            "which takes 4 columns, and the table has 7 for it, 3 of these are too many: column",
        ),
    ],
)
def test_command_line_names_split_at_commas(
    options: dict[str, str | list[str]], code: int, words: str, run: Run, tmp_path: Path
) -> None:
    """Names on the command line are separated by commas."""
    (tmp_path / "in.csv").write_text(',a,b,c,d,"last, first",id\n0,1,2,3,4,x,7\n')
    done = run(input="in.csv", **options)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    if code == 0:
        assert (tmp_path / "out" / "in.csv.jsonl").read_text() == "[10.0,20.0,30.0,40.0]\n"


def test_old_output_is_replaced_only_whole(run: Run, tmp_path: Path) -> None:
    """An output that was there is replaced only by a whole one."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jsonl").write_text("before")
    (tmp_path / "in" / "a.jsonl").write_text(ROW * 50_000 + "oops")
    assert run("--force", input="in/a.jsonl").returncode == 1
    assert (tmp_path / "out" / "a.jsonl").read_text() == "before"
    (tmp_path / "in" / "a.jsonl").write_text(ROW)
    assert run("--force", input="in/a.jsonl").returncode == 0
    assert (tmp_path / "out" / "a.jsonl").read_text() == "[10.0,20.0,30.0,40.0]\n"


def test_no_program_error_says_how_to_get_one_cli(run: Run) -> None:
    """Without a model server program the error says how to get one."""
    os.environ["TENSORFLOW_MODEL_SERVER"] = "/no/such/program"
    try:
        done = run()
    finally:
        del os.environ["TENSORFLOW_MODEL_SERVER"]
    assert done.returncode == 1
    assert "/no/such/program (TENSORFLOW_MODEL_SERVER) cannot be run" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_job_and_leaves_nothing(
    number: signal.Signals, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.jsonl").write_text("100000\n")
    argv = [sys.executable, "-m", "app.cli", "predict", "--signature-name", "slow"]
    argv += ["--model", str(models / "zoo"), "--input", "slow.jsonl", "--output", "out"]

    def computes() -> bool:
        return sum(sum(child.cpu_times()[:2]) for child in children(process)) > 5

    process = subprocess.Popen(argv, cwd=tmp_path, env={**os.environ, **NOT_FORKED})
    try:
        wait_for(process, computes)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert files(tmp_path) == ["slow.jsonl"]


def children(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_for(process: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        assert process.poll() is None
        if condition():
            return
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("waited in vain")


def test_a_terminal_shows_a_progress_bar(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(ROW * 1000)
    argv = [sys.executable, "-m", "app.cli", "predict", "--model", str(models / "linear")]
    argv += ["--input", "in.jsonl", "--output", "out"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 10_000):
            shown += block
    except OSError:
        pass  # how a terminal says that the other side has closed it
    report, _ = process.communicate(timeout=20)
    os.close(ours)
    assert json.loads(report)["predictions"] == 1000
    assert b"starting a model server for version 10" in shown
    assert b"1 file, 1,000 rows, " in shown
    assert f"rows/s, in {tmp_path / 'out'}/".encode() in shown


def test_serve_starts_the_service() -> None:
    def healthy(process: "subprocess.Popen[bytes]") -> bool:
        listening = [c for c in psutil.Process(process.pid).net_connections() if not c.raddr]
        return bool(listening) and answers(f"http://127.0.0.1:{listening[0].laddr.port}/health")

    argv = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    with running(argv, healthy) as program:
        assert program.process.poll() is None


def test_settings_that_cannot_be_used_end_serve_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        env={**os.environ, "MAX_LINE_BYTES": "lots"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "MAX_LINE_BYTES must be a whole number of bytes above 0, it is 'lots'" in done.stderr


def test_an_error_that_may_pass_has_a_status_of_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    done = run(input="gs://bucket/a.jsonl")
    assert done.returncode == 75
    assert "error: " in done.stderr
