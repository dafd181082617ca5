"""How fast one core assigns viewers to arms: a million at once, and one after the other in full.

In bulk: the bucket of each of a million viewers, and their arms in a trial that has half a layer.
One by one: a viewer as a node meets them, evaluated against ten armed trials in four layers, four
of them with an audience. Both ways are compared first. Bars: at least 1,000,000 assignments a
second in bulk, at least 100,000 evaluations (a viewer, a trial: audience, layer, arm) a second one
by one, by the processor's time. Enter at `main`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from record import Bar, publish
from redqueen.trials import arming, assignment, populations
from redqueen.trials.layers import Range
from redqueen.trials.model import BUCKETS, Armed, Audience, Subject, Trial, TrialArm, Viewer

LAYERS, DEVICES, ZONES = 4, ("desktop", "mobile", "tv", "other"), ("a", "b", "c")


def main(argv: Sequence[str]) -> int:
    """Measure; exit 0 when both bars were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=1_000_000, help="viewers assigned at once")
    parser.add_argument("--one-by-one", type=int, default=200_000, help="viewers evaluated one after the other")
    parser.add_argument("--times", type=int, default=5, help="repetitions; the slowest counts")
    told = parser.parse_args(argv)
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 1 << 64, told.viewers, dtype=np.uint64)
    trials = armed_trials()
    viewers = [
        Viewer(int(key), DEVICES[k % 4], ZONES[k % 3], "NL", bool(k & 1))
        for k, key in enumerate(keys[: told.one_by_one])
    ]
    agree(trials, viewers)
    assigner = assignment.Assigner(trials)

    def one_by_one() -> None:
        for viewer in viewers:
            assigner.arms(viewer)

    bucketed = rate(lambda: populations.buckets(keys, trials[0].salt), keys.size, told.times)
    assigned = rate(lambda: populations.arms_of(trials[0], keys), keys.size, told.times)
    evaluated = rate(one_by_one, len(viewers), told.times)
    bars = [
        Bar("bulk: one assignment", 1e6 / min(assigned), 1.0, "us"),
        Bar("one by one: one evaluation", 1e6 / min(evaluated) / len(trials), 10.0, "us"),
    ]
    figures = {
        "buckets a second, bulk": round(statistics.median(bucketed)),
        "assignments a second, bulk": round(statistics.median(assigned)),
        "viewers a second, one by one, in all trials": round(statistics.median(evaluated)),
        "evaluations of a trial a second, one by one": round(statistics.median(evaluated) * len(trials)),
    }
    claim = "every node decides alike who is in which arm, faster than anybody asks"
    return publish("assignment", claim, bars, figures, settings={**vars(told), "trials": len(trials), "layers": LAYERS})


def armed_trials() -> list[Armed]:
    """Make ten armed trials: two or three in each layer side by side, four with an audience."""
    found: list[Armed] = []
    for number in range(10):
        layer, place = number % LAYERS, number // LAYERS
        trial = Trial(
            id=f"trial-{number}",
            subject=Subject.FLAG,
            target=f"flag-{number}",
            owner="bench",
            because="speed",
            salt=f"salt {number}",
            layer=f"layer {layer}",
            treatments=(TrialArm("on", variant="on"), TrialArm("half", variant="half")),
            metrics=(),
            audience=Audience(devices=("tv", "mobile"), countries=("NL", "BE")) if number % 3 == 0 else Audience(),
        )
        third = BUCKETS // 3
        found.append(arming.armed(trial, 0.5, Range(place * third, (place + 1) * third)))
    return found


def agree(trials: Sequence[Armed], viewers: Sequence[Viewer]) -> None:
    """Refuse to measure what does not agree with itself."""
    assigner = assignment.Assigner(trials)
    some = viewers[:2000]
    keys = np.array([viewer.key for viewer in some], dtype=np.uint64)
    for trial in trials:
        bulk = populations.arms_of(trial, keys)
        for viewer, position in zip(some, bulk, strict=True):
            named = trial.arms[position].name if position >= 0 else None
            named = named if assignment.eligible(trial.audience, viewer) else None
            assert assigner.arms(viewer).get(trial.trial) == named == assignment.arm_of(trial, viewer)


def rate(work: Callable[[], object], units: int, times: int) -> list[float]:
    """Return units a second of each repetition."""
    found: list[float] = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(units / (time.process_time() - began))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
