"""A trial as it goes, in the terminal: its arms, its metrics, E growing, what is missing, the time left.

On a terminal one picture is redrawn each second; into a pipe, one line for each change. The picture
ends with the verdict's sentence. `ship`, `experiment` and `trial show --follow` use it. Decides that
an api that does not answer for a while is waited for: it may be what is tried. Enter at `follow`;
`lines` is the picture.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from redqueen.cli.client import ApiClient
from redqueen.cli.output import note
from redqueen.cli.progress import printable
from redqueen.errors import Broken, Unavailable
from redqueen.trials.model import Status, Subject

EXIT_CODES: Final = {
    Status.PROMOTED: 0,
    Status.ROLLED_BACK: 10,
    Status.INCONCLUSIVE: 11,
    Status.STOPPED: 12,
}
"""What a followed trial ends the command with."""
COLOURS: Final = {
    Status.PROMOTED: "green",
    Status.ROLLED_BACK: "red",
    Status.HELD: "yellow",
    Status.INCONCLUSIVE: "yellow",
}
_LOOK_S: Final = 1.0
_SILENCE_S: Final = 120.0
_BAR: Final = 20
LEAST_EVENTS: Final = 5
"""Events of both arms together below which a ratio of them is a guess."""
LEAST_UNITS: Final = 100
"""Units of the smaller arm below which a mean is preliminary: the judge does not let it speak (`stats.model.Rules`)."""


class Metric(msgspec.Struct, frozen=True):
    """One metric of one treatment as the API tells of it."""

    arm: str
    name: str
    log_e_harm: float
    log_e_safe: float
    needed_log_e: float
    words: str = ""
    guardrail: bool = True
    difference: bool = False
    margin: float = 1.0
    treatment: tuple[float, float] = (0.0, 0.0)
    control: tuple[float, float] = (0.0, 0.0)
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    harmed: bool = False
    safe: bool = False
    missing: str = ""


class Planned(msgspec.Struct, frozen=True):
    """What was planned of a trial, as far as it is shown."""

    id: str
    subject: Subject
    target: str = ""
    owner: str = ""
    because: str = ""
    steps: tuple[float, ...] = (0.05, 0.25, 0.5)
    horizon_s: float = 3600.0
    alpha: float = 0.05


class Dropped(msgspec.Struct, frozen=True):
    """A treatment that was taken out."""

    arm: str
    because: str


class Alarm(msgspec.Struct, frozen=True):
    """A false alarm of a permanent A/A trial."""

    at_s: float
    turn: int
    because: str


class Missing(msgspec.Struct, frozen=True):
    """Seconds of which a node told nothing."""

    node: str
    first: int
    until: int


class Noise(msgspec.Struct, frozen=True):
    """What A/A trials have shown of a metric's noise."""

    metric: str
    blocks: float
    dispersion: float | None


class TrialNow(msgspec.Struct, frozen=True):
    """A trial as the API tells of it."""

    trial: Planned
    status: Status
    because: str
    started_s: float = 0.0
    ended_s: float = 0.0
    step: int = 0
    share: float = 0.0
    look: int = 0
    winner: str = ""
    log_e_harm: dict[str, float] = {}
    metrics: tuple[Metric, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()
    turn: int = 0
    alarms: tuple[Alarm, ...] = ()
    alarms_ever: int = 0
    gaps: tuple[Missing, ...] = ()
    noise: tuple[Noise, ...] = ()


def path_of(trial_id: str) -> str:
    """Return where the API tells of a trial."""
    return f"/trials/{trial_id}"


def follow(client: ApiClient, trial_id: str, *, going_on: Callable[[], bool] | None = None) -> TrialNow:
    """Show a trial until it has ended, or as long as `going_on` holds; return how it is then. Raises NotFound.

    All of it goes to standard error, so that a verdict on standard output stays alone in a pipe.
    """
    record = _read(client, trial_id)
    if not sys.stderr.isatty():
        return _told(client, record, going_on)
    with Live(_drawn(record), console=Console(stderr=True), auto_refresh=False) as live:
        while not _over(record, going_on):
            time.sleep(_LOOK_S)
            record = _read(client, trial_id)
            live.update(_drawn(record), refresh=True)
    return record


def _told(client: ApiClient, record: TrialNow, going_on: Callable[[], bool] | None) -> TrialNow:
    """Tell each change of state, step or treatments in a line."""
    told: object = None
    while True:
        now = (record.status, record.step, record.turn, record.dropped)
        if now != told and not record.status.ended:
            note(click.unstyle(verdict(record)))
        told = now
        if _over(record, going_on):
            return record
        time.sleep(_LOOK_S)
        record = _read(client, record.trial.id)


def _over(record: TrialNow, going_on: Callable[[], bool] | None) -> bool:
    return record.status.ended or (going_on is not None and not going_on())


def _read(client: ApiClient, trial_id: str) -> TrialNow:
    """Ask for a trial, waiting for an api that is being replaced."""
    silent_since = time.monotonic()
    while True:
        try:
            return client.read(path_of(trial_id), TrialNow)
        except (Broken, Unavailable):
            if time.monotonic() - silent_since > _SILENCE_S:
                raise
            time.sleep(_LOOK_S)


def _drawn(record: TrialNow) -> Text:
    text = Text.from_ansi("\n".join(lines(record, time.time())))
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def verdict(record: TrialNow) -> str:
    """Return the trial's sentence, coloured by how it is."""
    status = click.style(record.status.value, fg=COLOURS.get(record.status, "cyan"), bold=True)
    return f"{record.trial.id} is {status}: {printable(record.because)}"


def lines(record: TrialNow, now_s: float) -> Iterator[str]:
    """Give the picture of a trial, line by line."""
    yield verdict(record)
    yield _where(record, now_s)
    for arm in dict.fromkeys(one.arm for one in record.metrics):
        rows = [one for one in record.metrics if one.arm == arm]
        yield ""
        yield (
            click.style(f"  {arm} against control", bold=True)
            + f"   E {shown_e(record.log_e_harm.get(arm, 0.0))} of harm"
        )
        yield from _table(rows)
    for dropped in record.dropped:
        yield f"  {dropped.arm} is out: {printable(dropped.because)}"


def _where(record: TrialNow, now_s: float) -> str:
    trial = record.trial
    parts = [f"  {trial.subject.value}" + (f" of {trial.target}" if trial.target else "")]
    if record.started_s:
        steps = ", ".join(
            f"[{share:.0%}]" if at == record.step else f"{share:.0%}" for at, share in enumerate(trial.steps)
        )
        parts.append(f"steps {steps}")
        end_s = record.ended_s or now_s
        parts.append(f"{record.look} looks in {clock(end_s - record.started_s)}")
        if not record.status.ended:
            parts.append(f"{clock(max(0.0, record.started_s + trial.horizon_s - now_s))} left")
    if trial.subject is Subject.NOTHING:
        parts.append(f"{record.alarms_ever} false alarms in {record.turn} full turns")
    return ", ".join(parts)


def _table(rows: Sequence[Metric]) -> Iterator[str]:
    cells = [
        (
            f"{one.name}" + ("" if one.guardrail else " (watched)"),
            _amount(one, one.treatment),
            _amount(one, one.control),
            _estimate(one),
            shown_e(one.log_e_harm),
            _progress(one),
        )
        for one in rows
    ]
    head = ("metric", "treatment", "control", "change", "E harm", "E safe")
    widths = [max(len(line[at]) for line in (head, *cells)) for at in range(len(head))]
    yield "  " + click.style("  ".join(text.ljust(width) for text, width in zip(head, widths, strict=True)), dim=True)
    for line, one in zip(cells, rows, strict=True):
        text = "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        yield click.style(text, fg="red" if one.harmed else "green" if one.safe else None)


def _amount(one: Metric, seen: tuple[float, float]) -> str:
    events, units = seen
    if one.difference:
        return f"{units:.0f}"
    return f"{events:.0f}/{units:.0f}"


def _estimate(one: Metric) -> str:
    if one.estimate is None or min(one.treatment[1], one.control[1]) <= 0:
        return "-"
    fewest, events = min(one.treatment[1], one.control[1]), one.treatment[0] + one.control[0]
    told = f"{fewest:.0f} units in the smaller arm" if one.difference else f"{events:.0f} events in both arms"
    nothing = one.high is None and (one.low is None or (one.low <= 0.0 and not one.difference))
    if nothing or (not one.difference and events < LEAST_EVENTS):
        return f"not known yet ({told})"  # the likeliest of all ratios is then an end of those that are looked at
    sign = "" if one.difference else "x"
    low, high = ("?" if bound is None else f"{bound:.3g}" for bound in (one.low, one.high))
    note = f", preliminary: {told}" if one.difference and fewest < LEAST_UNITS else ""
    return f"{sign}{one.estimate:.3g} ({low} to {high}){note}"


def _progress(one: Metric) -> str:
    """Draw how far the evidence of harmlessness is, by its log; nothing to prove where nothing is guarded."""
    if not one.guardrail:
        return shown_e(one.log_e_safe)
    part = max(0.0, min(1.0, one.log_e_safe / one.needed_log_e)) if one.needed_log_e > 0 else 0.0
    full = round(_BAR * part)
    return "#" * full + "." * (_BAR - full) + f" {shown_e(one.log_e_safe)}/{math.exp(one.needed_log_e):.0f}"


def shown_e(log_e: float) -> str:
    """Write an e-value that is known by its natural log."""
    return f"{math.exp(log_e):.2g}" if log_e < 20 else f"e^{log_e:.0f}"


def clock(seconds: float) -> str:
    """Write a time span as minutes or hours."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
