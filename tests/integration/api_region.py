"""A whole api node for tests over a folder of objects; only the studio and the fleet are stand-ins."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import argon2

from redqueen.accounts.passwords import Passwords
from redqueen.accounts.service import Accounts
from redqueen.api.artifact_intake import ArtifactIntake
from redqueen.api.intake import UploadLimits, Uploads
from redqueen.api.ports import FleetNode, FleetPicture, LogLine, ServiceCard
from redqueen.api.services import Services
from redqueen.catalogue.service import Catalogue
from redqueen.clock import Clock
from redqueen.delivery.artifacts import Artifacts
from redqueen.delivery.groups import build_of
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact, Phase, Provenance, Release, ReleaseRecord, State
from redqueen.errors import NotFound
from redqueen.events import Event
from redqueen.experiments.desk import FlagDesk
from redqueen.experiments.running import Experiments
from redqueen.experiments.showing import ExperimentDesk
from redqueen.fleet.declared import ServiceFile
from redqueen.fleet.rotation import LogQuery
from redqueen.playback.service import Playback
from redqueen.registry.rights import Gate
from redqueen.store.audit import Audit
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.ports import Records
from redqueen.telemetry.grants import secret_of
from redqueen.telemetry.parquet import Lake
from redqueen.telemetry.ports import Unassigned
from redqueen.telemetry.service import Telemetry
from redqueen.trials.following import ArmedTrials
from redqueen.trials.service import Trials

OPERATOR = "operator-token-for-tests-0123456789"
REGION_SECRET = b"region-secret-for-tests-" * 3
BEARER = {"Authorization": f"Bearer {OPERATOR}"}
TUS = {**BEARER, "Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
CHEAP = Passwords(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@dataclass
class Studio:
    """Remembers what it was handed."""

    submitted: list[tuple[str, str]] = field(default_factory=list)
    subtitles: list[tuple[str, str, str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    async def submit(self, title_id: str, source_key: str) -> None:
        """Remember a film."""
        self.submitted.append((title_id, source_key))

    async def set_subtitles(self, title_id: str, lang: str, label: str, text: str) -> None:
        """Remember subtitles."""
        self.subtitles.append((title_id, lang, label, text))

    async def remove(self, title_id: str) -> None:
        """Remember a removal."""
        self.removed.append(title_id)


@dataclass
class Fleet:
    """One node that can be killed once."""

    killed: list[str] = field(default_factory=list)

    async def view(self) -> FleetPicture:
        """Show the node."""
        node = FleetNode(
            id="api-a-1", role="api", service="api", zone="a", pid=1, address="127.0.1.1:1", state="up", version="1"
        )
        return FleetPicture(
            region="local",
            public_url="http://127.0.0.1:8080",
            as_of=datetime(2026, 1, 1, tzinfo=UTC),
            zones=["a"],
            nodes=[node],
            leader=None,
        )

    async def kill(self, node_id: str) -> None:
        """Remember the kill."""
        if node_id != "api-a-1":
            raise NotFound("fleet.unknown", f"There is no node {node_id}", hint="See: redqueen status")
        self.killed.append(node_id)

    async def logs(self, query: LogQuery) -> list[LogLine]:
        """Show what was asked."""
        return [LogLine("api-a-1", f"{query.role} {query.node} {query.lines}")]


@dataclass
class Declared:
    """Services that are up as soon as they are declared."""

    files: dict[str, ServiceFile] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)

    async def all(self) -> list[ServiceCard]:
        """Show them all."""
        return [await self.get(name) for name in self.files]

    async def get(self, name: str) -> ServiceCard:
        """Show one."""
        if name not in self.files:
            raise NotFound("service.unknown", f"There is no service {name}", hint="Declare it")
        return ServiceCard(
            name=name,
            state="up",
            because="",
            wanted=1,
            ready=1,
            revision=self.revisions[name],
            instances=[],
            file=self.files[name],
        )

    async def declare(self, file: ServiceFile) -> ServiceCard:
        """Remember a service."""
        self.files[file.name] = file
        self.revisions[file.name] = self.revisions.get(file.name, 0) + 1
        return await self.get(file.name)

    async def restart(self, name: str) -> ServiceCard:
        """Count a restart."""
        await self.get(name)
        self.revisions[name] += 1
        return await self.get(name)

    async def remove(self, name: str, revision: int | None) -> None:
        """Forget a service."""
        await self.get(name)
        del self.files[name]


@dataclass
class Releases:
    """Releases that are kept and do nothing."""

    clock: Clock
    records: list[ReleaseRecord] = field(default_factory=list)

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
        """Keep one."""
        number = 1 + sum(kept.release.service == manifest.service for kept in self.records)
        build, now = build_of(manifest, f"r{number}", "/releases"), self.clock.now()
        release = Release(manifest.service, number, artifact, manifest, build, by, now, because, provenance, key)
        self.records.append(ReleaseRecord(release, State(since_s=now)))
        return self.records[-1]

    async def rollback(self, service: str, by: str, because: str = "") -> ReleaseRecord:
        """End the newest one."""
        return self._ended((await self.all(service))[0], Phase.ROLLED_BACK, f"{by}: {because}")

    async def stop(self, service: str, number: int, by: str, because: str = "") -> ReleaseRecord:
        """End one."""
        return self._ended(await self.get(service, number), Phase.STOPPED, f"{by}: {because}")

    async def get(self, service: str, number: int) -> ReleaseRecord:
        """Return one."""
        for kept in self.records:
            if (kept.release.service, kept.release.number) == (service, number):
                return kept
        raise NotFound("release.unknown", f"There is no release r{number} of {service}", hint="Ship it")

    async def all(self, service: str = "", limit: int = 100) -> list[ReleaseRecord]:
        """Return them, newest first."""
        return [kept for kept in reversed(self.records) if service in ("", kept.release.service)][:limit]

    def _ended(self, record: ReleaseRecord, phase: Phase, because: str) -> ReleaseRecord:
        ended = ReleaseRecord(record.release, State(phase=phase, because=because, since_s=self.clock.now()))
        self.records[self.records.index(record)] = ended
        return ended


@dataclass
class Region:
    """An api node's services and what can be looked at beside them."""

    services: Services
    studio: Studio
    fleet: Fleet
    records: Records
    objects: ObstoreObjects
    folder: Path
    events: list[Event]

    @property
    def spool(self) -> Path:
        """Give the folder of unfinished uploads."""
        return self.folder / "uploads"

    @property
    def sources(self) -> Path:
        """Give the folder of whole films."""
        return self.folder / "objects" / "sources"


def build(
    folder: Path,
    records: Records,
    clock: Clock,
    *,
    limits: UploadLimits | None = None,
    public_url: str = "http://tv",
    node: str = "api-a-1",
) -> Region:
    """Put an api node together over `folder` and `records`."""
    studio, fleet, declared, events = Studio(), Fleet(), Declared(), list[Event]()
    (folder / "uploads").mkdir(exist_ok=True, parents=True)
    (folder / "objects").mkdir(exist_ok=True)
    objects = ObstoreObjects.folder(folder / "objects")
    accounts = Accounts(records, clock, CHEAP)
    catalogue = Catalogue(records, clock)
    uploads = Uploads(records, objects, catalogue, studio, folder / "uploads", clock, events.append, limits)
    playback = Playback(records, clock, accounts.media, public_url=public_url, link_ttl_s=3600)
    app = folder / "app"
    audit, armed = Audit(records, clock), ArmedTrials(records, clock)
    lake = Lake(objects, folder / "scratch")
    flags, trials = FlagDesk.over(records, clock, audit, armed), Trials(records, clock)
    telemetry = Telemetry(
        folder / "telemetry", node, secret_of(REGION_SECRET), lake, Unassigned(), clock, events.append
    )
    services = Services(
        accounts=accounts,
        catalogue=catalogue,
        playback=playback,
        uploads=uploads,
        studio=studio,
        fleet=fleet,
        declared=declared,
        delivery=Releases(clock),
        artifacts=ArtifactIntake(Artifacts(objects, records), folder / "artifacts"),
        audit=audit,
        armed=armed,
        trials=trials,
        flags=flags,
        experiments=ExperimentDesk(Experiments(records, clock, audit, flags.flags, trials), flags.flags, lake, clock),
        telemetry=telemetry,
        gate=Gate(REGION_SECRET),
        clock=clock,
        emit=events.append,
        public_url=public_url,
        app_dir=app,
    )
    return Region(services, studio, fleet, records, objects, folder, events)
