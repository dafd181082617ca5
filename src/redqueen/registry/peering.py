"""What two registries say to each other, without the HTTP.

`news` tells a peer what changed here. `question` asks whether both know the same, by one digest
for each of 1,024 buckets of identities (8 KiB, whatever they hold); `reply` names the buckets that
differ and what it knows in them; `settlement` then hands over and asks for exactly what is
missing, a thousand records at a time. `old_question` is for a peer of the first release, which
compares the whole table. Refuses to retry: the driver does.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from itertools import islice
from struct import Struct
from struct import error as StructError

from redqueen.errors import InvalidInput
from redqueen.registry import leases, replication
from redqueen.registry.calls import Merge, MergeBeats
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import SYNC_FORMAT, Marked, SyncRequest, SyncResponse, Told
from redqueen.registry.model import Identity, Moment
from redqueen.registry.replication import Beat, Mark
from redqueen.registry.table import BUCKETS, Entry

MOST_AT_ONCE = 1000
"""Records in one message: some 10 ms of work for either side."""
_DIGESTS = Struct(f">{BUCKETS}Q")


def news(ledger: Ledger, records: Iterable[Identity], beats: Iterable[Identity], now: Moment) -> SyncRequest:
    """Tell a peer the records that changed, and who else was heard."""
    return SyncRequest(ledger.epoch, _told(ledger, sorted(records), now), _heard(ledger, sorted(beats), now))


def question(ledger: Ledger) -> SyncRequest:
    """Ask a peer whether it knows the same."""
    return SyncRequest(ledger.epoch, buckets=b64encode(_packed(ledger)).decode())


def _packed(ledger: Ledger) -> bytes:
    table = ledger.table
    if not table.packed:
        table.packed = _DIGESTS.pack(*table.buckets)
    return table.packed


def old_question(ledger: Ledger) -> SyncRequest:
    """Ask a peer of the first release what is missing here."""
    return SyncRequest(ledger.epoch, digest=_marked(ledger.table.entries()))


def reply(ledger: Ledger, request: SyncRequest, now: Moment) -> SyncResponse:
    """Take a peer's news and answer its question. Raises InvalidInput."""
    take(ledger, request.records, request.beats, now)
    if request.buckets is not None:
        differing = _differing(ledger, request.buckets)
        return SyncResponse(ledger.epoch, format=SYNC_FORMAT, differing=differing, marks=_within(ledger, differing))
    if request.digest is None:
        told = _told(ledger, islice(request.wanted, MOST_AT_ONCE), now)
        return SyncResponse(ledger.epoch, told, format=SYNC_FORMAT)
    theirs = {entry.identity: entry.mark for entry in request.digest}
    ours = _marks(ledger.table.entries())
    lacking = replication.missing(ours, theirs)
    return SyncResponse(ledger.epoch, _told(ledger, lacking, now), replication.missing(theirs, ours))


def settlement(ledger: Ledger, response: SyncResponse) -> list[tuple[list[Identity], list[Identity]]]:
    """List what to exchange after an answer: the identities to tell the peer, and those to ask it for."""
    buckets = set(response.differing)
    theirs = {entry.identity: entry.mark for entry in response.marks}
    ours = _marks(e for e in ledger.table.entries() if e.bucket in buckets)
    told, wanted = list(replication.missing(ours, theirs)), list(replication.missing(theirs, ours))
    longest = max(len(told), len(wanted))
    return [(told[n : n + MOST_AT_ONCE], wanted[n : n + MOST_AT_ONCE]) for n in range(0, longest, MOST_AT_ONCE)]


def settling(ledger: Ledger, told: Iterable[Identity], wanted: Iterable[Identity], now: Moment) -> SyncRequest:
    """Write one message of a settlement."""
    return SyncRequest(ledger.epoch, _told(ledger, told, now), wanted=tuple(wanted))


def take(ledger: Ledger, records: Iterable[Told], beats: Iterable[Beat], now: Moment) -> None:
    """Take what a peer told."""
    told = tuple((entry.record, entry.age_s) for entry in records)
    heard = tuple(beats)
    if told:
        ledger.apply(Merge(told), now)
    if heard:
        ledger.apply(MergeBeats(heard), now)


def _differing(ledger: Ledger, text: str) -> tuple[int, ...]:
    try:
        packed = b64decode(text, validate=True)
        if packed == _packed(ledger):
            return ()
        theirs = _DIGESTS.unpack(packed)
    except (ValueError, StructError) as error:
        raise InvalidInput(
            "registry.digests", "The digests cannot be read", why=str(error), hint="Send what this release sends"
        ) from error
    return tuple(n for n, (ours, other) in enumerate(zip(ledger.table.buckets, theirs, strict=True)) if ours != other)


def _within(ledger: Ledger, buckets: tuple[int, ...]) -> tuple[Marked, ...]:
    wanted = set(buckets)
    return _marked(e for e in ledger.table.entries() if e.bucket in wanted) if wanted else ()


def _marks(entries: Iterable[Entry]) -> Mapping[Identity, Mark]:
    return replication.digest(entry.record for entry in entries)


def _marked(entries: Iterable[Entry]) -> tuple[Marked, ...]:
    return tuple(Marked(identity, mark) for identity, mark in _marks(entries).items())


def _told(ledger: Ledger, identities: Iterable[Identity], now: Moment) -> tuple[Told, ...]:
    found = [e for i in identities if (e := ledger.table.find(i)) is not None]
    return tuple(Told(e.record, leases.age_s(ledger.table, e.identity, now)) for e in found)


def _heard(ledger: Ledger, identities: Iterable[Identity], now: Moment) -> tuple[Beat, ...]:
    found = [e for i in identities if (e := ledger.table.find(i)) is not None]
    return tuple(Beat(e.identity, e.beat_ms, e.stored.lapsed, max(0.0, now.mono_s - e.renewed_s)) for e in found)
