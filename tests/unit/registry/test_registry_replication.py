"""Merging is a join: commutative, associative, idempotent; digests name exactly what is missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redqueen.registry import peering
from redqueen.registry.calls import Cancel, Register, Renew
from redqueen.registry.ledger import Ledger
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
