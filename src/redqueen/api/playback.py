"""What players need: addresses, the place to begin, links without cookies."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post, put
from litestar.datastructures import State as AppState
from litestar.di import NamedDependency
from litestar.params import JSONBody

from redqueen.accounts.model import Identity
from redqueen.api.schemas import LinkWish, PlaybackInfo, PlayLinkCard, Position, SubtitleTrack, moment
from redqueen.api.services import Services
from redqueen.api.viewer_cookie import known_viewer
from redqueen.catalogue.model import State, Title
from redqueen.playback.model import media_path, subtitle_path


@get("/titles/{title_id:str}/playback", operation_id="getPlayback", tags=["playback"])
async def playback(
    request: Request[Any, Any, AppState],
    title: NamedDependency[Title],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> Response[PlaybackInfo]:
    """Return what a player with the media cookie needs."""
    progress = await services.playback.progress(identity.account.id, title.id)
    tracks = [
        SubtitleTrack(lang=track.lang, label=track.label, url=subtitle_path(title.id, track.lang))
        for track in title.subtitles
    ]
    info = PlaybackInfo(
        state=title.state.value,
        hls=media_path(title.id, title.hls),
        dash=media_path(title.id, title.dash),
        poster=media_path(title.id, title.poster),
        position_s=0.0 if progress is None else progress.resume_s,
        duration_s=title.duration_s,
        subtitles=tracks,
        complete=title.state is State.COMPLETE,
    )
    return await known_viewer(request, services, Response(info))


@put(
    "/titles/{title_id:str}/progress",
    status_code=204,
    opt={"unaudited": "where a viewer stopped is the viewer's own"},
    operation_id="setProgress",
    tags=["playback"],
)
async def set_progress(
    title: NamedDependency[Title],
    data: JSONBody[Position],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> None:
    """Remember where the viewer is."""
    await services.playback.keep_progress(identity.account.id, title, data.position_s)


@post("/titles/{title_id:str}/play-link", status_code=200, operation_id="createPlayLink", tags=["playback"])
async def play_link(
    title: NamedDependency[Title],
    services: NamedDependency[Services],
    data: JSONBody[LinkWish | None] = None,
) -> PlayLinkCard:
    """Make an address that ffplay or VLC plays until it expires."""
    link = await services.playback.play_link(title, None if data is None else data.ttl_s)
    return PlayLinkCard(url=link.url, dash_url=link.dash_url, expires_at=moment(link.expires_at))


ROUTES = [playback, set_progress, play_link]
