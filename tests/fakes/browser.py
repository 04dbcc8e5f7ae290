"""Debian's Chromium, driven by its own driver."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    _CHROMIUM is None or _DRIVER is None,
    reason="no Chromium here: apt-get install chromium chromium-driver",
)


@contextmanager
def chromium(folder: Path, *, width: int = 1240, height: int = 900) -> Iterator[Chrome]:
    """A browser without a window, whose profile is in `folder`."""
    assert _CHROMIUM is not None
    assert _DRIVER is not None
    options = Options()
    options.binary_location = _CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",  # Chromium's own needs a user, and tests may run as root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        f"--window-size={width},{height}",
        f"--user-data-dir={folder}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(_DRIVER))
    try:
        yield browser
    finally:
        browser.quit()
