"""The region's own api and web app shipped to itself: a second version beside the first, promoted, undone."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from ship_rig import Crowd, release, ship, until, until_phase

import redqueen
from redqueen.errors import RedQueenError
from redqueen.testing.region import NO_SAMPLES, Region, free_port, temporary

SMALL = "counts = { worker = 1, control = 1, registry = 2, gateway = 1, api = 1 }\ntimings = { drain_s = 1.0 }\n"
MANIFEST = """
service = "api"
owner = "tests"
code = "src"
web = "dist"
steps = [0.5]
step_s = 1.0
horizon_s = 180.0
alpha = 0.2
[[metrics]]
name = "request_errors"
margin = 5.0
expected = 6.0
"""

pytestmark = [pytest.mark.region, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def region() -> Generator[Region]:
    with temporary(settings=NO_SAMPLES + SMALL) as started:
        started.up("--port", str(free_port()))
        yield started


def another_version(folder: Path) -> Path:
    """Give a folder with this very code under another version, and a web app of one page."""
    shutil.copytree(
        Path(redqueen.__file__).parent, folder / "src" / "redqueen", ignore=shutil.ignore_patterns("__pycache__", "app")
    )
    init = folder / "src" / "redqueen" / "__init__.py"
    init.write_text(init.read_text().replace(redqueen.__version__, "99.0.0"))
    (folder / "dist").mkdir()
    (folder / "dist" / "index.html").write_text("<h1>the new app</h1>")
    (folder / "redqueen.toml").write_text(MANIFEST)
    return folder


def which(text: bytes) -> str:
    return "new" if b"the new app" in text else "old"


def versions(region: Region, service: str) -> set[str]:
    """Ask the nodes of a service themselves which code they run."""
    with region.api() as api:
        addresses = [one["address"] for one in api.get(f"/services/{service}")["instances"] if one["state"] == "up"]
    found = [httpx.get(f"http://{address}/api/v1/openapi.json", trust_env=False) for address in addresses]
    return {answer.json()["info"]["version"] for answer in found}


def test_a_second_version_of_the_api_and_its_app_is_tried_promoted_and_undone_without_a_lost_request(
    region: Region, tmp_path: Path
) -> None:
    with Crowd(region, "/", version_of=which) as crowd:
        until(lambda: crowd.statuses[200] > 20)
        assert ship(region, another_version(tmp_path / "api"))["id"] == "r1"
        until(lambda: "new" in crowd.versions)
        assert versions(region, "api--r1-canary") == {"99.0.0"}
        assert versions(region, "api") == versions(region, "api--r1-baseline") == {redqueen.__version__}
        found = until_phase(region, "api", "r1", "promoted", "failed", "rolled back", "inconclusive", "stopped")
        assert found["phase"] == "promoted", found
        assert versions(region, "api") == {"99.0.0"}
        crowd.versions.clear()
        until(lambda: crowd.versions["new"] > 50)
        assert set(crowd.versions) == {"new"}
        with region.api() as api:
            api.post("/releases/api/rollback", {"because": "a test"})
        until(lambda: settled(region))
        crowd.versions.clear()
        until(lambda: crowd.versions["old"] > 50)
        assert set(crowd.versions) == {"old"}
        assert versions(region, "api") == {redqueen.__version__}
        assert crowd.bad == []


def settled(region: Region) -> bool:
    try:
        return bool(release(region, "api", "r1")["settled"])
    except RedQueenError:
        return False
