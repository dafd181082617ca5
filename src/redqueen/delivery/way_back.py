"""What a rollback of a service would do now, told before it is done.

Decides which release would be undone, and what happens then, one sentence a step; `service.Delivery.rollback`
does it. Answers None where nothing can be undone. What only the fleet knows (somebody declared the service
anew since) is found out by the rollback itself. Pure. Enter at `way_back`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redqueen.delivery.model import Phase, Release, ReleaseRecord, State

_NOTED = "It is written into the audit log with your name."


@dataclass(frozen=True, slots=True)
class WayBack:
    """The release that would be undone, and what happens, in order."""

    release: Release
    steps: tuple[str, ...]


def way_back(records: Sequence[ReleaseRecord], now: float) -> WayBack | None:
    """Tell what a rollback would do, from a service's releases, newest first; `now` in epoch seconds."""
    for at, record in enumerate(records):
        state = record.state
        if not state.phase.ended:
            return WayBack(record.release, (*_halted(record), _NOTED))
        if state.phase is Phase.PROMOTED:
            if state.previous is None:
                return None  # the first version: there is nothing before it
            return WayBack(record.release, (*_returned(record, _before(records[at + 1 :], state), now), _NOTED))
        if not state.settled:
            return None  # it is on its way back already
    return None


def named(release: Release) -> str:
    """Return a release as people say it: `r4 (1.2.0)`."""
    return f"{release.id} ({release.manifest.version})" if release.manifest.version else release.id


def _halted(record: ReleaseRecord) -> list[str]:
    release, state = record.release, record.state
    if state.phase in (Phase.STORED, Phase.QUEUED):
        return [f"{named(release)} is not tried at all. Nobody has met it yet."]
    if state.previous is None:
        return [f"The nodes of {named(release)} are ended. There is no other version of {release.service} yet."]
    return [
        f"Within two seconds the gateways send every viewer of {named(release)} to today's version.",
        f"Its trial {release.trial} ends.",
        "Its nodes finish what they are doing and are removed; no request is lost.",
    ]


def _returned(record: ReleaseRecord, before: Release | None, now: float) -> list[str]:
    new, old = named(record.release), named(before) if before else "the version before it"
    warm = record.state.warm_until_s > now
    return [
        f"The nodes of {old} are still warm: within two seconds the gateways send everybody to them."
        if warm
        else f"Nodes of {old} are started and must be healthy first; {new} serves until then.",
        f"The service's own nodes become {old} again, one at a time behind a spare.",
        "Code, configuration, flags and routes go back together.",
    ]


def _before(older: Sequence[ReleaseRecord], state: State) -> Release | None:
    """Return the release that ran before, if what ran was a release."""
    return next((one.release for one in older if one.release.build == state.previous), None)
