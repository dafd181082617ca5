"""Flags as the region's own pages read them, for a viewer, with what was felt noted.

Only viewers who felt a change are counted in its trial: a home page's flags are felt when the page
is delivered, a player's when a play is granted, others when a browser reads them. What is felt
before the play is counted at once (`trials.arm_counts`), kept in the viewer's own cookie `rq_felt`
(names of trials; it can only put its viewer in or out of the count, never into another arm), and
joins the play's grant. Enter at `value` and `for_play`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from litestar import Request, Response
from litestar.datastructures import Cookie, State

from redqueen.api.services import Services
from redqueen.api.viewer_context import address_of, viewer_context
from redqueen.experiments.evaluation import DEVICE, RETURNING, Evaluation, viewer_in
from redqueen.experiments.own import HOME, PLAYER
from redqueen.trials.arm_counts import Exposure

FELT_COOKIE: Final = "rq_felt"
_FELT_AGE_S: Final = 30 * 86_400
_MOST: Final = 32
_TRIAL: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PlayFlags:
    """What a play's grant needs: the player's flags, and the arms that its viewer feels or has felt."""

    values: Mapping[str, Any]
    arms: Mapping[str, str]
    felt: tuple[str, ...] = ()
    """Trials of these that were felt before the play."""


async def value(
    request: Request[Any, Any, State], services: Services, viewer: int, key: str, default: _T
) -> tuple[Any | _T, Evaluation | None]:
    """Return a flag's value for a viewer (`default` where there is no such flag), and what to hand to `noted`."""
    evaluator = await services.flags.values.current()
    context = viewer_context(request, services, viewer)
    found = evaluator.evaluate(key, context, viewer_in(context, viewer))
    return (default if found is None else found.value), found


def noted(
    response: Response[_T],
    request: Request[Any, Any, State],
    services: Services,
    viewer: int,
    felt: Iterable[Evaluation | None],
) -> Response[_T]:
    """Count which trials this answer lets a viewer feel, and keep it with the viewer where that is new."""
    known = felt_before(request)
    tried = [one for one in felt if one is not None and one.trial]
    now, steady_s, address = services.clock.now(), services.clock.monotonic(), address_of(request.scope)
    for one in tried:
        exposure = Exposure((one.key, one.trial, one.arm), viewer, address, one.trial in known)
        services.counts.exposed(exposure, now, steady_s)
    new = [one.trial for one in tried if one.trial not in known]
    if not new:
        return response
    running = {trial.trial for trial in services.armed.armed}
    kept = [trial for trial in (*known, *dict.fromkeys(new)) if trial in running][-_MOST:]
    response.set_cookie(
        Cookie(
            key=FELT_COOKIE,
            value=".".join(kept),
            path="/",
            max_age=_FELT_AGE_S,
            httponly=True,
            secure=services.secure,
            samesite="lax",
        )
    )
    return response


def felt_before(request: Request[Any, Any, State]) -> Sequence[str]:
    """Return the trials that a viewer felt before this request."""
    names = request.cookies.get(FELT_COOKIE, "")[:2000].split(".")
    return [name for name in names if _TRIAL.fullmatch(name)][:_MOST]


async def for_play(
    request: Request[Any, Any, State], services: Services, viewer: int, device: str, *, returning: bool = False
) -> PlayFlags:
    """Return the player's flags for a play, and the arms of all flags' trials that it is to be counted in."""
    evaluator = await services.flags.values.current()
    context = {**viewer_context(request, services, viewer, {DEVICE: device}), RETURNING: returning}
    who = viewer_in(context, viewer)
    evaluated = [evaluator.evaluate(key, context, who) for key in evaluator.keys(browser=True)]
    found = [one for one in evaluated if one is not None]
    felt = felt_before(request)
    return PlayFlags(
        {one.key: one.value for one in found if one.key.startswith(PLAYER)},
        {one.trial: one.arm for one in found if one.trial and (one.key.startswith(PLAYER) or one.trial in felt)},
        tuple(one.trial for one in found if one.trial in felt),
    )


def felt_by_reading(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Return those evaluations by which a browser feels a change: of flags that no page or player of ours applies."""
    return [one for one in evaluations if one.trial and not one.key.startswith((PLAYER, HOME))]
