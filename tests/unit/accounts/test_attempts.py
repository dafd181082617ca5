"""How often a name may be tried."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.accounts.attempts import LIMIT, WINDOW_S, Attempts, attempt


@settings(deadline=None)
@given(st.lists(st.floats(0, 400), max_size=80))
def test_no_window_ever_allows_more_than_the_limit(gaps: list[float]) -> None:
    window: Attempts | None = None
    now, allowed = 1000.0, list[tuple[float, float]]()
    for gap in gaps:
        now += gap
        decision = attempt(window, now)
        window = decision.after
        if decision.allowed:
            allowed.append((window.since, now))
    for since in {since for since, _ in allowed}:
        inside = [at for begun, at in allowed if begun == since]
        assert len(inside) <= LIMIT
        assert all(at - since < WINDOW_S for at in inside)


def test_a_refusal_says_how_long_and_does_not_prolong_itself() -> None:
    full = Attempts(0.0, LIMIT)
    refused = attempt(full, 100.0)
    assert not refused.allowed
    assert refused.after == full
    assert "800 s" in refused.because
    assert attempt(full, WINDOW_S).allowed
