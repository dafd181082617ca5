"""Experiments from their start to their end, over the real trials and the real judge."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from experiment_rig import FLAG, HOME, PAGES, QUICK, Rig

from redqueen.errors import Conflict, InvalidInput, NotFound
from redqueen.experiments.experiment import Experiment
from redqueen.experiments.running import Phase
from redqueen.telemetry.model import SessionRow
from redqueen.trials.arm_counts import ArmCounts, Exposure
from redqueen.trials.model import Status
from redqueen.trials.ports import Answers

pytestmark = pytest.mark.anyio

SEVERAL = msgspec.structs.replace(QUICK, variants=("low", "high", "huge"), goal="play_delay", steps=(0.3, 0.6, 0.9))


async def started(rig: Rig, experiment: Experiment = QUICK) -> None:
    await rig.prepare()
    await rig.experiments.start(experiment, "me")


async def test_a_harmless_variant_becomes_the_flags_default() -> None:
    rig = Rig()
    await started(rig)
    row = await rig.run(600)
    assert (row.phase, row.winner) == (Phase.WON, "low")
    assert await rig.value() == 240
    flag = await rig.flags.get(FLAG.key)
    assert (flag.revision, flag.by, flag.held_by) == (2, "experiment rung", "")
    assert [line.what for line in await rig.audit.newest()][-1] == "make flag"
    assert any(line.what == "set flag" and "low won" in line.because for line in await rig.audit.newest())


async def test_a_variant_that_makes_plays_fail_is_undone_and_the_flag_stays() -> None:
    rig = Rig(lambda variant, device: (0.2 if variant == "low" else 0.01, 800.0))
    await started(rig)
    row = await rig.run(600)
    assert row.phase is Phase.ENDED
    assert "start_failures" in row.because
    assert await rig.value() == 0
    await rig.armed.read()
    assert [one.trial for one in rig.armed.armed if one.target] == []
    assert rig.shown["low"] < 0.5 * sum(rig.shown.values())


async def test_of_several_variants_the_harmful_is_dropped_and_the_best_rolled_out_step_by_step() -> None:
    def play(variant: str, device: str) -> tuple[float, float]:
        return 0.25 if variant == "huge" else 0.01, 500.0 if variant == "low" else 800.0

    rig = Rig(play)
    await started(rig, SEVERAL)
    shares: list[float] = []
    for _ in range(900):
        await rig.second()
        row = await rig.experiments.get("rung")
        if row.phase is Phase.ROLLING_OUT:
            head = await rig.trials.find(row.trial.id)
            shares += [one.share for one in head.life.stretches] if head else []
        if row.phase.over:
            break
    assert (row.phase, row.winner) == (Phase.WON, "low"), row
    test = await rig.trials.get("rung")
    assert [one.arm for one in test.life.dropped] == ["huge"]
    assert (test.life.status, test.life.winner) == (Status.PROMOTED, "low")
    rollout = await rig.trials.get("rung-rollout")
    assert [arm.variant for arm in rollout.trial.treatments] == ["low"]
    assert sorted(set(shares)) == [0.6, 0.9], "wider than its third of the experiment's last step"
    assert await rig.value() == 240


async def test_a_better_variant_is_needed_where_there_is_a_goal() -> None:
    rig = Rig()
    await started(rig, msgspec.structs.replace(QUICK, goal="play_delay", horizon_s=240.0))
    row = await rig.run(400)
    assert row.phase is Phase.ENDED
    assert (await rig.trials.get("rung")).life.status is Status.INCONCLUSIVE
    assert await rig.value() == 0


async def test_a_leader_that_dies_at_any_second_changes_nothing_of_the_end() -> None:
    rig = Rig()
    await started(rig)
    for _ in range(600):
        rig.lead()
        await rig.second()
        row = await rig.experiments.get("rung")
        if row.phase.over:
            break
    assert (row.phase, await rig.value()) == (Phase.WON, 240)
    assert (await rig.flags.get(FLAG.key)).revision == 2


async def test_a_start_that_died_half_way_is_finished_by_the_leader() -> None:
    rig = Rig()
    await rig.prepare()
    start = rig.trials.start

    async def dies(trial: object) -> None:
        raise KeyboardInterrupt

    rig.trials.start = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await rig.experiments.start(QUICK, "me")
    rig.trials.start = start  # type: ignore[method-assign]
    assert await rig.trials.find("rung") is None
    await rig.second()
    assert await rig.trials.find("rung") is not None


async def test_a_flag_is_tried_by_one_experiment_and_changed_by_nobody_meanwhile() -> None:
    rig = Rig()
    await started(rig)
    with pytest.raises(Conflict, match="rung tries"):
        await rig.experiments.start(msgspec.structs.replace(QUICK, name="other"), "me")
    with pytest.raises(NotFound):
        await rig.experiments.get("other")
    row = await rig.flags.get(FLAG.key)
    with pytest.raises(Conflict) as refused:
        await rig.flags.put(msgspec.structs.replace(row.flag, default="high"), row.revision, "me")
    assert refused.value.code == "flag.held"
    with pytest.raises(Conflict):
        await rig.flags.remove("player.start_rung", None, "me")
    words = await rig.flags.put(msgspec.structs.replace(row.flag, description="new"), row.revision, "me")
    assert words.held_by == "rung"
    await rig.experiments.stop("rung", "me", "enough")
    await rig.flags.put(msgspec.structs.replace(words.flag, default="high"), words.revision, "me")


async def test_switching_the_flag_off_ends_the_experiment() -> None:
    rig = Rig()
    await started(rig)
    await rig.run(5)
    row = await rig.flags.get(FLAG.key)
    await rig.flags.put(msgspec.structs.replace(row.flag, enabled=False), row.revision, "me")
    over = await rig.run(5)
    assert over.phase is Phase.ENDED
    assert "switched off" in over.because
    assert (await rig.flags.get(FLAG.key)).held_by == ""


async def test_stopping_leaves_the_flag_as_it_was_and_a_name_is_used_once() -> None:
    rig = Rig()
    await started(rig)
    assert (await rig.experiments.start(QUICK, "me")).phase is Phase.TESTING, "the same again changes nothing"
    await rig.run(5)
    row = await rig.experiments.stop("rung", "me", "enough")
    assert (row.phase, row.because) == (Phase.ENDED, "stopped by me: enough")
    assert (await rig.trials.get("rung")).life.status is Status.STOPPED
    assert await rig.value() == 0
    with pytest.raises(Conflict, match="There was an experiment"):
        await rig.experiments.start(QUICK, "me")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"variants": ("nothing",)}, "variants"),
        ({"variants": ("auto",)}, "variants"),
    ],
)
async def test_what_does_not_fit_the_flag_is_refused_and_leaves_nothing(changes: dict[str, object], key: str) -> None:
    rig = Rig()
    await rig.prepare()
    with pytest.raises(InvalidInput, match=key):
        await rig.experiments.start(msgspec.structs.replace(QUICK, **changes), "me")
    assert await rig.experiments.all() == []
    assert (await rig.flags.get(FLAG.key)).held_by == ""


async def test_segments_are_followed_while_it_runs_and_name_the_device_that_gains() -> None:
    def play(variant: str, device: str) -> tuple[float, float]:
        return 0.01, 400.0 if (variant, device) == ("low", "tv") else 800.0

    rig = Rig(play)
    await started(rig, msgspec.structs.replace(QUICK, goal="play_delay"))
    await rig.run(400)
    head = await rig.trials.get("rung")
    found = await rig.experiments.results.segments(head)
    out = {(one.metric, one.device, one.direction) for one in found if one.stands_out and one.device}
    assert out == {("play_delay", "tv", "better")}
    tv = next(one for one in found if (one.metric, one.device) == ("play_delay", "tv"))
    assert tv.estimate is not None
    assert -1.0 < tv.estimate < -0.4, "half as long is -0.69 as a log"


async def test_a_home_page_that_keeps_people_from_playing_is_judged_by_their_plays_and_undone() -> None:
    rig = Rig(flag=HOME)
    rig.plays = lambda variant: 0.5 if variant == "new-first" else 0.8
    await started(rig, PAGES)
    row = await rig.run(900, PAGES.name)
    trial = await rig.trials.get(PAGES.name)
    assert trial.life.status is Status.ROLLED_BACK, trial.life
    assert (row.phase, "starts" in row.because) == (Phase.ENDED, True)
    assert (await rig.trials.replay(PAGES.name)).same_evidence


async def test_a_home_page_after_which_as_many_play_becomes_the_default_whatever_share_of_its_viewers_play() -> None:
    rig = Rig(flag=HOME)
    rig.plays = lambda variant: 0.6
    await started(rig, PAGES)
    row = await rig.run(900, PAGES.name)
    assert (row.phase, row.winner) == (Phase.WON, "new-first"), row
    starts = next(one for one in (await rig.trials.record(PAGES.name)).metrics if one.name == "starts")
    assert 0.5 < starts.treatment[0] / starts.treatment[1] < 0.7, "plays started by exposed viewers"


async def test_a_split_of_the_pages_viewers_that_is_not_as_drawn_is_held_and_never_judged() -> None:
    rig = Rig(flag=HOME)
    leak = ArmCounts("api-2", "a")
    await started(rig, PAGES)
    told = rig.sessions

    async def more(since: int, until: int) -> Answers[SessionRow]:
        found = await told(since, until)
        for at in range(since, until):
            for viewer in range(4):
                page = Exposure(
                    (HOME.key, PAGES.name, "new-first"), at * 8 + viewer, f"2001:db8:{viewer:x}::1", again=False
                )
                leak.exposed(page, at, at * 8.0)
        return replace(found, counts=(*found.counts, *leak.bins(since, until)))

    rig.sessions = more  # type: ignore[method-assign]
    rig.lead()
    await rig.run(300, PAGES.name)
    trial = await rig.trials.get(PAGES.name)
    assert trial.life.status in (Status.HELD, Status.INCONCLUSIVE)
    assert "not split" in trial.life.because
