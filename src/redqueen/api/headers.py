"""Headers that every answer carries: what a browser may do with it, and what tus clients need.

The policy lets the app load only itself; Shaka Player needs `blob:` for its media source and
worker. Nothing of the API is cached. Enter at `add`, a hook before each response.
"""

from __future__ import annotations

from typing import Any

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

from redqueen.api import tus

_POLICY = (
    "default-src 'self'; "
    "script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "  # components set widths and positions as styles
    "img-src 'self' data: blob:; "
    "media-src 'self' blob:; "
    "worker-src 'self' blob:; "
    "connect-src 'self' blob: data:; "
    "font-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_UPLOADS = "/api/v1/uploads"


async def add(message: Message, scope: Scope) -> None:
    """Add the headers to the beginning of a response."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Content-Security-Policy"] = _POLICY
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["X-Frame-Options"] = "DENY"
    path: str = scope["path"]
    if path.startswith("/api/") or path == "/api":
        headers["Cache-Control"] = "no-store"
    if path == _UPLOADS or path.startswith(_UPLOADS + "/"):
        _add_tus(headers, scope)


def _add_tus(headers: MutableScopeHeaders, scope: Any) -> None:
    headers["Tus-Resumable"] = tus.VERSION
    headers["Tus-Version"] = tus.VERSION
    if scope["method"] == "OPTIONS":
        headers["Tus-Extension"] = tus.EXTENSIONS
        headers["Tus-Max-Size"] = str(scope["litestar_app"].state["services"].uploads.limits.max_bytes)
