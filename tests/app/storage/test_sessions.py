"""Which files and which variables of the environment HTTP sessions for storage follow."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth import credentials as auth_credentials

from app.storage.gcs import GcsClients

Seen = tuple[str, list[tuple[str, str | None]]]
Connect = Callable[[], GcsClients]
_TOKEN = b'{"access_token": "t", "expires_in": 3600}'


class _Credentials(auth_credentials.Credentials):
    """Ask for a token by the request that they are given, as a service account's do."""

    token_url = ""

    def refresh(self, request: Any) -> None:
        request(url=self.token_url)
        self.token = "ours"


@pytest.fixture
def seen() -> Iterator[Seen]:
    """A server's address, and the target and the Authorization of each request to it."""
    requests_seen: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests_seen.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(_TOKEN)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(_TOKEN)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", requests_seen
        server.shutdown()
        thread.join()


@pytest.fixture
def clients(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Made as the service makes them, with passwords planted where `requests` looks for them."""
    _Credentials.token_url = f"http://{seen[0]}/token"
    monkeypatch.setattr("app.storage.gcs._credentials", lambda _: _Credentials())  # type: ignore[no-untyped-call]  # carries no types
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".netrc", "elsewhere"):
        (tmp_path / name).write_text("default login planted password planted\n")
        (tmp_path / name).chmod(0o600)
    opened: list[GcsClients] = []

    def connect() -> GcsClients:
        opened.append(GcsClients.connect("project"))
        return opened[-1]

    yield connect
    for one in opened:
        one.client.close()
        one.session.close()  # type: ignore[no-untyped-call]  # carries no types


@pytest.mark.parametrize("by_variable", [False, True])
def test_passwords_of_planted_files_are_never_sent(
    by_variable: bool,  # noqa: FBT001  # pytest passes by name
    clients: Connect,
    seen: Seen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the session for content, by Google's own, and by those that fetch their tokens."""
    address, requests_seen = seen
    if by_variable:
        monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    both = clients()
    for session in (both.session, both.client._http):
        assert session.get(f"http://{address}/object", timeout=5).ok
        both.client._credentials.token = None
    assert requests_seen == [("/token", None), ("/object", "Bearer ours")] * 2


def test_environment_proxies_respect_exceptions(
    clients: Connect, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies of the environment are used but where it says no."""
    address, requests_seen = seen
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://{address}")
    _Credentials.token_url = "http://tokens.invalid/token"
    both = clients()
    assert both.session.get("http://storage.invalid/object", timeout=5).ok
    assert requests_seen == [
        ("http://tokens.invalid/token", None),
        ("http://storage.invalid/object", "Bearer ours"),
    ]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert both.client._http.get(f"http://{address}/direct", timeout=5).ok
    assert requests_seen[-1] == ("/direct", "Bearer ours")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_environment_certificates_are_used(
    name: str, clients: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates that the environment names are used."""
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    assert clients().session.verify is True
    monkeypatch.setenv(name, str(tmp_path / "ours.pem"))
    both = clients()
    assert both.session.verify == both.client._http.verify == str(tmp_path / "ours.pem")
