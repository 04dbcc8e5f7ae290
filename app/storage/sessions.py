"""HTTP sessions that ignore files that a model may have planted.

`requests` looks for passwords in $NETRC and in ~/.netrc as long as a session trusts its
environment. These trust the proxies and certificates that the environment's variables name, and
nothing else: requests.readthedocs.io/en/latest/user/advanced/#proxies
"""

import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests
from google.auth.transport.requests import AuthorizedSession, Request
from requests.utils import get_environ_proxies

from app.storage.slow_answers import ImpatientAdapter

# As many as a job reads, fetches and uploads at once; a connection beyond them is not kept.
_CONNECTIONS = 64
# As many attempts as Google's own session makes for a token.
_TOKEN_RETRIES = 3


def authorized_session(credentials: Any) -> AuthorizedSession:
    """A session that adds and refreshes the credentials' token."""
    for_tokens = requests.Session()
    _trust_variables_only(for_tokens, max_retries=_TOKEN_RETRIES)
    session = AuthorizedSession(  # type: ignore[no-untyped-call]  # carries no types
        credentials,
        auth_request=Request(for_tokens),
    )
    _trust_variables_only(session, max_retries=0)
    return session


class _ProxyFromVariables(ImpatientAdapter):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Reading the whole environment for each request would take a quarter of its time.
        self._proxies = cache(get_environ_proxies)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]  # passes on whatever there is
        assert request.url is not None
        parts = urlsplit(request.url)
        proxies = self._proxies(f"{parts.scheme}://{parts.netloc}")  # none where NO_PROXY says so
        return super().send(request, **{**options, "proxies": proxies})


def _trust_variables_only(session: requests.Session, *, max_retries: int) -> None:
    session.trust_env = False
    certificates = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    session.verify = certificates or True
    for scheme in ("https://", "http://"):
        adapter = _ProxyFromVariables(pool_maxsize=_CONNECTIONS, max_retries=max_retries)
        session.mount(scheme, adapter)
