"""Who is in which arm: uniform, independent between salts, the same by every way of asking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from xxhash import xxh64_intdigest

from redqueen.trials import arming
from redqueen.trials.assignment import Assigner, arm_of, bucket, salt_of
from redqueen.trials.layers import Range
from redqueen.trials.model import BUCKETS, Audience, Subject, Trial, TrialArm, Viewer
from redqueen.trials.populations import arms_of, buckets, counted

KEYS = np.random.default_rng(7).integers(0, 1 << 64, 400_000, dtype=np.uint64)
SALTS = [salt_of(f"salt {k}") for k in range(6)]
RUNS_OF_ONE = np.arange(400_000, dtype=np.uint64)
"""Keys that are anything but random: the hash alone must spread them."""


def trial(name: str = "t", **more: object) -> Trial:
    told = {
        "id": name,
        "subject": Subject.FLAG,
        "target": "flag",
        "owner": "o",
        "because": "b",
        "salt": name,
        "layer": "l",
        "treatments": (TrialArm("on"),),
        "metrics": (),
    }
    return Trial(**(told | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [KEYS, RUNS_OF_ONE], ids=["random", "in a row"])
@pytest.mark.parametrize("salt", SALTS)
def test_viewers_fall_uniformly_into_buckets(keys: np.ndarray, salt: int) -> None:
    seen = np.bincount(buckets(keys, salt) >> 10, minlength=1024)
    assert stats.chisquare(seen).pvalue > 1e-4


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5)])
def test_two_salts_know_nothing_of_each_other(one: int, other: int) -> None:
    first, second = (buckets(RUNS_OF_ONE, SALTS[k]) >> 15 for k in (one, other))
    table = np.bincount(first.astype(np.int64) * 32 + second, minlength=1024).reshape(32, 32)
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_a_trial_within_a_layer_splits_the_layers_viewers_evenly() -> None:
    half = arming.armed(trial(steps=(0.5,)), 0.5, Range(0, BUCKETS // 4))
    where = arms_of(half, KEYS)
    seen = counted(where, len(half.arms))
    assert sum(seen) == pytest.approx(KEYS.size / 4, rel=0.02)
    assert stats.chisquare(seen).pvalue > 1e-4


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_the_bulk_hash_is_the_hash(key: int, salt: int) -> None:
    expected = xxh64_intdigest(key.to_bytes(8, "little"), salt) >> 44
    assert bucket(key, salt) == expected
    assert buckets(np.array([key], dtype=np.uint64), salt)[0] == expected


def test_the_hash_is_that_of_the_gateways_and_never_changes() -> None:
    assert [bucket(key, salt) for key, salt in ((0, 0), (1, 0), (0x0123456789ABCDEF, 42), ((1 << 64) - 1, 7))] == [
        216_214,
        651_932,
        110_346,
        493_139,
    ]


AUDIENCES = st.builds(
    Audience,
    devices=st.sampled_from([(), ("tv",), ("tv", "mobile")]),
    zones=st.sampled_from([(), ("a",)]),
    countries=st.sampled_from([(), ("NL", "BE")]),
    returning=st.sampled_from([None, True, False]),
)
VIEWERS = st.builds(
    Viewer,
    key=st.integers(0, (1 << 64) - 1),
    device=st.sampled_from(["tv", "mobile", "desktop"]),
    zone=st.sampled_from(["a", "b"]),
    country=st.sampled_from(["NL", "DE", ""]),
    returning=st.booleans(),
)


@given(AUDIENCES, VIEWERS, st.sampled_from([0.05, 0.3, 0.9]), st.integers(1, 3), st.integers(0, BUCKETS // 2))
def test_one_trial_and_all_trials_give_the_same_answer(
    audience: Audience, viewer: Viewer, share: float, arms: int, first: int
) -> None:
    told = trial(audience=audience, treatments=tuple(TrialArm(f"t{k}") for k in range(arms)))
    one = arming.armed(told, share, Range(first, first + BUCKETS // 2))
    other = arming.armed(trial("other", layer="another"), 0.5)
    answer = Assigner([other, one]).arms(viewer)
    assert answer.get("t") == arm_of(one, viewer)
    assert answer.get("other") == arm_of(other, viewer)
    if audience == Audience():
        position = arms_of(one, np.array([viewer.key], dtype=np.uint64))[0]
        assert answer.get("t") == (one.arms[position].name if position >= 0 else None)


@pytest.mark.parametrize(
    ("audience", "meant", "others"),
    [
        (Audience(devices=("tv",)), Viewer(1, device="tv"), Viewer(1, device="mobile")),
        (Audience(zones=("a",)), Viewer(1, zone="a"), Viewer(1, zone="b")),
        (Audience(countries=("NL",)), Viewer(1, country="NL"), Viewer(1, country="")),
        (Audience(returning=False), Viewer(1), Viewer(1, returning=True)),
    ],
)
def test_who_is_not_of_the_audience_is_in_no_arm_not_even_in_the_control(
    audience: Audience, meant: Viewer, others: Viewer
) -> None:
    armed = arming.armed(trial(audience=audience), 0.5)
    assert arm_of(armed, meant) is not None
    assert arm_of(armed, others) is None
    assert Assigner([armed]).arms(others) == {}


def test_trials_side_by_side_in_a_layer_never_share_a_viewer() -> None:
    parts = [Range(0, 300_000), Range(300_000, 700_000), Range(700_000, BUCKETS)]
    trials = [arming.armed(trial(f"t{k}"), 0.5, part) for k, part in enumerate(parts)]
    inside = np.stack([arms_of(one, KEYS) >= 0 for one in trials])
    assert inside.sum(axis=0).max() == 1
    assert inside.any(axis=0).all()
    assert all(len(Assigner(trials).arms(Viewer(int(key)))) == 1 for key in KEYS[:2000])


def test_of_two_layers_a_viewer_may_be_in_both() -> None:
    trials = [arming.armed(trial("one", layer="x"), 0.5), arming.armed(trial("two", layer="y"), 0.5)]
    assert all(len(Assigner(trials).arms(Viewer(int(key)))) == 2 for key in KEYS[:200])
