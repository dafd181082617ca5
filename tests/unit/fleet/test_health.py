"""An instance's health, answer by answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redqueen.fleet.health import Health, Patience, Standing, judged

PATIENCE = Patience(start_s=5.0, failures=3)


def after(*answers: str, age_s: float = 1.0, start: Standing | None = None) -> Standing:
    standing = start or Standing()
    for answer in answers:
        standing = judged(standing, answer, age_s, PATIENCE)
    return standing


def test_it_starts_until_the_first_good_answer() -> None:
    assert after("refused") == Standing(Health.STARTING, 1, "refused")
    assert after("refused", "") == Standing(Health.UP)


def test_one_that_is_never_well_is_given_up_with_the_last_answer() -> None:
    standing = after("refused", age_s=5.0)
    assert standing.health is Health.GIVEN_UP
    assert standing.because == "it was not healthy within 5 s: refused"


def test_some_bad_answers_make_it_down_more_end_it_and_a_good_one_forgives() -> None:
    up = Standing(Health.UP)
    assert after("bad", "bad", start=up).health is Health.UP
    assert after("bad", "bad", "bad", start=up) == Standing(Health.DOWN, 3, "its health check fails: bad")
    assert after("bad", "bad", "bad", "", start=up) == up
    ended = after(*["bad"] * 6, start=up)
    assert (ended.health, ended.because) == (Health.GIVEN_UP, "its health check failed 6 times in a row: bad")


@given(st.lists(st.tuples(st.sampled_from(["", "bad"]), st.floats(0, 10)), max_size=40))
def test_whatever_is_not_well_has_a_reason_and_only_bad_answers_take_it_down(course: list[tuple[str, float]]) -> None:
    standing = Standing()
    for answer, age_s in course:
        before, standing = standing, judged(standing, answer, age_s, PATIENCE)
        if standing.health in (Health.DOWN, Health.GIVEN_UP):
            assert standing.because and answer
        if not answer:
            assert standing == Standing(Health.UP)
        elif before.health is Health.UP:
            assert standing.health is Health.UP or standing.bad >= PATIENCE.failures
