"""What app.http_server.worker and its parts rely on in gunicorn, beyond its documentation.

Where one of these fails after an update, read gunicorn/workers/gthread.py and gunicorn/http anew.
"""

import inspect
import os

import pytest
from gunicorn.config import Config
from gunicorn.errors import ConfigError
from gunicorn.http import wsgi
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import IterUnreader, Unreader
from gunicorn.workers.base import Worker

from app.http_server.worker import BufferingWorker

START = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"


def parsed(data: bytes) -> Request:
    return next(RequestParser(Config(), [data], ("127.0.0.1", 1)))


def test_a_body_tells_its_length_or_that_it_is_chunked() -> None:
    with_length = parsed(START + b"Content-Length: 7\r\n\r\n").body
    chunked = parsed(START + b"Transfer-Encoding: chunked\r\n\r\n").body
    without = parsed(b"GET / HTTP/1.1\r\n\r\n").body
    assert with_length is not None
    assert chunked is not None
    assert without is not None
    assert isinstance(with_length.reader, LengthReader)
    assert with_length.reader.length == 7
    assert isinstance(chunked.reader, ChunkedReader)
    assert isinstance(without.reader, LengthReader)
    assert without.reader.length == 0
    assert with_length.failed is False  # type: ignore[attr-defined]  # not in the stubs


def test_a_request_tells_that_its_client_waits_for_a_100() -> None:
    request = parsed(START + b"Content-Length: 7\r\n\r\n")
    assert request._expected_100_continue is True  # type: ignore[attr-defined]  # not in the stubs
    assert request.should_close() is False
    request.force_close()
    assert request.should_close() is True


def test_the_parser_takes_its_bytes_from_an_unreader() -> None:
    parser = RequestParser(Config(), [], ("127.0.0.1", 1))
    assert type(parser.unreader) is IterUnreader
    assert list(inspect.signature(Unreader.chunk).parameters) == ["self", "size_hint"]
    unreader = Unreader()
    unreader.unread(b"rest")
    assert unreader.take_buffered() == b"rest"
    assert unreader.buf.getvalue() == b""


def test_an_answer_is_made_as_gunicorns_own_workers_do() -> None:
    names = list(inspect.signature(wsgi.create).parameters)
    assert names[:5] == ["req", "sock", "client", "server", "cfg"]
    for name in ("start_response", "write", "close", "force_close", "should_close"):
        assert callable(getattr(wsgi.Response, name))


def test_signals_wake_the_loop_through_the_workers_pipe() -> None:
    assert "signal.set_wakeup_fd(self.PIPE[1])" in inspect.getsource(Worker.init_signals)
    assert "self.PIPE = os.pipe()" in inspect.getsource(Worker.init_process)
    assert "util.set_non_blocking(p)" in inspect.getsource(Worker.init_process)
    assert os.path.basename(inspect.getfile(Worker)) == "base.py"  # noqa: PTH119  # a name only


def test_tls_settings_are_refused_and_not_ignored() -> None:
    settings = Config()
    settings.set("certfile", "cert.pem")
    with pytest.raises(ConfigError, match="no TLS"):
        BufferingWorker.check_config(settings, None)
