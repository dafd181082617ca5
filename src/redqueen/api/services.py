"""What the HTTP edge is made of, handed in once by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from redqueen.accounts.service import Accounts
from redqueen.api.artifact_intake import ArtifactIntake
from redqueen.api.countries import NOWHERE, Countries
from redqueen.api.intake import Uploads
from redqueen.api.packaged import PACKAGED_APP
from redqueen.api.ports import FleetPort, ReleasesPort, ServicesPort, StudioPort
from redqueen.catalogue.service import Catalogue
from redqueen.clock import Clock
from redqueen.events import Emit
from redqueen.experiments.desk import FlagDesk
from redqueen.experiments.showing import ExperimentDesk
from redqueen.playback.service import Playback
from redqueen.registry.rights import Gate
from redqueen.store.audit import Audit
from redqueen.telemetry.service import Telemetry
from redqueen.trials.arm_counts import ArmCounts
from redqueen.trials.following import ArmedTrials
from redqueen.trials.service import Trials


@dataclass(frozen=True, slots=True)
class Place:
    """Which node this is: `service` is a group's name where it runs a release that is tried."""

    node: str = ""
    zone: str = ""
    service: str = "api"
    release: str = ""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need; `public_url` is the only address that links are built from."""

    accounts: Accounts
    catalogue: Catalogue
    playback: Playback
    uploads: Uploads
    studio: StudioPort
    fleet: FleetPort
    declared: ServicesPort
    delivery: ReleasesPort
    artifacts: ArtifactIntake
    audit: Audit
    armed: ArmedTrials
    trials: Trials
    flags: FlagDesk
    experiments: ExperimentDesk
    telemetry: Telemetry
    gate: Gate
    """Knows the region's own nodes by their token."""
    clock: Clock
    emit: Emit
    public_url: str
    counts: ArmCounts = field(default_factory=ArmCounts)
    countries: Countries = NOWHERE
    place: Place = Place()
    app_dir: Path = PACKAGED_APP

    @property
    def secure(self) -> bool:
        """Tell whether viewers come by https, so that cookies must too."""
        return self.public_url.startswith("https://")
