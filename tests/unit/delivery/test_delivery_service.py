"""Delivery over a region that does at once what it is asked: whole lives, doubled leaders, lost commands, ways back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redqueen.delivery.acting import TrialSeen
from redqueen.delivery.archive import Archive, Kept
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact, Build, Phase, Provenance, ReleaseRecord, State
from redqueen.delivery.pins import Pins
from redqueen.delivery.ports import DeliveryPorts, Size
from redqueen.delivery.service import Delivery, ReleaseMoved
from redqueen.errors import Conflict, NotFound, Unavailable
from redqueen.events import Event, LoopFailed
from redqueen.fleet.declared import ServiceFile, Wish, Wishes, same_process
from redqueen.fleet.groups import group_of
from redqueen.fleet.model import Edition, NodeState, NodeView
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Delete, Put
from redqueen.testing.clock import VirtualClock
from redqueen.trials.model import Status, Trial

pytestmark = pytest.mark.anyio
SHOP = Manifest("shop", "me", ("x",), count=2, routes=[{"path": "/shop"}], warm_s=60)


@dataclass
class Fleet:
    """Every wished node is up at once, but for the versions that are `ill`."""

    known: dict[str, Wish] = field(default_factory=dict[str, Wish])
    editions: dict[str, Edition] = field(default_factory=dict[str, Edition])
    revisions: dict[str, int] = field(default_factory=dict[str, int])
    ill: str = "-"
    away: bool = False
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """What somebody else does, once, while a leader looks."""
    size = Size(3, {"api": 2})

    async def wishes(self) -> Wishes:
        return Wishes(tuple(self.known.values()), tuple(self.revisions.items()), tuple(self.editions.items()))

    async def views(self) -> Sequence[NodeView]:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        own = Wish(ServiceFile("api", "me", ("x",), count=2), self.revisions.get("api", 0))
        return [view for wish in (own, *self.known.values()) for view in self._views(wish)]

    def _views(self, wish: Wish) -> list[NodeView]:
        state = NodeState.STARTING if self.ill in wish.file.version else NodeState.UP
        return [
            NodeView(
                f"{wish.file.name}-{n}", "service", wish.file.name, "", "a", "", 1, 1, 1, state, 0, "", wish.revision
            )
            for n in range(wish.wanted(3))
        ]

    async def declare(self, file: ServiceFile, edition: Edition | None = None) -> None:
        if self.away:
            raise Unavailable("store", "The store is away", hint="Wait")
        known = self.known.get(file.name)
        revision = 1 if known is None else known.revision + (not same_process(known.file, file))
        self.known[file.name] = Wish(file, revision, edition=edition)

    async def set_edition(self, service: str, edition: Edition | None) -> None:
        self.revisions[service] = self.revisions.get(service, 0) + 1
        self.editions.pop(service, None)
        if edition is not None:
            self.editions[service] = edition

    async def remove(self, name: str) -> None:
        self.known.pop(name, None)

    def check(self, build: Build, wishes: Wishes) -> None: ...

    def completed(self, build: Build, wishes: Wishes) -> Build:
        return build

    @property
    def groups(self) -> list[str]:
        return sorted(name for name in self.known if group_of(name))


class TrialsDouble:
    """Trials whose status the test says."""

    def __init__(self) -> None:
        self.seen_by_id: dict[str, TrialSeen] = {}
        self.reported: list[str] = []

    async def start(self, trial: Trial) -> None:
        self.seen_by_id.setdefault(trial.id, TrialSeen(Status.RUNNING, "viewers meet it", armed=True))

    async def stop(self, trial_id: str, because: str, by: str) -> None:
        self.end(trial_id, Status.STOPPED, because)

    async def seen(self, trial_id: str) -> TrialSeen | None:
        return self.seen_by_id.get(trial_id)

    async def report(self, trial_id: str, problem: str) -> None:
        self.reported.append(problem)
        self.end(trial_id, Status.ROLLED_BACK, problem)

    def end(self, trial_id: str, status: Status, because: str = "it is said") -> None:
        self.seen_by_id[trial_id] = TrialSeen(status, because)


@dataclass
class FlagsDouble:
    """Flags as a mapping."""

    known: dict[str, Any] = field(default_factory=dict[str, Any])

    async def values(self, keys: Collection[str]) -> Mapping[str, Any]:
        return {key: self.known.get(key) for key in keys}

    async def put(self, flags: Mapping[str, Any], by: str) -> None:
        self.known |= flags


class Folders:
    """Remembers what was kept."""

    kept: frozenset[str] = frozenset()
    forgotten: str = ""

    async def unpacked(self, digest: str) -> Path:
        if digest == self.forgotten:
            raise NotFound("release.artifact_unknown", "There is no such artifact", hint="Send it first")
        return Path("/data/releases") / digest

    async def keep_only(self, digests: Collection[str]) -> None:
        self.kept = frozenset(digests)


class Overtaken(MemoryRecords):
    """Records in which somebody else writes, once, just before a batch."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return await super().batch(partition, changes)


class Rig:
    """A region of doubles with as many deliveries as are asked for."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.records = MemoryRecords(self.clock)
        self.fleet, self.trials, self.flags, self.folders = Fleet(), TrialsDouble(), FlagsDouble(), Folders()
        self.pins, self.events = Pins(self.records), list[Event]()
        self.delivery = self.another()

    def another(self) -> Delivery:
        ports = DeliveryPorts(self.records, self.pins, self.fleet, self.trials, self.flags, self.folders)
        return Delivery(ports, self.clock, self.events.append)

    async def ship(self, number: int, manifest: Manifest = SHOP, key: str = "") -> ReleaseRecord:
        return await self.delivery.ship(manifest, artifact(number), "me", provenance=Provenance(), key=key)

    async def turns(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            await self.delivery.turn()
            self.clock.advance(1.0)

    async def promoted(self, number: int) -> None:
        """Ship a version of the shop and let its trial, if it has one, like it."""
        release = (await self.ship(number)).release
        await self.turns(6)
        if release.trial in self.trials.seen_by_id:
            self.trials.end(release.trial, Status.PROMOTED)
            await self.turns(12)

    async def phase(self, number: int) -> Phase:
        return (await self.delivery.get("shop", number)).state.phase

    def runs(self) -> str:
        return self.fleet.known["shop"].file.version


def artifact(number: int) -> Artifact:
    return Artifact(f"{number:064x}", 1, 1, 1)


async def test_a_first_release_is_a_service_with_its_routes_and_the_next_is_tried_beside_it() -> None:
    rig = Rig()
    await rig.promoted(1)
    assert (await rig.phase(1), rig.runs()) == (Phase.PROMOTED, "r1")
    assert rig.fleet.known["shop"].file.routes == [{"path": "/shop"}]
    await rig.ship(2)
    assert rig.fleet.groups == ["shop--r2-baseline", "shop--r2-canary"], "groups start with the very call"
    await rig.turns(3)
    assert await rig.phase(2) is Phase.TRYING
    rig.trials.end("shop-r2", Status.PROMOTED)
    await rig.turns(8)
    assert (await rig.phase(2), rig.runs(), rig.fleet.groups) == (Phase.PROMOTED, "r2", ["shop--r2-warm"])
    await rig.turns(80)
    assert rig.fleet.groups == []
    assert [event.phase for event in rig.events if isinstance(event, ReleaseMoved)][-1] == "promoted"


async def test_what_viewers_refuse_leaves_and_the_service_was_never_touched() -> None:
    rig = Rig()
    await rig.promoted(1)
    await rig.ship(2)
    await rig.turns(3)
    rig.trials.end("shop-r2", Status.ROLLED_BACK, "viewers failed")
    await rig.turns(10)
    found = await rig.delivery.get("shop", 2)
    assert (found.state.phase, found.state.because, found.state.settled) == (Phase.ROLLED_BACK, "viewers failed", True)
    assert (rig.runs(), rig.fleet.known["shop"].revision, rig.fleet.groups) == ("r1", 1, [])


async def test_a_rollback_pins_the_warm_group_with_the_very_call_and_unpins_when_the_nodes_are_back() -> None:
    rig = Rig()
    await rig.promoted(1)
    await rig.promoted(2)
    await rig.delivery.rollback("shop", "me", "it is ugly")
    assert await rig.pins.all() == (("shop", "shop--r2-warm"),)
    await rig.turns(12)
    assert (await rig.pins.all(), rig.runs(), rig.fleet.groups) == ((), "r1", [])
    assert (await rig.delivery.get("shop", 2)).state.because == "me asked for it: it is ugly"
    again = await rig.delivery.rollback("shop", "me")
    assert (again.release.id, again.state.settled) == ("r2", True), "a request that was sent twice undoes one release"
    rig.clock.advance(20)
    with pytest.raises(Conflict, match="first release"):
        await rig.delivery.rollback("shop", "me")


async def test_what_cannot_be_undone_is_refused() -> None:
    rig = Rig()
    with pytest.raises(NotFound, match="No release of shop"):
        await rig.delivery.rollback("shop", "me")
    await rig.promoted(1)
    await rig.promoted(2)
    await rig.fleet.declare(ServiceFile("shop", "me", ("by hand",), count=2))
    with pytest.raises(Conflict, match="does not run r2 any more"):
        await rig.delivery.rollback("shop", "me")
    with pytest.raises(Conflict, match="r2 of shop is promoted"):
        await rig.delivery.stop("shop", 2, "me")


async def test_two_ships_at_once_are_one_after_the_other() -> None:
    rig = Rig()
    await rig.promoted(1)
    await rig.ship(2)
    await rig.ship(3)
    await rig.turns(3)
    assert [await rig.phase(2), await rig.phase(3)] == [Phase.TRYING, Phase.QUEUED]
    await rig.delivery.stop("shop", 2, "me")
    await rig.turns(10)
    assert [await rig.phase(2), await rig.phase(3)] == [Phase.STOPPED, Phase.TRYING]
    assert rig.fleet.groups == ["shop--r3-baseline", "shop--r3-canary"]


async def test_who_asks_again_with_the_same_key_gets_the_release_that_was_taken() -> None:
    rig = Rig()
    await rig.ship(1, key="one")
    assert (await rig.ship(2, key="two")).release.id == "r2"
    again = await rig.another().ship(SHOP, artifact(1), "me", provenance=Provenance(), key="one")
    assert again.release.id == "r1"
    with pytest.raises(Conflict, match="key is that of r1"):
        await rig.ship(3, key="one")
    assert [(await rig.ship(4)).release.id for _ in range(2)] == ["r3", "r4"], "without a key each is another"


async def test_who_is_overtaken_by_its_own_request_at_another_node_gets_that_release() -> None:
    rig = Rig()
    release = (await rig.ship(1)).release
    records = Overtaken(rig.clock)
    archive = Archive(records)

    async def take() -> Kept:
        return await archive.add(
            "shop", lambda number: msgspec.structs.replace(release, number=number, key="k"), State()
        )

    records.meanwhile = take
    assert (await take()).release.id == "r1"
    assert [kept.release.id for kept in await archive.newest("shop")] == ["r1"]


async def test_a_leader_that_dies_between_state_and_commands_loses_nothing() -> None:
    rig = Rig()
    await rig.promoted(1)
    rig.fleet.away = True
    await rig.ship(2)
    await rig.turns(3)
    told = [event for event in rig.events if isinstance(event, LoopFailed)]
    assert len(told) == 1, "the same failure is told once"
    assert await rig.phase(2) is Phase.STARTING
    rig.fleet.away = False
    rig.delivery = rig.another()
    await rig.turns(3)
    assert await rig.phase(2) is Phase.TRYING


async def test_two_leaders_at_once_double_nothing() -> None:
    rig = Rig()
    other = rig.another()
    await rig.promoted(1)
    await rig.ship(2)
    for _ in range(4):
        await rig.delivery.turn()
        await other.turn()
        rig.clock.advance(1.0)
    assert await rig.phase(2) is Phase.TRYING
    phases = [event.phase for event in rig.events if isinstance(event, ReleaseMoved) and event.release == "r2"]
    assert phases == ["starting", "trying"]


async def test_of_two_leaders_that_saw_the_same_only_one_moves_a_release() -> None:
    rig = Rig()
    other = rig.another()
    await rig.promoted(1)
    await rig.ship(2)
    for _ in range(3):
        rig.fleet.meanwhile = other.turn
        await rig.delivery.turn()
        rig.clock.advance(1.0)
    phases = [event.phase for event in rig.events if isinstance(event, ReleaseMoved) and event.release == "r2"]
    assert phases == ["starting", "trying"]


async def test_a_version_that_never_comes_up_fails_and_its_groups_leave() -> None:
    rig = Rig()
    await rig.promoted(1)
    rig.fleet.ill = "r2"
    await rig.ship(2)
    await rig.turns(90)
    found = await rig.delivery.get("shop", 2)
    assert found.state.phase is Phase.FAILED
    assert "0 of 1 are healthy" in found.state.because
    assert rig.fleet.groups == []


async def test_the_api_is_replaced_by_an_edition_and_comes_back() -> None:
    rig = Rig()
    api = Manifest("api", "me", code="src")
    await rig.ship(1, api)
    assert rig.fleet.known["api--r1-canary"].edition == Edition("r1", f"/data/releases/{1:064x}/src")
    assert rig.fleet.known["api--r1-baseline"].edition == Edition(""), "as installed, but a node of that role"
    await rig.turns(3)
    rig.trials.end("api-r1", Status.PROMOTED)
    await rig.turns(10)
    assert rig.fleet.editions["api"].version == "r1"
    await rig.delivery.rollback("api", "me")
    await rig.turns(12)
    assert (rig.fleet.editions, rig.fleet.groups, await rig.pins.all()) == ({}, [], ())


async def test_artifacts_stay_while_a_wish_or_an_open_release_needs_them() -> None:
    rig = Rig()
    await rig.promoted(1)
    await rig.promoted(2)
    await rig.turns(70)
    assert rig.folders.kept == {artifact(1).digest, artifact(2).digest}
    await rig.turns(90)
    assert rig.folders.kept == {artifact(2).digest}


async def test_flags_go_forward_and_back_with_the_release() -> None:
    rig = Rig()
    await rig.promoted(1)
    rig.flags.known["calm"] = False
    await rig.ship(2, msgspec.structs.replace(SHOP, flags={"calm": True}))
    await rig.turns(3)
    rig.trials.end("shop-r2", Status.PROMOTED)
    await rig.turns(10)
    assert rig.flags.known["calm"] is True
    await rig.delivery.rollback("shop", "me")
    await rig.turns(12)
    assert rig.flags.known["calm"] is False


async def test_a_way_back_to_what_is_not_kept_any_more_is_refused_and_nothing_changes() -> None:
    rig = Rig()
    await rig.promoted(1)
    await rig.promoted(2)
    rig.folders.forgotten = artifact(1).digest
    with pytest.raises(Conflict, match="not kept any more"):
        await rig.delivery.rollback("shop", "me")
    await rig.turns(3)
    assert (await rig.phase(2), rig.runs()) == (Phase.PROMOTED, "r2")
