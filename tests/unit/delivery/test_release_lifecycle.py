"""One release at a time: what each thing that is seen makes of it, in which words, with which commands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from redqueen.delivery import acting
from redqueen.delivery.acting import Command, Nodes, Observation, TrialSeen
from redqueen.delivery.duties import LET_GO_S
from redqueen.delivery.groups import build_of, route_changes, unrouted
from redqueen.delivery.lifecycle import ahead_of, due, step
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact, Ask, Build, Order, Part, Phase, Release, ReleaseRecord, State
from redqueen.fleet.model import Edition
from redqueen.trials.model import Status

MANIFEST = Manifest("shop", "me", command=("run",), routes=[{"path": "/shop"}], warm_s=600.0)


def released(number: int, manifest: Manifest = MANIFEST) -> Release:
    build = build_of(manifest, f"r{number}", f"/releases/{number}")
    return Release("shop", number, Artifact("ab" * 32, 1, 1, 1), manifest, build, "ada", 0.0)


TODAY = released(1).build


@dataclass
class Life:
    """A release that is stepped through what is seen."""

    record: ReleaseRecord = field(default_factory=lambda: ReleaseRecord(released(2)))
    now: float = 100.0

    @property
    def state(self) -> State:
        return self.record.state

    def sees(self, seen: Observation, *, after_s: float = 1.0) -> tuple[Command, ...]:
        self.now += after_s
        state, commands = step(self.record, seen, self.now)
        self.record = ReleaseRecord(self.record.release, state, self.record.order)
        return commands

    def asked(self, ask: Ask, because: str = "") -> None:
        self.record = ReleaseRecord(self.record.release, self.state, Order(ask, "ada", self.now, because))


def up(build: Build = TODAY, count: int = 2) -> Nodes:
    return Nodes(build, "up", count, count)


def groups(**parts: Nodes) -> dict[Part, Nodes]:
    return {Part(name): nodes for name, nodes in parts.items()}


SERVICE = Observation(service=up())
TRIED = replace(SERVICE, groups=groups(canary=up(count=1), baseline=up(count=1)))
RUNNING = replace(TRIED, trial=TrialSeen(Status.RUNNING, "25% of the viewers are in it", armed=True))


def trying() -> Life:
    life = Life()
    for seen in (SERVICE, TRIED):
        life.sees(seen)
    assert life.state.phase is Phase.TRYING
    return life


def promoting() -> Life:
    life = trying()
    life.sees(replace(TRIED, trial=TrialSeen(Status.PROMOTED, "all is proven harmless")))
    assert life.state.phase is Phase.PROMOTING
    return life


def promoted() -> Life:
    life = promoting()
    over = TrialSeen(Status.PROMOTED, "all is proven harmless")
    life.sees(Observation(up(life.record.release.build), groups(warm=up()), over))
    assert life.state.phase is Phase.PROMOTED
    return life


def test_the_way_of_a_good_release() -> None:
    life = Life()
    canary, baseline = life.sees(SERVICE)
    assert canary == acting.StartGroup("shop--r2-canary", life.record.release.build, 1)
    assert baseline == acting.StartGroup("shop--r2-baseline", unrouted(TODAY), 1)
    (start,) = life.sees(TRIED)
    assert isinstance(start, acting.StartTrial)
    trial = start.trial
    assert (trial.id, trial.target, trial.layer) == ("shop-r2", "shop", "release/shop")
    assert (trial.treatments[0].group, trial.treatments[0].baseline) == ("shop--r2-canary", "shop--r2-baseline")
    assert life.sees(RUNNING) == () and life.state.because == "25% of the viewers are in it"
    over = TrialSeen(Status.PROMOTED, "all is proven harmless")
    assert life.sees(replace(TRIED, trial=over)) == (acting.StartGroup("shop--r2-warm", unrouted(TODAY), 2),)
    # Gateways have let go of the arms before their groups leave; the warm ones are up before anything is replaced.
    starting = Nodes(TODAY, "starting", 2, 1)
    assert life.sees(replace(TRIED, trial=over, groups={**TRIED.groups, Part.WARM: starting}), after_s=1) == ()
    left = life.sees(replace(TRIED, trial=over, groups={**TRIED.groups, Part.WARM: starting}), after_s=LET_GO_S)
    assert left == (acting.RemoveGroup("shop--r2-canary"), acting.RemoveGroup("shop--r2-baseline"))
    assert life.sees(replace(SERVICE, trial=over, groups=groups(warm=up()))) == (
        acting.DeclareService("shop", life.record.release.build),
    )
    new = Observation(up(life.record.release.build), groups(warm=up()), over)
    assert life.sees(new) == ()
    assert life.state.phase is Phase.PROMOTED and life.state.because == "all is proven harmless"
    assert life.state.warm_until_s == life.now + 600.0
    assert life.sees(new, after_s=590.0) == ()
    assert life.sees(new, after_s=20.0) == (acting.RemoveGroup("shop--r2-warm"),)
    life.sees(replace(new, groups={}))
    assert life.state.settled and not due(life.record)
    assert [change.phase for change in life.state.history] == [
        Phase.STARTING,
        Phase.TRYING,
        Phase.PROMOTING,
        Phase.PROMOTED,
    ]


def test_who_met_a_promoted_version_keeps_it_until_the_service_runs_it() -> None:
    life = trying()
    build, over = life.record.release.build, TrialSeen(Status.PROMOTED, "good", armed=True)
    assert life.sees(replace(TRIED, trial=over)) == (acting.StartGroup("shop--r2-warm", unrouted(TODAY), 2),)
    both = {**TRIED.groups, Part.WARM: up()}
    assert life.sees(Observation(up(), both, over), after_s=60) == (acting.DeclareService("shop", build),)
    assert life.sees(Observation(Nodes(build, "replacing", 2, 1), both, over), after_s=LET_GO_S) == ()
    assert life.sees(Observation(up(build), both, over)) == (acting.StopTrial("shop-r2", "good"),)
    apart = Observation(up(build), both, replace(over, armed=False))
    assert life.sees(apart) == () and life.state.phase is Phase.PROMOTING
    assert [command.name for command in life.sees(apart, after_s=LET_GO_S)] == ["shop--r2-canary", "shop--r2-baseline"]
    life.sees(replace(apart, groups=groups(warm=up())))
    assert life.state.phase is Phase.PROMOTED


def test_who_met_a_promoted_version_is_let_go_at_once_when_it_is_undone_while_it_takes_over() -> None:
    life = promoting()
    over = TrialSeen(Status.PROMOTED, "good", armed=True)
    life.asked(Ask.ROLL_BACK)
    replacing = Nodes(life.record.release.build, "replacing", 2, 1)
    commands = life.sees(Observation(replacing, {**TRIED.groups, Part.WARM: up()}, over))
    assert commands == (
        acting.StopTrial("shop-r2", "good"),
        acting.Pin("shop", "shop--r2-warm"),
        acting.DeclareService("shop", TODAY),
    )


def test_the_first_release_has_nothing_to_compare_with_and_gets_its_routes_once_it_is_healthy() -> None:
    life = Life(ReleaseRecord(released(1)))
    bare = unrouted(TODAY)
    assert life.sees(Observation()) == (acting.DeclareService("shop", bare),)
    assert "no shop yet to compare it with" in life.state.because
    assert life.sees(Observation(Nodes(bare, "starting", 2, 1))) == ()
    assert life.sees(Observation(up(bare))) == (acting.DeclareService("shop", TODAY),)
    life.sees(Observation(up(TODAY)))
    assert life.state.phase is Phase.PROMOTED
    assert "2 of 2 nodes are healthy; there was nothing to compare it with" in life.state.because
    life.sees(Observation(up(TODAY)), after_s=LET_GO_S)
    assert life.state.settled


@pytest.mark.parametrize(
    ("nodes", "after_s", "words"),
    [
        (Nodes(TODAY, "failing", 2, 0, restarts=3, because="shop-a-1: exit code 1"), 1.0, "exit code 1"),
        (Nodes(TODAY, "starting", 2, 1, because="shop-a-1: it listens on 0.0.0.0:80"), 100.0, "listens on 0.0.0.0:80"),
    ],
)
def test_a_first_release_that_does_not_come_up_is_taken_back(nodes: Nodes, after_s: float, words: str) -> None:
    life = Life(ReleaseRecord(released(1)))
    life.sees(Observation())
    seen = Observation(replace(nodes, build=unrouted(TODAY)))
    assert life.sees(seen, after_s=after_s) == (acting.RemoveService("shop"),)
    assert life.state.phase is Phase.FAILED and words in life.state.because
    life.sees(Observation())
    life.sees(Observation(), after_s=LET_GO_S)
    assert life.state.settled


@pytest.mark.parametrize(
    ("part", "nodes", "after_s", "words"),
    [
        (
            "canary",
            Nodes(TODAY, "failing", 1, 0, 3, "exit code 1"),
            1.0,
            "nodes of this version did not come up: 3 restarts",
        ),
        (
            "canary",
            Nodes(TODAY, "starting", 1, 0, 1, "no answer"),
            90.0,
            "this version did not come up: 0 of 1 are healthy",
        ),
        ("baseline", Nodes(TODAY, "failing", 1, 0, 3), 1.0, "nodes of today's version did not come up"),
    ],
)
def test_a_group_that_never_becomes_healthy_ends_it_before_any_viewer(
    part: str, nodes: Nodes, after_s: float, words: str
) -> None:
    life = Life()
    life.sees(SERVICE)
    seen = replace(SERVICE, groups={**TRIED.groups, Part(part): nodes})
    life.sees(seen, after_s=after_s)
    assert life.state.phase is Phase.FAILED and words in life.state.because
    assert {type(command) for command in life.sees(seen, after_s=LET_GO_S)} == {acting.RemoveGroup}


def test_a_canary_whose_nodes_end_again_and_again_is_reported_to_its_trial_and_fails() -> None:
    life = trying()
    ill = replace(RUNNING, groups={**RUNNING.groups, Part.CANARY: Nodes(TODAY, "starting", 1, 0, 3, "too much memory")})
    (report,) = life.sees(ill)
    assert life.state.phase is Phase.FAILED and "3 restarts, today's version 0 (too much memory)" in life.state.because
    assert report == acting.ReportTrial("shop-r2", life.state.because)
    # The groups stay while gateways may still send somebody there.
    assert life.sees(ill, after_s=2 * LET_GO_S) == (acting.StopTrial("shop-r2", life.state.because),)
    ended = replace(ill, trial=TrialSeen(Status.STOPPED, "stopped", armed=True))
    assert life.sees(ended, after_s=LET_GO_S) == () == life.sees(ended, after_s=LET_GO_S)
    apart = replace(ill, trial=TrialSeen(Status.STOPPED, "stopped"))
    assert life.sees(apart) == ()
    assert len(life.sees(apart, after_s=LET_GO_S)) == 2


def test_a_machine_that_ends_nodes_of_both_versions_fails_neither() -> None:
    life = trying()
    both = {Part.CANARY: replace(up(), restarts=5), Part.BASELINE: replace(up(), restarts=4)}
    life.sees(replace(RUNNING, groups=both))
    assert life.state.phase is Phase.TRYING


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        (Status.ROLLED_BACK, Phase.ROLLED_BACK),
        (Status.INCONCLUSIVE, Phase.INCONCLUSIVE),
        (Status.STOPPED, Phase.STOPPED),
    ],
)
def test_every_other_verdict_ends_it_in_the_trials_words(status: Status, phase: Phase) -> None:
    life = trying()
    over = replace(TRIED, trial=TrialSeen(status, "5 of 40 requests failed"))
    assert life.sees(over) == ()
    assert (life.state.phase, life.state.because) == (phase, "5 of 40 requests failed")
    assert life.sees(over, after_s=LET_GO_S) == (
        acting.RemoveGroup("shop--r2-canary"),
        acting.RemoveGroup("shop--r2-baseline"),
    )
    assert not life.state.settled
    life.sees(replace(over, groups={}))
    assert life.state.settled


def test_a_trial_that_gives_no_verdict_in_its_time_or_cannot_be_started_is_no_promotion() -> None:
    life = trying()
    life.sees(RUNNING, after_s=3600 + 300 + 200)
    assert life.state.phase is Phase.INCONCLUSIVE and "no verdict" in life.state.because
    life = trying()
    assert isinstance(life.sees(TRIED)[0], acting.StartTrial)
    life.sees(TRIED, after_s=61)
    assert life.state.phase is Phase.FAILED and "could not be started" in life.state.because


@pytest.mark.parametrize("service", [None, up(released(7).build)])
def test_a_service_that_somebody_else_changes_ends_the_release_even_with_a_good_verdict(service: Nodes | None) -> None:
    for life in (trying(), promoting()):
        life.sees(replace(TRIED, service=service, trial=TrialSeen(Status.PROMOTED, "good")))
        assert life.state.phase is Phase.STOPPED
        commands = life.sees(replace(TRIED, service=service, trial=TrialSeen(Status.PROMOTED, "good")))
        assert not any(isinstance(command, acting.DeclareService) for command in commands)


def test_a_rollback_pins_the_warm_group_at_once_and_unpins_when_the_old_version_is_whole_again() -> None:
    life = promoted()
    new = life.record.release.build
    serving = Observation(up(new), groups(warm=up()), TrialSeen(Status.PROMOTED, "good"))
    life.asked(Ask.ROLL_BACK, "the buttons are gone")
    assert life.sees(serving) == (acting.Pin("shop", "shop--r2-warm"), acting.DeclareService("shop", TODAY))
    assert life.state.phase is Phase.ROLLED_BACK
    assert life.state.because == "ada asked for it: the buttons are gone"
    replacing = replace(serving, service=Nodes(TODAY, "replacing", 2, 1), pinned="shop--r2-warm")
    assert life.sees(replacing, after_s=60) == ()
    whole = replace(replacing, service=up(TODAY))
    assert life.sees(whole) == (acting.Unpin("shop"),)
    assert life.sees(replace(whole, pinned="")) == ()
    assert life.sees(replace(whole, pinned=""), after_s=LET_GO_S) == (acting.RemoveGroup("shop--r2-warm"),)


def test_a_rollback_of_what_is_not_warm_any_more_replaces_nodes_one_by_one() -> None:
    life = promoted()
    cold = Observation(up(life.record.release.build), {}, TrialSeen(Status.PROMOTED, "good"))
    life.sees(cold, after_s=601)
    life.sees(cold, after_s=LET_GO_S)
    assert life.state.settled
    life.asked(Ask.ROLL_BACK)
    assert due(life.record)
    assert life.sees(cold) == (acting.DeclareService("shop", TODAY),)
    assert life.state.phase is Phase.ROLLED_BACK and not life.state.settled


@pytest.mark.parametrize(
    ("life", "ask", "phase"),
    [
        (Life(), Ask.STOP, Phase.STOPPED),
        (Life(), Ask.ROLL_BACK, Phase.STOPPED),
        (trying(), Ask.STOP, Phase.STOPPED),
        (trying(), Ask.ROLL_BACK, Phase.ROLLED_BACK),
        (promoting(), Ask.STOP, Phase.ROLLED_BACK),
        (promoted(), Ask.STOP, Phase.PROMOTED),
    ],
)
def test_what_a_person_asks_is_done_where_it_still_means_something(life: Life, ask: Ask, phase: Phase) -> None:
    life.asked(ask)
    life.sees(replace(RUNNING, service=up(life.record.release.build) if life.state.phase is Phase.PROMOTED else up()))
    assert life.state.phase is phase and life.record.pending is None


def test_a_release_that_cannot_take_the_service_s_place_gives_it_back() -> None:
    life = promoting()
    new, over = life.record.release.build, TrialSeen(Status.PROMOTED, "good")
    stuck = Observation(Nodes(new, "failing", 2, 1, because="shop-a-1: exit code 1"), groups(warm=up()), over)
    assert life.sees(stuck) == ()
    assert life.sees(stuck, after_s=400) == (acting.Pin("shop", "shop--r2-warm"), acting.DeclareService("shop", TODAY))
    assert life.state.phase is Phase.FAILED and "exit code 1" in life.state.because


def test_an_old_version_that_cannot_be_kept_warm_is_not_replaced() -> None:
    life = promoting()
    cold = Nodes(TODAY, "failing", 2, 0, 3, "no memory")
    life.sees(replace(SERVICE, trial=TrialSeen(Status.PROMOTED, "good"), groups=groups(warm=cold)))
    assert life.state.phase is Phase.FAILED and "nothing was replaced" in life.state.because


def test_flags_go_forward_with_the_nodes_and_back_with_them() -> None:
    manifest = msgspec.structs.replace(MANIFEST, flags={"shop.size": 3})
    life = Life(ReleaseRecord(released(2, manifest)))
    before: dict[str, Any] = {"shop.size": 1}
    for seen in (SERVICE, TRIED, replace(TRIED, trial=TrialSeen(Status.PROMOTED, "good"))):
        assert not any(isinstance(command, acting.PutFlags) for command in life.sees(replace(seen, flags=before)))
    new = Observation(up(life.record.release.build), groups(warm=up()), TrialSeen(Status.PROMOTED, "good"), before)
    assert life.sees(new) == (acting.PutFlags({"shop.size": 3}),)
    assert life.state.phase is Phase.PROMOTING
    life.sees(replace(new, flags={"shop.size": 3}))
    assert life.state.phase is Phase.PROMOTED
    life.asked(Ask.ROLL_BACK)
    assert acting.PutFlags({"shop.size": 1}) in life.sees(replace(new, flags={"shop.size": 3}))
    # What somebody set by hand since is not touched.
    assert not any(isinstance(one, acting.PutFlags) for one in life.sees(replace(new, flags={"shop.size": 9})))


def test_releases_of_one_service_go_one_after_the_other_and_of_two_at_once() -> None:
    first, second = ReleaseRecord(released(1)), ReleaseRecord(released(2))
    other = ReleaseRecord(msgspec.structs.replace(released(1), service="cart"))
    records = [first, second, other]
    assert [ahead_of(one.release, records) for one in records] == ["", "r1", ""]
    life = Life(second)
    life.sees(replace(SERVICE, ahead="r1"))
    assert life.state.phase is Phase.QUEUED and "r1 of shop is under way" in life.state.because
    life.sees(SERVICE)
    assert life.state.phase is Phase.STARTING
    done = ReleaseRecord(first.release, State(Phase.PROMOTED, previous=TODAY))
    assert ahead_of(second.release, [done, second]) == ""
    back = ReleaseRecord(first.release, done.state, Order(Ask.ROLL_BACK, "ada", 1.0))
    assert ahead_of(second.release, [back, second]) == "r1"
    failed = ReleaseRecord(first.release, State(Phase.FAILED))
    assert ahead_of(second.release, [failed, second]) == "r1"
    assert ahead_of(second.release, [ReleaseRecord(first.release, State(Phase.FAILED, settled=True))]) == ""


def test_a_release_of_the_regions_own_api_is_compared_with_the_edition_that_runs() -> None:
    manifest = Manifest("api", "me", web="dist")
    build = build_of(manifest, "r1", "/releases/x")
    assert build == Build(edition=Edition("r1", "", "/releases/x/dist"))
    life = Life(ReleaseRecord(Release("api", 1, Artifact("ab" * 32, 1, 1, 1), manifest, build, "ada", 0.0)))
    canary, baseline = life.sees(Observation(up(Build())))
    assert (canary, baseline) == (
        acting.StartGroup("api--r1-canary", build, 1),
        acting.StartGroup("api--r1-baseline", Build(), 1),
    )


def test_routes_that_become_others_are_told_and_wait_for_the_promotion() -> None:
    routes = [{"path": "/shop", "timeout_s": 5.0}, {"path": "/cart"}]
    after = build_of(msgspec.structs.replace(MANIFEST, routes=routes), "r2", "/releases/2")
    assert route_changes(TODAY, after) == [("/cart", "added"), ("/shop", "changed")]
    assert route_changes(after, TODAY) == [("/cart", "removed"), ("/shop", "changed")]
    assert route_changes(TODAY, TODAY) == [] == route_changes(Build(), Build())
    life = Life(ReleaseRecord(msgspec.structs.replace(released(2), build=after)))
    asked = [*life.sees(SERVICE), *life.sees(TRIED), *life.sees(RUNNING)]
    assert not any(isinstance(command, acting.DeclareService) for command in asked)
