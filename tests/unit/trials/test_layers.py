"""A layer's parts: side by side, never over one another, and refused when there is no room."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import Conflict, InvalidInput
from redqueen.trials import arming
from redqueen.trials.layers import Range, placed, taken, unrivalled
from redqueen.trials.model import BUCKETS, Subject, Trial, TrialArm


@given(st.lists(st.tuples(st.floats(0.01, 0.6), st.booleans()), max_size=20), st.sampled_from([0.0, 0.1, 0.5]))
def test_whatever_comes_and_goes_no_two_trials_overlap_and_the_holdout_stays_free(
    wishes: list[tuple[float, bool]], holdout: float
) -> None:
    held: list[Range] = []
    for number, (share, leaves) in enumerate(wishes):
        if leaves and held:
            held.pop(number % len(held))
        try:
            held.append(placed("home", share, held, trial=f"t{number}", holdout=holdout))
        except Conflict:
            continue
        edges = sorted((one.first, one.last) for one in held)
        assert all(one[1] <= other[0] for one, other in pairwise(edges))
        assert edges[-1][1] <= BUCKETS - round(holdout * BUCKETS)
        assert held[-1].last - held[-1].first == round(share * BUCKETS)


def test_the_gap_that_an_ended_trial_left_is_filled() -> None:
    held = [Range(0, 100_000, "a"), Range(300_000, BUCKETS, "c")]
    assert placed("home", 100_000 / BUCKETS, held, trial="b") == Range(100_000, 200_000, "b")


def test_a_full_layer_says_who_holds_it() -> None:
    with pytest.raises(Conflict, match="Held by a, b") as refused:
        placed("home", 0.5, [Range(0, 400_000, "b"), Range(500_000, 900_000, "a")], trial="c")
    assert "layer home has no 50%" in refused.value.what


def test_a_trial_asks_again_for_its_own_place() -> None:
    assert placed("home", 1.0, [Range(0, BUCKETS, "a")], trial="a") == Range(0, BUCKETS, "a")


@pytest.mark.parametrize(("share", "holdout"), [(0.0, 0.0), (1.1, 0.0), (0.5, 1.0), (0.5, -0.1)])
def test_a_share_that_is_none_is_refused(share: float, holdout: float) -> None:
    with pytest.raises(InvalidInput):
        placed("home", share, [], holdout=holdout)


def test_what_is_taken_is_read_from_the_armed_trials_of_that_layer() -> None:
    trial = Trial("t", Subject.FLAG, "f", "o", "b", "s", "home", (TrialArm("on"),), ())
    armed = arming.armed(trial, 0.1, Range(5, 10))
    assert taken(arming.layer_salt("home"), [armed]) == [Range(5, 10, "t")]
    assert taken(arming.layer_salt("other"), [armed]) == []


@pytest.mark.parametrize(
    ("held", "share", "holdout"),
    [([Range(900_000, BUCKETS, "a")], 0.6, 0.5), ([Range(0, 800_000, "a"), Range(100, 200, "b")], 0.3, 0.0)],
    ids=["an older trial stands in the holdout", "two hold the same"],
)
def test_whoever_holds_what_already_nothing_is_given_twice_or_from_the_holdout(
    held: list[Range], share: float, holdout: float
) -> None:
    with pytest.raises(Conflict):
        placed("home", share, held, trial="c", holdout=holdout)


def test_a_service_or_a_flag_is_not_tried_in_two_layers_at_once_where_viewers_would_be_in_both() -> None:
    running = [trial("shop-r1"), trial("aa-even", subject=Subject.NOTHING, target="", layer="aa-even")]
    unrivalled(trial("shop-r2"), running)
    unrivalled(trial("shop-r1", layer="other"), running)
    unrivalled(trial("door-r1", target="door", layer="other"), running)
    unrivalled(trial("aa-slice", subject=Subject.NOTHING, target="", layer="aa-slice"), running)
    with pytest.raises(Conflict, match="shop is tried by shop-r1 already, in the layer release/shop"):
        unrivalled(trial("shop-r2", layer="other"), running)
    with pytest.raises(Conflict):
        unrivalled(trial("shop-r2", layer="other"), [arming.armed(one, 0.5) for one in running])


def trial(name: str, **changes: object) -> Trial:
    values: dict[str, object] = {
        "id": name, "subject": Subject.RELEASE, "target": "shop", "owner": "me", "because": "", "salt": name,
        "layer": "release/shop", "treatments": (TrialArm("canary"),), "metrics": (),
    }  # fmt: skip
    return Trial(**{**values, **changes})  # type: ignore[arg-type]
