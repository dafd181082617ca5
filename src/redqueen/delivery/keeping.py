"""Which artifacts stay: those that run or may have to, and those of each service's newest releases.

Decides for each service that its newest releases stay, and beyond them whatever is not settled, and
the newest promoted release with the version before it, to which a rollback would go. What the fleet
is asked to run stays whoever asked. Everything else goes, a few at a time, unless it was sent or
asked for within the last day (`artifacts.py`); each step may be done twice, or by two leaders at
once. Rules are pure. Enter at `Keeping.turn`, `remembered` and `running`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from redqueen.delivery.archive import Archive, Kept
from redqueen.delivery.artifacts import Artifacts
from redqueen.delivery.carrying_out import digests_of
from redqueen.delivery.model import Build, Phase, ReleaseRecord
from redqueen.fleet.declared import Wishes
from redqueen.store.ports import Records

AT_ONCE: Final = 10
"""Artifacts that go in one turn."""
_SEEN: Final = 100
"""Releases of a service among which a rollback looks for the one to undo."""


def running(opened: Iterable[Kept], wishes: Wishes) -> set[str]:
    """Return the digests of all artifacts that run, or may have to within moments."""
    found = {kept.release.artifact.digest for kept in opened}
    builds = [kept.record.state.previous for kept in opened]
    builds += [Build(wish.file, wish.edition) for wish in wishes.services]
    builds += [Build(edition=edition) for _, edition in wishes.editions]
    return found | _digests(builds)


def remembered(releases: Sequence[ReleaseRecord], newest: int) -> set[str]:
    """Return the digests that one service's releases, newest first, still stand for."""
    serves = next((at for at, one in enumerate(releases) if one.state.phase is Phase.PROMOTED), -1)
    found: set[str] = set()
    for at, one in enumerate(releases):
        if at < newest or at == serves or not (one.state.phase.ended and one.state.settled):
            found |= {one.release.artifact.digest} | _digests([one.release.build, one.state.previous])
    return found


def _digests(builds: Iterable[Build | None]) -> set[str]:
    return {digest for build in builds if build is not None for digest in digests_of(build)}


class Keeping:
    """Removes the artifacts that nobody will ask for."""

    def __init__(
        self, records: Records, artifacts: Artifacts, wishes: Callable[[], Awaitable[Wishes]], newest: int
    ) -> None:
        """Keep those of the `newest` releases of each service; `wishes` tells what shall run."""
        self._archive = Archive(records)
        self._artifacts = artifacts
        self._wishes = wishes
        self._newest = newest

    async def turn(self) -> list[str]:
        """Remove some that nobody needs any more; return their digests."""
        there = await self._artifacts.all()
        wanted = await self._wanted() if there else set[str]()
        gone: list[str] = []
        for digest in sorted(set(there) - wanted):
            if len(gone) < AT_ONCE and await self._artifacts.remove_unasked(digest):
                gone.append(digest)
        return gone

    async def _wanted(self) -> set[str]:
        found = running(await self._archive.open(), await self._wishes())
        for service in await self._archive.services():
            kept = await self._archive.newest(service, max(_SEEN, self._newest))
            found |= remembered([one.record for one in kept], self._newest)
        return found
