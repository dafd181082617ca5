"""The maker's experiments: begin one, see how it goes and for whom it does what, end it; try one change of a flag.

The numbers that decide are the trial's own (`GET /trials/{id}`, by the experiment's name); here is
what is around them. Refuses a second experiment of a flag.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from redqueen.accounts.model import Identity
from redqueen.api.schemas import moment
from redqueen.api.services import Services
from redqueen.experiments.experiment import USUAL_GUARDRAILS, Experiment, Guardrail
from redqueen.experiments.segments import Segment
from redqueen.experiments.showing import Shown
from redqueen.experiments.viewing import Viewing
from redqueen.trials.model import Audience

_OWNER = {"owner": True}


class ExperimentCard(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment, how far it is and why; `trial` names the trial that decides now, or decided last."""

    name: str
    flag: str
    variants: tuple[str, ...]
    control: str
    goal: str
    guardrails: tuple[str | Guardrail, ...]
    audience: Audience
    steps: tuple[float, ...]
    horizon_s: float
    alpha: float
    because: str
    owner: str
    by: str
    started_at: datetime
    ended_at: datetime | None
    phase: str
    outcome: str
    """Why it is where it is: the trial's own sentence."""
    winner: str
    trial: str
    status: str
    share: float
    """Share of the viewers in the trial's treatments together now."""


class ExperimentResults(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment with what it has shown so far."""

    experiment: ExperimentCard
    segments: list[Segment]
    viewing: Viewing


class ExperimentList(msgspec.Struct, frozen=True):
    """Every experiment, the newest first."""

    experiments: list[ExperimentCard]


class StopWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why it shall end."""

    because: str = ""


class TryWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flag's value that shall become the default once it is proven harmless; absent: as for experiments."""

    value: Any
    variant: str = ""
    """The value's name, where the flag has no variant of it yet; empty: it is named after its value."""
    because: str = ""
    goal: str = ""
    guardrails: tuple[str | Guardrail, ...] = USUAL_GUARDRAILS
    steps: tuple[float, ...] | None = None
    step_s: float | None = None
    horizon_s: float | None = None
    alpha: float | None = None


@get("/experiments", opt=_OWNER, operation_id="listExperiments", tags=["experiments"])
async def every(services: NamedDependency[Services]) -> ExperimentList:
    """Return every experiment and how it is."""
    return ExperimentList([_card(one) for one in await services.experiments.all()])


@post("/experiments", status_code=201, opt=_OWNER, operation_id="startExperiment", tags=["experiments"])
async def start(
    data: JSONBody[Experiment], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> ExperimentCard:
    """Begin an experiment; the same again, while it runs, changes nothing."""
    return _card(await services.experiments.start(data, identity.account.name))


@get("/experiments/{name:str}", opt=_OWNER, operation_id="getExperiment", tags=["experiments"])
async def one(name: FromPath[str], services: NamedDependency[Services]) -> ExperimentResults:
    """Return an experiment with its segments and how long viewers have watched."""
    shown = await services.experiments.get(name)
    return ExperimentResults(
        experiment=_card(shown),
        segments=await services.experiments.segments(shown),
        viewing=await services.experiments.viewing(shown),
    )


@post("/experiments/{name:str}/stop", status_code=200, opt=_OWNER, operation_id="stopExperiment", tags=["experiments"])
async def stop(
    name: FromPath[str],
    data: JSONBody[StopWish],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> ExperimentCard:
    """End an experiment without a winner: the flag stays as it was."""
    return _card(await services.experiments.stop(name, identity.account.name, data.because))


@post("/flags/{key:str}/try", status_code=201, opt=_OWNER, operation_id="tryFlag", tags=["flags"])
async def try_flag(
    key: FromPath[str],
    data: JSONBody[TryWish],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> ExperimentCard:
    """Try a new default on some viewers first: kept once proven harmless, else nothing is changed."""
    named = {name: value for name in _LIMITS if (value := getattr(data, name)) is not None}
    wish = Experiment(
        name="new",
        flag=key,
        variants=(data.variant,),
        goal=data.goal,
        because=data.because,
        owner=identity.account.name,
        guardrails=data.guardrails,
        **named,
    )
    return _card(await services.experiments.attempt(wish, data.value, identity.account.name))


_LIMITS = ("steps", "step_s", "horizon_s", "alpha")


def _card(shown: Shown) -> ExperimentCard:
    row = shown.row
    experiment = row.experiment
    return ExperimentCard(
        name=experiment.name,
        flag=experiment.flag,
        variants=experiment.variants,
        control=row.control,
        goal=experiment.goal,
        guardrails=experiment.guardrails,
        audience=experiment.audience,
        steps=experiment.steps,
        horizon_s=experiment.horizon_s,
        alpha=experiment.alpha,
        because=experiment.because,
        owner=experiment.owner,
        by=row.by,
        started_at=moment(row.started_s),
        ended_at=moment(row.ended_s) if row.ended_s else None,
        phase=row.phase.value,
        outcome=shown.because,
        winner=row.winner,
        trial=shown.trial,
        status=shown.status,
        share=shown.share,
    )


ROUTES = [every, start, one, stop, try_flag]
