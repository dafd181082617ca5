"""The lease table: what each call does, and how a lease ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from redqueen.registry import eviction, leases
from redqueen.registry.calls import (
    Cancel,
    ClearOverride,
    Exited,
    Merge,
    Override,
    Probed,
    Register,
    Renew,
    Reply,
    SetMetadata,
    Suspected,
    SuspectProbed,
    Sweep,
)
from redqueen.registry.eviction import Probe
from redqueen.registry.leases import step
from redqueen.registry.model import Action, Identity, Instance, Moment, Record, Status, Version, visible
from redqueen.registry.table import Table

START_MS = 1_700_000_000_000


def at(seconds: float) -> Moment:
    return Moment(100.0 + seconds, START_MS + int(seconds * 1000))


def node(name: str = "api-a-1", **changes: object) -> Instance:
    made = Instance("API", name, "127.0.1.1", 8001, status=Status.UP, dirty_at_ms=START_MS - 1000)
    return replace(made, **changes)  # type: ignore[arg-type]


def table_with(*instances: Instance) -> Table:
    table = Table("here")
    for instance in instances:
        step(table, Register(instance), at(0))
    return table


def living(table: Table) -> list[Instance]:
    return [visible(record) for record in table.living()]


def names(table: Table) -> list[str]:
    return [i.instance_id for i in living(table)]


def sweep(table: Table, second: float, found: Probe | None = Probe.REFUSED) -> leases.Outcome:
    """Sweep once, and answer its probes (None leaves them open)."""
    outcome = step(table, Sweep(), at(second))
    if outcome.probes and found is not None:
        step(table, Probed(dict.fromkeys([i.identity for i in outcome.probes], found)), at(second))
    return outcome


def sweep_until(
    table: Table, begin_s: float, end_s: float, found: Probe | None = Probe.REFUSED
) -> list[leases.Outcome]:
    count = int((end_s - begin_s) / 0.2) + 1
    return [sweep(table, begin_s + n * 0.2, found) for n in range(count)]


def test_a_registered_instance_is_read_and_its_change_says_why() -> None:
    table = Table("here")
    outcome = step(table, Register(node()), at(0))
    assert names(table) == ["api-a-1"]
    assert [(c.action, c.because) for c in outcome.changes] == [(Action.ADDED, "it registered")]


def test_a_lease_lasts_its_duration_once() -> None:
    table = table_with(node(lease_s=3.0))
    sweep_until(table, 0, 2.8)
    assert names(table) == ["api-a-1"]
    sweep(table, 3.0)
    assert names(table) == []


def test_each_heartbeat_gives_exactly_one_more_duration() -> None:
    table = table_with(node())
    sweep_until(table, 0, 2)
    assert step(table, Renew(node().identity), at(2.0)).reply is Reply.DONE
    sweep_until(table, 2.2, 4.8)
    assert names(table) == ["api-a-1"]
    sweep(table, 5.01)
    assert names(table) == []


def test_a_heartbeat_of_the_unknown_is_told_to_register() -> None:
    assert step(Table("here"), Renew(Identity("API", "x")), at(0)).reply is Reply.UNKNOWN


def test_a_heartbeat_that_means_newer_words_is_told_to_register() -> None:
    table = table_with(node())
    assert step(table, Renew(node().identity, node().dirty_at_ms + 1), at(1)).reply is Reply.UNKNOWN
    assert step(table, Renew(node().identity, node().dirty_at_ms), at(1)).reply is Reply.DONE


def test_a_peer_that_hands_on_an_outdated_heartbeat_is_told_so() -> None:
    table = table_with(node())
    older = Renew(node().identity, node().dirty_at_ms - 1, replicated=True)
    assert step(table, older, at(1)).reply is Reply.OUTDATED
    assert step(table, replace(older, replicated=False), at(1)).reply is Reply.DONE


def test_a_heartbeat_while_the_status_is_unknown_is_told_to_register() -> None:
    table = table_with(node(status=Status.UNKNOWN))
    assert step(table, Renew(node().identity), at(1)).reply is Reply.UNKNOWN


def test_newer_words_replace_older_ones_and_never_the_other_way() -> None:
    table = table_with(node())
    step(table, Register(node(port=9, dirty_at_ms=START_MS)), at(1))
    assert living(table)[0].port == 9
    step(table, Register(node(port=7)), at(2))
    assert living(table)[0].port == 9


def test_the_same_words_again_keep_the_leases_status() -> None:
    table = table_with(node())
    step(table, Register(node(status=Status.OUT_OF_SERVICE)), at(1))
    assert living(table)[0].status is Status.UP


def test_an_instance_may_take_itself_out_of_service() -> None:
    table = table_with(node())
    step(table, Register(node(status=Status.OUT_OF_SERVICE, dirty_at_ms=START_MS)), at(1))
    assert living(table)[0].status is Status.OUT_OF_SERVICE


def test_an_override_wins_over_up_but_not_over_down() -> None:
    table = table_with(node(), node("api-b-1", status=Status.DOWN))
    for name in ("api-a-1", "api-b-1"):
        step(table, Override(Identity("API", name), Status.OUT_OF_SERVICE), at(1))
    assert [i.status for i in living(table)] == [Status.OUT_OF_SERVICE, Status.DOWN]


def test_an_override_survives_a_new_registration_and_ends_when_taken_back() -> None:
    table = table_with(node())
    step(table, Override(node().identity, Status.OUT_OF_SERVICE), at(1))
    step(table, Register(node(dirty_at_ms=START_MS)), at(2))
    assert living(table)[0].status is Status.OUT_OF_SERVICE
    step(table, ClearOverride(node().identity), at(3))
    assert living(table)[0].status is Status.UP


def test_metadata_is_laid_over_and_moves_the_zone() -> None:
    table = table_with(node(zone="a", metadata={"k": "1"}))
    step(table, SetMetadata(node().identity, {"zone": "b", "l": "2"}), at(1))
    found = living(table)[0]
    assert (found.zone, dict(found.metadata)) == ("b", {"k": "1", "l": "2", "zone": "b"})


def test_who_left_is_gone_at_once_and_may_come_back_with_the_same_words() -> None:
    table = table_with(node())
    assert step(table, Cancel(node().identity), at(1)).changes[0].action is Action.DELETED
    assert step(table, Renew(node().identity), at(1)).reply is Reply.UNKNOWN
    step(table, Register(node()), at(2))
    assert names(table) == ["api-a-1"]


def test_evidence_of_an_exit_evicts_at_once_with_its_reason() -> None:
    table = table_with(node())
    outcome = step(table, Exited(node().identity, "it was killed by signal 9", START_MS + 500), at(0.5))
    assert (names(table), outcome.changes[0].because) == ([], "it was killed by signal 9")


def test_a_late_report_of_an_exit_does_not_evict_the_next_incarnation() -> None:
    table = table_with(node(dirty_at_ms=START_MS + 900))
    outcome = step(table, Exited(node().identity, "it was killed", START_MS + 500), at(1))
    assert (outcome.reply, names(table)) == (Reply.OUTDATED, ["api-a-1"])


def test_a_heartbeat_after_the_lease_ran_out_brings_the_instance_back() -> None:
    table = table_with(node())
    sweep_until(table, 0, 3)
    assert names(table) == []
    assert step(table, Renew(node().identity), at(3.5)).reply is Reply.DONE
    assert names(table) == ["api-a-1"]


def test_time_in_which_the_registry_did_not_run_ends_no_lease() -> None:
    table = table_with(node(), node("api-b-1"))
    step(table, Sweep(), at(0.1))
    step(table, Sweep(), at(60))
    assert len(names(table)) == 2
    sweep_until(table, 60.2, 62.8)
    assert len(names(table)) == 2
    sweep_until(table, 62.8, 63.2)
    assert names(table) == []


def fleet(count: int) -> tuple[Instance, ...]:
    return tuple(node(f"api-{n:02}") for n in range(count))


def heartbeat(table: Table, instances: tuple[Instance, ...], second: float) -> None:
    for instance in instances:
        step(table, Renew(instance.identity), at(second))


def test_one_of_one_to_six_instances_that_dies_is_evicted() -> None:
    for count in range(1, 7):
        table = table_with(*fleet(count))
        for second in range(1, 5):
            heartbeat(table, fleet(count)[1:], second)
            sweep_until(table, second, second + 0.8)
        assert names(table) == [i.instance_id for i in fleet(count)[1:]], count


def test_many_leases_that_run_out_together_are_probed_and_who_accepts_stays() -> None:
    table = table_with(*fleet(4))
    outcomes = sweep_until(table, 0, 3, None)
    probed = [i.instance_id for o in outcomes for i in o.probes]
    assert (names(table), probed) == ([i.instance_id for i in fleet(4)], names(table))
    found = {i.identity: Probe.ACCEPTED if i.instance_id != "api-01" else Probe.REFUSED for i in fleet(4)}
    step(table, Probed(found), at(3.1))
    assert names(table) == ["api-00", "api-02", "api-03"]


def test_while_probes_run_nobody_is_evicted_and_no_second_round_begins() -> None:
    table = table_with(*fleet(4))
    sweep_until(table, 0, 3, None)
    assert all(not o.probes for o in sweep_until(table, 3.2, 3.6))
    assert len(names(table)) == 4


def test_a_dead_zone_that_answers_nothing_is_evicted_while_others_are_heard() -> None:
    table = table_with(*fleet(6))
    for second in (1, 2, 3):
        heartbeat(table, fleet(6)[3:], second)
        outcomes = sweep_until(table, second, second + 0.8)
    probes = [i for o in outcomes for i in o.probes]
    assert len(probes) == 3
    step(table, Probed({i.identity: Probe.SILENT for i in probes}), at(3.5))
    assert names(table) == ["api-03", "api-04", "api-05"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9, 30])
@pytest.mark.parametrize(("lease_s", "renewal_s"), [(3.0, 1.0), (90.0, 30.0), (30.0, 10.0)])
def test_a_registry_that_is_cut_off_loses_nobody_not_even_for_a_moment(
    count: int, lease_s: float, renewal_s: float
) -> None:
    table = Table("here")
    for number, instance in enumerate(fleet(count)):
        beating = replace(instance, lease_s=lease_s, renewal_s=renewal_s)
        step(table, Register(beating), at(renewal_s * number / count))
    for turn in range(600):
        sweep(table, renewal_s + turn * lease_s / 100 if lease_s > 60 else renewal_s + turn * 0.2, Probe.SILENT)
        assert len(names(table)) == count


def test_hearing_itself_does_not_prove_that_the_registry_is_not_cut_off() -> None:
    table = Table("here", own=("127.0.1.1", 7000))
    own = node("registry-a-1", port=7000, host="127.0.1.1")
    for instance in (own, node("api-a-1")):
        step(table, Register(instance), at(0))
    for turn in range(50):
        step(table, Renew(own.identity), at(turn * 0.2))
        sweep(table, turn * 0.2, Probe.SILENT)
    assert len(names(table)) == 2


def test_one_that_only_accepts_connections_is_given_up_while_others_are_heard() -> None:
    table = table_with(*fleet(4))
    gone_at = 0.0
    for turn in range(150):
        second = turn * 0.2
        heartbeat(table, fleet(4)[:2], second)
        sweep(table, second, Probe.ACCEPTED)
        if not gone_at and len(names(table)) == 2:
            gone_at = second
    assert 3 * eviction.MOST_SPARED < gone_at < 3 * (eviction.MOST_SPARED + 2)


def test_one_that_hangs_alone_among_many_goes_with_its_lease() -> None:
    table = table_with(*fleet(6))
    for turn in range(20):
        heartbeat(table, fleet(6)[1:], turn * 0.2)
        assert not sweep(table, turn * 0.2, None).probes
    assert len(names(table)) == 5


def test_own_nodes_that_fall_silent_are_asked_though_many_slow_ones_have_not_been_due() -> None:
    slow = tuple(replace(instance, app="SLOW", lease_s=90.0, renewal_s=30.0) for instance in fleet(50))
    table = table_with(*fleet(3), *slow)
    asked = [i.app for o in sweep_until(table, 0, 4, None) for i in o.probes]
    assert asked == ["API"] * 3


def test_a_lease_is_bounded_whatever_is_asked_for() -> None:
    table = table_with(node(lease_s=1e15))
    assert table.living()[0].instance.lease_s == leases.MOST_LEASE_S


def suspicion(**changes: object) -> Suspected:
    return replace(Suspected(node().identity, "127.0.1.1", 8001, "three connects failed"), **changes)  # type: ignore[arg-type]


def test_a_suspect_is_asked_at_once_but_not_over_and_over() -> None:
    table = table_with(node())
    assert [i.instance_id for i in step(table, suspicion(), at(1)).probes] == ["api-a-1"]
    assert step(table, suspicion(), at(1.5)).probes == ()
    assert len(step(table, suspicion(), at(2.1)).probes) == 1


def test_suspicions_are_bounded_in_number() -> None:
    many = fleet(300)
    table = table_with(*many)
    asked = [step(table, suspicion(identity=i.identity), at(1)).probes for i in many]
    assert sum(map(len, asked)) == 100
    assert len(step(table, suspicion(identity=many[-1].identity), at(2)).probes) == 1


def test_a_suspicion_of_another_address_or_of_nobody_asks_nobody() -> None:
    table = table_with(node())
    assert step(table, suspicion(port=1), at(1)).reply is Reply.OUTDATED
    assert step(table, suspicion(host="10.0.0.9"), at(1)).reply is Reply.OUTDATED
    assert step(table, suspicion(identity=Identity("API", "x")), at(1)).reply is Reply.UNKNOWN


def test_a_refusal_proves_a_suspicion_at_once_and_a_heartbeat_disproves_it() -> None:
    table = table_with(node())
    outcome = step(table, SuspectProbed(node().identity, Probe.REFUSED, "a gateway could not connect"), at(1))
    assert names(table) == []
    assert outcome.changes[0].because == "a gateway could not connect, and its port refuses connections"
    step(table, Renew(node().identity), at(1.1))
    assert names(table) == ["api-a-1"]


def test_silence_proves_a_suspicion_only_with_a_missed_heartbeat_while_others_are_heard() -> None:
    table = table_with(*fleet(3))
    suspect, others = fleet(3)[0], fleet(3)[1:]
    heartbeat(table, others, 1.0)
    step(table, SuspectProbed(suspect.identity, Probe.SILENT, "x"), at(1.2))
    assert len(names(table)) == 3
    heartbeat(table, others, 1.8)
    step(table, SuspectProbed(suspect.identity, Probe.ACCEPTED, "x"), at(1.9))
    assert len(names(table)) == 3
    step(table, SuspectProbed(suspect.identity, Probe.SILENT, "x"), at(1.9))
    assert len(names(table)) == 2


def test_a_peer_whose_clock_runs_ahead_cannot_end_the_lease_of_whom_we_hear() -> None:
    table = table_with(node(lease_s=90.0, renewal_s=30.0))
    ahead = replace(told("api-a-1", beat=START_MS + 3_600_000, lapsed=True))
    record = replace(ahead, instance=table.living()[0].instance, version=table.living()[0].version)
    outcome = step(table, Merge(((record, 95.0),)), at(10))
    assert names(table) == ["api-a-1"] and outcome.news == (node().identity,)
    assert table.living()[0].beat_ms > record.beat_ms


def test_a_peer_that_heard_an_instance_later_may_end_its_lease() -> None:
    table = table_with(node())
    record = replace(table.living()[0], beat_ms=START_MS + 500, lapsed=True)
    step(table, Merge(((record, 0.5),)), at(2.5))
    assert names(table) == []


def test_removals_are_forgotten_after_a_while() -> None:
    table = table_with(node())
    step(table, Cancel(node().identity), at(1))
    step(table, Sweep(), at(1 + leases.RETENTION_S + 3 + 1))
    assert len(table) == 0 and table.ended == {} and not any(table.buckets)


def told(name: str, *, beat: int = START_MS, lapsed: bool = False) -> Record:
    return Record(node(name), Version(START_MS - 1000, 0, "there"), beat, lapsed)


def test_what_a_peer_tells_is_believed_for_what_is_left_of_the_lease() -> None:
    table = Table("here")
    step(table, Merge(((told("api-a-1"), 2.0),)), at(0))
    sweep_until(table, 0, 0.8)
    assert names(table) == ["api-a-1"]
    sweep(table, 1.01)
    assert names(table) == []


def test_a_lease_that_is_over_at_the_peer_is_not_shown_for_a_moment() -> None:
    table = Table("here")
    assert step(table, Merge(((told("api-a-1"), 3.5),)), at(0)).changes == ()


def test_hearing_the_same_beat_again_does_not_lengthen_a_lease() -> None:
    table = Table("here")
    for n in range(20):
        step(table, Merge(((told("api-a-1"), 0.0),)), at(n * 0.2))
        sweep(table, n * 0.2)
    assert names(table) == []


def test_the_peers_word_that_a_lease_ran_out_counts_unless_a_later_beat_was_heard() -> None:
    table = Table("here")
    step(table, Merge(((told("api-a-1"), 0.0), (told("api-b-1"), 0.0))), at(0))
    step(table, Renew(Identity("API", "api-b-1")), at(1))
    ended = tuple((told(name, lapsed=True), 3.0) for name in ("api-a-1", "api-b-1"))
    step(table, Merge(ended), at(1.1))
    assert names(table) == ["api-b-1"]


def test_a_loaded_snapshot_gives_each_lease_one_fresh_duration() -> None:
    table = Table("here")
    leases.load(table, [told("api-a-1"), told("api-b-1", lapsed=True)], at(0))
    sweep_until(table, 0, 2.8)
    assert names(table) == ["api-a-1"]
    sweep(table, 3.01)
    assert names(table) == []
