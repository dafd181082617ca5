"""Services shipped in a real region: liked, refused, ill, unseen, with the leader killed, undone; no request lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from ship_rig import Crowd, maker, release, ship, until, until_phase

from redqueen.cli.client import read_credentials
from redqueen.testing.region import NO_SAMPLES, Region, free_port, temporary

SMALL = "counts = { worker = 1, control = 2, registry = 2, gateway = 2, api = 2 }\ntimings = { drain_s = 1.0 }\n"
EXAMPLES = Path(__file__).parents[2] / "examples"
SERVICES = ("liked", "refused", "ill", "leaky", "unseen", "held")

pytestmark = [pytest.mark.region, pytest.mark.timeout(700)]


@pytest.fixture(scope="module")
def region() -> Generator[Region]:
    with temporary(settings=NO_SAMPLES + SMALL) as started:
        started.up("--port", str(free_port()))
        yield started


@pytest.fixture(scope="module")
def folders(region: Region, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ship the first version of every service at once, as makers do who know nothing of each other."""
    root = tmp_path_factory.mktemp("makers")
    for name in SERVICES:
        ship(region, maker(root / name, name, count=1))
    for name in SERVICES:
        found = until_phase(region, name, "r1", "promoted", "failed")
        assert found["phase"] == "promoted", found
    # What nobody asks for takes its whole time: it begins before the others.
    ship(region, maker(root / "unseen", "unseen", "well", count=1, horizon_s=12))
    for mode in ("ill", "exits", "elsewhere"):
        ship(region, maker(root / "ill", "ill", mode, count=1))
    return root


def test_a_liked_version_is_promoted_without_a_lost_request_while_a_leader_dies_and_is_undone_at_once(
    region: Region, folders: Path
) -> None:
    with Crowd(region, "/liked") as crowd:
        until(lambda: crowd.statuses[200] > 20)
        crowd.statuses.clear()
        began = time.monotonic()
        # Some thousand requests are enough for a verdict; a busy machine takes its time to answer them.
        ship(region, maker(folders / "liked", "liked", count=1, horizon_s=360))
        until(lambda: "r2" in crowd.versions)
        print(f"from ship to the first viewer on the canary: {crowd.first_seen['r2'] - began:.2f} s")  # noqa: T201 - a figure
        with region.api() as api:
            leader = api.get("/fleet")["leader"]
        region.run("node", "kill", leader)
        ends = ("promoted", "failed", "rolled back", "inconclusive", "stopped")
        found = until_phase(region, "liked", "r2", *ends, within_s=400)
        assert found["phase"] == "promoted", found
        assert crowd.bad == []
        assert crowd.sent_back == 0, "who met the new version keeps it while it takes the service's place"
        crowd.versions.clear()
        until(lambda: crowd.versions["r2"] > 50)
        assert set(crowd.versions) == {"r2"}
        asked = time.monotonic()
        with region.api() as api:
            api.post("/releases/liked/rollback", {"because": "a test"})
        took_s = back_after(crowd, asked)
        print(f"from rollback to the last viewer on the undone version: {took_s:.2f} s")  # noqa: T201 - a figure
        until(lambda: release(region, "liked", "r2")["settled"])
        assert crowd.bad == []
        crowd.versions.clear()
        until(lambda: crowd.versions["r1"] > 50)
        assert set(crowd.versions) == {"r1"}
    assert took_s < 10


def back_after(crowd: Crowd, asked: float) -> float:
    """Return the seconds from `asked` until the last answer of the undone version, seen over two quiet seconds."""
    last, count = asked, crowd.versions["r2"]
    while time.monotonic() < last + 2:
        time.sleep(0.02)
        if crowd.versions["r2"] > count:
            last, count = time.monotonic(), crowd.versions["r2"]
    return last - asked


def test_a_version_that_fails_its_viewers_is_rolled_back_and_only_its_own_viewers_felt_it(
    region: Region, folders: Path
) -> None:
    with Crowd(region, "/refused") as crowd:
        until(lambda: crowd.statuses[200] > 20)
        crowd.statuses.clear()
        ship(region, maker(folders / "refused", "refused", "fails", count=1))
        found = until_phase(region, "refused", "r2", "promoted", "failed", "rolled back", "inconclusive", "stopped")
        assert found["phase"] == "rolled back", found
        assert crowd.torn == []
        until(lambda: release(region, "refused", "r2")["settled"])
        crowd.statuses.clear()
        until(lambda: crowd.statuses[200] > 50)
        assert crowd.bad == []
    with region.api() as api:
        assert [card["name"] for card in api.get("/services")["services"] if card["group_of"] == "refused"] == []
        assert api.get("/services/refused")["revision"] == 1, "the service itself was never touched"


def test_what_cannot_serve_fails_before_any_viewer_meets_it_one_after_the_other(region: Region, folders: Path) -> None:
    reasons = {"r2": "was answered 503", "r3": "command exited with code 3", "r4": "but must on $HOST:$PORT"}
    with Crowd(region, "/ill", threads=1) as crowd:
        for release_id, reason in reasons.items():
            found = until_phase(region, "ill", release_id, "failed", "promoted", "rolled back", "inconclusive")
            assert found["phase"] == "failed", found
            assert reason in found["because"]
        assert set(crowd.versions) <= {"r1"}
        assert crowd.bad == []


def test_a_version_that_leaks_never_takes_the_services_place(region: Region, folders: Path) -> None:
    with Crowd(region, "/leaky") as crowd:
        until(lambda: crowd.statuses[200] > 20)
        ship(region, maker(folders / "leaky", "leaky", "leaks", count=1))
        found = until_phase(region, "leaky", "r2", "promoted", "failed", "rolled back", "inconclusive", "stopped")
        assert found["phase"] in ("failed", "rolled back"), found


def test_a_version_that_nobody_asks_for_is_not_promoted(region: Region, folders: Path) -> None:
    found = until_phase(region, "unseen", "r2", "promoted", "failed", "rolled back", "inconclusive", "stopped")
    assert found["phase"] in ("inconclusive", "stopped"), found


def test_the_examples_are_shipped_as_they_are_at_the_same_time(region: Region) -> None:
    examples = {"hello-python": ("hello", "python3", "and welcome"), "ticker-node": ("ticker", "node", "time")}
    there = {folder: told for folder, told in examples.items() if shutil.which(told[1]) is not None}
    with ThreadPoolExecutor() as makers:
        shipped = list(makers.map(lambda folder: region.run("ship", str(EXAMPLES / folder)), there))
    for done, (name, _, said) in zip(shipped, there.values(), strict=True):
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda said=said, name=name: said in ask(region, f"/{name}"))
        with region.api() as api:
            assert api.get(f"/services/{name}")["instances"][0]["version"] == "r1"
            api.delete(f"/services/{name}")


def ask(region: Region, path: str) -> str:
    return httpx.get(read_credentials(region.data).address + path, timeout=30, trust_env=False).text


def test_a_group_and_a_service_under_trial_are_not_changed_by_hand(region: Region, folders: Path) -> None:
    ship(region, maker(folders / "held", "held", count=1))
    until_phase(region, "held", "r2", "trying")
    for arguments, said in (
        (("restart", "held--r2-canary"), "is a release's group"),
        (("remove", "held--r2-canary", "--yes"), "is a release's group"),
        (("remove", "held", "--yes"), "r2 of held is trying"),
    ):
        done = region.run("service", *arguments)
        assert said in done.stderr, done.stdout + done.stderr
    listed = region.run("service", "list").stdout
    assert listed.index("\nheld ") < listed.index("\n  held--r2-baseline") < listed.index("\n  held--r2-canary")
    assert "held--r2-canary-" in region.run("status").stdout
    with region.api() as api:
        api.post("/releases/held/r2/stop", {"because": "the test is over"})
    until(lambda: release(region, "held", "r2")["settled"])
    assert region.run("service", "remove", "held", "--yes").returncode == 0
