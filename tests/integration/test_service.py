"""Jobs over HTTP: real gunicorn, real fake-gcs-server, the model server that is found."""

import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.error_details import details_of
from tests.fakes.processes import NOT_FORKED, RunningService, gunicorn
from tests.fakes.waiting import until

ROW = "[1,2,3,4]"
PREDICTED = "[10.0,20.0,30.0,40.0]"

Call = Callable[..., requests.Response]


@pytest.fixture
def call(service: RunningService, bucket: Bucket) -> Call:
    """A job with the linear model, `changes` over its parameters."""

    def get(**changes: str) -> requests.Response:
        parameters = {"model": f"{bucket.uri}/models/linear/", **changes}
        return requests.get(service.url, params=parameters, timeout=50)

    return get


def error(response: requests.Response, code: int, status: str) -> dict[str, Any]:
    assert response.status_code == code, response.text
    body: dict[str, Any] = response.json()["error"]
    assert (body["code"], body["status"]) == (code, status)
    return body


@pytest.mark.readme("counters")
def test_a_job_answers_with_its_report(call: Call, bucket: Bucket) -> None:
    bucket.put("report/in/a.jsonl", f"{ROW}\n{ROW}\n")
    response = call(input=f"{bucket.uri}/report/in/a.jsonl", output=f"{bucket.uri}/report/out")
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    report = response.json()
    seconds = report.pop("seconds")
    assert set(seconds) == {
        "model_download",
        "server_start",
        "predict",
        "first_call",
        "total",
    }
    assert report.pop("storage_requests") == {"get": 1, "insert": 1, "list": 2, "read": 5}
    assert len(report.pop("job_id")) == 12
    assert report == {
        "state": "SUCCEEDED",
        "model": f"{bucket.uri}/models/linear/",
        "model_version": "10",
        "signature_name": "serving_default",
        "inputs": [f"{bucket.uri}/report/in/a.jsonl"],
        "output": f"{bucket.uri}/report/out/",
        "instances": 2,
        "predictions": 2,
        "errors": 0,
        "files_left_out": 0,
        "files": [
            {
                "state": "PREDICTED",
                "input": f"{bucket.uri}/report/in/a.jsonl",
                "output": f"{bucket.uri}/report/out/a.jsonl",
                "errors_output": None,
                "instances": 2,
                "predictions": 2,
                "errors": 0,
                "input_bytes": 20,
                "output_bytes": 44,
            }
        ],
    }
    assert bucket.get("report/out/a.jsonl").decode() == f"{PREDICTED}\n{PREDICTED}\n"


@pytest.mark.readme("output naming")
def test_nested_tree_of_100_files_is_mirrored(call: Call, bucket: Bucket) -> None:
    """A hundred files in a nested tree become the same tree."""
    names = [f"{number % 3}/{number % 7}/site {number}.jsonl" for number in range(100)]
    for number, name in enumerate(names):
        bucket.put(f"tree/in/{name}", f"[{number},0,0,0]\n")
    bucket.put("tree/in/3/", "")  # how consoles mark a folder
    bucket.put("tree/in-other/x.jsonl", ROW)
    response = call(input=f"{bucket.uri}/tree/in/", output=f"{bucket.uri}/tree/out/")
    assert response.json()["predictions"] == 100
    assert bucket.names("tree/out/") == sorted(f"tree/out/{name}" for name in names)
    for number, name in enumerate(names):
        expected = f"[{10.0 * number},0.0,0.0,0.0]\n"
        assert bucket.get(f"tree/out/{name}").decode() == expected


def test_plain_model_folder_needs_no_slash(call: Call, bucket: Bucket) -> None:
    """A model folder without versions works and needs no slash."""
    bucket.put("unversioned/in.jsonl", ROW)
    model = f"{bucket.uri}/models/unversioned"
    response = call(
        model=model,
        input=f"{bucket.uri}/unversioned/in.jsonl",
        output=f"{bucket.uri}/unversioned/o",
    )
    assert response.json()["model_version"] == "1"
    assert bucket.get("unversioned/o/in.jsonl") == b"[9.0,18.0,27.0,36.0]\n"


def test_line_ends_marks_and_blank_lines_are_no_obstacle(call: Call, bucket: Bucket) -> None:
    bucket.put("odd/in/a.jsonl", b"\xef\xbb\xbf" + f"{ROW}\r\n\r\n  \n{ROW}".encode())
    bucket.put("odd/in/empty.jsonl", b"")
    report = call(input=f"{bucket.uri}/odd/in/", output=f"{bucket.uri}/odd/out/").json()
    assert [file["instances"] for file in report["files"]] == [2, 0]
    assert bucket.get("odd/out/a.jsonl").decode() == f"{PREDICTED}\n{PREDICTED}\n"
    assert bucket.get("odd/out/empty.jsonl") == b""


@pytest.mark.readme("row order")
def test_an_output_of_many_blocks_arrives_in_order(call: Call, bucket: Bucket) -> None:
    rows = 400_000
    bucket.put("large/in.jsonl", "".join(f"[{n},0,0,{n}]\n" for n in range(rows)))
    report = call(input=f"{bucket.uri}/large/in.jsonl", output=f"{bucket.uri}/large/out/").json()
    assert report["predictions"] == rows
    assert report["files"][0]["output_bytes"] > 8 * 1024 * 1024
    expected = "".join(f"[{10.0 * n},0.0,0.0,{10.0 * n}]\n" for n in range(rows))
    assert bucket.get("large/out/in.jsonl").decode() == expected


@pytest.mark.readme("batch size")
def test_batch_size_and_a_fixed_batch_give_the_same_rows(call: Call, bucket: Bucket) -> None:
    bucket.put("batch/in.jsonl", "".join(f"[{n},{n}]\n" for n in range(10)))
    for signature, size in (("vector_float32", "3"), ("fixed", "7")):
        response = call(
            model=f"{bucket.uri}/models/zoo/",
            signature_name=signature,
            batch_size=size,
            input=f"{bucket.uri}/batch/in.jsonl",
            output=f"{bucket.uri}/batch/{signature}/",
        )
        assert response.json()["predictions"] == 10, response.text
    expected = "".join(f"[{float(n)},{float(n)}]\n" for n in range(10))
    assert bucket.get("batch/vector_float32/in.jsonl").decode() == expected
    fixed = bucket.get("batch/fixed/in.jsonl").decode().splitlines()
    assert fixed[3] == '{"sum":12.0,"y":[3.0,3.0]}'
    # The last batch holds rows 8 and 9, and row 9 twice more as padding.
    assert fixed[8:] == ['{"sum":70.0,"y":[8.0,8.0]}', '{"sum":70.0,"y":[9.0,9.0]}']


def test_a_post_takes_the_same_parameters_as_json(service: RunningService, bucket: Bucket) -> None:
    bucket.put("post/in.jsonl", ROW)
    body = {
        "model": f"{bucket.uri}/models/linear/",
        "input": f"{bucket.uri}/post/in.jsonl",
        "output": f"{bucket.uri}/post/out/",
        "batch_size": 1,
    }
    assert requests.post(service.url, json=body, timeout=50).json()["predictions"] == 1


# What goes wrong before anything runs


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("", "missing parameter: model, input, output"),
        ("?model=gs://bkt/m&input=gs://bkt/i&output=gs://bkt/o&on_error=x", "on_error must be"),
        ("?model=gs://bkt/m&input=gs://bkt/i&output=gs://bkt/o&force=1", "force must be true or"),
        ("?model=gs://bkt/m&input=gs://bkt/i&output=gs://bkt/o&model=x", "given 2 times"),
        ("?model=gs://bkt/m&input=gs://bkt/i&output=gs://bkt/o&batch_size=x", "batch_size"),
    ],
)
def test_wrong_parameters_are_400(parameters: str, words: str, service: RunningService) -> None:
    response = requests.get(service.url + "/" + parameters, timeout=10)
    assert words in error(response, 400, "INVALID_ARGUMENT")["message"]


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"[1]", "application/json", "must be a JSON object, it is list"),
        (b"{", "application/json", "not JSON"),
        (b"model=x", "application/x-www-form-urlencoded", "Content-Type application/json"),
        (b'{"model": "gs://bkt/m"}', "application/json", "model is given in the URL and"),
    ],
)
def test_a_body_that_is_no_json_object_is_400(
    body: bytes, content_type: str, words: str, service: RunningService
) -> None:
    response = requests.post(
        service.url + "/?model=gs://bkt/m",
        data=body,
        headers={"Content-Type": content_type},
        timeout=10,
    )
    assert words in error(response, 400, "INVALID_ARGUMENT")["message"]


def test_a_chunked_body_is_read(service: RunningService) -> None:
    response = requests.post(
        service.url,
        data=iter([b'{"model": ', b'"gs://bkt/m"}']),
        headers={"Content-Type": "application/json"},
        timeout=10,
    )
    message = error(response, 400, "INVALID_ARGUMENT")["message"]
    assert message == "missing parameter: input, output"


def test_head_runs_no_job(service: RunningService, bucket: Bucket) -> None:
    parameters = {
        "model": f"{bucket.uri}/models/linear/",
        "input": f"{bucket.uri}/models/linear/",
        "output": f"{bucket.uri}/head/",
    }
    assert requests.head(service.url, params=parameters, timeout=30).status_code == 405
    assert bucket.names("head/") == []


@pytest.mark.parametrize("name", ["../../escaped.jsonl", "../in-out/x", "./x", "a/../../x"])
def test_object_name_stays_inside_output(
    name: str, call: Call, bucket: Bucket, local_root: Path
) -> None:
    """An objects name cannot place a file outside the output."""
    folder = f"escape-{len(name)}/in"
    bucket.put(f"{folder}/{name}", ROW)
    response = call(input=f"{bucket.uri}/{folder}/", output=f"{local_root}/deep/er/out/")
    assert "no name for a local file" in error(response, 400, "INVALID_ARGUMENT")["message"]
    assert not (local_root / "deep").exists()


def test_a_body_without_bounds_is_refused(service: RunningService) -> None:
    response = requests.post(
        service.url, data=b" " * 2_000_000, headers={"Content-Type": "application/json"}, timeout=10
    )
    assert response.status_code == 413


def test_unknown_paths_and_methods_are_json_errors(service: RunningService) -> None:
    error(requests.get(service.url + "/nowhere", timeout=10), 404, "NOT_FOUND")
    response = requests.delete(service.url, timeout=10)
    error(response, 405, "UNIMPLEMENTED")
    assert "GET" in response.headers["Allow"]


def test_a_browser_sees_a_page_that_explains_the_call(service: RunningService) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    response = requests.get(service.url, headers={"Accept": accept}, timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert f'curl "{service.url}/?model=gs://' in response.text


def test_local_files_are_refused_outside_local_roots(
    call: Call, bucket: Bucket, local_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.jsonl").write_text(ROW)
    (local_root / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    outside = f"{local_root}/../{tmp_path.name}/secret.jsonl"
    for path in (str(tmp_path / "secret.jsonl"), outside, str(local_root / "link.jsonl")):
        response = call(input=path, output=f"{bucket.uri}/refused/")
        assert "LOCAL_ROOTS" in error(response, 403, "PERMISSION_DENIED")["message"]
    bucket.put("refused/in.jsonl", ROW)
    inside = f"{bucket.uri}/refused/in.jsonl"
    for places in ({"model": str(tmp_path)}, {"output": str(tmp_path)}):
        response = call(**{"input": inside, "output": f"{bucket.uri}/refused/out/", **places})
        assert "LOCAL_ROOTS" in error(response, 403, "PERMISSION_DENIED")["message"]


def test_local_files_below_a_local_root_are_taken(call: Call, local_root: Path) -> None:
    (local_root / "in.jsonl").write_text(ROW)
    response = call(input=f"{local_root}/in.jsonl", output=f"{local_root}/out/")
    assert response.status_code == 200, response.text
    assert (local_root / "out" / "in.jsonl").read_text() == PREDICTED + "\n"


def test_an_output_that_is_an_input_is_refused(call: Call, bucket: Bucket) -> None:
    bucket.put("same/in.jsonl", ROW)
    response = call(input=f"{bucket.uri}/same/in.jsonl", output=f"{bucket.uri}/same/")
    assert "would be overwritten" in error(response, 400, "INVALID_ARGUMENT")["message"]
    assert bucket.get("same/in.jsonl").decode() == ROW


# What is not there


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": "/absent.jsonl"}, "no such object or file: gs://test-bucket/absent.jsonl"),
        ({"input": "/absent/"}, "nothing below gs://test-bucket/absent/"),
        ({"input": "/missing/in"}, "files below gs://test-bucket/missing/in/, which needs the"),
        ({"model": "/absent"}, "model: nothing below gs://test-bucket/absent/"),
    ],
)
def test_what_is_not_there_is_404(
    changes: dict[str, str], words: str, call: Call, bucket: Bucket
) -> None:
    bucket.put("missing/in/a.jsonl", ROW)
    parameters = {"input": "/missing/in/", "output": "/missing/out/", **changes}
    response = call(**{name: bucket.uri + path for name, path in parameters.items()})
    assert words in error(response, 404, "NOT_FOUND")["message"]
    assert bucket.names("missing/out") == []


def test_a_bucket_that_is_not_there_is_404(call: Call, bucket: Bucket) -> None:
    response = call(input="gs://no-such-bucket/in/", output=f"{bucket.uri}/out/")
    assert "gs://no-such-bucket/in/" in error(response, 404, "NOT_FOUND")["message"]


# What is wrong with the model


@pytest.fixture
def model_call(call: Call, bucket: Bucket) -> Iterator[Callable[..., requests.Response]]:
    bucket.put("model-faults/in/1.jsonl", ROW)

    def get(model: str, **changes: str) -> requests.Response:
        return call(
            model=f"{bucket.uri}/{model}",
            input=f"{bucket.uri}/model-faults/in/",
            output=f"{bucket.uri}/model-faults/out/",
            **changes,
        )

    yield get
    assert bucket.names("model-faults/out") == []


def test_a_damaged_model_is_422_with_the_servers_words(model_call: Call) -> None:
    body = error(model_call("models/changed"), 422, "FAILED_PRECONDITION")
    assert body["message"].startswith("the model cannot be loaded: ")
    assert details_of(body)["server_output"]


def test_a_folder_without_a_saved_model_is_422(model_call: Call, bucket: Bucket) -> None:
    bucket.put("not-a-model/readme.txt", "hello")
    message = error(model_call("not-a-model"), 422, "FAILED_PRECONDITION")["message"]
    assert "expected saved_model.pb in it or in a numbered folder, found readme.txt" in message


def test_missing_signature_is_422_with_others_listed(model_call: Call) -> None:
    """A signature that is not there is 422 and the others are listed."""
    response = model_call("models/linear", signature_name="classify")
    message = error(response, 422, "FAILED_PRECONDITION")["message"]
    assert message == "the model has no signature 'classify'; it has serving_default"


@pytest.mark.parametrize("name", ["/etc/passwd", "assets//x", "../x", "assets/../../../x", "./x"])
def test_name_leaving_model_folder_is_422(name: str, model_call: Call, bucket: Bucket) -> None:
    """A name that would leave the models folder is 422."""
    folder = f"evil-{len(name)}"
    bucket.put(f"{folder}/saved_model.pb", "")
    bucket.put(f"{folder}/{name}", "x")
    message = error(model_call(folder), 422, "FAILED_PRECONDITION")["message"]
    assert f"{folder}/{name}' is no name for a file of a SavedModel" in message


# What is wrong with the input


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[1,2,3", "line 5001: invalid JSON"),
        ("[1,2,3]", "line 5001, field x: expected the shape [4], found [3]"),
        ('[1,2,3,"4"]', 'line 5001, field x[3]: expected a number (float32), found "4"'),
    ],
)
def test_a_bad_line_is_422_and_its_file_does_not_appear(
    line: str, words: str, call: Call, bucket: Bucket
) -> None:
    bucket.put("bad/in/a.jsonl", ROW)
    bucket.put("bad/in/b.jsonl", f"{ROW}\n" * 5000 + f"{line}\n" + f"{ROW}\n" * 5000)
    bucket.put("bad/in/c.jsonl", ROW)
    output = f"bad/out-{len(line)}"
    response = call(input=f"{bucket.uri}/bad/in/", output=f"{bucket.uri}/{output}/")
    body = error(response, 422, "INVALID_ARGUMENT")
    assert body["message"].startswith(f"{bucket.uri}/bad/in/b.jsonl, {words}")
    assert details_of(body)["line"] == 5001
    assert bucket.names(output) == [f"{output}/a.jsonl"]


def test_failing_rows_are_422_with_lines(call: Call, bucket: Bucket) -> None:
    """Rows on which the model fails are 422 with their lines."""
    bucket.put("fails/in.jsonl", "1\n1\n1\n-1\n")
    response = call(
        model=f"{bucket.uri}/models/zoo/",
        signature_name="failing",
        batch_size="2",
        input=f"{bucket.uri}/fails/in.jsonl",
        output=f"{bucket.uri}/fails/out/",
    )
    body = error(response, 422, "INVALID_ARGUMENT")
    assert "in.jsonl, line 4: the model failed on it" in body["message"]
    assert details_of(body)["line"] == 4
    assert "x must be positive" in body["message"]
    assert bucket.names("fails/out") == []


def test_unread_encoding_is_refused_by_name(call: Call, bucket: Bucket) -> None:
    """An object of an encoding that is not read is refused by name."""
    bucket.put("brotli/in.jsonl", ROW, content_encoding="br")
    response = call(input=f"{bucket.uri}/brotli/in.jsonl", output=f"{bucket.uri}/brotli/out/")
    assert "Content-Encoding br" in error(response, 422, "INVALID_ARGUMENT")["message"]


# What happens while a job runs


class JobThread(threading.Thread):
    """Waits for a job; `response` is its answer, and is there once the thread has ended."""

    response: requests.Response


StartJob = Callable[[str], JobThread]


@pytest.fixture
def slow_job(call: Call, bucket: Bucket) -> StartJob:
    """A job that computes far longer than its time; it goes on in a thread."""
    parameters = slow_parameters(bucket)

    def start(timeout_seconds: str) -> JobThread:
        def run() -> None:
            thread.response = call(timeout_seconds=timeout_seconds, **parameters)

        thread = JobThread(target=run)
        thread.start()
        return thread

    return start


def slow_parameters(bucket: Bucket) -> dict[str, str]:
    """Of a job that computes for minutes."""
    bucket.put("slow/in.jsonl", "100000\n")
    return {
        "model": f"{bucket.uri}/models/zoo/",
        "signature_name": "slow",
        "input": f"{bucket.uri}/slow/in.jsonl",
        "output": f"{bucket.uri}/slow/out/",
    }


def model_servers(service: RunningService) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(service.process.pid).children(recursive=True)
        if any(argument.startswith("--grpc_socket_path=") for argument in arguments(process))
    ]


def arguments(process: psutil.Process) -> list[str]:
    try:
        command_line: list[str] = process.cmdline()
    except psutil.Error:
        return []  # it has just ended
    return command_line


def test_busy_instance_answers_health_and_429(
    service: RunningService, slow_job: StartJob, call: Call, bucket: Bucket
) -> None:
    """During a job health answers and a second job is 429 until time is up."""
    job = slow_job("6")
    until(lambda: requests.get(service.url + "/health", timeout=5).json()["busy"])
    response = call(input=f"{bucket.uri}/slow/in.jsonl", output=f"{bucket.uri}/slow/out/")
    error(response, 429, "RESOURCE_EXHAUSTED")
    assert int(response.headers["Retry-After"]) > 0
    job.join()
    message = error(job.response, 504, "DEADLINE_EXCEEDED")["message"]
    assert message == "the job's time of 6 s is up"
    health = requests.get(service.url + "/health", timeout=5).json()
    assert health == {"status": "ok", "busy": False}
    assert model_servers(service) == []
    assert bucket.names("slow/out") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("while_starting", [True, False])
def test_signal_stops_job_with_503_then_service(
    number: signal.Signals,
    while_starting: bool,  # noqa: FBT001  # pytest passes by name
    gcs_url: str,
    bucket: Bucket,
    temporary_folder: Path,
) -> None:
    """A signal stops the job with 503 and then the service."""
    environment = {
        **NOT_FORKED,
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
    }
    if while_starting:
        hangs = f"{sys.executable} -m tests.fakes.misbehaving_server hangs"
        environment["TENSORFLOW_MODEL_SERVER"] = hangs
    with gunicorn(environment) as own_service, ThreadPoolExecutor(1) as pool:
        job = pool.submit(requests.get, own_service.url, params=slow_parameters(bucket), timeout=50)
        until(lambda: bool(model_servers(own_service)))
        server = model_servers(own_service)[0]
        if not while_starting:
            until(lambda: "predicting" in own_service.output())
        own_service.process.send_signal(number)
        response = job.result()
        assert "shutting down" in error(response, 503, "UNAVAILABLE")["message"]
        assert own_service.process.wait(10) == 0
        assert not server.is_running()
    assert bucket.names("slow/out") == []


def test_a_killed_worker_takes_its_model_server_with_it(
    gcs_url: str, bucket: Bucket, tmp_path: Path
) -> None:
    environment = {**NOT_FORKED, "STORAGE_EMULATOR_HOST": gcs_url, "TMPDIR": str(tmp_path)}
    with gunicorn(environment) as own_service, ThreadPoolExecutor(1) as pool:
        job = pool.submit(requests.get, own_service.url, params=slow_parameters(bucket), timeout=50)
        until(lambda: bool(model_servers(own_service)))
        server = model_servers(own_service)[0]
        psutil.Process(own_service.process.pid).children()[0].kill()
        with pytest.raises(requests.ConnectionError):
            job.result()
        psutil.wait_procs([server], timeout=5)
        assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_silent_storage_is_504_at_deadline(temporary_folder: Path) -> None:
    """Storage that stays silent is 504 when time is up."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {"STORAGE_EMULATOR_HOST": address, "TMPDIR": str(temporary_folder)}
        with gunicorn(environment) as own_service:
            parameters = {"model": "gs://bkt/m", "input": "gs://bkt/i", "output": "gs://bkt/o"}
            response = requests.get(
                own_service.url, params={**parameters, "timeout_seconds": "1"}, timeout=30
            )
            error(response, 504, "DEADLINE_EXCEEDED")


def test_failed_job_records_carry_id_and_trace(gcs_url: str, temporary_folder: Path) -> None:
    """Every record of a failed job carries its id and trace."""
    trace = "105445aa7843bc8bf206b12000100000"
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
        "GOOGLE_CLOUD_PROJECT": "p",
    }
    with gunicorn(environment) as own_service:
        parameters = {"model": "gs://bkt/m", "input": "gs://bkt/i", "output": "gs://bkt/o"}
        headers = {"X-Cloud-Trace-Context": f"{trace}/1;o=1"}
        response = requests.get(own_service.url, params=parameters, headers=headers, timeout=30)
        error(response, 404, "NOT_FOUND")
        records = [json.loads(line) for line in own_service.output().splitlines()]
    (failure,) = [record for record in records if "job failed" in record["message"]]
    assert failure["severity"] == "WARNING"
    assert failure["job_id"]
    assert failure["logging.googleapis.com/trace"] == f"projects/p/traces/{trace}"


def test_job_ends_are_records_with_fields(
    gcs_url: str, bucket: Bucket, temporary_folder: Path
) -> None:
    """A job's end is one record with fields, and the model server's lines have its id."""
    environment = {
        **NOT_FORKED,
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
        "LOG_LEVEL": "INFO",
    }
    bucket.put("records/in.jsonl", "[1,2,3,4]\noops\n")
    parameters = {
        "model": f"{bucket.uri}/models/linear/",
        "input": f"{bucket.uri}/records/",
        "output": f"{bucket.uri}/records-out/",
    }
    with gunicorn(environment) as own_service:
        failed = requests.get(own_service.url, params=parameters, timeout=30)
        report = requests.get(
            own_service.url, params={**parameters, "on_error": "skip"}, timeout=30
        )
        records = [json.loads(line) for line in own_service.output().splitlines()]
    failure, success = (record for record in records if "job" in record)
    assert failed.status_code == 422
    shared = {
        "model": parameters["model"],
        "model_version": "10",
        "signature_name": "serving_default",
        "inputs": [parameters["input"]],
        "output": parameters["output"],
    }
    assert shared.items() <= failure["job"].items()
    assert shared.items() <= success["job"].items()
    assert (failure["job"]["state"], failure["job"]["code"]) == ("FAILED", 422)
    assert (failure["job"]["files"], failure["job"]["files_missing"]) == (0, 1)
    assert success["job"]["state"] == "SUCCEEDED"
    counts = ("files", "instances", "predictions", "errors")
    assert [success["job"][name] for name in counts] == [1, 2, 1, 1]
    assert success["job"]["seconds"] == report.json()["seconds"]
    told = [record for record in records if record["logger"] == "tfserving_launcher.output"]
    assert {record.get("job_id") for record in told} == {failure["job_id"], success["job_id"]}


def test_service_has_no_tensorflow_and_no_port(
    gcs_url: str, bucket: Bucket, temporary_folder: Path
) -> None:
    """During a job no TensorFlow is in the service and no port is open for it."""
    environment = {
        **NOT_FORKED,
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
    }
    with gunicorn(environment) as service, ThreadPoolExecutor(1) as pool:
        job = pool.submit(requests.get, service.url, params=slow_parameters(bucket), timeout=50)
        until(lambda: bool(model_servers(service)))
        (server,) = model_servers(service)
        until(lambda: "predicting" in service.output())
        (worker,) = psutil.Process(service.process.pid).children()
        libraries = {region.path.rpartition("/")[2] for region in worker.memory_maps()}
        assert any("grpc" in name or "cygrpc" in name for name in libraries)
        assert not [name for name in libraries if "tensorflow" in name]
        assert server.net_connections("inet") == []
        # What the server has loaded is not kept on a disk that may be memory.
        model_files = {path.name for path in temporary_folder.glob("embedded-tf-*/1/*")}
        assert "saved_model.pb" in model_files
        assert "variables" not in model_files
        service.process.send_signal(signal.SIGTERM)
        error(job.result(), 503, "UNAVAILABLE")
