"""The maker's releases: send an artifact, ship it, see what became of it, undo it.

An artifact is sent once, as one body under the digest of its bytes; a release names it. What the
release is comes out of the artifact's own `redqueen.toml`, so that what was checked is what runs.
Refuses an artifact that is not what its digest says. What is shipped, stopped or undone is written into
the audit log.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from redqueen.accounts.model import Identity
from redqueen.api import bodies
from redqueen.api.audit import noted
from redqueen.api.intake import ConnectionCut
from redqueen.api.schemas import moment
from redqueen.api.services import Services
from redqueen.delivery.groups import route_changes
from redqueen.delivery.model import Artifact, Phase, Provenance, ReleaseRecord
from redqueen.delivery.way_back import way_back
from redqueen.errors import InvalidInput, NotFound, RedQueenError, Unavailable

_OWNER = {"owner": True}
_MAX_WORDS = 500
_KEY = "Of your choice, another for each release: who asks again with it gets the release that was taken"
_LOOKED_AT = 50
"""Newest releases of a service among which the one to undo is looked for."""


class ArtifactCard(msgspec.Struct, frozen=True, kw_only=True):
    """A packed folder: the SHA-256 of its bytes, its size in bytes, packed and unpacked."""

    digest: str
    size_bytes: int
    files: int
    unpacked_bytes: int


class ChangeCard(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a release's life."""

    phase: Phase
    because: str
    at: datetime


class RouteCard(msgspec.Struct, frozen=True, kw_only=True):
    """A path whose routes the release makes others (`added`, `changed`, `removed`), for its own viewers at first."""

    path: str
    change: str


class ReleaseCard(msgspec.Struct, frozen=True, kw_only=True):
    """A release: what was shipped, how far it is and why."""

    service: str
    id: str
    phase: Phase
    because: str
    since: datetime
    trial: str
    """The id of its trial, which there is from the phase `trying` on."""
    version: str
    owner: str
    by: str
    why: str
    """What is tried, in the maker's words."""
    created: datetime
    settled: bool
    """Whether nothing is left to be done: its groups are gone."""
    warm_until: datetime | None
    """Promoted: until when the version before it can take over at once."""
    undoable: bool
    """Whether a rollback of the service would be one of this release, if it is the newest."""
    routes: list[RouteCard]
    artifact: ArtifactCard
    provenance: Provenance
    history: list[ChangeCard]


class ReleaseList(msgspec.Struct, frozen=True):
    """Releases, newest first within each service."""

    releases: list[ReleaseCard]


class ReleaseWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to ship: the digest of an artifact that was sent, and where it comes from."""

    artifact: str
    because: str = ""
    """What is tried, at most 500 characters."""
    provenance: Provenance = Provenance()


class WayBackCard(msgspec.Struct, frozen=True):
    """Which release a rollback would undo, and what would happen, one sentence a step."""

    release: str
    steps: list[str]


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why somebody stops or undoes a release, at most 500 characters."""

    because: str = ""


@get("/artifacts/{digest:str}", opt=_OWNER, operation_id="getArtifact", tags=["releases"])
async def artifact(digest: FromPath[str], services: NamedDependency[Services]) -> ArtifactCard:
    """Tell what is kept under a digest, so that it need not be sent again."""
    return _artifact(await services.artifacts.find(digest))


@put(
    "/artifacts/{digest:str}",
    status_code=200,
    opt={**_OWNER, "unaudited": "an artifact changes nothing until it is shipped"},
    operation_id="sendArtifact",
    tags=["releases"],
)
async def send(
    request: Request[Any, Any, State], digest: FromPath[str], services: NamedDependency[Services]
) -> ArtifactCard:
    """Take an artifact: an uncompressed ustar file whose SHA-256 is in the address, at most 512 MiB."""
    try:
        return _artifact(await services.artifacts.receive(digest, _length(request), bodies.pieces(request)))
    except ConnectionCut as cut:
        raise Unavailable(
            "release.truncated", "The connection ended before the artifact did", hint="Send it again"
        ) from cut
    except RedQueenError:
        await bodies.drain(request)
        raise


@post("/releases", status_code=201, opt=_OWNER, operation_id="ship", tags=["releases"])
async def ship(
    data: JSONBody[ReleaseWish],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
    key: Annotated[str, HeaderParameter(name="Idempotency-Key", description=_KEY, max_length=64)] = "",
) -> ReleaseCard:
    """Ship an artifact: fresh nodes are started, tried on some viewers, and promoted or rolled back."""
    _check_words(data.because, *(str(value) for value in msgspec.structs.astuple(data.provenance)))
    manifest = await services.artifacts.manifest(data.artifact)
    kept = await services.artifacts.find(data.artifact)
    by = identity.account.name
    record = await services.delivery.ship(manifest, kept, by, provenance=data.provenance, because=data.because, key=key)
    await noted(services, identity, "ship", _subject(record), data.because)
    return card(record)


@get("/releases", opt=_OWNER, operation_id="listReleases", tags=["releases"])
async def every(
    services: NamedDependency[Services],
    service: Annotated[str, QueryParameter(description="Only this service's", max_length=64)] = "",
    limit: Annotated[int, QueryParameter(description="How many of each service at most", ge=1, le=500)] = 50,
) -> ReleaseList:
    """Return the newest releases of each service."""
    return ReleaseList([card(record) for record in await services.delivery.all(service, limit)])


@get("/releases/{service:str}/{release:str}", opt=_OWNER, operation_id="getRelease", tags=["releases"])
async def one(service: FromPath[str], release: FromPath[str], services: NamedDependency[Services]) -> ReleaseCard:
    """Return one release, such as `r3` of a service."""
    return card(await services.delivery.get(service, _number(service, release)))


@get("/releases/{service:str}/rollback", opt=_OWNER, operation_id="planRollback", tags=["releases"])
async def planned(service: FromPath[str], services: NamedDependency[Services]) -> WayBackCard:
    """Tell what a rollback of the service would do now. 404 where nothing can be undone."""
    found = way_back(await services.delivery.all(service, _LOOKED_AT), services.clock.now())
    if found is None:
        raise NotFound(
            "release.none", f"No release of {service[:64]} can be undone", hint="See them: redqueen releases"
        )
    return WayBackCard(found.release.id, list(found.steps))


@post("/releases/{service:str}/rollback", status_code=202, opt=_OWNER, operation_id="rollBack", tags=["releases"])
async def rollback(
    service: FromPath[str],
    data: JSONBody[Reason],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> ReleaseCard:
    """Undo what is being tried, or what was promoted last: at once while the version before it is warm."""
    _check_words(data.because)
    record = await services.delivery.rollback(service, identity.account.name, data.because)
    await noted(services, identity, "roll back", _subject(record), data.because)
    return card(record)


@post(
    "/releases/{service:str}/{release:str}/stop",
    status_code=202,
    opt=_OWNER,
    operation_id="stopRelease",
    tags=["releases"],
)
async def stop(
    service: FromPath[str],
    release: FromPath[str],
    data: JSONBody[Reason],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> ReleaseCard:
    """End a release that has no verdict yet: its viewers go back to today's version."""
    _check_words(data.because)
    number = _number(service, release)
    record = await services.delivery.stop(service, number, identity.account.name, data.because)
    await noted(services, identity, "stop release", _subject(record), data.because)
    return card(record)


def card(record: ReleaseRecord) -> ReleaseCard:
    """Return what clients see of a release."""
    release, state = record.release, record.state
    return ReleaseCard(
        service=release.service,
        id=release.id,
        phase=state.phase,
        because=state.because,
        since=moment(state.since_s or release.created_s),
        trial=release.trial,
        version=release.manifest.version,
        owner=release.manifest.owner,
        by=release.by,
        why=release.because or release.provenance.subject,
        created=moment(release.created_s),
        settled=state.settled,
        warm_until=moment(state.warm_until_s) if state.warm_until_s and state.phase is Phase.PROMOTED else None,
        undoable=not state.phase.ended or (state.phase is Phase.PROMOTED and state.previous is not None),
        routes=[
            RouteCard(path=path, change=change)
            for path, change in (route_changes(state.previous, release.build) if state.previous else ())
        ],
        artifact=_artifact(release.artifact),
        provenance=release.provenance,
        history=[
            ChangeCard(phase=change.phase, because=change.because, at=moment(change.at_s)) for change in state.history
        ],
    )


def _artifact(found: Artifact) -> ArtifactCard:
    return ArtifactCard(**msgspec.structs.asdict(found))


def _subject(record: ReleaseRecord) -> str:
    return f"release {record.release.id} of {record.release.service}"


def _number(service: str, release: str) -> int:
    digits = release.removeprefix("r")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8):
        raise NotFound(
            "release.unknown",
            f"There is no release {release[:20]} of {service[:64]}",
            hint="See them with: redqueen releases",
        )
    return int(digits)


def _length(request: Request[Any, Any, State]) -> int | None:
    told = request.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) <= 15 else None


def _check_words(*texts: str) -> None:
    for text in texts:
        if len(text) > _MAX_WORDS or not text.isprintable():
            raise InvalidInput(
                "release.words",
                f"{text[:40]!r} cannot be kept",
                why=f"at most {_MAX_WORDS} printable characters",
                hint="Say it in one line",
            )


ROUTES = [artifact, send, ship, every, one, planned, rollback, stop]
