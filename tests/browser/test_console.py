"""The console with a region's own data: what runs, what is tried and how it goes, and what a maker does about it."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import anyio.from_thread
import httpx
import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from redqueen.cli.client import read_credentials
from redqueen.clock import SystemClock
from redqueen.errors import Conflict
from redqueen.roles.stores import open_records
from redqueen.testing.past import past
from redqueen.testing.region import Region
from redqueen.testing.trials import harmed, release
from redqueen.trials.model import MetricPlan

pytestmark = [pytest.mark.browser, pytest.mark.region, pytest.mark.timeout(400)]
AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
PARTS = ("services", "releases", "trials", "trials/shop-r3", "flags", "audit")
PROMISED_S = 2.0
"""What the page says that a rollback takes at the gateways."""
PROGRAM = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["REDQUEEN_VERSION"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
MANIFEST = """
service = "{name}"
owner = "Team Tea"
command = {command}
count = 1
steps = [0.5]
step_s = 600.0
timings = {{ drain_s = 0.5, stop_s = 2.0 }}
routes = [{{ path = "/{name}" }}]
"""


@pytest.fixture(scope="module")
def shipped(region: Region, tmp_path_factory: pytest.TempPathFactory) -> Generator[Region]:
    """Give the region with two services, a second version of both being tried, and a trial that is over."""
    root = tmp_path_factory.mktemp("makers")
    for name in ("tea", "toast"):
        (root / name).mkdir()
        (root / name / "program.py").write_text(PROGRAM)
        command = json.dumps([sys.executable, "program.py"])
        (root / name / "redqueen.toml").write_text(MANIFEST.format(name=name, command=command))
        ship(region, root / name, "the first one")
    judged(region)
    for name in ("tea", "toast"):
        until_phase(region, name, "promoted")
        ship(region, root / name, "a darker brew")
    for name in ("tea", "toast"):
        until_phase(region, name, "trying")
    yield region
    with region.api() as api:
        for name in ("tea", "toast"):
            with contextlib.suppress(Conflict):  # a test has gone back already
                api.post(f"/releases/{name}/rollback", {})
    for name in ("tea", "toast"):
        until_phase(region, name, "rolled back", settled=True)
        with region.api() as api:
            api.delete(f"/services/{name}")


def ship(region: Region, folder: Path, because: str) -> None:
    done = region.run("ship", str(folder), "--detach", "--because", because)
    assert done.returncode == 0, done.stderr


def until_phase(region: Region, service: str, phase: str, *, settled: bool = False) -> None:
    ends_at = time.monotonic() + 90
    while True:
        with region.api() as api:
            newest = api.get(f"/releases?service={service}")["releases"][0]
        if newest["phase"] == phase and (newest["settled"] or not settled):
            return
        assert time.monotonic() < ends_at, newest
        time.sleep(0.1)


def judged(region: Region) -> None:
    """Put a trial into the region's records that viewers have ended: its plays failed."""
    metrics = tuple(MetricPlan(name) for name in ("start_failures", "play_delay"))
    trial = release("shop-r3", metrics=metrics, because="fewer steps to the till")
    records = open_records(region.data, SystemClock())
    with anyio.from_thread.start_blocking_portal() as portal:
        states = portal.call(lambda: past(records, [trial], harmed("canary", 0.12), time.time()))
        portal.call(records.close)
    assert states == {"shop-r3": "rolled back"}


@pytest.fixture
def console(owner: Page, shipped: Region) -> Generator[Page]:
    """Give the owner's page; whatever it complains about fails the test."""
    said: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            said.append(message.text)

    owner.on("console", heard)
    owner.on("pageerror", lambda error: said.append(str(error)))
    yield owner
    assert said == []


def show(page: Page, region: Region, part: str) -> None:
    """Open a page of the console and wait until it shows what it has."""
    with region.api() as api:
        page.goto(f"{api.address}/console/{part}")
    expect(page.locator("main [aria-busy]")).to_have_count(0)
    expect(page.locator("main [data-testid]").first).to_be_visible()


def answers(region: Region, service: str, count: int = 40) -> Counter[str]:
    """Ask as so many new viewers; count the versions that answered."""
    found: Counter[str] = Counter()
    with httpx.Client(base_url=read_credentials(region.data).address, trust_env=False, timeout=30) as client:
        for _ in range(count):
            client.cookies.clear()
            found[client.get(f"/{service}").text] += 1
    return found


def test_services_are_shown_with_what_runs_where_and_what_is_tried_beside_it(console: Page, shipped: Region) -> None:
    show(console, shipped, "services")
    tea = console.get_by_test_id("service").filter(has=console.get_by_role("heading", name="tea"))
    expect(tea).to_contain_text("Team Tea")
    expect(tea.get_by_role("link", name="/tea")).to_be_visible()
    expect(tea).to_contain_text("1 of 1")
    canary = tea.get_by_role("region", name="r2 of tea, the new version")
    expect(canary.get_by_test_id("instance")).to_contain_text("r2")
    tea.get_by_role("link", name="Releases").click()
    expect(console.get_by_role("heading", name="tea", exact=True)).to_be_in_viewport()


def test_one_press_takes_a_release_back_and_no_viewer_meets_it_any_more(console: Page, shipped: Region) -> None:
    assert set(answers(shipped, "tea")) == {"r1", "r2"}
    show(console, shipped, "releases")
    tea = console.get_by_test_id("release-service").filter(has=console.get_by_role("heading", name="tea"))
    expect(tea.get_by_test_id("release-coming")).to_contain_text("a darker brew")
    expect(tea.get_by_test_id("going")).to_contain_text("50 %")
    tea.get_by_test_id("roll-back").click()
    dialog = console.get_by_role("dialog", name="Roll back tea?")
    expect(dialog.get_by_test_id("rollback-plan")).to_contain_text("every viewer of r2 to today's version")
    dialog.get_by_label("Why").fill("too bitter")
    pressed = time.monotonic()
    dialog.get_by_role("button", name="Roll back r2").click()
    expect(dialog).to_have_count(0)
    row = tea.get_by_test_id("release").first
    expect(row).to_have_attribute("data-phase", "rolled back")
    expect(row).to_contain_text("owner asked for it: too bitter")
    time.sleep(max(0.0, pressed + PROMISED_S - time.monotonic()))
    assert set(answers(shipped, "tea")) == {"r1"}
    show(console, shipped, "audit")
    line = console.get_by_test_id("audit-line").filter(has_text="too bitter")
    expect(line).to_contain_text("owner")
    expect(line).to_contain_text("roll back release r2 of tea")


def test_a_trials_page_plots_what_is_known_and_how_the_evidence_grew(console: Page, shipped: Region) -> None:
    show(console, shipped, "trials")
    row = console.get_by_test_id("trial").filter(has_text="shop-r3")
    expect(row).to_have_attribute("data-status", "rolled back")
    expect(console.get_by_test_id("same-trial")).to_have_count(2)
    row.get_by_role("link").click()
    with shipped.api() as api:
        told = api.get("/trials/shop-r3")
    expect(console.get_by_test_id("verdict")).to_have_text(told["because"])
    expect(console.get_by_test_id("what-now")).to_contain_text("ship it again")
    course = console.get_by_test_id("course").and_(console.locator("[data-metric=start_failures]"))
    effect, proof = course.get_by_role("img").all()
    expect(effect).to_have_attribute("aria-label", re.compile("^start failures: "))
    expect(proof).to_have_attribute("aria-label", re.compile("^Evidence:"))
    for plot in (effect, proof):
        assert painted(plot) > 200, "lines are drawn"
    failures = console.get_by_test_id("metric").and_(console.locator("[data-metric=start_failures]"))
    expect(failures).to_contain_text(re.compile("[0-9]+ of [0-9]+ sessions"))


def painted(plot: Locator) -> int:
    """Count the pixels of a plot that something was drawn on."""
    return int(
        plot.locator("canvas").evaluate(
            """canvas => {
              const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
              return data.filter((value, i) => i % 4 === 3 && value > 0).length
            }"""
        )
    )


def test_a_flag_is_tried_with_the_keyboard_alone_and_its_experiment_is_shown_and_ended(
    console: Page, shipped: Region
) -> None:
    show(console, shipped, "releases")
    press_until(console, console.get_by_role("link", name="Flags"))
    console.keyboard.press("Enter")
    expect(console).to_have_title("Flags · Console · Red Queen")
    change = console.get_by_role("button", name="Change player.start_rung")
    press_until(console, change)
    console.keyboard.press("Enter")
    dialog = console.get_by_role("dialog", name="Change player.start_rung")
    press_until(console, dialog.get_by_role("radio", name="auto"))
    console.keyboard.press("ArrowDown")
    expect(dialog.get_by_role("radio", name="low")).to_be_checked()
    press_until(console, dialog.get_by_label("Try it on some viewers first"))
    console.keyboard.press("Space")
    press_until(console, dialog.get_by_label("Why"))
    console.keyboard.type("a lower first rung")
    console.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(console.get_by_role("link", name="tried by try-player-start-rung-1")).to_be_visible()

    show(console, shipped, "experiments")
    one = console.get_by_test_id("experiment")
    expect(one).to_have_attribute("data-phase", "testing")
    expect(one).to_contain_text("a lower first rung")
    press_until(console, console.get_by_role("button", name="Stop try-player-start-rung-1"))
    console.keyboard.press("Enter")
    expect(console.get_by_role("dialog").get_by_label("Why"), "a dialog begins where it asks").to_be_focused()
    console.keyboard.type("only a look")
    console.keyboard.press("Enter")
    expect(one).to_have_attribute("data-phase", "ended")


def press_until(page: Page, wanted: Locator, *, most: int = 60) -> None:
    """Press Tab until something has the focus, and see that the focus can be seen."""
    expect(wanted).to_be_visible()
    for _ in range(most):
        if wanted.evaluate("node => node === document.activeElement"):
            assert wanted.evaluate("node => getComputedStyle(node).outlineStyle") != "none"
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{most} Tabs never came to {wanted}")


def test_a_flag_is_changed_for_everybody_and_the_log_tells_by_whom_and_why(console: Page, shipped: Region) -> None:
    with shipped.api() as api:
        api.put("/flags/menu", {"kind": "boolean", "variants": {"on": True, "off": False}, "default": "off"})
    show(console, shipped, "flags")
    flag = console.get_by_test_id("flag").and_(console.locator("[data-key=menu]"))
    flag.get_by_test_id("change-flag").click()
    dialog = console.get_by_role("dialog", name="Change menu")
    dialog.get_by_role("radio", name="on").check()
    dialog.get_by_label("Why").fill("it is lunch time")
    dialog.get_by_role("button", name="Change it").click()
    expect(flag).to_contain_text("on = true")
    with shipped.api() as api:
        assert api.get("/flags/menu")["default"] == "on"
    show(console, shipped, "audit")
    console.get_by_label("Find in the log").fill("lunch")
    expect(console.get_by_test_id("audit-line")).to_have_count(1)
    expect(console.get_by_test_id("audit-line")).to_contain_text("owner")


@pytest.mark.parametrize("part", PARTS)
def test_everybody_can_use_the_page_whatever_they_see_by_and_on_whatever_they_have(
    console: Page, shipped: Region, part: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: cd web && npm ci")
    show(console, shipped, part)
    console.evaluate(AXE.read_text(encoding="utf-8"))
    found = console.evaluate("axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice'] })")
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]] == []
    console.set_viewport_size({"width": 390, "height": 844})
    assert console.evaluate("document.scrollingElement.scrollWidth") <= 390, "nothing is beyond the edge of a phone"
