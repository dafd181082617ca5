"""What a registry holds: an entry for each identity, and the indexes that keep each step cheap.

Holds records with the local times (monotonic seconds) that peers do not share, a queue of leases
by their end, the owners of names, and one digest for each bucket of identities. Decides nothing
about leases (`leases` does). A heartbeat touches one entry; a write costs O(log n); an unchanged
sweep costs nothing. Enter at `Table`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count

from redqueen.registry.model import Identity, Record
from redqueen.registry.rights import REGION, names_of

BUCKETS = 1024
"""Digests that two registries compare: with 10,000 instances one change costs a look at some ten."""


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def bucket_of(identity: Identity) -> int:
    """Tell which digest covers an identity, everywhere the same."""
    return _hash(f"{identity.app}\0{identity.instance_id}") % BUCKETS


def fingerprint(record: Record) -> int:
    """Hash what peers must agree on: that it lives, and in which version. 0 for what does not live."""
    if not record.living:
        return 0
    version, instance = record.version, record.instance
    return _hash(f"{instance.app}\0{instance.instance_id}\0{version.stamp_ms}.{version.edit}.{version.origin}")


@dataclass(slots=True, eq=False)
class Entry:
    """One identity. `beat_ms` runs ahead of its record's, which follows when it is asked for."""

    identity: Identity
    stored: Record
    names: tuple[str, ...]
    bucket: int
    beat_ms: int = 0
    renewed_s: float = 0.0
    expires_s: float = 0.0
    ended_s: float = 0.0
    due_s: float | None = None
    spared: int = 0
    suspected_s: float | None = None
    print: int = 0
    encoded: bytes = b""
    """The record for snapshots, until it is written again."""

    @property
    def record(self) -> Record:
        """Give the record with its latest beat."""
        if self.stored.beat_ms != self.beat_ms:
            self.stored = replace(self.stored, beat_ms=self.beat_ms)
        return self.stored

    @property
    def living(self) -> bool:
        """Tell whether readers see it."""
        return not self.stored.lapsed and not self.stored.gone

    def believe_until(self, renewed_s: float, lease_s: float) -> None:
        """Take a sign of life of this moment; an older one changes nothing."""
        self.renewed_s = max(renewed_s, self.renewed_s)
        self.expires_s = max(renewed_s + lease_s, self.expires_s)


@dataclass(slots=True)
class Table:
    """The owner's state. `origin` names this life of this registry; `own` is its own address."""

    origin: str
    own: tuple[str, int] = ("", 0)
    apps: dict[str, dict[str, Entry]] = field(default_factory=dict[str, dict[str, Entry]])
    ended: dict[Identity, Entry] = field(default_factory=dict[Identity, Entry])
    reserved: frozenset[str] = frozenset()
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    packed: bytes = b""
    """The buckets' digests as they travel, until one of them changes."""
    probing: set[Identity] = field(default_factory=set[Identity])
    swept_s: float | None = None
    forgot_s: float = 0.0
    suspicions: tuple[float, int] = (0.0, 0)
    _due: list[tuple[float, int, Entry]] = field(default_factory=list[tuple[float, int, Entry]])
    _order: Iterator[int] = field(default_factory=count)
    _held: dict[str, dict[Identity, Entry]] = field(default_factory=dict[str, dict[Identity, Entry]])

    def get(self, app: str, instance_id: str) -> Entry | None:
        """Give what is held of an identity, living or not."""
        found = self.apps.get(app)
        return None if found is None else found.get(instance_id)

    def find(self, identity: Identity) -> Entry | None:
        """Give what is held of an identity, living or not."""
        return self.get(identity.app, identity.instance_id)

    def entries(self) -> Iterator[Entry]:
        """Go through all entries in no order."""
        for found in self.apps.values():
            yield from found.values()

    def living(self) -> list[Record]:
        """List the records that readers see, ordered by identity."""
        return [e.record for _, found in sorted(self.apps.items()) for _, e in sorted(found.items()) if e.living]

    def records(self) -> list[Record]:
        """List all records in no order."""
        return [entry.record for entry in self.entries()]

    def __len__(self) -> int:
        return sum(len(found) for found in self.apps.values())

    def open(self, record: Record, renewed_s: float) -> Entry:
        """Make the entry of an identity that was not known."""
        identity = record.identity
        entry = Entry(identity, record, (), bucket_of(identity), record.beat_ms, renewed_s, renewed_s)
        self.apps.setdefault(identity.app, {})[identity.instance_id] = entry
        return entry

    def store(self, entry: Entry, record: Record, mono_s: float) -> None:
        """Put a record in place of the entry's, and keep the indexes right."""
        was_ended = entry.identity in self.ended
        if entry.names != (names := names_of(record.instance)) or entry.stored.owner != record.owner:
            self._release(entry)
        entry.names, entry.stored, entry.beat_ms, entry.encoded = names, record, record.beat_ms, b""
        if record.owner:
            for name in names:
                self._held.setdefault(name, {})[entry.identity] = entry
        print_ = fingerprint(record)
        if print_ != entry.print:
            self.buckets[entry.bucket] ^= entry.print ^ print_
            entry.print, self.packed = print_, b""
        if record.living:
            self.ended.pop(entry.identity, None)
            self.schedule(entry)
        elif not was_ended:
            entry.ended_s = mono_s
            self.ended[entry.identity] = entry

    def _release(self, entry: Entry) -> None:
        for name in entry.names:
            held = self._held.get(name)
            if held is not None:
                held.pop(entry.identity, None)
                if not held:
                    del self._held[name]

    def drop(self, entry: Entry) -> None:
        """Forget an identity."""
        self._release(entry)
        self.buckets[entry.bucket] ^= entry.print
        self.packed = b""
        self.ended.pop(entry.identity, None)
        found = self.apps[entry.identity.app]
        del found[entry.identity.instance_id]
        if not found:
            del self.apps[entry.identity.app]

    def owner(self, name: str) -> str:
        """Tell whose a name (lower case) is: the region's, or his who registered it first; "" for nobody's.

        A group of a name that the region owns (`api--r3-canary`) is the region's too.
        """
        if name in self.reserved or name.partition("--")[0] in self.reserved:
            return REGION
        held = self._held.get(name)
        if not held:
            return ""
        claims = [(e.stored.owner != REGION, e.stored.registered_ms, e.stored.owner) for e in held.values()]
        return min(claims)[2]

    def schedule(self, entry: Entry) -> None:
        """See to it that the end of the entry's lease is noticed."""
        if entry.due_s is None or entry.expires_s < entry.due_s:
            entry.due_s = entry.expires_s
            heapq.heappush(self._due, (entry.expires_s, next(self._order), entry))

    def expired(self, mono_s: float) -> list[Entry]:
        """List the living whose lease has run out; they are listed again as long as they live so."""
        found: list[Entry] = []
        while self._due and self._due[0][0] <= mono_s:
            due_s, _, entry = heapq.heappop(self._due)
            if due_s != entry.due_s:
                continue
            entry.due_s = None
            if not entry.living:
                continue
            if entry.expires_s <= mono_s:
                found.append(entry)
            else:
                self.schedule(entry)
        for entry in found:
            self.schedule(entry)
        return found
