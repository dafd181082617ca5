"""The lease table: who is believed alive, and what each event does to that belief.

`step` is the one way in: it takes an event (a registration, a heartbeat, a removal, a peer's
record, the result of probes, a sweep) and a moment, changes the owner's table, and returns the
reply with the visible changes. Refuses clocks, sockets and waiting. The rules of mass eviction
are in `eviction`, the rules of merging in `replication`. A lease lasts its duration once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from redqueen.registry import eviction, replication
from redqueen.registry.calls import (
    Cancel,
    ClearOverride,
    Event,
    Exited,
    Merge,
    MergeBeats,
    Outcome,
    Override,
    Probed,
    Register,
    Renew,
    Reply,
    SetMetadata,
    Sweep,
)
from redqueen.registry.model import (
    Action,
    Change,
    Identity,
    Instance,
    InstanceSet,
    Moment,
    Record,
    Status,
    Version,
    effective_status,
    visible,
    with_metadata,
)

RETENTION_S = 300.0
"""Seconds that removals are remembered: longer than clients hold deltas (180 s) and partitions usually last."""


@dataclass(slots=True)
class Table:
    """The owner's state: records, and local times (monotonic seconds) that peers do not share."""

    origin: str
    records: dict[Identity, Record] = field(default_factory=dict[Identity, Record])
    renewed_s: dict[Identity, float] = field(default_factory=dict[Identity, float])
    expires_s: dict[Identity, float] = field(default_factory=dict[Identity, float])
    ended_s: dict[Identity, float] = field(default_factory=dict[Identity, float])
    swept_s: float | None = None
    probing: bool = False


def step(table: Table, event: Event, now: Moment) -> Outcome:
    """Apply one event at one moment; the only way in which a table changes."""
    match event:
        case Register():
            return _register(table, event.instance, now)
        case Renew():
            return _renew(table, event, now)
        case Cancel():
            return _remove(table, event.identity, "it left", now)
        case Exited():
            return _exited(table, event, now)
        case Override():
            return _edit(table, event.identity, now, override=event.status)
        case ClearOverride():
            return _edit(table, event.identity, now, override=Status.UNKNOWN, fallback=event.fallback)
        case SetMetadata():
            return _edit(table, event.identity, now, metadata=event.values)
        case Merge():
            return _merge(table, event.records, now)
        case MergeBeats():
            return _merge_beats(table, event.beats, now)
        case Sweep():
            return _sweep(table, now)
        case Probed():
            return _probed(table, event.results, now)


def living(table: Table) -> InstanceSet:
    """Give the instances that readers see, ordered by identity."""
    return tuple(visible(r) for _, r in sorted(table.records.items()) if r.living)


def age_s(table: Table, identity: Identity, now: Moment) -> float:
    """Tell how many seconds ago the last beat was, as far as this registry knows."""
    return max(0.0, now.mono_s - table.renewed_s.get(identity, now.mono_s))


def load(table: Table, records: Iterable[Record], now: Moment) -> None:
    """Take the records of a snapshot; each lease gets one fresh duration of grace."""
    for record in records:
        table.records[record.identity] = record
        _extend(table, record, now.mono_s)
        if not record.living:
            table.ended_s[record.identity] = now.mono_s


def _extend(table: Table, record: Record, renewed_s: float) -> None:
    identity = record.identity
    table.renewed_s[identity] = max(renewed_s, table.renewed_s.get(identity, renewed_s))
    expires_s = renewed_s + record.instance.lease_s
    table.expires_s[identity] = max(expires_s, table.expires_s.get(identity, expires_s))


def _write(table: Table, record: Record, because: str, now: Moment) -> Outcome:
    """Store a record; tell what readers see of it, and that the peer should hear of it."""
    before = table.records.get(record.identity)
    table.records[record.identity] = record
    if record.living:
        table.ended_s.pop(record.identity, None)
    elif before is None or before.living:
        table.ended_s[record.identity] = now.mono_s
    change = compare(before, record, because)
    return Outcome(changes=(change,) if change else (), touched=(record.identity,), because=because)


def compare(before: Record | None, after: Record, because: str) -> Change | None:
    """Tell what readers see change between two states of one record, if anything."""
    was = before is not None and before.living
    if after.living and not was:
        return Change(Action.ADDED, after, because)
    if was and not after.living:
        return Change(Action.DELETED, after, because)
    if before is not None and was and visible(before) != visible(after):
        return Change(Action.MODIFIED, after, because)
    return None


def _next_beat(record: Record | None, now: Moment) -> int:
    return now.wall_ms if record is None else max(record.beat_ms + 1, now.wall_ms)


def _next_version(table: Table, known: Record | None, stamp_ms: int) -> Version:
    if known is None or stamp_ms > known.version.stamp_ms:
        return Version(stamp_ms, 0, table.origin)
    return Version(known.version.stamp_ms, known.version.edit + 1, table.origin)


def _register(table: Table, instance: Instance, now: Moment) -> Outcome:
    known = table.records.get(instance.identity)
    if known is not None and not known.gone:
        instance = _same_words(instance, known.instance)
        if instance == known.instance or instance.dirty_at_ms < known.instance.dirty_at_ms:
            return _alive(table, known, "it registered again", now)
    override = instance.override
    if override is Status.UNKNOWN and known is not None and not known.gone:
        override = known.override
    up = effective_status(instance.status, override) is Status.UP
    fresh = known is None or not known.living
    record = Record(
        instance=replace(instance, override=Status.UNKNOWN),
        version=_next_version(table, known, instance.dirty_at_ms),
        beat_ms=_next_beat(known, now),
        override=override,
        registered_ms=now.wall_ms if known is None or fresh else known.registered_ms,
        updated_ms=now.wall_ms,
        up_ms=now.wall_ms if up and (known is None or fresh or not known.up_ms) else (known.up_ms if known else 0),
    )
    # The new incarnation's own duration counts, not what is left of a longer old lease.
    table.expires_s.pop(record.identity, None)
    _extend(table, record, now.mono_s)
    return _write(table, record, "it registered", now)


def _same_words(instance: Instance, known: Instance) -> Instance:
    """Let the existing lease's status stand where the instance has not said anything newer."""
    serving = (Status.UP, Status.OUT_OF_SERVICE)
    if instance.dirty_at_ms == known.dirty_at_ms and instance.status in serving and known.status in serving:
        return replace(instance, status=known.status)
    return instance


def _alive(table: Table, known: Record, because: str, now: Moment) -> Outcome:
    record = replace(known, beat_ms=_next_beat(known, now), lapsed=False)
    _extend(table, record, now.mono_s)
    return _write(table, record, because, now)


def _renew(table: Table, event: Renew, now: Moment) -> Outcome:
    known = table.records.get(event.identity)
    if known is None or known.gone:
        return Outcome(Reply.UNKNOWN, because="it is not registered")
    if effective_status(known.instance.status, known.override) is Status.UNKNOWN:
        return Outcome(Reply.UNKNOWN, because="its status is unknown")
    if event.dirty_at_ms is not None:
        if event.dirty_at_ms > known.instance.dirty_at_ms:
            return Outcome(Reply.UNKNOWN, because="it has changed since it registered")
        if event.replicated and event.dirty_at_ms < known.instance.dirty_at_ms:
            return Outcome(Reply.OUTDATED, because="a newer registration is known")
    return _alive(table, known, "it gave a sign of life", now)


def _remove(table: Table, identity: Identity, because: str, now: Moment) -> Outcome:
    known = table.records.get(identity)
    if known is None or known.gone:
        return Outcome(Reply.UNKNOWN, because="it is not registered")
    version = _next_version(table, known, known.version.stamp_ms)
    record = replace(known, version=version, gone=because, override=Status.UNKNOWN, updated_ms=now.wall_ms)
    return _write(table, record, because, now)


def _exited(table: Table, event: Exited, now: Moment) -> Outcome:
    known = table.records.get(event.identity)
    if known is not None and known.instance.dirty_at_ms > event.at_ms:
        return Outcome(Reply.OUTDATED, because="a newer incarnation has registered since that exit")
    return _remove(table, event.identity, event.because, now)


def _edit(
    table: Table,
    identity: Identity,
    now: Moment,
    *,
    override: Status | None = None,
    fallback: Status | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Outcome:
    known = table.records.get(identity)
    if known is None or not known.living:
        return Outcome(Reply.UNKNOWN, because="it is not registered")
    instance = known.instance if metadata is None else with_metadata(known.instance, metadata)
    if fallback is not None:
        instance = replace(instance, status=fallback)
    record = replace(
        known,
        instance=instance,
        version=_next_version(table, known, known.version.stamp_ms),
        override=known.override if override is None else override,
        updated_ms=now.wall_ms,
    )
    return _write(table, record, "its record was edited", now)


def _merge(table: Table, records: Iterable[tuple[Record, float]], now: Moment) -> Outcome:
    changes: list[Change] = []
    touched: list[Identity] = []
    for theirs, beat_age_s in records:
        ours = table.records.get(theirs.identity)
        merged = theirs if ours is None else replication.join(ours, theirs)
        known_living = ours is not None and ours.living
        if merged == ours or (ours is None and not merged.living):
            continue
        if merged.living and not known_living and beat_age_s >= merged.instance.lease_s:
            continue  # its lease is about to end at the peer: do not show it for a moment
        if ours is None or merged.beat_ms > ours.beat_ms:
            _extend(table, merged, now.mono_s - beat_age_s)
        outcome = _write(table, merged, replication.reason(merged), now)
        changes += outcome.changes
        touched += outcome.touched
    return Outcome(changes=tuple(changes), touched=tuple(touched))


def _merge_beats(table: Table, beats: Iterable[replication.Beat], now: Moment) -> Outcome:
    records: list[tuple[Record, float]] = []
    for beat in beats:
        ours = table.records.get(beat.identity)
        if ours is not None:
            records.append((replace(ours, beat_ms=beat.beat_ms, lapsed=beat.lapsed), beat.age_s))
    return _merge(table, records, now)


def _sweep(table: Table, now: Moment) -> Outcome:
    _grant_grace(table, now)
    _forget(table, now)
    expired = [r for i, r in table.records.items() if r.living and table.expires_s[i] <= now.mono_s]
    if not expired or table.probing:
        return Outcome()
    population = eviction.population(table.records.values(), table.expires_s, now.mono_s)
    if not eviction.is_mass(population):
        return _lapse(table, expired, "its lease ran out", now)
    table.probing = True
    suspects = [*expired, *eviction.recently_lapsed(table.records.values(), table.expires_s, now.mono_s)]
    return Outcome(probes=tuple(r.instance for r in suspects), because=eviction.explain(population))


def _grant_grace(table: Table, now: Moment) -> None:
    """Leases do not run while the registry itself did not run: give back up to one duration."""
    gap_s = 0.0 if table.swept_s is None else now.mono_s - table.swept_s
    table.swept_s = now.mono_s
    if gap_s < eviction.STALL_S:
        return
    for identity, record in table.records.items():
        if record.living:
            floor = now.mono_s + min(gap_s, record.instance.lease_s)
            table.expires_s[identity] = max(table.expires_s[identity], floor)


def _forget(table: Table, now: Moment) -> None:
    """Drop removals that nobody can have missed by now."""
    for identity in [i for i, ended_s in table.ended_s.items() if now.mono_s - ended_s > RETENTION_S]:
        for kept in (table.records, table.renewed_s, table.expires_s, table.ended_s):
            kept.pop(identity, None)


def _lapse(table: Table, records: Iterable[Record], because: str, now: Moment) -> Outcome:
    outcomes = [_write(table, replace(record, lapsed=True), because, now) for record in records]
    return Outcome(
        changes=tuple(c for o in outcomes for c in o.changes), touched=tuple(i for o in outcomes for i in o.touched)
    )


def _probed(table: Table, results: Mapping[Identity, eviction.Probe], now: Moment) -> Outcome:
    table.probing = False
    suspects = [r for i in results if (r := table.records.get(i)) is not None and not r.gone]
    others = eviction.hears_others(suspects, [r for r in table.records.values() if r.living], table.renewed_s)
    outcomes = [_judge(table, r, eviction.judge(results[r.identity], hears_others=others), now) for r in suspects]
    return Outcome(
        changes=tuple(c for o in outcomes for c in o.changes), touched=tuple(i for o in outcomes for i in o.touched)
    )


def _judge(table: Table, record: Record, verdict: eviction.Verdict, now: Moment) -> Outcome:
    ended = table.expires_s[record.identity] <= now.mono_s
    if not ended:
        return Outcome()  # it was heard while the probes ran
    if verdict.keep is eviction.Keep.RENEW:
        return _alive(table, record, verdict.because, now)
    if verdict.keep is eviction.Keep.EVICT:
        return _lapse(table, [record], verdict.because, now)
    # Believed for one more lease, by the smallest possible beat: any real sign of life outdoes it.
    table.expires_s[record.identity] = now.mono_s + record.instance.lease_s
    return _write(table, replace(record, beat_ms=record.beat_ms + 1, lapsed=False), verdict.because, now)
