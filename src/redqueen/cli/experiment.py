"""`redqueen experiment`: test variants of a flag on viewers, see what they do to whom, end it.

Decides that a file is checked here first, so that errors name it. What decides is the trial of the
same name (`redqueen trial show`); here stand the segments and how long viewers watched. Enter at
`experiment`.
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say, show_json, show_table
from redqueen.cli.progress import printable
from redqueen.cli.stopping import because_option, stopped
from redqueen.errors import InvalidInput
from redqueen.experiments.experiment import Experiment, parsed
from redqueen.experiments.segments import Segment
from redqueen.experiments.viewing import Viewing

_SEGMENTS = 12


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment as the API tells of it."""

    name: str
    flag: str
    variants: tuple[str, ...]
    control: str
    goal: str = ""
    phase: str
    outcome: str
    winner: str = ""
    trial: str
    status: str
    share: float = 0.0
    started_at: str = ""


class Cards(msgspec.Struct, frozen=True):
    """All of them."""

    experiments: tuple[Card, ...]


class Results(msgspec.Struct, frozen=True):
    """An experiment with what it has shown."""

    experiment: Card
    segments: tuple[Segment, ...]
    viewing: Viewing


@click.group()
def experiment() -> None:
    """Test variants of a flag on viewers.

    \b
    Example:
      redqueen experiment start experiment.toml
    """


@experiment.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@data_option
@json_option
def start(file: Path, data_dir: Path, as_json: bool) -> None:
    """Begin the experiment of FILE.

    \b
    Example:
      redqueen experiment start experiment.toml
    """
    wish = read(file)
    with ApiClient.local(data_dir) as api:
        card = msgspec.convert(api.post("/experiments", wish), Card)
    if as_json:
        show_json(card)
    else:
        say(f"{card.name} began: {card.flag}, {', '.join(card.variants)} against {card.control}")
        note(f"See: redqueen experiment show {card.name}")


@experiment.command("list")
@data_option
@json_option
def every(data_dir: Path, as_json: bool) -> None:
    """List the experiments.

    \b
    Example:
      redqueen experiment list
    """
    with ApiClient.local(data_dir) as api:
        cards = api.read("/experiments", Cards).experiments
    if as_json:
        show_json(cards)
    elif not cards:
        note("There was no experiment yet: redqueen experiment start FILE")
    else:
        rows = [
            [card.name, card.flag, card.phase, ", ".join(card.variants), f"{card.share:.0%}", card.outcome]
            for card in cards
        ]
        show_table(["experiment", "flag", "phase", "variants", "share", "because"], rows)


@experiment.command()
@click.argument("name", metavar="NAME")
@data_option
@json_option
def show(name: str, data_dir: Path, as_json: bool) -> None:
    """Show how an experiment goes, for whom it does what, and how long its viewers watched.

    \b
    Example:
      redqueen experiment show start-rung
    """
    with ApiClient.local(data_dir) as api:
        found = api.read(f"/experiments/{name}", Results)
    if as_json:
        show_json(found)
        return
    card = found.experiment
    say(f"{card.name} is {card.phase} ({card.status}): {printable(card.outcome)}")
    tried = f"{', '.join(card.variants)} against {card.control}, for {card.share:.0%} of the viewers"
    say(f"{card.flag}: {tried}; goal {card.goal or 'none'}; since {card.started_at}")
    note(f"What decides: redqueen trial show {card.trial}\n")
    _show_segments(found.segments)
    _show_viewing(found.viewing)


@experiment.command()
@click.argument("name", metavar="NAME")
@because_option
@data_option
@json_option
def stop(name: str, because: str, data_dir: Path, as_json: bool) -> None:
    """End an experiment without a winner: the flag stays as it was.

    \b
    Example:
      redqueen experiment stop start-rung --because "the film festival begins"
    """
    stopped(data_dir, f"/experiments/{name}", because, Card, _sentence, as_json=as_json)


def read(path: Path) -> Experiment:
    """Read and check an experiment's file. Raises InvalidInput naming file and key."""
    try:
        return parsed(path.read_bytes(), str(path))
    except OSError as error:
        why = error.strerror or str(error)
        hint = "Give an experiment's file"
        raise InvalidInput("experiment.file", f"{path} cannot be read", why=why, hint=hint) from error


def _sentence(card: Card) -> str:
    return f"{card.name} is {card.phase}: {printable(card.outcome)}"


def _show_segments(found: tuple[Segment, ...]) -> None:
    if not found:
        note("Nothing is known by device or zone yet")
        return
    rows = [
        [
            "*" if one.stands_out else "",
            one.arm,
            one.metric,
            one.device or "all",
            one.zone or "all",
            _estimate(one),
            one.direction,
            f"{math.exp(min(one.log_e, 700.0)):.3g}",
            f"{one.treatment[1]:.0f}/{one.control[1]:.0f}",
        ]
        for one in found[:_SEGMENTS]
    ]
    show_table(["", "arm", "metric", "device", "zone", "estimate", "direction", "E", "units"], rows)
    note("* stands out among all segments (e-BH)\n")


def _estimate(one: Segment) -> str:
    if one.estimate is None:
        return ""
    value = math.exp(one.estimate) if one.difference and one.metric != "played" else one.estimate
    return f"{one.estimate:+.1f} s" if one.metric == "played" else f"x{value:.2f}"


def _show_viewing(found: Viewing) -> None:
    for one in found.arms:
        bounds = "" if one.low_s is None or one.high_s is None else f" ({one.low_s:+.0f} to {one.high_s:+.0f})"
        say(
            f"{one.arm}: {one.viewers} viewers watched {one.mean_s:.0f} s, {one.control_viewers} of the control "
            f"{one.control_mean_s:.0f} s: {one.difference_s:+.0f} s{bounds}"
        )
    note(found.note)
