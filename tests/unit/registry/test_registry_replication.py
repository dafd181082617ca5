"""Merging is a join: commutative, associative, idempotent; digests name exactly what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.registry import peering
from redqueen.registry.calls import Cancel, Register, Renew
from redqueen.registry.conversation import Conversation
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import SyncRequest, SyncResponse, encode
from redqueen.registry.model import Instance, Moment, Record, Status, Version
from redqueen.registry.replication import digest, join, missing

VERSIONS = st.builds(Version, st.integers(0, 2), st.integers(0, 2), st.sampled_from("ab"))


def _record(version: Version, beat_ms: int, lapsed: bool) -> Record:
    # The payload is a function of the version, as in life: one version is written once.
    status = list(Status)[hash((version.stamp_ms, version.edit, version.origin == "a")) % 5]
    gone = "it left" if version.edit == 1 else ""
    return Record(Instance("API", "x", "h", 1, status=status), version, beat_ms, lapsed, gone)


RECORDS = st.builds(_record, VERSIONS, st.integers(0, 3), st.booleans())


@given(RECORDS, RECORDS, RECORDS)
def test_merging_is_commutative_associative_and_idempotent(a: Record, b: Record, c: Record) -> None:
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == a
    assert join(join(a, b), b) == join(a, b)


@given(RECORDS, RECORDS)
def test_a_digest_shows_what_is_missing_and_nothing_after_the_merge(ours: Record, theirs: Record) -> None:
    merged = join(ours, theirs)
    assert bool(missing(digest([theirs]), digest([ours]))) == (merged != ours)
    assert missing(digest([theirs]), digest([merged])) == ()


def test_removals_of_what_was_never_known_are_not_asked_for() -> None:
    gone = _record(Version(1, 1, "a"), 1, False)
    assert gone.gone and missing(digest([gone]), {}) == ()


def exchange(asker: Ledger, answerer: Ledger, now: Moment) -> None:
    response = peering.reply(answerer, peering.question(asker), now)
    for told, wanted in peering.settlement(asker, response):
        more = peering.reply(answerer, peering.settling(asker, told, wanted, now), now)
        peering.take(asker, more.records, (), now)


def test_one_exchange_makes_two_registries_equal_by_identity() -> None:
    now = Moment(1.0, 1_000)
    here, there = Ledger("here", now), Ledger("there", now)
    for name, ledger in (("a", here), ("b", here), ("c", there), ("d", there)):
        ledger.apply(Register(Instance("API", name, "h", 1, dirty_at_ms=1)), now)
    exchange(here, there, now)
    assert here.living() == there.living() and len(here.living()) == 4
    # One instance is swapped for another of the same status: Eureka's hash would not see it.
    here.apply(Cancel(here.living()[0].identity), now)
    here.apply(Register(Instance("API", "e", "h", 1, dirty_at_ms=2)), now)
    exchange(there, here, now)
    assert [r.instance.instance_id for r in there.living()] == ["b", "c", "d", "e"]


def test_news_of_heartbeats_carries_no_records() -> None:
    now = Moment(1.0, 1_000)
    here, there = Ledger("here", now), Ledger("there", now)
    here.apply(Register(Instance("API", "a", "h", 1, dirty_at_ms=1)), now)
    exchange(here, there, now)
    later = Moment(2.0, 2_000)
    identity = here.living()[0].identity
    here.apply(Renew(identity), later)
    request = peering.news(here, set(), {identity}, later)
    assert request.records == ()
    peering.reply(there, request, later)
    entry = there.table.find(identity)
    assert entry is not None and entry.expires_s == 2.0 + 3.0


def many(count: int, name: str = "here") -> Ledger:
    ledger = Ledger(name, Moment(1.0, 1_000))
    for n in range(count):
        ledger.apply(Register(Instance("API", f"n{n:05}", "h", 1, status=Status.UP, dirty_at_ms=1)), Moment(1.0, 1_000))
    return ledger


def talk(asker: Conversation, answerer: Ledger, now: Moment) -> list[SyncRequest]:
    """Let one side say all that it has to say at one moment."""
    said: list[SyncRequest] = []
    while (request := asker.next(now)) is not None:
        said.append(request)
        asker.answered(peering.reply(answerer, request, now), now)
    return said


def test_ten_thousand_instances_cost_a_question_of_twelve_kilobytes_and_a_change_a_few_marks() -> None:
    here, there = many(10_000), Ledger("there", Moment(1.0, 1_000))
    asker = Conversation(here)
    first = talk(asker, there, Moment(2.0, 2_000))
    assert len(there.living()) == 10_000
    assert max(len(r.records) + len(r.wanted) for r in first) == peering.MOST_AT_ONCE
    for n in range(20):
        talk(asker, there, Moment(2.1 + n / 10, 2_100 + n * 100))
    (idle,) = talk(asker, there, Moment(6.5, 6_500))
    assert len(encode(idle)) < 12_000
    assert len(encode(peering.reply(there, idle, Moment(5.0, 5_000)))) < 200
    there.apply(Cancel(there.living()[7].identity), Moment(5.1, 5_100))
    response = peering.reply(there, peering.question(here), Moment(5.2, 5_200))
    assert len(response.differing) == 1 and len(response.marks) < 40
    assert [len(told) + len(wanted) for told, wanted in peering.settlement(here, response)] == [1]


def test_after_a_silence_a_peer_is_told_of_every_beat_it_missed() -> None:
    here, there = many(3), Ledger("there", Moment(1.0, 1_000))
    asker = Conversation(here)
    talk(asker, there, Moment(1.0, 1_000))
    asker.failed()
    for record in here.living():
        here.apply(Renew(record.identity), Moment(3.0, 3_000))
    asker.failed()  # what was to be told is lost, too
    talk(asker, there, Moment(3.5, 3_500))
    talk(asker, there, Moment(3.6, 3_600))
    assert all(e.expires_s == 3.0 + 3.0 for e in there.table.entries())


def test_a_peer_of_the_first_release_is_asked_in_its_own_words() -> None:
    now = Moment(1.0, 1_000)
    here, there = many(2), many(3, "there")
    asker = Conversation(here)
    question = asker.next(now)
    assert question is not None and question.buckets is not None
    asker.answered(SyncResponse("there"), now)  # it lets unknown fields pass, and takes this for news of nothing
    question = asker.next(now)
    assert question is not None and question.digest is not None and len(question.digest) == 2
    asker.answered(peering.reply(there, question, now), now)
    assert here.living() == there.living()


def test_digests_that_cannot_be_read_are_refused_plainly() -> None:
    for text in ("", "!", "AAAA"):
        with pytest.raises(InvalidInput):
            peering.reply(many(1), SyncRequest("x", buckets=text), Moment(1.0, 1_000))


def test_the_digests_are_those_of_the_living_whatever_happened_before() -> None:
    now = Moment(1.0, 1_000)
    here, fresh = many(50), Ledger("fresh", now)
    for record in here.living()[::2]:
        here.apply(Cancel(record.identity), now)
    fresh.load(here.living(), now)
    assert here.table.buckets == fresh.table.buckets and any(fresh.table.buckets)
