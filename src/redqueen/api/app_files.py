"""The built web app: its files, and index.html for every address that the app routes itself.

Only files that were there at the start are served, by exact name, so no address can reach
another file. Names with a hash are immutable, the rest is asked for again by ETag. Refuses
what looks like a file and is none, and the paths that belong to gateways and the API.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Request, Response, get, head
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from redqueen.errors import NotFound

_HASHED = re.compile(r"[-.][A-Za-z0-9_-]{8,}\.[a-z0-9]+$")
_RESERVED = ("api", "media", "v", "eureka", "registry", "telemetry", "metrics")
_PACKED = (".html", ".js", ".css", ".svg", ".json", ".map", ".txt", ".webmanifest")
_MIN_PACKED_BYTES = 1024


@dataclass(frozen=True, slots=True)
class AppFile:
    """One file of the app, ready to be sent."""

    body: bytes
    packed: bytes | None
    media_type: str
    etag: str
    cache: str


class AppFiles:
    """The files of the built app, read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: Mapping[str, AppFile] = _read(folder)

    def find(self, path: str) -> AppFile:
        """Return the file for an address. Raises NotFound."""
        name = path.strip("/")
        found = self._files.get(name)
        if found is not None:
            return found
        segments = name.split("/")
        if segments[0] in _RESERVED or "." in segments[-1] or "\x00" in name:
            raise NotFound("request.not_found", "There is nothing at this address", hint="Begin at /")
        index = self._files.get("index.html")
        if index is None:
            raise NotFound(
                "app.missing",
                "The web app is not built",
                why=f"there is no index.html in {self._folder.name}/",
                hint="Build it with: make install; the API at /api/v1 works without it",
            )
        return index

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers of every address that is not the API's."""

        async def send(request: Request[Any, Any, State]) -> Response[bytes]:
            return _response(self.find(request.scope["path"]), request)

        async def send_head(request: Request[Any, Any, State]) -> Response[None]:
            file = self.find(request.scope["path"])
            return Response(None, headers=_headers(file), media_type=file.media_type)

        paths = ["/", "/{path:path}"]
        return [get(paths, include_in_schema=False)(send), head(paths, include_in_schema=False)(send_head)]


def _response(file: AppFile, request: Request[Any, Any, State]) -> Response[bytes]:
    headers = _headers(file)
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
    body = file.body
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body = file.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=file.media_type)


def _headers(file: AppFile) -> dict[str, str]:
    return {"ETag": file.etag, "Cache-Control": file.cache, "Vary": "Accept-Encoding"}


def _read(folder: Path) -> dict[str, AppFile]:
    if not folder.is_dir():
        return {}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".gz"))
    return {path.relative_to(folder).as_posix(): _file(path) for path in paths}


def _file(path: Path) -> AppFile:
    body = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if path.suffix == ".js":
        media_type = "text/javascript"  # some systems' tables say otherwise, and nosniff refuses that
    packed = None
    if path.suffix in _PACKED and len(body) >= _MIN_PACKED_BYTES:
        packed = gzip.compress(body, 6, mtime=0)
    hashed = path.parent.name == "assets" and _HASHED.search(path.name) is not None
    cache = "public, max-age=31536000, immutable" if hashed else "no-cache"
    return AppFile(body, packed, media_type, f'W/"{hashlib.sha256(body).hexdigest()[:24]}"', cache)
