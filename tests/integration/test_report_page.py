"""The page of a run in a real browser: 10,000 jobs, found by search, sort, filter and keyboard."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from app.errors import InvalidInstance
from app.jobs.record import JobRecord
from app.night.report import report_of
from app.night.report_page import report_page
from app.night.survey import Readiness, SurveyedJob
from tests.app.jobs.test_record import NOW, record
from tests.app.night.night_values import frozen, outcomes_of, surveyed
from tests.fakes.browser import chromium, needs_chromium
from tests.fakes.waiting import until

pytestmark = needs_chromium

JOBS = 10_000
FAILED = (7, 4711)
SILENT = 42


def report(jobs: int = JOBS) -> dict[str, Any]:
    """A run of which two jobs have failed, and one had no input."""
    names = [f"site-{number:05}" for number in range(jobs)]
    listed: list[SurveyedJob] = []
    records: list[JobRecord | None] = []
    for number, name in enumerate(names):
        begun = NOW + timedelta(seconds=number / 100)
        run = record().taken("owner", begun, 60).renewed(begun, 60, record().counts, 0.5)
        ended = begun + timedelta(seconds=0.5 + number % 7)
        if number in FAILED:
            records.append(run.failed(InvalidInstance(f"line {number}: <b>no</b> JSON"), ended))
        elif number == SILENT:
            records.append(None)
        else:
            rows = {"files": 1, "files_reused": 0, "instances": number, "errors": 0}
            records.append(run.succeeded({**rows, "seconds": {"predict": 0.4}}, ended))
        readiness = Readiness.NO_INPUT if number == SILENT else Readiness.READY
        listed.append(surveyed(name, readiness, files=1, size=number))
    manifest = frozen(*listed, run="energy-2026-03-02")
    return report_of(manifest, outcomes_of(manifest, records), NOW)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(report_page(report()))
    return f"file://{path}"


@pytest.fixture
def page(browser: Chrome, address: str, nothing_left: None) -> Chrome:
    del nothing_left
    browser.get("about:blank")
    browser.get(address)
    return browser


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The browser stays for the tests of this module."""


def rows(page: Chrome) -> list[str]:
    """The names in the document."""
    cells = page.find_elements(By.CSS_SELECTOR, "#rows [role=row] > :first-child")
    return [cell.text for cell in cells]


def shown(page: Chrome) -> str:
    return page.find_element(By.ID, "shown").text


def mistakes(page: Chrome) -> list[Any]:
    """What the console says, such as a style that the policy has blocked."""
    return page.get_log("browser")  # type: ignore[no-untyped-call, no-any-return]  # has no types


@pytest.mark.readme("a report of each run")
def test_the_verdict_and_what_is_not_done_come_first(page: Chrome) -> None:
    words = "2 of 10,000 jobs are not done: 2 failed; 1 had no input"
    assert page.find_element(By.ID, "verdict").text == words
    missing = page.find_element(By.ID, "missing").text
    assert "INVALID_INSTANCE" in missing
    assert "line 7: <b>no</b> JSON" in missing
    assert "embedded-tf predict --model" in missing
    assert "site-00042" in missing
    assert mistakes(page) == []


def test_only_visible_rows_are_in_the_document(page: Chrome) -> None:
    assert shown(page) == "10,000 of 10,000 jobs"
    assert 0 < len(rows(page)) < 100
    assert rows(page)[0] == "site-00000"
    page.execute_script("document.getElementById('table').scrollTop = 1e9")
    until(lambda: rows(page)[-1] == "site-09999")
    assert len(rows(page)) < 100


def test_jobs_are_found_and_the_address_says_how(page: Chrome) -> None:
    page.find_element(By.ID, "search").send_keys("json 4711")
    until(lambda: shown(page) == "1 of 10,000 jobs")
    assert rows(page) == ["site-04711"]
    assert "q=json+4711" in page.current_url
    page.find_element(By.ID, "search").send_keys(Keys.ESCAPE)
    page.find_element(By.CSS_SELECTOR, "[data-state=failed]").click()
    assert rows(page) == ["site-00007", "site-04711"]
    address = page.current_url
    page.get("about:blank")
    page.get(address)
    assert rows(page) == ["site-00007", "site-04711"]
    pressed = page.find_element(By.CSS_SELECTOR, "[data-state=failed]")
    assert pressed.get_attribute("aria-pressed") == "true"


def test_jobs_are_sorted(page: Chrome) -> None:
    for first, direction in (("site-00000", "ascending"), ("site-09999", "descending")):
        page.find_element(By.CSS_SELECTOR, "[data-sort=rows]").click()
        assert rows(page)[0] == first
        header = page.find_element(By.CSS_SELECTOR, "[role=columnheader]:nth-child(3)")
        assert header.get_attribute("aria-sort") == direction


def test_a_job_is_reached_by_keyboard(page: Chrome) -> None:
    table = page.find_element(By.ID, "table")
    table.send_keys(Keys.END)
    details = page.find_element(By.ID, "details")
    assert "site-09999" in details.text
    assert "predict 0.40" in details.text
    assert rows(page)[-1] == "site-09999"
    table.send_keys(Keys.HOME, Keys.ARROW_DOWN)
    assert "site-00001" in details.text
    assert "job=site-00001" in page.current_url
    page.find_element(By.TAG_NAME, "body").send_keys("/")
    assert page.switch_to.active_element.get_attribute("id") == "search"


def test_the_page_follows_the_colours_of_the_system(page: Chrome) -> None:
    colours = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        body = page.find_element(By.TAG_NAME, "body")
        colours.append(
            (body.value_of_css_property("background-color"), body.value_of_css_property("color"))
        )
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert "255, 255, 255" in colours[0][0]
    assert len({*colours[0], *colours[1]}) == 4
    assert mistakes(page) == []
