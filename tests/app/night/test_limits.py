"""The queue, the service and its jobs as one system; estimates and announcements."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import FailedPrecondition, InvalidArgument, NotFound
from app.jobs.queue import UNLIMITED, QueueLimits
from app.night import announcement
from app.night.announcement import announce, check_notify_url
from app.night.dispatch_limits import check_limits
from app.night.estimate import estimate, load_prices
from app.night.report import report_of
from app.settings import Settings
from tests.app.jobs.test_record import NOW
from tests.app.night.night_values import frozen, outcomes_of, surveyed
from tests.app.night.test_report import done, failed

FITTING = QueueLimits(
    max_concurrent_dispatches=100,
    max_dispatches_per_second=50,
    max_attempts=UNLIMITED,
    max_retry_seconds=0,
)
SERVICE = Settings(
    max_instances=100,
    request_timeout_seconds=1800,
    dispatch_deadline_seconds=1800,
    job_timeout_seconds=1700,
)


def test_limits_that_fit_are_silent() -> None:
    check = check_limits(SERVICE, FITTING)
    check.refuse_problems()
    assert check.warnings == ()


@pytest.mark.parametrize(
    ("service", "queue", "words"),
    [
        ({"max_instances": 99}, {}, "delivers 100 jobs at once, and 99 instances"),
        ({"request_timeout_seconds": 300}, {}, "ends a request after 300 s"),
        ({}, {"max_attempts": 5}, "gives a job up after 5 deliveries"),
        ({}, {"max_retry_seconds": 60.0}, "gives a job up after 60 s"),
    ],
)
def test_limits_that_lose_jobs_are_refused(
    service: dict[str, Any], queue: dict[str, Any], words: str
) -> None:
    check = check_limits(replace(SERVICE, **service), replace(FITTING, **queue))
    with pytest.raises(FailedPrecondition, match=words):
        check.refuse_problems()


def test_what_cannot_be_checked_is_said() -> None:
    check = check_limits(Settings(), None)
    check.refuse_problems()
    words = ("REQUEST_TIMEOUT_SECONDS is not set", "JOB_TIMEOUT_SECONDS", "cannot be seen")
    assert all(word in told for word, told in zip(words, check.warnings, strict=True))
    assert "MAX_INSTANCES" in check_limits(Settings(), FITTING).warnings[-1]


def test_the_run_before_tells_what_a_run_takes() -> None:
    before = frozen(*map(surveyed, "abc"))
    records = [done(seconds=2.0), done(seconds=4.0), failed(NotFound("x"))]
    report = report_of(before, outcomes_of(before, records), NOW)
    prices = load_prices(None)
    guess = estimate([surveyed("a", size=5), surveyed("new")], report, prices, parallel=2)
    assert (guess.jobs, guess.input_bytes, guess.known_jobs) == (2, 5, 1)
    assert guess.job_seconds == pytest.approx(5.0)  # 2 and the median, 3
    assert guess.wall_seconds == pytest.approx(3.0)
    # 2 vCPUs and 2 GiB, in tier 1
    assert guess.cost == pytest.approx(5 * (2 * 0.000024 + 2 * 0.0000025) + 2 * 0.4 / 1e6)
    assert estimate([surveyed("a")], None, prices, 1).cost is None


def test_prices_may_be_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    own.write_text(
        '{"currency": "EUR", "vcpu_second": 1, "gib_second": 0, "million_requests": 0,'
        ' "vcpus": 1, "gib": 1, "source": "contract"}'
    )
    assert load_prices(str(own)).second == 1.0
    own.write_text('{"currency": "EUR", "vcpu_second": "much"}')
    with pytest.raises(InvalidArgument, match="prices must be a JSON file with currency"):
        load_prices(str(own))


@contextmanager
def chat(statuses: list[int]) -> Iterator[tuple[str, list[Any]]]:
    """A webhook that answers with these statuses, and what it was sent."""
    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses.pop(0))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing to say."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/secret", sent
        finally:
            server.shutdown()
            thread.join()


def test_the_end_of_a_run_is_told(caplog: pytest.LogCaptureFixture) -> None:
    manifest = frozen(*map(surveyed, "ab"))
    outcomes = outcomes_of(manifest, [done(), failed(NotFound("there is no x"))])
    report = report_of(manifest, outcomes, NOW, is_complete=True)
    with chat([503, 200]) as (url, sent):
        announce(report, url)
    assert len(sent) == 2
    # Google Chat refuses messages with other fields.
    assert sent[1] == {
        "text": "run: 1 of 2 jobs are not done: 1 failed. 10 rows.\n1 NOT_FOUND, b: there is no x"
    }
    (logged,) = [one for one in caplog.records if one.name == "app.night.announcement"]
    assert logged.levelname == "ERROR"
    assert vars(logged)["run"]["states"]["failed"] == 1
    assert "jobs" not in vars(logged)["run"]


def test_a_chat_that_fails_is_logged_without_its_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manifest = frozen(surveyed("a"))
    report = report_of(manifest, outcomes_of(manifest, [done()]), NOW)
    with chat([500, 500, 404]) as (url, _):
        announce(report, url)
    assert "was not posted: it answered 404" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["foo", "file:///x", "https://", "http://[", "ftp://host/"])
def test_what_is_no_webhook_is_told_before_the_run(url: str) -> None:
    with pytest.raises(InvalidArgument, match="notify must be the address"):
        check_notify_url(url)


def test_a_redirect_is_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    manifest = frozen(surveyed("a"))
    report = report_of(manifest, outcomes_of(manifest, [done()]), NOW)
    with chat([302, 302, 302]) as (url, sent):
        announce(report, url)
    assert len(sent) == 3
    assert "was not posted: it answered 302" in caplog.text


@pytest.mark.parametrize("url", ["http://a..b/", f"http://{'x' * 70}.test/"])
def test_a_name_that_cannot_be_looked_up_is_logged(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = frozen(surveyed("a"))
    announce(report_of(manifest, outcomes_of(manifest, [done()]), NOW), url)
    assert "was not posted" in caplog.text


def test_a_chat_that_does_not_answer_holds_nothing_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcement, "_ALL_SECONDS", 0.1)
    manifest = frozen(surveyed("a"))
    report = report_of(manifest, outcomes_of(manifest, [done()]), NOW)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        announce(report, f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert "was not posted: no answer in time" in caplog.text
