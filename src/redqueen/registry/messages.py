"""What registries, watchers and snapshots exchange, as msgspec structs at the border.

Registries of two releases talk to each other during a rollout, so unknown fields are let pass
here, on purpose. Every message says which life of which registry (`epoch`) it comes from.
Enter at `encode` and the structs.
"""

from __future__ import annotations

import msgspec

from redqueen.registry.model import Identity, Instance, Record
from redqueen.registry.replication import Beat, Mark


class Told(msgspec.Struct, frozen=True):
    """A record, and how many seconds ago its last beat was."""

    record: Record
    age_s: float


class Marked(msgspec.Struct, frozen=True):
    """One entry of a digest."""

    identity: Identity
    mark: Mark


SYNC_FORMAT = 2
"""How this release compares: by buckets. The first release (1, never said) compared the whole table."""


class SyncRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """News for a peer; with `buckets` (or the first release's `digest`) also a question what differs.

    `buckets` is one digest (64 bits, big-endian) for each bucket of identities, in base64;
    `wanted` names records to send back.
    """

    epoch: str
    records: tuple[Told, ...] = ()
    beats: tuple[Beat, ...] = ()
    digest: tuple[Marked, ...] | None = None
    buckets: str | None = None
    wanted: tuple[Identity, ...] = ()


class SyncResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the asker was missing; which buckets differ, and what is known in them.

    `wanted` names what the answerer wants to be told (to the first release's question only).
    """

    epoch: str
    records: tuple[Told, ...] = ()
    wanted: tuple[Identity, ...] = ()
    format: int = 1
    differing: tuple[int, ...] = ()
    marks: tuple[Marked, ...] = ()


class Removed(msgspec.Struct, frozen=True):
    """An instance that a registry no longer believes in, and why."""

    identity: Identity
    because: str


class Full(msgspec.Struct, frozen=True, tag="full", tag_field="kind"):
    """All that a registry believes, and what it lately stopped believing."""

    epoch: str
    version: int
    instances: tuple[Instance, ...]
    removed: tuple[Removed, ...]


class Changed(msgspec.Struct, frozen=True, tag="changed", tag_field="kind"):
    """What changed since the version before."""

    epoch: str
    version: int
    instances: tuple[Instance, ...]
    removed: tuple[Removed, ...]


class BeatMessage(msgspec.Struct, frozen=True, tag="beat", tag_field="kind"):
    """Nothing changed, and the registry lives."""

    epoch: str
    version: int


StreamMessage = Full | Changed | BeatMessage


class ExitReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody saw an instance's process end at `at_ms` (wall, epoch)."""

    app: str
    instance_id: str
    because: str
    at_ms: int


class Suspect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instance that somebody could not reach at `host` and `port`, and how that showed."""

    app: str
    instance_id: str
    host: str
    port: int
    because: str


class Snapshot(msgspec.Struct, frozen=True):
    """A registry's records on disk."""

    format: int
    epoch: str
    records: tuple[Record, ...]


FORMAT = 1
"""The snapshot's format; a snapshot of another one is not read."""

_stream = msgspec.json.Decoder(StreamMessage)


def decode_stream(line: str) -> StreamMessage:
    """Read one line of the push stream. Raises msgspec.DecodeError."""
    return _stream.decode(line)


encode = msgspec.json.encode
