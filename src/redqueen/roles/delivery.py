"""Delivery's ports answered: the fleet's wishes and board, the trials, the flags, the disk.

A release of the region's own api says which folders its nodes run: what it leaves out is what runs
today, so that a release of the web app keeps the code of the last release of code. Enter at
`make_delivery`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from redqueen.api import declarations
from redqueen.delivery.acting import TrialSeen
from redqueen.delivery.artifacts import Artifacts
from redqueen.delivery.model import Build
from redqueen.delivery.pins import Pins
from redqueen.delivery.ports import DeliveryPorts, Size
from redqueen.delivery.service import Delivery
from redqueen.errors import InvalidInput, NotFound
from redqueen.experiments.flags import Flag, FlagKind
from redqueen.experiments.service import Flags
from redqueen.fleet import living
from redqueen.fleet.declared import ServiceFile, Wishes
from redqueen.fleet.drivers.command import runnable
from redqueen.fleet.model import Edition, NodeView, Role
from redqueen.roles.board import RecordBoard
from redqueen.roles.declared import RecordWishes
from redqueen.roles.node import Node
from redqueen.roles.releases import ReleaseFolders
from redqueen.roles.web_app import installed_app
from redqueen.store.audit import Audit
from redqueen.trials.following import ARMED
from redqueen.trials.model import Trial
from redqueen.trials.service import Trials

_RELEASED = "released"
"""The variant of a flag that a release sets to a value that no variant has yet."""


def make_delivery(node: Node, on_trial: Callable[[], None] = lambda: None) -> Delivery:
    """Return the delivery of a node's region; any number of nodes may have one.

    `on_trial` is called after each trial that it begins: viewers wait for whoever arms it.
    """
    stores = node.stores
    trials = Trials(stores.records, node.clock, node.emit)
    flags = Flags(stores.records, node.clock, Audit(stores.records, node.clock))
    artifacts = Artifacts(stores.objects, stores.records)
    ports = DeliveryPorts(
        records=stores.records,
        pins=Pins(stores.records),
        fleet=RegionFleet(node),
        trials=RegionTrials(node, trials, on_trial),
        flags=ReleaseFlags(flags),
        folders=ReleaseFolders(node.spec.data_path, artifacts, node.clock),
    )
    return Delivery(ports, node.clock, node.emit)


class RegionFleet:
    """Delivery's FleetPort over the records' wishes and the fleet's board."""

    def __init__(self, node: Node) -> None:
        self._region = node.region
        self._wishes = RecordWishes(node.stores.records, node.clock)
        self._board = RecordBoard(node.stores.records)

    @property
    def size(self) -> Size:
        """Return how many zones there are, and how many nodes each of the region's own roles has."""
        return Size(len(self._region.zones), msgspec.to_builtins(self._region.counts))

    async def wishes(self) -> Wishes:
        """Return what shall run."""
        return await self._wishes.read()

    async def views(self) -> list[NodeView]:
        """Return what runs, each view checked against its process."""
        return living.checked(await self._board.read())

    async def declare(self, file: ServiceFile, edition: Edition | None = None) -> None:
        """Let a service or a group run as the file says; with an `edition` a group of the region's own api."""
        await self._wishes.declare(file, edition)

    async def set_edition(self, service: str, edition: Edition | None) -> None:
        """Replace the nodes of one of the region's own roles by another version; None: the installed one."""
        await self._wishes.set_edition(Role(service), edition)

    async def remove(self, name: str) -> None:
        """Let a service or a group run no more; no error when it does not."""
        with contextlib.suppress(NotFound):
            await self._wishes.remove(name, None)

    def check(self, build: Build, wishes: Wishes) -> None:
        """Raise InvalidInput or Conflict, naming the key, if this could not run here or be routed beside the others."""
        if build.file is not None:
            runnable(build.file, "redqueen.toml")
            declarations.checked(build.file, "redqueen.toml", wishes.services)
        if build.edition is not None:
            _check_edition(build.edition)

    def completed(self, build: Build, wishes: Wishes) -> Build:
        """Return a build that names all it runs: an edition's folder that the release leaves out is today's."""
        if build.edition is None:
            return build
        today = wishes.edition(Role.API) or Edition("", web=str(installed_app()))
        edition = replace(build.edition, code=build.edition.code or today.code, web=build.edition.web or today.web)
        return Build(edition=edition)


def _check_edition(edition: Edition) -> None:
    code, web = Path(edition.code, "redqueen", "roles", "api.py"), Path(edition.web, "index.html")
    for key, folder, needed in (("code", edition.code, code), ("web", edition.web, web)):
        if folder and not needed.is_file():
            wanted = "the package `redqueen`" if key == "code" else "the built web app with its index.html"
            raise InvalidInput(
                "release.manifest",
                f"redqueen.toml: {key} names a folder without {needed.relative_to(folder)}",
                why=f"it must be a folder with {wanted}",
                hint="Build it first, and see that .gitignore does not leave it out (`include`)",
            )


class RegionTrials:
    """Delivery's TrialsPort over the trials."""

    def __init__(self, node: Node, trials: Trials, on_trial: Callable[[], None]) -> None:
        self._records = node.stores.records
        self._trials = trials
        self._on_trial = on_trial

    async def start(self, trial: Trial) -> None:
        """Begin a trial; the very same again changes nothing."""
        await self._trials.start(trial)
        self._on_trial()

    async def stop(self, trial_id: str, because: str, by: str) -> None:
        """End a trial without a verdict; no error when it has ended."""
        await self._trials.stop(trial_id, because, by)

    async def seen(self, trial_id: str) -> TrialSeen | None:
        """Return how a trial is; None: there is none of this id."""
        head = await self._trials.find(trial_id)
        if head is None:
            return None
        armed = await self._records.get(ARMED, trial_id) is not None
        return TrialSeen(head.life.status, head.life.because, armed)

    async def report(self, trial_id: str, problem: str) -> None:
        """Tell what no viewer can: a group that ended or fell ill."""
        await self._trials.report(trial_id, problem)


class ReleaseFlags:
    """Delivery's FlagsPort: a flag's value for everybody is that of its default variant."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    async def values(self, keys: Collection[str]) -> Mapping[str, Any]:
        """Return the values that these flags have for everybody; None: there is no such flag."""
        known = {row.flag.key: row.flag for row in await self._flags.all()}
        return {key: known[key].variants[known[key].default] if key in known else None for key in keys}

    async def put(self, flags: Mapping[str, Any], by: str) -> None:
        """Let flags have these values; None: let there be no such flag."""
        known = {row.flag.key: row for row in await self._flags.all()}
        for key, value in flags.items():
            row = known.get(key)
            if value is not None:
                flag = _valued(row.flag if row else None, key, value)
                await self._flags.put(flag, row.revision if row else None, by)
            elif row is not None:
                await self._flags.remove(key, row.revision, by)


def _valued(known: Flag | None, key: str, value: Any) -> Flag:
    """Return the flag with this value as its default variant."""
    kind = _kind(value)
    flag = known or Flag(key, kind, {}, "", description="made by a release")
    if flag.kind is not kind and not (flag.kind is FlagKind.NUMBER and kind is FlagKind.INTEGER):
        # The release knows best what its own flag is; rules that name values of another kind mean nothing now.
        whole = flag.kind is FlagKind.INTEGER and kind is FlagKind.NUMBER
        flag = msgspec.structs.replace(
            flag, kind=kind, variants=flag.variants if whole else {}, rules=flag.rules if whole else ()
        )
    same = next((name for name, other in flag.variants.items() if other == value and type(other) is type(value)), None)
    variants = flag.variants if same else {**flag.variants, _RELEASED: value}
    return msgspec.structs.replace(flag, variants=variants, default=same or _RELEASED)


def _kind(value: Any) -> FlagKind:
    if isinstance(value, bool):  # before int, which a bool is too
        return FlagKind.BOOLEAN
    kinds = {int: FlagKind.INTEGER, float: FlagKind.NUMBER, str: FlagKind.STRING}
    return next((kind for base, kind in kinds.items() if isinstance(value, base)), FlagKind.OBJECT)
