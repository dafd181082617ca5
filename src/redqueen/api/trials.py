"""The operator's trials: what runs and ran, why each ended, its course and its proof; ending one by hand.

Numbers are the judge's own: ratios (or differences of logs), E as natural logs, times in Unix
seconds. Refuses to stop the permanent A/A trials.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from redqueen.accounts.model import Identity
from redqueen.api.audit import noted
from redqueen.api.services import Services
from redqueen.errors import InvalidInput
from redqueen.trials.collecting import Gap
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm
from redqueen.trials.power import Forecast
from redqueen.trials.records import Trace, TrialRecord
from redqueen.trials.service import NoiseShown, Replay

_OWNER = {"owner": True}


class TrialList(msgspec.Struct, frozen=True):
    """The newest trials, newest first, without their readings."""

    trials: list[TrialRecord]


class TrialPage(TrialRecord, frozen=True, kw_only=True):
    """A trial with its newest readings, their course, and what was missing."""

    trace: Trace
    gaps: tuple[Gap, ...]
    """Seconds [first, until) of which a node told nothing."""
    noise: tuple[NoiseShown, ...]
    """Of a permanent A/A trial: what it has shown of each metric's noise."""


class StopWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a trial shall end."""

    because: str = ""


class PowerWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trial that is thought of; absent fields are as usual."""

    subject: Subject = Subject.RELEASE
    target: str = ""
    """The service or the flag."""
    metrics: tuple[MetricPlan, ...] = ()
    steps: tuple[float, ...] = (0.05, 0.25, 0.5)
    step_s: float = 60.0
    horizon_s: float = 3600.0
    alpha: float = 0.05
    per_minute: float | None = None
    """Eligible plays (of a service without players, requests) a minute; absent: those of the last hour."""


@get("/trials", opt=_OWNER, operation_id="listTrials", tags=["trials"])
async def every(
    services: NamedDependency[Services],
    limit: Annotated[int, QueryParameter(description="How many at most", ge=1, le=1000)] = 100,
) -> TrialList:
    """Return the newest trials, the permanent ones among them."""
    return TrialList(await services.trials.records(limit))


@get("/trials/{trial_id:str}", opt=_OWNER, operation_id="getTrial", tags=["trials"])
async def one(trial_id: FromPath[str], services: NamedDependency[Services]) -> TrialPage:
    """Return a trial: per metric estimate, confidence sequence, E against both nulls, what is missing."""
    found = await services.trials.course(trial_id)
    own = {name: getattr(found.record, name) for name in TrialRecord.__struct_fields__}
    return TrialPage(**own, trace=found.trace, gaps=found.gaps, noise=found.noise)


@post("/trials/{trial_id:str}/stop", status_code=200, opt=_OWNER, operation_id="stopTrial", tags=["trials"])
async def stop(
    trial_id: FromPath[str],
    data: JSONBody[StopWish],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> TrialRecord:
    """End a trial without a verdict; viewers are outside again within a second or two."""
    await services.trials.stop(trial_id, data.because, identity.account.name)
    await noted(services, identity, "stop", f"trial {trial_id}", data.because)
    return await services.trials.record(trial_id)


@get("/trials/{trial_id:str}/replay", opt=_OWNER, operation_id="replayTrial", tags=["trials"])
async def replay(trial_id: FromPath[str], services: NamedDependency[Services]) -> Replay:
    """Judge a trial again from its stored looks, and tell whether the same came of it, to the bit."""
    return await services.trials.replay(trial_id)


@post(
    "/trials/power",
    status_code=200,
    opt={**_OWNER, "unaudited": "it changes nothing"},
    operation_id="tellPower",
    tags=["trials"],
)
async def power(data: JSONBody[PowerWish], services: NamedDependency[Services]) -> Forecast:
    """Tell before its start what a trial could see, and what would do where that is little."""
    if data.per_minute is not None and not 0 < data.per_minute <= 1e7:
        raise InvalidInput("trial.power", f"per_minute = {data.per_minute:g}", hint="Give a number above 0")
    thought_of = Trial(
        id="thought-of",
        subject=data.subject,
        target=data.target,
        owner="",
        because="",
        salt="",
        layer="",
        treatments=(TrialArm("treatment"),),
        metrics=data.metrics,
        steps=data.steps,
        step_s=data.step_s,
        horizon_s=data.horizon_s,
        alpha=data.alpha,
    )
    return await services.trials.power(thought_of, data.per_minute)


ROUTES = [every, one, stop, replay, power]
