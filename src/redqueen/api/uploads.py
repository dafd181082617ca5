"""Uploads over tus 1.0.0: creation, the offset, the bytes, termination.

Any tus client works. Bodies stream from the server into the spool and are never held in memory.
Each answer says until when an idle upload is kept. Methods may be overridden with
X-HTTP-Method-Override, as the protocol asks. The work is in `intake.py`, the parsing in `tus.py`.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, head, patch, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from redqueen.accounts.model import Identity
from redqueen.api import bodies, tus
from redqueen.api.audit import noted
from redqueen.api.intake import ConnectionCut, Upload
from redqueen.api.services import Services
from redqueen.errors import InvalidInput, RedQueenError, Unavailable

PATH = "/api/v1/uploads"
_Headers = dict[str, str]


@post("/uploads", status_code=201, operation_id="createUpload", tags=["uploads"])
async def create(
    request: Request[Any, Any, State], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> Response[None]:
    """Begin an upload (tus creation); its title appears at once.

    Headers: Tus-Resumable, Upload-Length, Upload-Metadata with `filename` and, if wanted, `title`.
    """
    tus.check_version(request.headers)
    wish = tus.creation(request.headers, max_bytes=services.uploads.limits.max_bytes)
    title, filename = wish.metadata.get("title", ""), wish.metadata.get("filename", "")
    upload = await services.uploads.create(identity.account.id, wish.length, title=title, filename=filename)
    await noted(services, identity, "upload", f"title {upload.title_id}", title or filename)
    headers = {**_facts(services, upload, 0), "Location": f"{PATH}/{upload.id}"}
    return _empty(201, headers)


@head("/uploads/{upload_id:str}", operation_id="getUploadOffset", tags=["uploads"])
async def offset(
    request: Request[Any, Any, State],
    upload_id: FromPath[str],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> Response[None]:
    """Return how many bytes are here, in Upload-Offset."""
    tus.check_version(request.headers)
    return await _offset(services, identity, upload_id)


@patch(
    "/uploads/{upload_id:str}",
    status_code=204,
    opt={"unaudited": "the upload was noted when it began"},
    operation_id="appendToUpload",
    tags=["uploads"],
)
async def append(
    request: Request[Any, Any, State],
    upload_id: FromPath[str],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> Response[None]:
    """Write the body at Upload-Offset; the last byte hands the film to the studio."""
    return await _append(request, services, identity, upload_id)


@delete("/uploads/{upload_id:str}", operation_id="endUpload", tags=["uploads"])
async def end(
    request: Request[Any, Any, State],
    upload_id: FromPath[str],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> Response[None]:
    """End an upload and remove what has arrived (tus termination)."""
    tus.check_version(request.headers)
    return await _end(services, identity, upload_id)


@post("/uploads/{upload_id:str}", opt={"unaudited": "an end is noted where it is made"}, include_in_schema=False)
async def overridden(
    request: Request[Any, Any, State],
    upload_id: FromPath[str],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> Response[None]:
    """Do what X-HTTP-Method-Override says, for networks that only let POST through."""
    method = request.headers.get("x-http-method-override", "").upper()
    if method == "PATCH":
        return await _append(request, services, identity, upload_id)
    tus.check_version(request.headers)
    if method == "HEAD":
        return await _offset(services, identity, upload_id)
    if method == "DELETE":
        return await _end(services, identity, upload_id)
    raise InvalidInput("upload.method", "An upload takes no POST", hint="Use HEAD, PATCH or DELETE")


async def _offset(services: Services, identity: Identity, upload_id: str) -> Response[None]:
    upload = await services.uploads.find(upload_id, identity.account.id)
    here = await services.uploads.offset(upload)
    return _empty(200, _facts(services, upload, here))


async def _append(
    request: Request[Any, Any, State], services: Services, identity: Identity, upload_id: str
) -> Response[None]:
    try:
        tus.check_version(request.headers)
        at = tus.patch_offset(request.headers)
        upload = await services.uploads.find(upload_id, identity.account.id)
        here = await services.uploads.append(upload, at, bodies.pieces(request))
    except ConnectionCut as cut:
        raise Unavailable("upload.cut", "The connection ended before the body did", hint="Go on later") from cut
    except RedQueenError:
        await bodies.drain(request)
        raise
    return _empty(204, _facts(services, upload, here))


async def _end(services: Services, identity: Identity, upload_id: str) -> Response[None]:
    upload = await services.uploads.find(upload_id, identity.account.id)
    await services.uploads.terminate(upload, "its owner ended it")
    await noted(services, identity, "end upload", f"title {upload.title_id}")
    return _empty(204, {})


def _facts(services: Services, upload: Upload, here: int) -> _Headers:
    facts = {"Upload-Offset": str(here), "Upload-Length": str(upload.length), "Redqueen-Title": upload.title_id}
    if here < upload.length:
        facts["Upload-Expires"] = tus.http_date(services.uploads.expires_at(upload))
    return facts


def _empty(status: int, headers: _Headers) -> Response[None]:
    return Response(None, status_code=status, headers=headers, media_type="text/plain")  # JSON would say "null"


ROUTES = [create, offset, append, end, overridden]
