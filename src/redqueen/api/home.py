"""The home page's rows."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency

from redqueen.accounts.model import Identity
from redqueen.api import flag_values
from redqueen.api.schemas import Home, HomeRow, card
from redqueen.api.services import Services
from redqueen.api.viewer_cookie import keep_viewer, viewer_of
from redqueen.catalogue.home import Watching, ordered, rows
from redqueen.experiments import own


@get("/home", operation_id="getHome", tags=["titles"])
async def home(
    request: Request[Any, Any, State], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> Response[Home]:
    """Return the rows of the home page: continue watching, new, samples, all, as the flag `home.row_order` says."""
    viewer, cookie = await viewer_of(request, services)
    order, felt = await flag_values.value(request, services, viewer, own.ROW_ORDER, ())
    progress = await services.playback.all_progress(identity.account.id)
    resume = {title_id: at.resume_s for title_id, at in progress.items()}
    watching = {key: Watching(at.position_s, at.updated_at) for key, at in progress.items() if resume[key] > 0}
    shown = ordered(rows(await services.catalogue.all(), watching), own.row_order(order))
    page = Home(
        rows=[
            HomeRow(key=row.key, title=row.title, items=[card(item, resume.get(item.id, 0.0)) for item in row.items])
            for row in shown
        ]
    )
    return keep_viewer(flag_values.noted(Response(page), request, services, viewer, [felt]), services, cookie)


ROUTES = [home]
