"""The home page's rows."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency

from redqueen.accounts.model import Identity
from redqueen.api.schemas import Home, HomeRow, card
from redqueen.api.services import Services
from redqueen.catalogue.home import Watching, rows


@get("/home", operation_id="getHome", tags=["titles"])
async def home(identity: NamedDependency[Identity], services: NamedDependency[Services]) -> Home:
    """Return the rows of the home page: continue watching, new, samples, all."""
    progress = await services.playback.all_progress(identity.account.id)
    resume = {title_id: at.resume_s for title_id, at in progress.items()}
    watching = {key: Watching(at.position_s, at.updated_at) for key, at in progress.items() if resume[key] > 0}
    shown = rows(await services.catalogue.all(), watching)
    return Home(
        rows=[
            HomeRow(key=row.key, title=row.title, items=[card(item, resume.get(item.id, 0.0)) for item in row.items])
            for row in shown
        ]
    )


ROUTES = [home]
