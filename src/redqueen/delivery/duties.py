"""What a release in a certain phase still has to ask of the world, whoever leads and whatever was lost.

Groups leave only when gateways have had the time to let go of them. A promoted release's canary keeps
its viewers until the service's own nodes are replaced. The way back is: all requests to the warm group
at once (pinned), the old file declared, its nodes up, the pin lifted. A release touches its service
only while the service runs what this release made of it. Pure. Enter at `duties`.
"""

from __future__ import annotations

from collections.abc import Iterator

from redqueen.delivery.acting import (
    Command,
    DeclareService,
    Observation,
    Pin,
    PutFlags,
    RemoveGroup,
    RemoveService,
    ReportTrial,
    StartGroup,
    StartTrial,
    StopTrial,
    Unpin,
)
from redqueen.delivery.groups import group_count, trial_of, unrouted
from redqueen.delivery.model import Part, Phase, Release, State
from redqueen.trials.model import Status

LET_GO_S = 3.0
"""Gateways read their arms and pins once a second; after this nobody sends anything to a group."""
TRIED = (Part.CANARY, Part.BASELINE)
"""The groups that exist for the trial only."""


def duties(release: Release, state: State, seen: Observation, now: float) -> tuple[Command, ...]:
    """Return what is to be asked for now; empty when everything is as it should be."""
    match state.phase:
        case Phase.STARTING if state.previous is None:
            return tuple(_founding(release, seen))
        case Phase.STARTING:
            return tuple(_starting(release, state, seen))
        case Phase.TRYING:
            return tuple(_trying(release, state, seen))
        case Phase.PROMOTING:
            return tuple(_promoting(release, state, seen, now))
        case Phase.PROMOTED:
            return tuple(_warm(release, state, seen, now))
        case Phase.ROLLED_BACK | Phase.INCONCLUSIVE | Phase.STOPPED | Phase.FAILED:
            return tuple(_leaving(release, state, seen, now))
        case _:
            return ()


def is_first(state: State) -> bool:
    """Tell whether the service did not exist before this release."""
    return state.started_s > 0 and state.previous is None


def is_superseded(release: Release, seen: Observation) -> bool:
    """Tell whether the service runs something else than this release, or is no more."""
    return seen.service is None or seen.service.build != release.build


def flags_put(release: Release, seen: Observation) -> bool:
    """Tell whether the region's flags are as the release says."""
    return all(key in seen.flags and seen.flags[key] == value for key, value in release.manifest.flags.items())


def restored(release: Release, state: State, seen: Observation) -> bool:
    """Tell whether nothing of this release is left in the service itself."""
    if seen.service is None or seen.service.build not in (release.build, unrouted(release.build), state.previous):
        return True  # gone, or somebody else's by now
    if seen.service.build == state.previous:
        return seen.service.up or not _replaced(state)
    return False


def _replaced(state: State) -> bool:
    """Tell whether the service was ever asked to run this release."""
    return is_first(state) or any(change.phase is Phase.PROMOTING for change in state.history)


def _founding(release: Release, seen: Observation) -> Iterator[Command]:
    """Nodes before routes: no request meets a service that was never healthy."""
    bare = unrouted(release.build)
    if seen.service is None:
        yield DeclareService(release.service, bare)
    elif seen.service.build == bare and seen.service.up and bare != release.build:
        yield DeclareService(release.service, release.build)
    elif seen.service.build == release.build and seen.service.up and not flags_put(release, seen):
        yield PutFlags(release.manifest.flags)


def _starting(release: Release, state: State, seen: Observation) -> Iterator[Command]:
    for part in TRIED:
        if part not in seen.groups:
            yield _group(release, state, part, seen)


def _trying(release: Release, state: State, seen: Observation) -> Iterator[Command]:
    yield from _starting(release, state, seen)
    if seen.trial is None:
        yield StartTrial(trial_of(release, state.since_s))


def _promoting(release: Release, state: State, seen: Observation, now: float) -> Iterator[Command]:
    yield from _removals(release, state, seen, now, TRIED)
    service, warm = seen.service, seen.groups.get(Part.WARM)
    if service is None or state.previous is None:
        return
    if warm is None:
        yield _group(release, state, Part.WARM, seen)
    if service.build == state.previous and warm is not None and warm.up:
        yield DeclareService(release.service, release.build)
    if service.build == release.build and service.up:
        if flags_put(release, seen):
            yield from _let_go(release, seen)
        else:
            yield PutFlags(release.manifest.flags)


def _let_go(release: Release, seen: Observation) -> Iterator[Command]:
    """Let the canary's viewers go to the service: it is what they had before, or may be."""
    if seen.trial is not None and seen.trial.status is Status.PROMOTED and seen.trial.armed:
        yield StopTrial(release.trial, seen.trial.because)


def _warm(release: Release, state: State, seen: Observation, now: float) -> Iterator[Command]:
    yield from _let_go(release, seen)
    if seen.pinned == release.group(Part.WARM):
        yield Unpin(release.service)
    gone = (Part.WARM,) if now >= state.warm_until_s else ()
    yield from _removals(release, state, seen, now, (*TRIED, *gone))


def _leaving(release: Release, state: State, seen: Observation, now: float) -> Iterator[Command]:
    trial = seen.trial
    if trial is not None and not trial.status.ended:
        sick = state.phase is Phase.FAILED and now < state.since_s + 2 * LET_GO_S
        yield (ReportTrial if sick else StopTrial)(release.trial, state.because)
    yield from _let_go(release, seen)
    yield from _way_back(release, state, seen)
    # The old version stays until the service is whole again, however many commands are lost.
    kept = () if restored(release, state, seen) else (Part.WARM,)
    yield from _removals(release, state, seen, now, tuple(part for part in Part if part not in kept))


def _way_back(release: Release, state: State, seen: Observation) -> Iterator[Command]:
    """Let the service be what it was, if it still is what this release made of it."""
    warm, service = release.group(Part.WARM), seen.service
    if service is not None and not restored(release, state, seen):
        if Part.WARM in seen.groups and seen.groups[Part.WARM].ready and not seen.pinned:
            yield Pin(release.service, warm)
        if service.build == state.previous:
            pass  # its nodes are coming back
        elif state.previous is None:
            yield RemoveService(release.service)
        else:
            yield DeclareService(release.service, state.previous)
    elif seen.pinned == warm:
        yield Unpin(release.service)
    ours = {
        key: state.previous_flags.get(key)
        for key, value in release.manifest.flags.items()
        if _replaced(state) and seen.flags.get(key) == value != state.previous_flags.get(key)
    }
    if ours:
        yield PutFlags(ours)


def _group(release: Release, state: State, part: Part, seen: Observation) -> StartGroup:
    # The release's routes go with its code, for the same viewers.
    build = release.build if part is Part.CANARY else unrouted(state.previous or release.build)
    wanted = seen.service.wanted if seen.service else 1
    return StartGroup(release.group(part), build, group_count(part, wanted, release.manifest.steps))


def _removals(
    release: Release, state: State, seen: Observation, now: float, parts: tuple[Part, ...]
) -> Iterator[RemoveGroup]:
    let_go = state.apart_s > 0 and now >= state.apart_s + LET_GO_S
    for part in parts:
        if part in seen.groups and let_go:
            yield RemoveGroup(release.group(part))
