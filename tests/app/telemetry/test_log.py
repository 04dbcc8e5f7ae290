import io
import json
import logging
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from types import TracebackType

import pytest

from app.telemetry.log import (
    JsonFormatter,
    LogContext,
    LogSlot,
    TextFormatter,
    current_job,
    job_context,
    log_into,
    printable,
    set_up_logging,
)

TRACE = "105445aa7843bc8bf206b12000100000"


def record(message: str = "hello %s", *args: object, error: bool = False) -> logging.LogRecord:
    exc_info: tuple[type[ValueError], ValueError, TracebackType | None] | None = None
    if error:
        try:
            raise ValueError("bad")
        except ValueError as caught:
            exc_info = (ValueError, caught, caught.__traceback__)
    return logging.LogRecord("app.job.run", logging.WARNING, "f", 1, message, args, exc_info)


def test_log_record_is_one_cloud_logging_line() -> None:
    """A record is one line of JSON as cloud logging reads it."""
    line = JsonFormatter().format(record("hello\n%s", "you"))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["severity"] == "WARNING"
    assert entry["message"] == "hello\nyou"
    assert "job_id" not in entry
    assert abs(datetime.now(UTC) - datetime.fromisoformat(entry["time"])) < timedelta(minutes=1)


def test_a_record_of_a_job_carries_its_id_and_trace() -> None:
    with job_context(LogContext("j1", f"{TRACE}/1;o=1")):
        entry = json.loads(JsonFormatter("my-project").format(record("x")))
    assert entry["job_id"] == "j1"
    assert entry["logging.googleapis.com/trace"] == f"projects/my-project/traces/{TRACE}"
    assert entry["logging.googleapis.com/spanId"] == "0000000000000001"
    assert entry["logging.googleapis.com/trace_sampled"] is True


@pytest.mark.parametrize("header", ["", "nonsense", "'; DROP TABLE"])
def test_a_header_that_is_no_trace_is_left_out(header: str) -> None:
    with job_context(LogContext("j1", header)):
        entry = json.loads(JsonFormatter("p").format(record("x")))
    assert not [name for name in entry if "trace" in name]


def test_an_error_carries_its_trace_of_calls() -> None:
    entry = json.loads(JsonFormatter().format(record("failed", error=True)))
    assert entry["message"].startswith("failed\nTraceback")
    assert "ValueError: bad" in entry["message"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_gets_text_machine_gets_json() -> None:
    """People at a terminal read text and machines JSON."""
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        for stream, start in ((Terminal(), ""), (io.StringIO(), "{")):
            set_up_logging("INFO", stream=stream)
            logging.getLogger("x").info("message")
            logging.getLogger("x").debug("not shown")
            assert stream.getvalue().startswith(start)
            assert stream.getvalue().strip().count("\n") == 0
            assert "message" in stream.getvalue()
    finally:
        logging.getLogger().handlers[:], level = before
        logging.getLogger().setLevel(level)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain é 漢 \t\n", "plain é 漢 \t\n"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb\x08c\x7f", "a\\rb\\x08c\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202ecba", "abc\\u202ecba"),
    ],
)
def test_nothing_steers_a_terminal(text: str, printed: str) -> None:
    """Neither a message of ours nor a line of the model server."""
    assert printable(text) == printed
    assert TextFormatter().format(record("%s", text)).endswith(printed)


def test_output_of_a_kept_server_belongs_to_the_job_that_runs() -> None:
    """Its thread began in the first job, and sees who has it now."""
    slot = LogSlot()
    seen = []

    def job_of_record() -> str | None:
        job_id: str | None = json.loads(JsonFormatter().format(record())).get("job_id")
        return job_id

    with job_context(LogContext("first")):
        slot.context = current_job()
        thread = copy_context()
        thread.run(log_into, slot)
        seen.append(thread.run(job_of_record))
        assert job_of_record() == "first"
    slot.context = None
    seen.append(thread.run(job_of_record))
    with job_context(LogContext("second")):
        slot.context = current_job()
        seen.append(thread.run(job_of_record))
    assert seen == ["first", None, "second"]
