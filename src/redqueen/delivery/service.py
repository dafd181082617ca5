"""Delivery: what was shipped becomes nodes, a trial, a verdict, and the service's next version or its last one again.

What to do is decided by `lifecycle.step`; here its observations are gathered and its commands run.
State is written before commands, each conditional on what was read, and every command may be
repeated: a leader that dies in between, or two that overlap, lose and double nothing. `ship`,
`rollback` and `stop` are called on any api node, and take their first step at once; `turn` belongs
to the leader. Refuses to ship what could not run. Enter at `Delivery`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from redqueen.clock import Clock
from redqueen.delivery.archive import Archive, Kept
from redqueen.delivery.carrying_out import Executor, World
from redqueen.delivery.groups import build_of, trial_of
from redqueen.delivery.keeping import running
from redqueen.delivery.lifecycle import ahead_of, due, step
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import (
    Artifact,
    Ask,
    Build,
    Order,
    Phase,
    Provenance,
    Release,
    ReleaseRecord,
    State,
)
from redqueen.delivery.ports import DeliveryPorts
from redqueen.errors import Conflict, NotFound, RedQueenError
from redqueen.events import Emit, Event, LoopFailed
from redqueen.trials import arming

EVERY_S: Final = 0.3
"""Seconds between two turns of the leader: a release's first viewer waits for several."""
_SWEEP_S: Final = 60.0
_AGAIN_S: Final = 15.0
"""So long a client may repeat a rollback that was done, without undoing one release more."""


@dataclass(frozen=True, slots=True)
class ReleaseMoved(Event):
    """A release came to another phase of its life."""

    service: str
    release: str
    phase: str
    because: str


class Delivery:
    """All releases of a region and what becomes of them."""

    def __init__(self, ports: DeliveryPorts, clock: Clock, emit: Emit) -> None:
        self._ports = ports
        self._clock = clock
        self._emit = emit
        self._archive = Archive(ports.records)
        self._executor = Executor(ports)
        self._swept_at = float("-inf")
        self._failing: dict[str, str] = {}
        """What went wrong last with a release, so that it is told once."""

    async def ship(
        self,
        manifest: Manifest,
        artifact: Artifact,
        by: str,
        *,
        provenance: Provenance,
        because: str = "",
        key: str = "",
    ) -> ReleaseRecord:
        """Take a release whose artifact lies in the objects, and begin with it.

        Who asks again with the same idempotency `key` gets the release that was taken. Raises InvalidInput,
        Conflict if it could not run or be routed here, or if the key came with another artifact; Exhausted.
        """
        folder = str(await self._ports.folders.unpacked(artifact.digest))
        wishes = await self._ports.fleet.wishes()
        self._ports.fleet.check(build_of(manifest, "r0", folder), wishes)

        def made(number: int) -> Release:
            build = self._ports.fleet.completed(build_of(manifest, f"r{number}", folder), wishes)
            now = self._clock.now()
            return Release(manifest.service, number, artifact, manifest, build, by, now, because, provenance, key)

        arming.checked(trial_of(made(0), self._clock.now()))
        kept = await self._archive.add(manifest.service, made, State(since_s=self._clock.now()))
        return await self._advanced(kept)

    async def rollback(self, service: str, by: str, because: str = "") -> ReleaseRecord:
        """Undo what was shipped last, or what is being tried. Raises NotFound, Conflict where there is nothing to undo.

        A promoted release's place is taken by the version before it: at once while that is warm.
        """
        for kept in await self._archive.newest(service):
            phase, state = kept.record.state.phase, kept.record.state
            if phase is Phase.PROMOTED and state.previous is None:
                raise Conflict(
                    "release.first",
                    f"{kept.release.id} is the first release of {service}",
                    why="There is no earlier version to go back to",
                    hint=f"Ship another one, or end the service with: redqueen service remove {service}",
                )
            if phase is Phase.PROMOTED and not await self._serves(kept):
                raise Conflict(
                    "release.superseded",
                    f"{service} does not run {kept.release.id} any more",
                    why="Somebody declared the service anew since",
                    hint=f"See what it runs with: redqueen service show {service}",
                )
            if phase is Phase.PROMOTED and state.previous is not None:
                await self._check_way_back(kept.release, state.previous)
            if not phase.ended or phase is Phase.PROMOTED:
                return await self._ordered(kept, Ask.ROLL_BACK, by, because)
            if not state.settled or self._clock.now() < state.since_s + _AGAIN_S:
                return kept.record  # it is on its way back already, or this is the same request once more
        raise NotFound(
            "release.none", f"No release of {service} can be undone", hint="See them with: redqueen releases"
        )

    async def stop(self, service: str, number: int, by: str, because: str = "") -> ReleaseRecord:
        """End a release that has no verdict yet. Raises NotFound, Conflict."""
        kept = await self._archive.get(service, number)
        if kept.record.state.phase.ended:
            raise Conflict(
                "release.ended",
                f"{kept.release.id} of {service} is {kept.record.state.phase.value}",
                why=kept.record.state.because,
                hint=f"Undo a promoted release with: redqueen rollback {service}",
            )
        return await self._ordered(kept, Ask.STOP, by, because)

    async def get(self, service: str, number: int) -> ReleaseRecord:
        """Return one release. Raises NotFound."""
        return (await self._archive.get(service, number)).record

    async def all(self, service: str = "", limit: int = 100) -> list[ReleaseRecord]:
        """Return the newest releases of a service, or of each; newest first within a service."""
        services = [service] if service else await self._archive.services()
        return [kept.record for name in services for kept in await self._archive.newest(name, limit)]

    async def turn(self) -> None:
        """Take one step with every release that needs one; what fails for one does not hold up the others."""
        opened = await self._archive.open()
        world: World | None = None
        for kept in opened:
            try:
                world = world or await self._executor.look()
                if await self._step(kept, world, opened):
                    world = None  # what was just asked for is to be seen by the next
                self._failing.pop(kept.release.trial, None)
            except (RedQueenError, OSError, TimeoutError) as error:
                self._failed(kept.release, error)
        if self._clock.monotonic() >= self._swept_at + _SWEEP_S:
            self._swept_at = self._clock.monotonic()
            await self._ports.folders.keep_only(running(opened, await self._ports.fleet.wishes()))

    async def _check_way_back(self, release: Release, previous: Build) -> None:
        try:
            await self._executor.ready(previous)
        except NotFound as error:
            raise Conflict(
                "release.forgotten",
                f"What {release.service} ran before {release.id} is not kept any more",
                why=error.what,
                hint="Ship it again; how many are kept says `releases` under [retention] in the region's settings",
            ) from error

    async def _serves(self, kept: Kept) -> bool:
        world = await self._executor.look()
        seen = world.own(kept.release.service)
        return seen is not None and seen.build == kept.release.build

    async def _ordered(self, kept: Kept, ask: Ask, by: str, because: str) -> ReleaseRecord:
        order = Order(ask, by, self._clock.now(), because)
        kept = await self._archive.order(kept.release.service, kept.release.number, order)
        return await self._advanced(kept)

    async def _advanced(self, kept: Kept) -> ReleaseRecord:
        """Take the first step now; where that fails the leader takes it."""
        release = kept.release
        try:
            await self._step(kept, await self._executor.look(), await self._archive.open())
        except (RedQueenError, OSError, TimeoutError) as error:
            self._failed(release, error)
        return (await self._archive.get(release.service, release.number)).record

    def _failed(self, release: Release, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"
        if self._failing.get(release.trial) != told:
            self._emit(LoopFailed(f"delivery {release.trial}", told, EVERY_S))
        self._failing[release.trial] = told

    async def _step(self, kept: Kept, world: World, opened: Iterable[Kept]) -> bool:
        """Observe, decide, write, act; tell whether anything was asked of the region."""
        release = kept.release
        seen = await self._executor.seen(release, world, ahead_of(release, [other.record for other in opened]))
        state, commands = step(kept.record, seen, self._clock.now())
        if state != kept.record.state:
            moved = await self._archive.move(kept, state)
            if moved is None:
                return True  # somebody else was faster: look again
            if state.phase is not kept.record.state.phase:
                self._emit(ReleaseMoved(release.service, release.id, state.phase.value, state.because))
            kept = moved
        if _is_idle_order(kept.record):
            await self._archive.order(release.service, release.number, None)
        for command in commands:
            await self._executor.carry_out(release, command)
        return bool(commands)


def _is_idle_order(record: ReleaseRecord) -> bool:
    """Tell whether somebody asked a promoted release back too late: the service runs something else by now."""
    return record.order is not None and record.state.phase is Phase.PROMOTED and due(record)
