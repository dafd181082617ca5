"""Subtitles sent by makers: SRT or WebVTT text for one language of a title."""

from __future__ import annotations

import re
from typing import Annotated, Any

from litestar import Request, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from redqueen.api import bodies
from redqueen.api.services import Services
from redqueen.catalogue.model import Title
from redqueen.catalogue.names import cleaned
from redqueen.errors import InvalidInput

MAX_BYTES = 2 << 20
_LANG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


@put("/titles/{title_id:str}/subtitles/{lang:str}", status_code=204, operation_id="setSubtitles", tags=["titles"])
async def set_subtitles(
    title: NamedDependency[Title],
    lang: FromPath[str],
    request: Request[Any, Any, State],
    services: NamedDependency[Services],
    label: Annotated[str, QueryParameter(description="The name viewers read", max_length=500)] = "",
) -> None:
    """Add or replace the subtitles of one language; the body is SRT or WebVTT text of at most 2 MiB."""
    if not _LANG.fullmatch(lang):
        raise InvalidInput(
            "subtitles.lang", "This is no language tag", why=repr(lang[:40]), hint="Use one such as en, de or pt-BR"
        )
    text = await bodies.text(request, max_bytes=MAX_BYTES, code="subtitles.too_large")
    if not text.strip():
        raise InvalidInput("subtitles.empty", "The subtitles are empty", hint="Send SRT or WebVTT text")
    shown = cleaned(label, limit=60, empty=lang)
    await services.studio.set_subtitles(title.id, lang, shown, text)
    await services.catalogue.subtitled(title.id, lang, shown)


ROUTES = [set_subtitles]
