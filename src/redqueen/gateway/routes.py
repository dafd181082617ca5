"""The region's default route table: what the front door sends where, and what goes last when it is full.

Media is not a route: the listener serves it from the folder itself. Enter at `default_routes`.
"""

from __future__ import annotations

from redqueen.gateway.model import Policy, Priority, Route

UPLOADS = Policy(timeout_s=None, per_try_timeout_s=None, max_request_bytes=None, slow_s=None)
"""A film's bytes stream through: no whole-request limit, only 60 s without a byte end it."""
PLAYBACK = Policy(priority=Priority.PLAYBACK)
"""What a player asks for while a film starts and runs."""
TOLD_TWICE = Policy(idempotent=True)
"""An event that comes twice is counted once, and asking for a flag changes nothing: tried again like reading."""


def default_routes() -> tuple[Route, ...]:
    """Give the routes of a region that runs nothing but Red Queen itself."""
    return (
        Route("/api/v1/titles/*/playback", "api", PLAYBACK),
        Route("/api/v1/titles/*/progress", "api", PLAYBACK),
        Route("/api/v1/titles/*/sessions", "api", PLAYBACK, tells_zone=True),
        Route("/api/v1/home", "api", tells_zone=True),
        Route("/api/v1/uploads", "api", UPLOADS),
        Route("/api/v1/artifacts", "api", UPLOADS),
        Route("/api/", "api"),
        Route("/telemetry/", "api", TOLD_TWICE),
        Route("/ofrep/", "api", TOLD_TWICE, tells_zone=True),
        Route("/", "api"),
    )
