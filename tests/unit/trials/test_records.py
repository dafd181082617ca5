"""What is kept of a trial comes back to the bit, and judging it again gives the same bits."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from redqueen.errors import Broken
from redqueen.stats import judge
from redqueen.stats.evidence import Evidence, begin
from redqueen.stats.model import Look
from redqueen.trials import records
from redqueen.trials.history import History
from redqueen.trials.life import Begin, Life
from redqueen.trials.lifecycle import step
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm
from redqueen.trials.planning import planned

TRIAL = Trial(
    "t",
    Subject.FLAG,
    "f",
    "o",
    "b",
    "s",
    "l",
    (TrialArm("on"),),
    (MetricPlan("start_failures"), MetricPlan("play_delay")),
)
MEASURES = planned(TRIAL, History(), zones=("a", "b"))
PLAN = MEASURES.plan()


def a_look(rng: np.random.Generator, *, heard: bool = True) -> Look:
    exposed = rng.poisson(20, (2, 8)).astype(np.float64)
    y = rng.normal(0.0, 1.0, (2, 8))
    bins = {
        "start_failures": np.stack([rng.binomial(exposed.astype(int), 0.1), exposed], axis=-1),
        "play_delay": np.stack([exposed, exposed * y, exposed * (y * y + 0.5)], axis=-1),
    }
    return Look(1.0, 0.05, exposed, np.floor(exposed * 0.98), bins, exposed if heard else None)


def same(one: Evidence, other: Evidence) -> bool:
    return all(
        getattr(one, field.name).tobytes() == getattr(other, field.name).tobytes()
        and getattr(one, field.name).shape == getattr(other, field.name).shape
        for field in fields(Evidence)
    )


@pytest.mark.parametrize("heard", [True, False])
def test_a_look_comes_back_to_the_bit_and_is_small(heard: bool) -> None:
    look = a_look(np.random.default_rng(1), heard=heard)
    raw = records.packed_look(look)
    back = records.unpacked_look(raw)
    assert (back.span_s, back.share) == (look.span_s, look.share)
    assert back.exposed.tobytes() == look.exposed.tobytes()
    assert (back.heard is None) is not heard
    assert all(back.bins[name].tobytes() == bins.astype(np.float64).tobytes() for name, bins in look.bins.items())
    empty = Look(1.0, 0.05, look.exposed * 0, look.reported * 0, {name: bins * 0 for name, bins in look.bins.items()})
    assert len(records.packed_look(empty)) < 300


def test_judging_the_stored_looks_again_with_states_read_back_gives_the_same_bits() -> None:
    rng, stored, straight = np.random.default_rng(2), list[bytes](), begin(PLAN)
    again = begin(PLAN)
    for _ in range(50):
        look = a_look(rng)
        stored.append(records.packed_look(look))
        straight = judge.step(PLAN, straight, look)
    for raw in stored:
        state = records.unpacked_evidence(records.packed_evidence({"on": again}))["on"]
        again = judge.step(PLAN, state, records.unpacked_look(raw))
    assert same(straight, again)
    assert records.packed_evidence({"on": straight}) == records.packed_evidence({"on": again})
    one, other = judge.judge(PLAN, straight), judge.judge(PLAN, again)
    assert one.metrics == other.metrics


def test_no_bytes_are_no_evidence_and_other_bytes_are_refused() -> None:
    assert records.unpacked_evidence(b"") == {}
    for read in (records.unpacked_evidence, records.unpacked_look):
        for raw in (b"nonsense", msgspec.msgpack.encode({"on": {"likelihood": [[3], b"12345678"]}})):
            with pytest.raises(Broken, match="cannot be read"):
                read(raw)


def test_what_people_see_is_complete_and_fits_into_json() -> None:
    life, _ = step(TRIAL, Life(), Begin(), 10.0)
    reading = judge.judge(PLAN, judge.step(PLAN, begin(PLAN), a_look(np.random.default_rng(3))))
    shown = records.shown(TRIAL, life, MEASURES, 1, {"on": reading})
    back = msgspec.json.decode(msgspec.json.encode(shown), type=records.TrialRecord)
    assert back == shown
    assert (shown.status.value, shown.share, shown.look) == ("running", 0.05, 1)
    assert [one.name for one in shown.metrics] == [one.name for one in MEASURES.judged]
    assert shown.metrics[0].missing.startswith("E ")
    assert records.shown(TRIAL, Life(), None, 0, {}).share == 0.0


def test_a_trace_is_bounded_and_thins_evenly() -> None:
    reading = judge.judge(PLAN, begin(PLAN))
    trace = records.Trace()
    for second in range(5000):
        trace = records.traced(trace, float(second), 0.05, {"on": reading})
    times = [point.at_s for point in trace.points]
    assert len(times) <= records.TRACED
    assert len({round(b - a) for a, b in pairwise(times)}) <= 2
    assert times[0] == 0.0 and times[-1] > 4900
    assert records.traced(trace, times[-1] + 0.5, 0.05, {"on": reading}) is trace
    assert trace.rows[0] == ("on", "start_failures")
