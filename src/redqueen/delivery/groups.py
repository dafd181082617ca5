"""What a release becomes: what its nodes run, its groups of nodes and their sizes, its trial.

Canary and baseline are as large as each other, and large enough for the widest step; the warm group
is as large as the service. The canary brings its release's routes, which are its viewers' alone. The
version of what nodes run ends with the release's id, so that registries, logs and metrics tell
releases apart. Pure. Enter at `build_of`,
`group_file`, `group_count` and `trial_of`.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import msgspec

from redqueen.delivery.manifest import Manifest, edition, service_file
from redqueen.delivery.model import Build, Part, Release
from redqueen.fleet.declared import ServiceFile
from redqueen.trials.model import Subject, Trial, TrialArm

_RELEASE = re.compile(r"(?:.*\+)?(r[1-9][0-9]*)")


def version_of(manifest: Manifest, release_id: str) -> str:
    """Return the version that the nodes of a release have: the maker's, then the release's id."""
    return f"{manifest.version}+{release_id}" if manifest.version else release_id


def build_of(manifest: Manifest, release_id: str, folder: str) -> Build:
    """Return what a release's nodes run, unpacked in the absolute `folder`."""
    version = version_of(manifest, release_id)
    if manifest.own:
        return Build(edition=edition(manifest, version, folder))
    return Build(file=service_file(manifest, version, folder))


def release_of(build: Build) -> str:
    """Return the id of the release that a build's version names; empty when it was not shipped."""
    version = build.edition.version if build.edition else build.file.version if build.file else ""
    found = _RELEASE.fullmatch(version)
    return found[1] if found else ""


def unrouted(build: Build) -> Build:
    """Return the same build before any route leads to it."""
    return build if build.file is None else Build(file=msgspec.structs.replace(build.file, routes=[]))


def route_changes(before: Build, after: Build) -> list[tuple[str, str]]:
    """Return the paths whose routes are `added`, `changed` or `removed`, by path.

    They are so for the canary's viewers while it is tried, for everybody from the promotion on, and for nobody
    from a rollback on; what gateways cannot give to some viewers only begins with the promotion.
    """
    old, new = _routes(before), _routes(after)
    found = [(path, "added") for path in new.keys() - old.keys()]
    found += [(path, "removed") for path in old.keys() - new.keys()]
    found += [(path, "changed") for path in old.keys() & new.keys() if old[path] != new[path]]
    return sorted(found)


def _routes(build: Build) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for route in build.file.routes if build.file else []:
        found.setdefault(str(route.get("path", "/")), []).append(route)
    return found


def group_file(name: str, build: Build, count: int, owner: str) -> ServiceFile:
    """Return the file of a group: the build's under the group's name, so many in the region."""
    if build.file is None:
        # A group of one of our own roles: the fleet runs the role, not a command.
        return ServiceFile(name=name, owner=owner, command=("redqueen",), count=count)
    return msgspec.structs.replace(build.file, name=name, count=count, count_per_zone=None)


def group_count(part: Part, wanted: int, steps: tuple[float, ...]) -> int:
    """Return how many nodes a group has, where the service itself has `wanted`."""
    return wanted if part is Part.WARM else max(1, math.ceil(wanted * max(steps) - 1e-9))


def trial_of(release: Release, began_s: float) -> Trial:
    """Return the trial of a release; the same release and time give the same trial."""
    manifest, service = release.manifest, release.service
    # Nobody can aim at an arm by the salt: a viewer's key is given by the region.
    salt = hashlib.sha256(f"{release.trial} {release.artifact.digest} {began_s!r}".encode()).hexdigest()
    canary = TrialArm("canary", group=release.group(Part.CANARY), baseline=release.group(Part.BASELINE))
    return Trial(
        id=release.trial,
        subject=Subject.RELEASE,
        target=service,
        owner=manifest.owner,
        because=release.because or _subject(release),
        salt=salt,
        layer=f"release/{service}",
        treatments=(canary,),
        metrics=manifest.metrics,  # none: what suits the service (`trials.planning`)
        steps=manifest.steps,
        step_s=manifest.step_s,
        horizon_s=manifest.horizon_s,
        hold_s=manifest.hold_s,
        alpha=manifest.alpha,
        created_s=began_s,
    )


def _subject(release: Release) -> str:
    return release.provenance.subject or f"{release.id} of {release.service}"
