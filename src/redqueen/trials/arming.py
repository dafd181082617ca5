"""A trial at a share, as every node assigns by it: which buckets are whose.

With K treatments each owns 1/K of the buckets for the whole trial: it grows from the range's lower
end, its baseline (a release's fresh nodes of today's version) from the upper end, and what lies
between is control. So widening never moves a viewer from one treatment or baseline to another;
it only takes from the control. A dropped arm's range is control. Refuses trials that cannot be
armed, in words. Pure. Enter at `checked` before the start and `armed` at each change.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from redqueen.errors import InvalidInput
from redqueen.trials.assignment import salt_of
from redqueen.trials.layers import Range
from redqueen.trials.model import BUCKETS, CONTROL, Armed, ArmedArm, Audience, Subject, Trial, TrialArm

WIDEST = 0.95
"""The most that all treatments together may have: without a control nothing can be judged."""
BASELINE = "baseline"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def baseline_of(trial: Trial, arm: TrialArm) -> str:
    """Return the name of the arm's baseline: `baseline`, or `<arm>-baseline` among several treatments."""
    return BASELINE if len(trial.treatments) == 1 else f"{arm.name}-{BASELINE}"


def controls(trial: Trial, arm: TrialArm) -> tuple[str, ...]:
    """Return the arms that count as control for a treatment: everybody outside, its baseline included."""
    return (CONTROL, *(baseline_of(trial, one) for one in trial.treatments if one.baseline))


def share_of(trial: Trial, share: float, dropped: Collection[str] = ()) -> float:
    """Return one treatment's share of the traffic that it and the control have together, in (0, 1).

    `share`: what all treatments together were planned to have; dropped ones are control.
    """
    each = _width(trial, share) / BUCKETS
    live = len(trial.treatments) - len(dropped)
    return each / (each + 1.0 - live * each)


def armed(
    trial: Trial, share: float, place: Range | None = None, dropped: Collection[str] = (), *, turn: int = 0
) -> Armed:
    """Return the trial with all treatments together at `share`; `turn` draws viewers anew (a permanent A/A trial)."""
    place = place or Range(0, BUCKETS)
    return Armed(
        trial=trial.id,
        subject=trial.subject,
        target=trial.target,
        salt=salt_of(f"{trial.salt}#{turn}" if turn else trial.salt),
        layer=trial.layer,
        layer_salt=layer_salt(trial.layer),
        arms=tuple(_arms(trial, share, dropped)),
        layer_first=place.first,
        layer_last=place.last,
        audience=trial.audience,
    )


def layer_salt(layer: str) -> int:
    """Return the seed of a layer's hash."""
    return salt_of(f"layer {layer}")


def checked(trial: Trial) -> Trial:
    """Return the trial. Raises InvalidInput that names the first thing which cannot be run."""
    for wrong, hint in _objections(trial):
        raise InvalidInput("trial", f"The trial {trial.id!r} cannot be run: {wrong}.", hint=hint)
    return trial


def _objections(trial: Trial) -> Iterator[tuple[str, str]]:
    names = [arm.name for arm in trial.treatments]
    taken = [name for name in names if name == CONTROL or name.endswith(BASELINE) or not _NAME.fullmatch(name)]
    if not _NAME.fullmatch(trial.id):
        yield "its id is no name", "Use at most 40 lower-case letters, digits and `-`."
    if not names or len(set(names)) < len(names) or taken:
        yield (
            f"its treatments {', '.join(names) or '(none)'} are not distinct names",
            f"Name at least one; {CONTROL!r} and names ending in {BASELINE!r} are taken.",
        )
    if not trial.steps or sorted(set(trial.steps)) != list(trial.steps) or not 0 < trial.steps[0] <= trial.steps[-1]:
        yield f"its steps {trial.steps} do not grow", "Give growing shares such as 0.05, 0.25, 0.5."
    elif trial.steps[-1] > WIDEST:
        yield f"its last step {trial.steps[-1]:g} leaves no control", f"The widest step may be {WIDEST:g}."
    if not 0.0 < trial.alpha < 0.5:
        yield f"alpha {trial.alpha:g} bounds no error", "Use a number between 0 and 0.5, usually 0.05."
    if min(trial.step_s, trial.horizon_s, trial.hold_s) <= 0 or trial.horizon_s < trial.step_s * len(trial.steps):
        yield (
            "its times leave no room for its steps",
            "horizon_s must be at least step_s times the number of steps, hold_s above 0.",
        )
    yield from _objections_to_measures(trial)


def _objections_to_measures(trial: Trial) -> Iterator[tuple[str, str]]:
    goals = [metric.name for metric in trial.metrics if metric.goal]
    if len(goals) > 1:
        yield f"it has {len(goals)} goals ({', '.join(goals)})", "Mark one metric as the goal."
    if len(trial.treatments) > 1 and not goals and trial.subject is not Subject.NOTHING:
        yield "several treatments need a goal to choose a winner by", "Mark one metric with goal = true."
    only_zones = Audience(zones=trial.audience.zones)
    if trial.subject is Subject.RELEASE and trial.audience != only_zones:
        yield (
            "gateways know neither device nor country, nor who was here before",
            "Give a release an audience by zones only.",
        )


def _arms(trial: Trial, share: float, dropped: Collection[str]) -> Iterator[ArmedArm]:
    kinds, free = len(trial.treatments), 0
    for position, arm in enumerate(trial.treatments):
        start, end = position * BUCKETS // kinds, (position + 1) * BUCKETS // kinds
        if arm.name in dropped:
            continue
        width = min(_width(trial, share), end - start)
        if start > free:
            yield ArmedArm(CONTROL, free, start)
        yield ArmedArm(arm.name, start, start + width, arm.group, arm.variant, treatment=True)
        free = start + width
        fresh = max(free, end - width) if arm.baseline else end
        if fresh > free:
            yield ArmedArm(CONTROL, free, fresh)
        if end > fresh:
            yield ArmedArm(baseline_of(trial, arm), fresh, end, arm.baseline)
        free = end
    if free < BUCKETS:
        yield ArmedArm(CONTROL, free, BUCKETS)


def _width(trial: Trial, share: float) -> int:
    return max(1, round(share / len(trial.treatments) * BUCKETS))
