"""What two registries say to each other in one exchange, without the HTTP.

`news` tells a peer what changed here, `question` also asks what is missing here, `reply` answers
both. Refuses to retry: a lost exchange is healed by the next question. Enter at these three.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from redqueen.registry import leases, replication
from redqueen.registry.calls import Merge, MergeBeats
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import Marked, SyncRequest, SyncResponse, Told
from redqueen.registry.model import Identity, Moment
from redqueen.registry.replication import Beat


def news(ledger: Ledger, records: Set[Identity], beats: Set[Identity], now: Moment) -> SyncRequest:
    """Tell a peer the records that changed, and who else was heard."""
    return SyncRequest(ledger.epoch, _told(ledger, sorted(records), now), _heard(ledger, sorted(beats), now))


def question(ledger: Ledger) -> SyncRequest:
    """Ask a peer what is missing here."""
    marks = replication.digest(ledger.table.records.values())
    return SyncRequest(ledger.epoch, digest=tuple(Marked(i, m) for i, m in marks.items()))


def reply(ledger: Ledger, request: SyncRequest, now: Moment) -> SyncResponse:
    """Take a peer's news and answer its question."""
    take(ledger, request.records, request.beats, now)
    if request.digest is None:
        return SyncResponse(ledger.epoch)
    theirs = {entry.identity: entry.mark for entry in request.digest}
    ours = replication.digest(ledger.table.records.values())
    lacking = replication.missing(ours, theirs)
    return SyncResponse(ledger.epoch, _told(ledger, lacking, now), replication.missing(theirs, ours))


def take(ledger: Ledger, records: Iterable[Told], beats: Iterable[Beat], now: Moment) -> None:
    """Take what a peer told."""
    told = tuple((entry.record, entry.age_s) for entry in records)
    heard = tuple(beats)
    if told:
        ledger.apply(Merge(told), now)
    if heard:
        ledger.apply(MergeBeats(heard), now)


def _told(ledger: Ledger, identities: Iterable[Identity], now: Moment) -> tuple[Told, ...]:
    records = ledger.table.records
    return tuple(Told(records[i], leases.age_s(ledger.table, i, now)) for i in identities if i in records)


def _heard(ledger: Ledger, identities: Iterable[Identity], now: Moment) -> tuple[Beat, ...]:
    found = [r for i in identities if (r := ledger.table.records.get(i)) is not None]
    return tuple(Beat(r.identity, r.beat_ms, r.lapsed, leases.age_s(ledger.table, r.identity, now)) for r in found)
