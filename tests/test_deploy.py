"""deploy/deploy.sh against a stub: what is absent is made, what is there is updated."""

import json
import os
import subprocess
from itertools import groupby
from pathlib import Path

import pytest

from app.jobs.queue import UNLIMITED, QueueLimits
from app.jobs.record_json import now
from app.night.dispatch_limits import check_limits
from app.night.run_request import parse_run_request
from app.settings import Settings

ROOT = Path(__file__).parent.parent
_STUB = """#!/usr/bin/env bash
printf '%s\\0' "$@" $'\\n' >>"$CALLS"
case "$*" in
    *"projects describe"*) echo 123 ;;
    *" describe "*) [ "$EXISTS" = yes ] ;;
    *" list "*) if [ "$EXISTS" = yes ]; then echo projects/p/found/1; fi ;;
esac
"""


def deploy(folder: Path, exists: str, **variables: str) -> list[list[str]]:
    """The calls of gcloud, as words, without what all have."""
    stub = folder / "gcloud"
    stub.write_text(_STUB)
    stub.chmod(0o755)
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "EXISTS": exists,
        "PROJECT": "p",
        "BUCKET": "bkt",
        "IMAGE": "image:1",
        **variables,
    }
    subprocess.run(
        [ROOT / "deploy" / "deploy.sh"],
        env=environment,
        check=True,
        timeout=60,
        capture_output=True,
    )
    words = calls.read_text().split("\0")[:-1]
    lines = [list(line) for is_end, line in groupby(words, "\n".__eq__) if not is_end]
    assert all(line[:2] == ["--quiet", "--project=p"] for line in lines)
    return [line[2:] for line in lines]


def only(calls: list[list[str]], *words: str) -> list[str]:
    (found,) = [call for call in calls if call[: len(words)] == list(words)]
    return found


def flag(call: list[str], name: str) -> str:
    (found,) = [word for word in call if word.startswith(f"--{name}=")]
    return found.partition("=")[2]


def test_what_is_absent_is_made(tmp_path: Path) -> None:
    calls = deploy(tmp_path, "no", ALERT_CHANNEL="projects/p/notificationChannels/1")
    made = [" ".join(call[:4]) for call in calls if "create" in call]
    assert len(made) == 11
    assert not [call for call in calls if "update" in call]
    only(calls, "scheduler", "jobs", "create", "http", "embedded-tf-night")
    policies = [call for call in calls if call[:3] == ["monitoring", "policies", "create"]]
    assert len(policies) == 2
    assert all("projects/p/notificationChannels/1" in " ".join(call) for call in policies)


def test_what_is_there_is_updated(tmp_path: Path) -> None:
    calls = deploy(tmp_path, "yes")
    assert not [call for call in calls if "create" in call]
    only(calls, "tasks", "queues", "update", "embedded-tf")
    only(calls, "scheduler", "jobs", "update", "http", "embedded-tf-night")
    assert len([call for call in calls if call[:3] == ["logging", "metrics", "update"]]) == 2
    assert len([call for call in calls if call[:3] == ["monitoring", "policies", "update"]]) == 2


def test_limits_fit_each_other(tmp_path: Path) -> None:
    """The flags of the queue and the service, by the check that the service itself makes."""
    calls = deploy(tmp_path, "no", PARALLEL_JOBS="40")
    service = only(calls, "run", "deploy")
    variables = dict(one.split("=", 1) for one in flag(service, "update-env-vars").split(","))
    settings = Settings.from_environ(variables)
    queue = only(calls, "tasks", "queues", "create")
    assert flag(queue, "max-attempts") == "unlimited"
    limits = QueueLimits(
        max_concurrent_dispatches=int(flag(queue, "max-concurrent-dispatches")),
        max_dispatches_per_second=float(flag(queue, "max-dispatches-per-second")),
        max_attempts=UNLIMITED,
        max_retry_seconds=0,
    )
    check = check_limits(settings, limits)
    assert (check.problems, check.warnings) == ((), ())
    assert flag(service, "concurrency") == "1"
    assert int(flag(service, "max-instances")) == settings.max_instances == 45
    assert float(flag(service, "timeout")) == settings.request_timeout_seconds
    assert "--no-allow-unauthenticated" in service


def test_roles_are_the_least(tmp_path: Path) -> None:
    calls = deploy(tmp_path, "no")
    given = {
        (call[-1].removeprefix("--role="), call[-2].partition(":")[2].partition("@")[0])
        for call in calls
        if "add-iam-policy-binding" in call
    }
    assert given == {
        ("roles/storage.objectUser", "embedded-tf-run"),
        ("roles/cloudtasks.enqueuer", "embedded-tf-run"),
        ("roles/cloudtasks.viewer", "embedded-tf-run"),
        ("roles/iam.serviceAccountUser", "embedded-tf-run"),
        ("roles/run.invoker", "embedded-tf-invoke"),
    }
    # On the resource alone, never on the project.
    assert not [call for call in calls if call[:2] == ["projects", "add-iam-policy-binding"]]


def test_the_schedule_sends_what_the_service_takes(tmp_path: Path) -> None:
    calls = deploy(tmp_path, "no", TIMEZONE="Europe/Zurich")
    schedule = only(calls, "scheduler", "jobs", "create", "http")
    body = json.loads(flag(schedule, "message-body"))
    assert parse_run_request(body, now()).plan.as_json(b"")["models"] == "gs://bkt/models/*/"
    assert flag(schedule, "uri") == "https://embedded-tf-123.europe-west1.run.app/fan-out"
    assert flag(schedule, "attempt-deadline") == "30m"
    assert flag(schedule, "oidc-service-account-email").startswith("embedded-tf-invoke@")
    assert not [call for call in deploy(tmp_path, "no", SCHEDULE="") if call[0] == "scheduler"]


@pytest.mark.parametrize("name", ["alert-not-done", "alert-no-run", "dashboard"])
def test_policies_are_json_and_name_the_metrics(name: str, tmp_path: Path) -> None:
    text = (ROOT / "deploy" / f"{name}.json").read_text()
    json.loads(text)
    made = {
        call[3] for call in deploy(tmp_path, "no") if call[:3] == ["logging", "metrics", "create"]
    }
    used = {one for one in ("runs-ended", "runs-not-done") if f"@NAME@-{one}" in text}
    assert used
    assert {f"embedded-tf-{one}" for one in used} <= made


def test_a_missing_name_is_told(tmp_path: Path) -> None:
    ran = subprocess.run(
        [ROOT / "deploy" / "deploy.sh"],
        env={"PATH": os.environ["PATH"], "PROJECT": "p", "BUCKET": "b"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode != 0
    assert b"IMAGE: the image" in ran.stderr
    assert not list(tmp_path.iterdir())
