"""A release's life, step by step: when it starts, is tried, takes the service's place, or leaves.

`step` first decides the phase, then asks for whatever differs between what should be and what is
seen, so that lost commands are repeated and a new leader goes on from the record alone. A release
takes its service's place only when its trial was PROMOTED, or when there was nothing to compare it
with (the first release of a service, which says so). Any change of the service by somebody else
ends it, because it would be compared with something that nobody runs. Pure. Enter at `step`,
`ahead_of` and `due`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from redqueen.delivery.acting import Command, Nodes, Observation
from redqueen.delivery.duties import LET_GO_S, TRIED, duties, flags_put, is_first, is_superseded, restored
from redqueen.delivery.groups import unrouted
from redqueen.delivery.model import Ask, Change, Order, Part, Phase, Release, ReleaseRecord, State
from redqueen.trials.model import Status

TROUBLES = 3
"""So many restarts of a group (more than the baseline has) end a release."""
_SLACK_S = 15.0
_NO_TRIAL_S = 60.0
_OVERDUE_S = 120.0
_VERDICTS = {
    Status.PROMOTED: Phase.PROMOTING,
    Status.ROLLED_BACK: Phase.ROLLED_BACK,
    Status.INCONCLUSIVE: Phase.INCONCLUSIVE,
    Status.STOPPED: Phase.STOPPED,
}
_Decision = tuple[Phase, str]


def step(record: ReleaseRecord, seen: Observation, now: float) -> tuple[State, tuple[Command, ...]]:
    """Return the release's next state and what is to be done now; `now` in epoch seconds."""
    release, state = record.release, record.state
    if not due(record):
        return state, ()
    phase, because = _decided(record, seen, now)
    state = _moved(state, phase, because, seen, now)
    if record.pending is not None:
        state = msgspec.structs.replace(state, heeded_s=record.pending.at_s)
    if phase is Phase.PROMOTED and record.state.phase is not Phase.PROMOTED and not is_first(state):
        state = msgspec.structs.replace(state, warm_until_s=now + release.manifest.warm_s)
    if phase is Phase.PROMOTED and state.warm_until_s > now and is_superseded(release, seen):
        # Nobody goes back beyond what runs now: the version before this one is not kept for that.
        state = msgspec.structs.replace(state, warm_until_s=now)
    state = _parted(state, seen, now)
    commands = duties(release, state, seen, now)
    settled = state.phase.ended and not commands and _is_over(release, state, seen, now)
    return (msgspec.structs.replace(state, settled=True) if settled else state), commands


def due(record: ReleaseRecord) -> bool:
    """Tell whether a release needs steps: it has not settled, or a person asks a settled one back."""
    return not record.state.settled or (record.state.phase is Phase.PROMOTED and _wants_back(record.pending))


def ahead_of(release: Release, records: Iterable[ReleaseRecord]) -> str:
    """Return the id of the first earlier release of the same service that is not done; empty: none."""
    earlier = [
        record
        for record in records
        if record.release.service == release.service and record.release.number < release.number and _blocks(record)
    ]
    return min(earlier, key=lambda record: record.release.number).release.id if earlier else ""


def _blocks(record: ReleaseRecord) -> bool:
    if record.state.phase is Phase.PROMOTED:
        return _wants_back(record.pending)
    return not record.state.settled


def _wants_back(order: Order | None) -> bool:
    return order is not None and order.ask is Ask.ROLL_BACK


def _moved(state: State, phase: Phase, because: str, seen: Observation, now: float) -> State:
    if phase is state.phase:
        return state if because == state.because else msgspec.structs.replace(state, because=because)
    state = msgspec.structs.replace(
        state,
        phase=phase,
        because=because,
        since_s=now,
        apart_s=0.0,
        settled=False,
        history=(*state.history, Change(phase, because, now)),
    )
    if phase is not Phase.STARTING:
        return state
    previous = None if seen.service is None else seen.service.build
    return msgspec.structs.replace(state, previous=previous, previous_flags=dict(seen.flags), started_s=now)


def _decided(record: ReleaseRecord, seen: Observation, now: float) -> _Decision:
    release, state = record.release, record.state
    ordered = _ordered(record, seen)
    if ordered is not None:
        return ordered
    match state.phase:
        case Phase.STORED | Phase.QUEUED:
            return _waiting(release, seen)
        case Phase.STARTING if state.previous is None:
            return _first(release, state, seen, now)
        case Phase.STARTING:
            return _starting(release, state, seen, now)
        case Phase.TRYING:
            return _trying(release, state, seen, now)
        case Phase.PROMOTING:
            return _promoting(release, state, seen, now)
        case _:
            return state.phase, state.because


def _ordered(record: ReleaseRecord, seen: Observation) -> _Decision | None:
    """Follow what a person asked, where it still means something."""
    order, state, release = record.pending, record.state, record.release
    if order is None:
        return None
    words = f"{order.by} asked for it" + (f": {order.because}" if order.because else "")
    match state.phase:
        case Phase.STORED | Phase.QUEUED:
            return Phase.STOPPED, words
        case Phase.STARTING | Phase.TRYING:
            back = _wants_back(order) and not is_first(state)
            return (Phase.ROLLED_BACK if back else Phase.STOPPED), words
        case Phase.PROMOTING:
            return Phase.ROLLED_BACK, words
        case Phase.PROMOTED if _wants_back(order) and not is_first(state):
            serving = seen.service is not None and seen.service.build == release.build
            return (Phase.ROLLED_BACK, words) if serving else None
        case _:
            return None


def _waiting(release: Release, seen: Observation) -> _Decision:
    if seen.ahead:
        return Phase.QUEUED, f"{seen.ahead} of {release.service} is under way; one at a time"
    if seen.pinned:
        return Phase.QUEUED, f"all requests of {release.service} go to {seen.pinned} just now"
    if seen.service is not None and seen.service.state == "replacing":
        return Phase.QUEUED, f"the nodes of {release.service} are being replaced"
    if seen.service is None:
        return Phase.STARTING, f"its nodes start; there is no {release.service} yet to compare it with"
    return Phase.STARTING, "fresh nodes of this version and of today's start"


def _first(release: Release, state: State, seen: Observation, now: float) -> _Decision:
    """Bring a service into being: nodes first, then its routes."""
    service, build = seen.service, release.build
    if service is None:
        overdue = now >= state.started_s + _limit_s(release)
        return (Phase.FAILED, "its nodes could not be started") if overdue else (state.phase, state.because)
    if service.build not in (build, unrouted(build)):
        return Phase.STOPPED, f"somebody else declared {release.service} meanwhile"
    trouble = _never_up(service, release, state, now)
    if trouble:
        return Phase.FAILED, f"it did not come up: {trouble}"
    if service.up and service.build == build and flags_put(release, seen):
        ready = f"{service.ready} of {service.wanted} nodes are healthy"
        return Phase.PROMOTED, f"the first release of {release.service}: {ready}; there was nothing to compare it with"
    return state.phase, state.because


def _starting(release: Release, state: State, seen: Observation, now: float) -> _Decision:
    changed = _changed_by_others(release, state, seen)
    if changed:
        return Phase.STOPPED, changed
    for part, whose in zip(TRIED, ("this version", "today's version"), strict=True):
        group = seen.groups.get(part)
        trouble = _never_up(group, release, state, now) if group else _absent(release, state, now)
        if trouble:
            return Phase.FAILED, f"fresh nodes of {whose} did not come up: {trouble}"
    if all(part in seen.groups and seen.groups[part].up for part in TRIED):
        return Phase.TRYING, f"viewers meet it: {release.manifest.steps[0]:.0%} of them at first"
    return state.phase, state.because


def _trying(release: Release, state: State, seen: Observation, now: float) -> _Decision:
    trial = seen.trial
    if trial is not None and trial.status is Status.ROLLED_BACK:
        return Phase.ROLLED_BACK, trial.because
    changed = _changed_by_others(release, state, seen)
    if changed:
        return Phase.STOPPED, changed
    trouble = _again_and_again(seen)
    if trouble:
        return Phase.FAILED, trouble
    if trial is None:
        overdue = now >= state.since_s + _NO_TRIAL_S
        return (Phase.FAILED, "its trial could not be started") if overdue else (state.phase, state.because)
    if trial.status.ended:
        return _VERDICTS[trial.status], trial.because
    if now >= state.since_s + release.manifest.horizon_s + release.manifest.hold_s + _OVERDUE_S:
        return Phase.INCONCLUSIVE, "its trial gave no verdict in its time"
    return state.phase, trial.because or state.because


def _promoting(release: Release, state: State, seen: Observation, now: float) -> _Decision:
    service, warm = seen.service, seen.groups.get(Part.WARM)
    if service is None or service.build not in (release.build, state.previous):
        return Phase.STOPPED, f"somebody else changed {release.service} while it was being replaced"
    if service.build == state.previous:
        trouble = _never_up(warm, release, state, now) if warm else _absent(release, state, now)
        if trouble:
            return Phase.FAILED, f"the old version could not be kept warm, so nothing was replaced: {trouble}"
        return state.phase, state.because
    # The next release may begin once this one is promoted: its canary has to be gone by then.
    if service.up and flags_put(release, seen) and not any(part in seen.groups for part in TRIED):
        return Phase.PROMOTED, state.because
    # The warm group came up, then every node is replaced behind a spare.
    if now >= state.since_s + _limit_s(release) * (2 + service.wanted):
        return Phase.FAILED, f"it could not take the service's place in its time: {service.because or service.state}"
    return state.phase, state.because


def _changed_by_others(release: Release, state: State, seen: Observation) -> str:
    if seen.service is None:
        return f"{release.service} was removed meanwhile"
    if seen.service.build != state.previous:
        return f"somebody else changed {release.service} meanwhile: there is no today's version to compare with"
    return ""


def _limit_s(release: Release) -> float:
    timings = release.manifest.timings
    return timings.start_s + timings.drain_s + timings.stop_s + _SLACK_S


def _never_up(nodes: Nodes, release: Release, state: State, now: float) -> str:
    """Say why nodes will not come up; empty while they may."""
    if nodes.up:
        return ""
    if nodes.restarts >= TROUBLES:
        return f"{nodes.restarts} restarts; {nodes.because or 'its processes end'}"
    late_s = now - max(state.since_s, state.started_s)
    if late_s >= _limit_s(release):
        return f"{nodes.ready} of {nodes.wanted} are healthy after {late_s:.0f} s; {nodes.because or 'no reason known'}"
    return ""


def _absent(release: Release, state: State, now: float) -> str:
    return "they could not be started" if now >= state.since_s + _limit_s(release) else ""


def _again_and_again(seen: Observation) -> str:
    """Say that the canary's nodes end more often than the baseline's, which share the machine's troubles."""
    canary, baseline = seen.groups.get(Part.CANARY), seen.groups.get(Part.BASELINE)
    if canary is None:
        return ""
    others = baseline.restarts if baseline else 0
    if canary.restarts < others + TROUBLES:
        return ""
    reason = f" ({canary.because})" if canary.because else ""
    return f"its nodes ended again and again: {canary.restarts} restarts, today's version {others}{reason}"


def _parted(state: State, seen: Observation, now: float) -> State:
    """Note since when no gateway is told to send anything to the groups."""
    apart = state.phase.ended or state.phase is Phase.PROMOTING
    apart = apart and not seen.pinned and (seen.trial is None or (seen.trial.status.ended and not seen.trial.armed))
    if apart == (state.apart_s > 0):
        return state
    return msgspec.structs.replace(state, apart_s=now if apart else 0.0)


def _is_over(release: Release, state: State, seen: Observation, now: float) -> bool:
    if seen.groups or seen.pinned or not state.apart_s or now < state.apart_s + LET_GO_S:
        return False
    return state.phase is Phase.PROMOTED or restored(release, state, seen)
