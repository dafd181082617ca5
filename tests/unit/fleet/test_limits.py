"""When a node uses too much, and what it is told then."""

from __future__ import annotations

from redqueen.fleet.limits import OWN, Allowance, Use, Verdict, exceeded
from redqueen.fleet.model import Role

ALLOWED = Allowance(100 << 20, 64)


def test_too_much_memory_ends_a_node_at_once_with_both_figures() -> None:
    assert exceeded(Use(100 << 20, 3), ALLOWED, Verdict()) == Verdict()
    found = exceeded(Use(151 << 20, 3), ALLOWED, Verdict())
    assert found.because == "it used 151 MB of memory and may use 100 MB"


def test_descriptors_end_a_node_only_when_they_stay_used_up() -> None:
    verdict = Verdict()
    for _ in range(3):
        verdict = exceeded(Use(0, 64), ALLOWED, verdict)
        assert not verdict.because
    assert exceeded(Use(0, 63), ALLOWED, verdict) == Verdict()
    assert exceeded(Use(0, 64), ALLOWED, verdict).because == "it has all its 64 descriptors open and closes none"


def test_every_role_of_ours_has_an_allowance() -> None:
    assert set(OWN) == set(Role) - {Role.SERVICE}


def test_the_kernels_bound_lies_beyond_the_one_that_gives_the_reason() -> None:
    assert ALLOWED.data_bytes > 2 * ALLOWED.memory_bytes
