"""Takes the pictures of the README and docs from a region of its own, in a headless Chromium.

    python docs/images/take.py [DATA]

With DATA, the folder of a region that runs, that one is taken. Made for a region with only the
sample titles, which the product makes itself. Decides the moments: the home page when
every sample is complete, the player in mid-film with subtitles, the fleet just after a kill. A
picture over 300 kB is brought down to 256 colours. Needs the development packages and Chromium.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from redqueen.cli.titles import matching
from redqueen.errors import Unavailable
from redqueen.studio.engines import find
from redqueen.studio.samples import SAMPLES
from redqueen.testing import chromium
from redqueen.testing.region import Region, borrowed_or_own

HERE = Path(__file__).parent
SIZE = {"width": 1280, "height": 840}
MOST_BYTES = 300_000
LATEST_S = 600.0


def samples(region: Region) -> dict[str, str]:
    """Wait until every sample is complete; return the ids by title."""
    ends_at = time.monotonic() + LATEST_S
    while time.monotonic() < ends_at:
        with region.api() as api:
            made = {title["title"]: title["id"] for title in matching(api, "") if title["state"] == "complete"}
        if len(made) >= len(SAMPLES):
            return made
        time.sleep(1)
    sys.exit(f"the samples were not complete within {LATEST_S:g} s")


def sign_in(page: Page, region: Region) -> str:
    """Sign in by a one-time link; return the region's address."""
    with region.api() as api:
        page.goto(api.post("/sign-in-links", {})["url"])
        expect(page.get_by_test_id("search")).to_be_visible(timeout=20_000)
        return api.address


def keep(page: Page, name: str) -> None:
    """Save what the page shows."""
    path = HERE / f"{name}.png"
    page.screenshot(path=path)
    if path.stat().st_size > MOST_BYTES:
        _reduce(path)


def _reduce(path: Path) -> None:
    reduced = path.with_name(f".{path.name}")
    graph = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=dither=bayer:bayer_scale=4"
    command = [str(find().ffmpeg), "-v", "error", "-y", "-i", str(path), "-vf", graph, str(reduced)]
    subprocess.run(command, check=True, timeout=60)  # noqa: S603 - the product's own engine on our own picture
    reduced.replace(path)


def show_home(page: Page, address: str) -> None:
    """Take the home page, one film begun, tall enough for its rows."""
    page.set_viewport_size({**SIZE, "height": 1100})
    page.goto(address)
    expect(page.get_by_test_id("hero")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    keep(page, "home")
    page.set_viewport_size(SIZE)


def until_plays(page: Page, beyond_s: float) -> None:
    """Wait until the video's clock is past `beyond_s`, by asking: the page's policy forbids what waits inside it."""
    ends_at = time.monotonic() + 60
    while float(page.evaluate("document.querySelector('video')?.currentTime ?? 0")) <= beyond_s:
        if time.monotonic() > ends_at:
            sys.exit(f"the film did not reach {beyond_s:g} s within a minute")
        page.wait_for_timeout(50)


def show_player(page: Page, address: str, title_id: str) -> None:
    """Take the player in mid-film, with subtitles and its controls."""
    page.goto(f"{address}/watch/{title_id}")
    until_plays(page, 1)
    page.keyboard.press("c")
    until_plays(page, SAMPLES[0].lines[1].start_s + 0.7)
    page.mouse.move(640, 300)
    page.mouse.move(660, 320)
    page.wait_for_timeout(500)
    keep(page, "player")


def show_fleet(page: Page, address: str, region: Region) -> None:
    """Take the fleet a moment after a node was killed."""
    page.goto(f"{address}/console/fleet")
    expect(page.get_by_test_id("zone")).to_have_count(3)
    page.wait_for_timeout(8000)
    # The node may die with this very request in its hands.
    with region.api() as api, contextlib.suppress(Unavailable):
        api.post("/fleet/nodes/api-b-1/kill", {})
    page.wait_for_timeout(1200)
    keep(page, "fleet")


def main() -> None:
    """Take all pictures."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with borrowed_or_own(data) as region, sync_playwright() as playwright:
        made = samples(region)
        browser = playwright.chromium.launch(executable_path=chromium.EXECUTABLE, args=list(chromium.FLAGS))
        page = browser.new_page(viewport=SIZE)
        address = sign_in(page, region)
        show_player(page, address, made[SAMPLES[0].title])
        show_home(page, address)
        show_fleet(page, address, region)
        browser.close()


if __name__ == "__main__":
    main()
