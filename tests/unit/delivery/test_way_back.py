"""What a rollback would do, in words, from what a service's releases are."""

from __future__ import annotations

import pytest

from redqueen.delivery.groups import build_of
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact, Build, Phase, Release, ReleaseRecord, State
from redqueen.delivery.way_back import way_back

NOW = 1000.0


def record(
    number: int,
    phase: Phase,
    *,
    after: int | None = None,
    warm_until_s: float = 0.0,
    settled: bool = True,
    version: str = "",
) -> ReleaseRecord:
    """Give a release; `after` is the number of the release that ran before it."""
    previous = None if after is None else built(after)
    manifest = Manifest("shop", "me", command=("run",), version=version)
    release = Release("shop", number, Artifact("ab" * 32, 1, 1, 1), manifest, built(number), "ada", 0.0)
    return ReleaseRecord(release, State(phase, previous=previous, warm_until_s=warm_until_s, settled=settled))


def built(number: int) -> Build:
    return build_of(Manifest("shop", "me", command=("run",)), f"r{number}", f"/releases/{number}")


def said(*newest_first: ReleaseRecord) -> str:
    found = way_back(newest_first, NOW)
    assert found is not None
    return " ".join(found.steps)


FIRST = record(1, Phase.PROMOTED)


def test_what_is_tried_sends_its_viewers_to_todays_version() -> None:
    steps = said(record(2, Phase.TRYING, after=1, settled=False, version="2.0"), FIRST)
    assert "every viewer of r2 (2.0) to today's version" in steps and "trial shop-r2 ends" in steps


def test_what_waits_or_has_nothing_before_it_simply_ends() -> None:
    assert "Nobody has met it" in said(record(2, Phase.QUEUED, settled=False), FIRST)
    assert "no other version of shop" in said(record(1, Phase.STARTING, settled=False))


def test_what_was_promoted_goes_back_at_once_only_while_the_old_version_is_warm() -> None:
    warm = record(2, Phase.PROMOTED, after=1, warm_until_s=NOW + 1)
    assert "nodes of r1 are still warm: within two seconds" in said(warm, FIRST)
    cold = record(2, Phase.PROMOTED, after=1, warm_until_s=NOW)
    assert "r1 are started and must be healthy first; r2 serves until then" in said(cold, FIRST)


def test_the_version_before_is_the_one_that_ran_and_not_the_release_before() -> None:
    steps = said(record(3, Phase.PROMOTED, after=1), record(2, Phase.PROMOTED, after=1), FIRST)
    assert "become r1 again" in steps
    assert "the version before it" in said(record(3, Phase.PROMOTED, after=9), FIRST)


def test_it_looks_past_what_is_over_to_what_serves() -> None:
    found = way_back([record(3, Phase.FAILED, after=2), record(2, Phase.PROMOTED, after=1), FIRST], NOW)
    assert found is not None and found.release.id == "r2"


@pytest.mark.parametrize(
    "newest_first",
    [[], [FIRST], [record(2, Phase.ROLLED_BACK, after=1, settled=False), FIRST], [record(1, Phase.FAILED)]],
    ids=["nothing was shipped", "the first version", "it is on its way back", "nothing was ever promoted"],
)
def test_there_is_none_where_nothing_can_be_undone(newest_first: list[ReleaseRecord]) -> None:
    assert way_back(newest_first, NOW) is None
