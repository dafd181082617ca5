"""Titles for viewers and makers: list, search, read, describe, remove."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from redqueen.accounts.model import Identity
from redqueen.api.audit import noted
from redqueen.api.schemas import TitleCard, TitleChange, TitlePage, card
from redqueen.api.services import Services
from redqueen.catalogue.model import Title
from redqueen.playback.model import Progress


@get("/titles", operation_id="listTitles", tags=["titles"])
async def list_titles(
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
    words: Annotated[
        str, QueryParameter(name="query", description="Words that title or description must have", max_length=500)
    ] = "",
    limit: Annotated[int, QueryParameter(description="How many at most", ge=1, le=200)] = 50,
    after: Annotated[str | None, QueryParameter(description="The `next` of the page before", max_length=500)] = None,
) -> TitlePage:
    """List titles, newest first, or those that match a query, best first."""
    page = await services.catalogue.search(words, limit=limit, after=after)
    watching = await services.playback.all_progress(identity.account.id)
    cards = [card(title, _position(watching.get(title.id))) for title in page.titles]
    return TitlePage(titles=cards, next=page.next)


@get("/titles/{title_id:str}", operation_id="getTitle", tags=["titles"])
async def read_title(
    title: NamedDependency[Title], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> TitleCard:
    """Return one title."""
    return card(title, _position(await services.playback.progress(identity.account.id, title.id)))


@patch("/titles/{title_id:str}", operation_id="changeTitle", tags=["titles"])
async def change_title(
    title: NamedDependency[Title],
    data: JSONBody[TitleChange],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> TitleCard:
    """Change a title's name or description."""
    changed = await services.catalogue.describe(title.id, data.title, data.description)
    await noted(services, identity, "describe", f"title {title.id}")
    return card(changed, _position(await services.playback.progress(identity.account.id, title.id)))


@delete("/titles/{title_id:str}", operation_id="removeTitle", tags=["titles"])
async def remove_title(
    title: NamedDependency[Title], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> None:
    """Remove a title with all its bytes; an upload or encode under way ends."""
    await services.uploads.terminate_for(title.id)
    await services.catalogue.delete(title.id)
    await services.studio.remove(title.id)
    await services.playback.forget(identity.account.id, title.id)
    await noted(services, identity, "remove", f"title {title.id}", title.title)


def _position(progress: Progress | None) -> float:
    return 0.0 if progress is None else progress.resume_s


ROUTES = [list_titles, read_title, change_title, remove_title]
