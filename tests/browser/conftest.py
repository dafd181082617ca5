"""A real Chromium, and one whole region that all tests here share: it costs more than what is tested."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from redqueen.testing import chromium
from redqueen.testing.region import NO_SAMPLES, Region, free_port, temporary

expect.set_options(timeout=60_000)


@pytest.fixture(scope="package")
def region() -> Generator[Region]:
    """Give a region that serves, without titles."""
    with temporary(settings=NO_SAMPLES + "timings = { drain_s = 1.0 }\n") as started:
        started.up("--port", str(free_port()))
        yield started


@pytest.fixture(scope="package")
def browser() -> Generator[Browser]:
    """Give Debian's Chromium, headless; skip plainly where there is none.

    Closed with this folder's last test: Playwright keeps an event loop running, beside which no other test can
    start one.
    """
    if not Path(chromium.EXECUTABLE).exists():
        pytest.skip(f"no Chromium at {chromium.EXECUTABLE}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium.EXECUTABLE, args=list(chromium.FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Generator[Page]:
    """Give a fresh viewer: no cookies, nothing cached."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


@pytest.fixture
def owner(page: Page, region: Region) -> Page:
    """Give a page on which the owner has signed in with a fresh one-time link."""
    with region.api() as api:
        link = api.post("/sign-in-links", {})["url"]
    page.goto(link)
    expect(page.get_by_test_id("search")).to_be_visible()
    return page
