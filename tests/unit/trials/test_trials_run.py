"""Trials from start to end over doubles: verdicts, holds, stops, layers, what is stored and what it costs."""

from __future__ import annotations

import msgspec
import pytest

from redqueen.errors import Conflict, InvalidInput, NotFound
from redqueen.events import Event, LoopFailed
from redqueen.store.audit import Audit
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Put, Record
from redqueen.testing.clock import VirtualClock
from redqueen.testing.trials import Rig, harmed, release
from redqueen.trials.happenings import FalseAlarm, TelemetryMissing, TrialMoved, TrialWaits
from redqueen.trials.ledger import Head, Ledger
from redqueen.trials.model import MetricPlan, Status, Subject, Trial, TrialArm
from redqueen.trials.permanent import permanent

pytestmark = pytest.mark.anyio


async def ended(rig: Rig, name: str = "shop-r1", within_s: int = 1300) -> Head:
    """Let time pass until a trial has ended."""
    for _ in range(within_s):
        await rig.second()
        head = await rig.trials.get(name)
        if head.life.status.ended:
            return head
    raise AssertionError(f"{name} has not ended: {head.life}")


async def test_a_harmful_release_is_rolled_back_disarmed_and_written_into_the_audit_log() -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(2)
    assert {one.trial for one in rig.armed.armed} == {"aa-even", "aa-slice", "shop-r1"}
    rig.fails = harmed("canary", 0.15)
    head = await ended(rig)
    assert head.life.status is Status.ROLLED_BACK
    assert "start_failures" in head.life.because
    await rig.armed.read()
    assert "shop-r1" not in {one.trial for one in rig.armed.armed}
    (line,) = await Audit(rig.records, rig.clock).newest(1)
    assert (line.who, line.what, line.subject) == ("redqueen", "rolled back", "trial shop-r1")
    moves = [event.status for event in rig.events if isinstance(event, TrialMoved) and event.trial == "shop-r1"]
    assert moves[0] == "running" and moves[-1] == "rolled back"


async def test_a_harmless_release_climbs_its_steps_is_promoted_and_both_prove_themselves_again_to_the_bit() -> None:
    rig = Rig()
    rig.per_second = 50
    await rig.trials.start(release(step_s=20.0))
    head = await ended(rig)
    assert (head.life.status, head.life.step, head.life.winner) == (Status.PROMOTED, 1, "canary")
    for name in ("shop-r1", "aa-even"):
        found = await rig.trials.replay(name)
        assert found.same_life and found.same_evidence and found.entries == (await rig.trials.get(name)).number
    record = await rig.trials.record("shop-r1")
    (failures,) = (one for one in record.metrics if one.name == "start_failures")
    assert failures.safe and failures.treatment[1] > 300
    course = await rig.trials.course("shop-r1")
    assert [row[1] for row in course.trace.rows][:1] == ["start_failures"]
    assert 10 <= len(course.trace.points) <= 480


async def test_a_promoted_releases_viewers_keep_their_arms_until_it_is_stopped_and_others_never_do() -> None:
    rig = Rig()
    rig.per_second = 50
    await rig.trials.start(release(step_s=20.0))
    await ended(rig)
    await rig.run(5)
    before = next(one for one in rig.armed.armed if one.trial == "shop-r1")
    assert before.stays_until_s > rig.clock.now()
    stopped = await rig.trials.stop("shop-r1", "the service runs it", "redqueen")
    assert stopped.life.status is Status.PROMOTED
    await rig.run(2)
    assert "shop-r1" not in {one.trial for one in rig.armed.armed}
    rig.fails = harmed("canary", 0.15)
    await rig.trials.start(release("shop-r2"))
    await ended(rig, "shop-r2")
    await rig.armed.read()
    assert "shop-r2" not in {one.trial for one in rig.armed.armed}


async def test_a_replay_tells_when_a_stored_look_was_changed() -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(60)
    row = await rig.records.get("trial/shop-r1", "evidence")
    assert row is not None
    await rig.records.put("trial/shop-r1", Put("evidence", row.value[:-1] + bytes([row.value[-1] ^ 1])))
    found = await rig.trials.replay("shop-r1")
    assert found.same_life and not found.same_evidence


async def test_while_a_node_is_silent_a_trial_holds_and_the_gap_is_kept_and_then_it_goes_on() -> None:
    rig = Rig()
    rig.per_second = 40
    await rig.trials.start(release())
    await rig.run(50)
    rig.nodes.silent = {"api-2"}
    await rig.run(40)
    head = await rig.trials.get("shop-r1")
    assert head.life.status is Status.HELD
    assert "api-2" in head.life.because
    (gap,) = head.gaps
    assert gap.node == "api-2" and gap.until - gap.first > 20
    assert [event.nodes for event in rig.events if isinstance(event, TelemetryMissing)] == [("api-2",)]
    rig.nodes.silent = set()
    await rig.run(20)
    assert (await rig.trials.get("shop-r1")).life.status is Status.RUNNING


async def test_with_every_node_silent_nothing_is_ever_concluded() -> None:
    rig = Rig()
    rig.nodes.silent = {"api-1", "api-2", "gw-1", "gw-2"}
    await rig.trials.start(release(hold_s=20.0))
    head = await ended(rig, within_s=200)
    assert head.life.status is Status.INCONCLUSIVE


async def test_a_stop_ends_a_trial_at_once_whoever_leads_and_the_leader_takes_note() -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(40)
    other = rig.leader()
    head = await other.stop("shop-r1", "wrong margin", "ada")
    assert (head.life.status, head.life.because) == (Status.STOPPED, "stopped by ada: wrong margin")
    await rig.armed.read()
    assert "shop-r1" not in {one.trial for one in rig.armed.armed}
    await rig.run(5)
    assert (await rig.trials.get("shop-r1")).number == head.number
    assert await rig.records.get("trials/armed", "shop-r1") is None
    assert (await rig.trials.replay("shop-r1")).same_life
    assert await other.stop("shop-r1", "again", "bob") == head


async def test_broken_nodes_roll_a_release_back_without_a_viewer() -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(3)
    head = await rig.trials.report("shop-r1", "2 of 2 nodes of the canary exit again and again")
    assert head.life.status is Status.ROLLED_BACK
    assert "exit again and again" in head.life.because
    assert (await rig.trials.replay("shop-r1")).same_life


async def test_starting_twice_changes_nothing_and_another_trial_of_the_same_id_is_refused() -> None:
    rig = Rig()
    first = await rig.trials.start(release())
    await rig.run(3)
    again = await rig.trials.start(release())
    assert again.trial == first.trial and again.life.status is Status.RUNNING
    with pytest.raises(Conflict, match="another trial"):
        await rig.trials.start(release(alpha=0.01))
    with pytest.raises(InvalidInput):
        await rig.trials.start(release("aa-even"))
    with pytest.raises(InvalidInput, match="permanent"):
        await rig.trials.stop("aa-even", "", "ada")
    with pytest.raises(NotFound):
        await rig.trials.get("nothing")


async def test_two_trials_of_one_full_layer_never_run_together() -> None:
    rig = Rig()
    await rig.trials.start(release())
    second = release("shop-r2")
    await rig.trials.start(second)  # nobody is armed yet: it is planned, and waits
    await rig.run(5)
    assert (await rig.trials.get("shop-r2")).life.status is Status.PLANNED
    assert [event.trial for event in rig.events if isinstance(event, TrialWaits)] == ["shop-r2"]
    with pytest.raises(Conflict, match="shop-r1"):
        await rig.trials.start(release("shop-r3"))
    await rig.trials.stop("shop-r1", "", "ada")
    await rig.run(2)
    assert (await rig.trials.get("shop-r2")).life.status is Status.RUNNING
    with pytest.raises(Conflict, match="in the layer release-shop"):
        await rig.trials.start(release("shop-r4", layer="another"))
    half = {"layer": "halves", "layer_share": 0.5, "target": "door"}
    await rig.trials.start(release("half-a", **half))
    await rig.trials.start(release("half-b", **half))
    await rig.run(3)
    rows = {one.trial: one for one in rig.armed.armed}
    assert rows["half-a"].layer_last <= rows["half-b"].layer_first


async def test_two_trials_of_one_service_in_two_layers_begin_one_after_the_other() -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.trials.start(release("shop-r2", layer="another"))  # nothing is armed yet that it could be refused by
    await rig.run(3)
    assert [(await rig.trials.get(name)).life.status for name in ("shop-r1", "shop-r2")] == [
        Status.RUNNING,
        Status.PLANNED,
    ]
    await rig.trials.stop("shop-r1", "", "ada")
    await rig.run(2)
    assert (await rig.trials.get("shop-r2")).life.status is Status.RUNNING


async def test_a_permanent_trial_begins_anew_counts_its_false_alarms_and_hands_on_what_it_learned() -> None:
    rig = Rig(seed=3)
    trial = Trial(
        "aa-test", Subject.NOTHING, "", "redqueen", "noise", "aa-test", "aa-test", (TrialArm("same"),),
        (MetricPlan("start_failures"),), steps=(0.5,), horizon_s=200.0, for_ever=True,
    )  # fmt: skip
    await Ledger(rig.records).open(Head(trial))
    rig.fails = lambda arms: 0.3 if arms.get("aa-test") == "same" else 0.01
    await rig.run(230)
    head = await rig.trials.get("aa-test")
    assert head.life.turn >= 1 and head.life.alarms_ever >= 1
    assert head.first > 1 and head.origin.turn == head.life.turn
    assert [event.trial for event in rig.events if isinstance(event, FalseAlarm)][:1] == ["aa-test"]
    assert head.taught["start_failures"].blocks >= 0
    assert (await rig.trials.replay("aa-test")).same_life


async def test_a_permanent_trial_measures_in_its_next_turn_what_is_measured_today() -> None:
    rig = Rig()
    older = msgspec.structs.replace(
        permanent()[0], metrics=(MetricPlan("start_failures"),), horizon_s=60.0, created_s=5.0
    )
    await Ledger(rig.records).open(Head(older))
    await rig.run(50)
    assert [one.name for one in (await rig.trials.record("aa-even")).metrics] == ["start_failures"]
    await rig.run(50)
    head = await rig.trials.get("aa-even")
    assert (head.life.turn, head.trial.created_s) == (1, 5.0)
    assert {one.name for one in (await rig.trials.record("aa-even")).metrics} > {"start_failures", "request_errors"}
    found = await rig.trials.replay("aa-even")
    assert found.same_life and found.same_evidence


async def test_the_permanent_trials_learn_the_noise_of_requests_from_what_api_nodes_count() -> None:
    rig = Rig()
    await rig.run(60)
    head = await rig.trials.get("aa-even")
    assert head.life.status is Status.RUNNING
    course = await rig.trials.course("aa-even")
    assert {one.metric for one in course.noise} >= {"request_errors", "request_latency"}
    (errors,) = (one for one in course.record.metrics if one.name == "request_errors")
    assert min(errors.treatment[1], errors.control[1]) > 50, "requests, by arm"
    rig.nodes.silent = {"gw-1", "gw-2"}
    await rig.run(40)
    assert (await rig.trials.get("aa-even")).life.status is Status.RUNNING, "gateways know nothing of it"


class Weighing(MemoryRecords):
    """Counts rows written and bytes."""

    written = 0

    async def put(self, partition: str, change: Put) -> Record | None:
        self.written += len(change.value)
        return await super().put(partition, change)

    async def batch(self, partition: str, changes: object) -> bool:  # type: ignore[override]
        self.written += sum(len(one.value) for one in changes if isinstance(one, Put))  # type: ignore[attr-defined]
        return await super().batch(partition, changes)  # type: ignore[arg-type]


async def test_a_turn_costs_no_more_late_in_a_trial_than_early() -> None:
    clock = VirtualClock()
    records = Weighing(clock)
    rig = Rig(records, clock)
    await rig.trials.start(release(horizon_s=10_000.0, steps=(0.3,), step_s=9_000.0))
    await rig.run(50)
    costs: list[int] = []
    for _ in range(2):
        before, asked = records.written, len(rig.nodes.asked)
        await rig.run(60)
        costs.append(records.written - before)
        assert len(rig.nodes.asked) - asked <= 120
        await rig.run(60)
    # The trace's course grows to its bound; nothing else may.
    assert costs[1] < 1.5 * costs[0]


async def test_what_happens_is_told_as_changes_not_as_looks() -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(25)
    kinds: list[type[Event]] = [type(event) for event in rig.events]
    assert kinds.count(TrialMoved) == 3
    encoded = msgspec.json.encode([msgspec.to_builtins(event) for event in rig.events])
    assert b"shop-r1" in encoded


async def test_a_trial_that_cannot_be_judged_is_refused_and_one_that_slipped_in_ends_in_words() -> None:
    rig = Rig()
    with pytest.raises(InvalidInput, match="luck"):
        await rig.trials.start(release(metrics=(MetricPlan("luck"),)))
    await Ledger(rig.records).open(Head(release("shop-r9", metrics=(MetricPlan("luck"),))))
    await rig.trials.start(release())
    await rig.run(2)
    head = await rig.trials.get("shop-r9")
    assert head.life.status is Status.STOPPED and "luck" in head.life.because
    assert (await rig.trials.get("shop-r1")).life.status is Status.RUNNING
    assert (await rig.trials.replay("shop-r9")).same_life


async def test_one_trials_damaged_evidence_does_not_stop_the_others() -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(3)
    await rig.records.put("trial/shop-r1", Put("evidence", b"\xc1 no msgpack"))
    rig.trials = rig.leader()
    await rig.run(32)
    failed = {event.loop for event in rig.events if isinstance(event, LoopFailed)}
    assert failed == {"trial shop-r1"}
    await rig.run(30)
    assert (await rig.trials.get("aa-even")).looks >= 1
    await rig.armed.read()
    assert "shop-r1" in {one.trial for one in rig.armed.armed}
