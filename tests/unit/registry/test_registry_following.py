"""What a watcher believes: a restart never empties it, a removal always counts; what subscribers are told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redqueen.registry import calls, history, stream
from redqueen.registry.following import Belief, step
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import BeatMessage, Changed, Full, Removed, decode_stream, encode
from redqueen.registry.model import Identity, Instance, Moment, Status


def node(name: str) -> Instance:
    return Instance("API", name, "127.0.0.1", 1, status=Status.UP)


def full(epoch: str, *names: str, removed: tuple[str, ...] = ()) -> Full:
    gone = tuple(Removed(Identity("API", name), "it left") for name in removed)
    return Full(epoch, 1, tuple(node(name) for name in names), gone)


def names(belief: Belief) -> list[str]:
    return [i.instance_id for i in belief.instances]


def test_an_emptily_restarted_registry_does_not_empty_the_set_before_the_grace() -> None:
    belief = step(Belief(), full("one", "a", "b"), 0.0)
    belief = step(belief, full("two"), 1.0)
    belief = step(belief, BeatMessage("two", 1), 5.9)
    assert names(belief) == ["a", "b"]
    assert names(step(belief, BeatMessage("two", 1), 6.0)) == []


def test_who_registers_again_within_the_grace_stays() -> None:
    belief = step(step(Belief(), full("one", "a", "b"), 0.0), full("two"), 1.0)
    belief = step(belief, Changed("two", 2, (node("a"),), ()), 2.0)
    assert names(step(belief, BeatMessage("two", 2), 7.0)) == ["a"]


def test_what_the_new_registry_knows_as_removed_goes_at_once() -> None:
    belief = step(Belief(), full("one", "a", "b"), 0.0)
    assert names(step(belief, full("two", "b", removed=("a",)), 1.0)) == ["b"]


def test_a_removal_counts_for_the_unconfirmed_too() -> None:
    belief = step(step(Belief(), full("one", "a", "b"), 0.0), full("two"), 1.0)
    belief = step(belief, Changed("two", 2, (), (Removed(Identity("API", "a"), "it exited"),)), 1.5)
    assert names(belief) == ["b"]


def test_a_full_set_of_the_same_registry_is_final_but_keeps_the_unconfirmed() -> None:
    belief = step(Belief(), full("one", "a", "b"), 0.0)
    assert names(step(belief, full("one", "a"), 1.0)) == ["a"]
    belief = step(step(belief, full("two", "a"), 1.0), full("two", "a"), 2.0)
    assert names(belief) == ["a", "b"]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sets(st.sampled_from("abc"))), max_size=8))
def test_no_restart_within_the_grace_ever_loses_an_instance(told: list[tuple[str, set[str]]]) -> None:
    belief = step(Belief(), full("first", "a", "b", "c"), 0.0)
    for number, (epoch, present) in enumerate(told):
        belief = step(belief, full(f"{epoch}{number}", *sorted(present)), number * 0.5)
    assert names(belief) == ["a", "b", "c"]


def at(second: float) -> Moment:
    return Moment(second, int(second * 1000))


def test_a_subscriber_gets_the_full_set_then_changes_then_beats() -> None:
    ledger = Ledger("here", at(0))
    ledger.apply(calls.Register(node("a")), at(0))
    first = stream.tell(ledger, "", 0)
    assert isinstance(first, Full) and first.instances == (node("a"),)
    assert isinstance(stream.tell(ledger, "here", first.version), BeatMessage)
    ledger.apply(calls.Register(node("b")), at(1))
    ledger.apply(calls.Cancel(node("a").identity), at(1))
    told = stream.tell(ledger, "here", first.version)
    assert isinstance(told, Changed) and told.version == first.version + 2
    assert ([i.instance_id for i in told.instances], [r.because for r in told.removed]) == (["b"], ["it left"])


def test_a_subscriber_that_fell_too_far_behind_gets_the_full_set() -> None:
    ledger = Ledger("here", at(0))
    for n in range(history.CATCH_UP + 1):
        event = calls.Register(Instance("API", "a", "h", n + 1, dirty_at_ms=n))
        ledger.apply(event, at(n / 1000))
    assert isinstance(stream.tell(ledger, "here", 0), Full)
    assert isinstance(stream.tell(ledger, "here", 1), Changed)
    assert isinstance(stream.tell(ledger, "here", 10**6), Full)


def test_heartbeats_are_no_news_to_subscribers() -> None:
    ledger = Ledger("here", at(0))
    ledger.apply(calls.Register(node("a")), at(0))
    version = ledger.version
    ledger.apply(calls.Renew(node("a").identity), at(1))
    assert ledger.version == version


def test_the_deltas_version_changes_when_old_entries_are_dropped() -> None:
    ledger = Ledger("here", at(0))
    ledger.apply(calls.Register(node("a")), at(0))
    before = history.delta_version(ledger.history)
    history.add(ledger.history, (), history.HELD_S + 1)
    assert history.delta(ledger.history) == ()
    assert history.delta_version(ledger.history) != before


def test_messages_survive_the_wire() -> None:
    for message in (full("one", "a", removed=("b",)), BeatMessage("one", 3), Changed("one", 4, (node("c"),), ())):
        assert decode_stream(encode(message).decode()) == message


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.booleans()), max_size=30), st.integers(0, 30))
def test_following_the_changes_gives_what_the_full_set_gives(steps: list[tuple[str, bool]], joined_at: int) -> None:
    ledger, belief = Ledger("here", at(0)), Belief()
    for number, (name, present) in enumerate(steps):
        event = calls.Register(node(name)) if present else calls.Cancel(node(name).identity)
        ledger.apply(event, at(number / 10))
        if number >= joined_at and number % 3 == 0:
            belief = step(belief, stream.tell(ledger, belief.epoch, belief.version), number / 10)
    belief = step(belief, stream.tell(ledger, belief.epoch, belief.version), 9.0)
    fresh = step(Belief(), stream.full(ledger), 9.0)
    assert belief.instances == fresh.instances
