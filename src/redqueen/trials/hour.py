"""The last hour in sums: how players and each service fared, in slots of five minutes.

What a trial takes for "today" (`history.History`) is made of it before its first viewer is exposed.
Delays are counted in cells that are 4% wide, so that an hour is some kilobytes however many viewers
there were. Each second is folded in once, by a cursor of its kind; slots older than an hour are
dropped. Who counts (nobody's treatment does) is `history`'s to decide. Pure. Enter at `folded` and
`today`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from redqueen.stats.arrays import Floats, floats
from redqueen.telemetry.model import FigureBin, SessionRow
from redqueen.trials.history import History, history

SLOT_S: Final = 300
SLOTS: Final = 12
_CELLS_AN_OCTAVE: Final = 16
_MOST_DELAYS: Final = 20_000
"""Delays made of cells again: enough for any quantile that is asked for."""

Cells = dict[int, int]
"""How many delays lie in each cell; cell k ends at 2^(k/16) ms."""


class Served(msgspec.Struct, frozen=True):
    """What gateways saw of a service."""

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()


class Slot(msgspec.Struct, frozen=True):
    """Five minutes (Unix time over 300)."""

    slot: int
    sessions: int = 0
    bitrates: int = 0
    affected: dict[str, tuple[int, int]] = {}
    delays: dict[str, Cells] = {}
    services: dict[str, Served] = {}
    first: int = 0
    """The seconds [first, until) that were folded in."""
    until: int = 0


class Hour(msgspec.Struct, frozen=True):
    """The last hour; each kind is folded in up to its own second."""

    sessions_until: int = 0
    figures_until: int = 0
    slots: tuple[Slot, ...] = ()


def folded(
    hour: Hour, rows: Iterable[SessionRow], sessions_until: int, bins: Iterable[FigureBin], figures_until: int
) -> Hour:
    """Add the seconds that are not in it yet, [its own, until) of each kind."""
    slots = {one.slot: one for one in hour.slots}
    by_slot: dict[int, tuple[list[SessionRow], list[FigureBin]]] = {}
    for row in rows:
        if hour.sessions_until <= row.second < sessions_until:
            by_slot.setdefault(row.second // SLOT_S, ([], []))[0].append(row)
    for one in bins:
        if hour.figures_until <= one.second < figures_until:
            by_slot.setdefault(one.second // SLOT_S, ([], []))[1].append(one)
    for slot, (sessions, figures) in by_slot.items():
        slots[slot] = _with_figures(_with_sessions(slots.get(slot, Slot(slot)), sessions), figures)
    ends = max(sessions_until, hour.sessions_until), max(figures_until, hour.figures_until)
    oldest = max(ends) // SLOT_S - SLOTS
    return Hour(*ends, tuple(slots[slot] for slot in sorted(slots) if slot > oldest))


def today(hour: Hour, service: str = "") -> History:
    """Return the hour as trials take it, with the figures of a service."""
    affected: dict[str, tuple[int, int]] = {}
    delays: dict[str, Cells] = {}
    served = Served()
    for slot in hour.slots:
        for name, (some, every) in slot.affected.items():
            known = affected.get(name, (0, 0))
            affected[name] = (known[0] + some, known[1] + every)
        for device, cells in slot.delays.items():
            delays[device] = _added(delays.get(device, {}), cells)
        served = _together(served, slot.services.get(service, Served()))
    return History(
        sessions=sum(slot.sessions for slot in hour.slots),
        affected={**affected, "request_errors": (served.errors, served.requests)},
        delays_ms={device: _values(cells) for device, cells in delays.items()},
        bitrates=sum(slot.bitrates for slot in hour.slots),
        latency=served.latency,
        seconds=max((slot.until for slot in hour.slots), default=0) - min((s.first for s in hour.slots), default=0),
    )


def _with_sessions(slot: Slot, rows: Sequence[SessionRow]) -> Slot:
    if not rows:
        return slot
    new = history(rows, (), "")
    affected = dict(slot.affected)
    for name, (some, every) in new.affected.items():
        if name != "request_errors":
            known = affected.get(name, (0, 0))
            affected[name] = (known[0] + some, known[1] + every)
    delays = dict(slot.delays)
    for device, values in new.delays_ms.items():
        delays[device] = _added(delays.get(device, {}), _cells(values))
    return msgspec.structs.replace(
        _covering(slot, [row.second for row in rows]),
        sessions=slot.sessions + new.sessions,
        bitrates=slot.bitrates + new.bitrates,
        affected=affected,
        delays=delays,
    )


def _with_figures(slot: Slot, bins: Sequence[FigureBin]) -> Slot:
    if not bins:
        return slot
    services = dict(slot.services)
    for service in sorted({one.service for one in bins}):
        new = history((), bins, service)
        errors, requests = new.affected["request_errors"]
        services[service] = _together(services.get(service, Served()), Served(requests, errors, new.latency))
    return msgspec.structs.replace(_covering(slot, [one.second for one in bins]), services=services)


def _covering(slot: Slot, seconds: Sequence[int]) -> Slot:
    first = min(seconds) if slot.until == 0 else min(slot.first, *seconds)
    return msgspec.structs.replace(slot, first=first, until=max(slot.until, max(seconds) + 1))


def _together(one: Served, other: Served) -> Served:
    short, long = sorted((one.latency, other.latency), key=len)
    # What was kept with other bounds, or without any, gives way: judging must not stop for it.
    same = len(short) == len(long)
    latency = tuple(map(sum, zip(one.latency, other.latency, strict=True))) if same else long
    return Served(one.requests + other.requests, one.errors + other.errors, latency)


def _cells(delays_ms: Floats) -> Cells:
    found: Cells = {}
    for delay_ms in delays_ms.tolist():
        cell = math.ceil(_CELLS_AN_OCTAVE * math.log2(max(delay_ms, 1.0)))
        found[cell] = found.get(cell, 0) + 1
    return found


def _added(one: Cells, other: Cells) -> Cells:
    return {cell: one.get(cell, 0) + other.get(cell, 0) for cell in {**one, **other}}


def _values(cells: Cells) -> Floats:
    """Return delays as they were, to 2%, ascending; of very many an even sample."""
    order = sorted(cells)
    ends = 2.0 ** ((floats(order) - 0.5) / _CELLS_AN_OCTAVE)
    counts = np.array([cells[cell] for cell in order], dtype=np.int64)
    if (total := int(counts.sum())) > _MOST_DELAYS:
        # Halving the total halves each cell, so that every quantile stays where it was.
        counts = np.round(counts * (_MOST_DELAYS / total)).astype(np.int64)
    return floats(np.repeat(ends, counts))
