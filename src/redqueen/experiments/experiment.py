"""An experiment as its file says it, and the trial that this means.

Decides names, defaults and the second trial by which a winner of several variants is rolled out.
Refuses what does not fit the flag: variants it does not have, its default as a treatment. Errors
name the file, the key, the value and what would be accepted. Pure. Enter at `parsed`, `fitting`,
`trial_of` and `rollout_of`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from redqueen.errors import InvalidInput
from redqueen.experiments.flags import Flag
from redqueen.experiments.own import felt_early
from redqueen.telemetry.model import Device
from redqueen.trials import arming
from redqueen.trials.metrics import STARTS, TOLD_BY_PLAYERS
from redqueen.trials.model import Audience, MetricPlan, Subject, Trial, TrialArm

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
USUAL_GUARDRAILS: Final = ("start_failures", "play_delay", "rebuffering", "playback_errors")
MOST_TREATMENTS: Final = 8
ROLLOUT: Final = "-rollout"
_PLAIN: Final = re.compile(r"[^a-z0-9]+")


class Guardrail(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A metric that may not get worse; what is absent is as in the catalogue."""

    metric: str
    margin: float | None = None
    expected: float | None = None


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An A/B/n test of a flag's variants against its default."""

    name: str
    flag: str
    variants: tuple[str, ...]
    """What is tried; the flag's default is the control."""
    goal: str = ""
    """The metric that a winner must be proven better by; empty: harmless is enough (one variant only)."""
    because: str = ""
    owner: str = ""
    guardrails: tuple[str | Guardrail, ...] = USUAL_GUARDRAILS
    audience: Audience = Audience()
    layer: str = ""
    """Experiments of one layer never share a viewer; empty: a layer of the flag's own."""
    layer_share: float = 1.0
    steps: tuple[float, ...] = (0.1, 0.3, 0.6)
    """Share of the viewers in all variants together, step by step."""
    step_s: float = 60.0
    horizon_s: float = 14 * 86_400.0
    hold_s: float = 3600.0
    alpha: float = 0.05


def parsed(text: str | bytes, source: str) -> Experiment:
    """Read an experiment's file (TOML). Raises InvalidInput naming `source`, key and value."""
    try:
        return checked(msgspec.toml.decode(text, type=Experiment), source)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "See docs/experiments.md for the keys"
        raise InvalidInput("experiment.file", f"{source} is not a valid experiment: {error}", hint=hint) from error


def checked(experiment: Experiment, source: str = "experiment") -> Experiment:
    """Return `experiment` if it makes sense by itself. Raises InvalidInput."""
    wrong = _wrong_names(experiment) or _wrong_metrics(experiment) or _wrong_audience(experiment.audience)
    if wrong is not None:
        raise _refused(source, *wrong)
    arming.checked(trial_of(experiment, 0.0))
    return experiment


def fitting(experiment: Experiment, flag: Flag, source: str = "experiment") -> Experiment:
    """Return `experiment` if its flag can be tried like this. Raises InvalidInput."""
    for variant in experiment.variants:
        if variant not in flag.variants:
            raise _refused(source, "variants", variant, f"one of {', '.join(flag.variants)}, as {flag.key} has them")
        if variant == flag.default:
            raise _refused(source, "variants", variant, "another than the flag's default, which is the control")
    if not flag.enabled:
        raise _refused(source, "flag", flag.key, "a flag that is switched on")
    return experiment


def trial_of(experiment: Experiment, created_s: float) -> Trial:
    """Return the trial that tries all variants."""
    return Trial(
        id=experiment.name,
        subject=Subject.FLAG,
        target=experiment.flag,
        owner=experiment.owner,
        because=experiment.because or f"{experiment.flag}: {', '.join(experiment.variants)}",
        salt=f"experiment {experiment.name}",
        layer=experiment.layer or f"flag {experiment.flag}",
        treatments=tuple(TrialArm(arm_name(variant), variant=variant) for variant in experiment.variants),
        metrics=_metrics(experiment, goal=True),
        steps=experiment.steps,
        step_s=experiment.step_s,
        horizon_s=experiment.horizon_s,
        hold_s=experiment.hold_s,
        alpha=experiment.alpha,
        audience=experiment.audience,
        created_s=created_s,
        layer_share=experiment.layer_share,
        early=felt_early(experiment.flag),
    )


def rollout_of(experiment: Experiment, arm: str, created_s: float) -> Trial | None:
    """Return the trial that widens a winner further than the experiment did; None where it had the widest step."""
    if len(experiment.variants) == 1:
        return None
    had = experiment.steps[-1] / len(experiment.variants)
    wider = tuple(step for step in experiment.steps if step > had) or (experiment.steps[-1],)
    trial = trial_of(experiment, created_s)
    return msgspec.structs.replace(
        trial,
        id=experiment.name + ROLLOUT,
        because=f"{arm} won the experiment {experiment.name}: everybody shall have it",
        salt=f"rollout {experiment.name}",
        treatments=tuple(one for one in trial.treatments if one.name == arm),
        metrics=_metrics(experiment, goal=False),
        steps=wider,
    )


def variant_of(experiment: Experiment, arm: str) -> str:
    """Return the variant that an arm of the trial gets; empty for the control."""
    return next((variant for variant in experiment.variants if arm_name(variant) == arm), "")


def arm_name(variant: str) -> str:
    """Return the arm's name of a variant: trials' names are plainer than variants'."""
    return _PLAIN.sub("-", variant.lower()).strip("-") or "variant"


def _metrics(experiment: Experiment, *, goal: bool) -> tuple[MetricPlan, ...]:
    guardrails = [one if isinstance(one, Guardrail) else Guardrail(one) for one in experiment.guardrails]
    plans = {one.metric: MetricPlan(one.metric, one.margin, one.expected, guardrail=True) for one in guardrails}
    if goal and experiment.goal:
        known = plans.get(experiment.goal, MetricPlan(experiment.goal, guardrail=False))
        plans[experiment.goal] = msgspec.structs.replace(known, goal=True)
    if felt_early(experiment.flag):
        # What is felt before the play can keep people from it, which no play would tell.
        plans.setdefault(STARTS.name, MetricPlan(STARTS.name))
    return tuple(plans.values())


def _wrong_names(experiment: Experiment) -> tuple[str, object, str] | None:
    if not NAME.fullmatch(experiment.name):
        return "name", experiment.name, "lower-case letters, digits and -, at most 32"
    if experiment.name.endswith(ROLLOUT):
        return "name", experiment.name, f"without {ROLLOUT} at its end, which is for winners"
    if not 1 <= len(experiment.variants) <= MOST_TREATMENTS:
        return "variants", len(experiment.variants), f"1 to {MOST_TREATMENTS} variants"
    arms = [arm_name(variant) for variant in experiment.variants]
    if len(set(arms)) < len(arms):
        return "variants", experiment.variants, "told apart by their letters and digits"
    if len(experiment.because) > 500 or len(experiment.owner) > 100:
        return "because", experiment.because[:60], "at most 500 characters (`owner`: 100)"
    return None


def _wrong_metrics(experiment: Experiment) -> tuple[str, object, str] | None:
    names = [one if isinstance(one, str) else one.metric for one in experiment.guardrails]
    for name in names:
        if name not in TOLD_BY_PLAYERS:
            return "guardrails", name, _known(TOLD_BY_PLAYERS)
    if len(set(names)) < len(names):
        return "guardrails", names, "each named once"
    if not names:
        return "guardrails", names, "at least one metric that may not get worse"
    if experiment.goal and experiment.goal not in TOLD_BY_PLAYERS:
        return "goal", experiment.goal, _known(TOLD_BY_PLAYERS)
    if len(experiment.variants) > 1 and not experiment.goal:
        return "goal", experiment.goal, "a metric to choose the winner of several variants by"
    return None


def _wrong_audience(audience: Audience) -> tuple[str, object, str] | None:
    for device in audience.devices:
        if device not in tuple(Device):
            return "audience.devices", device, _known(tuple(Device))
    for country in audience.countries:
        if not re.fullmatch(r"[A-Z]{2}", country):
            return "audience.countries", country, "two capital letters as ISO 3166-1 has them, such as DE"
    return None


def _known(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"


def _refused(source: str, key: str, value: object, accepted: str) -> InvalidInput:
    what = f"{source}: {key} = {str(value)[:80]!r}"
    return InvalidInput("experiment.invalid", what, why=f"it must be {accepted}", hint="Change it")
