"""`redqueen trial`: what is tried now, why trials ended, their evidence; ending one, proving one, power.

Decides that `show` tells of a permanent A/A trial what matters there: the false alarms it really
had, and the noise it has seen. `replay` fails (exit code 1) where the stored looks lead elsewhere.
Enter at `trial`; the live picture is in `trial_view.py`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from redqueen.cli import trial_view
from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, say, show_json, show_table
from redqueen.cli.progress import printable
from redqueen.cli.stopping import because_option, stopped
from redqueen.cli.trial_view import TrialNow, path_of
from redqueen.trials.model import Subject


class Trials(msgspec.Struct, frozen=True):
    """The API's list."""

    trials: tuple[TrialNow, ...]


class Replayed(msgspec.Struct, frozen=True):
    """What came of judging a trial again."""

    trial: str
    entries: int
    status: str
    because: str
    same_life: bool
    same_evidence: bool


@click.group()
def trial() -> None:
    """See what is tried on viewers, and what they say.

    \b
    Example:
      redqueen trial list
      redqueen trial show shop-r3 --follow
    """


@trial.command("list")
@data_option
@json_option
def every(data_dir: Path, as_json: bool) -> None:
    """List the newest trials.

    \b
    Example:
      redqueen trial list
    """
    with ApiClient.local(data_dir) as api:
        if as_json:
            show_json(api.get("/trials")["trials"])
            return
        found = api.read("/trials", Trials).trials
    rows = [[one.trial.id, one.status.value, _what(one), _share(one), _when(one), one.because] for one in found]
    show_table(["trial", "status", "tries", "share", "began", "because"], rows, state_column="status")


@trial.command(epilog="Exit codes: 0; with --follow 0 promoted, 10 rolled back, 11 inconclusive, 12 stopped.")
@click.argument("trial_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Show it live until it has ended.")
@data_option
@json_option
def show(trial_id: str, follow: bool, data_dir: Path, as_json: bool) -> None:
    """Show a trial: each metric's estimate and bounds, the evidence, what is missing.

    \b
    Example:
      redqueen trial show aa-even
    """
    with ApiClient.local(data_dir) as api:
        if follow:
            record = trial_view.follow(api, trial_id)
            if as_json:
                show_json(api.get(path_of(trial_id)))
            else:
                say(trial_view.verdict(record))
            click.get_current_context().exit(trial_view.EXIT_CODES.get(record.status, 0))
        if as_json:
            show_json(api.get(path_of(trial_id)))
            return
        record = api.read(path_of(trial_id), TrialNow)
    for line in (*trial_view.lines(record, time.time()), *_more(record)):
        say(line)


@trial.command()
@click.argument("trial_id", metavar="ID")
@because_option
@data_option
@json_option
def stop(trial_id: str, because: str, data_dir: Path, as_json: bool) -> None:
    """End a trial without a verdict: every viewer is outside again.

    \b
    Example:
      redqueen trial stop home-rows --because "wrong margin"
    """
    stopped(data_dir, path_of(trial_id), because, TrialNow, trial_view.verdict, as_json=as_json)


@trial.command(epilog="Exit codes: 0 the same to the bit, 1 something differs, 4 its looks are not kept any more.")
@click.argument("trial_id", metavar="ID")
@data_option
@json_option
def replay(trial_id: str, data_dir: Path, as_json: bool) -> None:
    """Judge a trial again from its stored looks: the same must come of it, to the bit.

    \b
    Example:
      redqueen trial replay shop-r3
    """
    with ApiClient.local(data_dir, timeout_s=300.0) as api:
        found = api.read(f"{path_of(trial_id)}/replay", Replayed)
    if as_json:
        show_json(found)
    else:
        say(f"{found.entries} entries judged again: {trial_id} is {found.status}: {printable(found.because)}")
        say(
            "The evidence is the same to the bit."
            if found.same_evidence
            else "The evidence DIFFERS from what is stored."
        )
        if not found.same_life:
            say("The course DIFFERS from what is stored.")
    click.get_current_context().exit(0 if found.same_life and found.same_evidence else 1)


@trial.command()
@click.argument("target", metavar="[SERVICE]", default="")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="What is judged [default: as for a release].")
@click.option("--share", type=click.FloatRange(0, 0.95, min_open=True), default=0.5, help="Of the viewers, at most.")
@click.option("--minutes", type=click.FloatRange(1, 100_000), default=60.0, help="How long it may take.")
@click.option("--per-minute", type=click.FloatRange(0, 1e7, min_open=True), help="Plays [default: the last hour's].")
@data_option
@json_option
def power(
    target: str,
    metrics: tuple[str, ...],
    share: float,
    minutes: float,
    per_minute: float | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Tell before a trial what it could see: with which chance harm is proven, and harmlessness.

    \b
    Example:
      redqueen trial power shop --minutes 30
      redqueen trial power api --metric start_failures --per-minute 30 --share 0.25
    """
    wish = {
        "target": target,
        "metrics": [{"name": name} for name in metrics],
        "steps": [share],
        "step_s": min(60.0, 60.0 * minutes),
        "horizon_s": 60.0 * minutes,
        "per_minute": per_minute,
    }
    with ApiClient.local(data_dir, timeout_s=120.0) as api:
        answer = api.post("/trials/power", wish, again=True)
    if as_json:
        show_json(answer)
    else:
        say(printable(answer["sentence"]))


def _more(record: TrialNow) -> list[str]:
    """Tell what the live picture leaves out."""
    told = [f"  {printable(text)}" for text in record.notes]
    if record.trial.subject is Subject.NOTHING:
        told += _alarms(record)
    if record.gaps:
        told += ["", f"  {len(record.gaps)} gaps, during which a node told nothing:"]
        told += [
            f"    {gap.node or 'every node'} for {gap.until - gap.first} s at {_time(gap.first)}"
            for gap in record.gaps[-5:]
        ]
    return ["", *told] if told else []


def _alarms(record: TrialNow) -> list[str]:
    """Tell of an A/A trial what it is there for."""
    allowed = f"at most {record.trial.alpha:.0%} of its turns may end in one"
    told = ["", f"  False alarms: {record.alarms_ever} in {record.turn} full turns ({allowed})"]
    told += [f"    {_time(alarm.at_s)}, turn {alarm.turn}: {printable(alarm.because)}" for alarm in record.alarms[-5:]]
    told += [
        f"  Noise of {one.metric}: x{one.dispersion:.2f} of independent viewers, from {one.blocks:.0f} half hours"
        for one in record.noise
        if one.dispersion is not None
    ]
    return told


def _what(record: TrialNow) -> str:
    target = record.trial.target
    return "nothing (A/A)" if record.trial.subject is Subject.NOTHING else f"{record.trial.subject.value} {target}"


def _share(record: TrialNow) -> str:
    return f"{record.share:.0%}" if record.share else ""


def _when(record: TrialNow) -> str:
    return _time(record.started_s) if record.started_s else ""


def _time(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
