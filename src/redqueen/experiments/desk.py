"""All that the HTTP edge needs of flags, put together once a node. Enter at `FlagDesk.over`."""

from __future__ import annotations

from dataclasses import dataclass

from redqueen.clock import Clock
from redqueen.events import Emit, discard
from redqueen.experiments.access import FlagAccess
from redqueen.experiments.rates import Rates
from redqueen.experiments.service import FlagBook, Flags
from redqueen.experiments.streams import Streams
from redqueen.experiments.values import FlagValues
from redqueen.store.audit import Audit
from redqueen.store.ports import Records
from redqueen.trials.following import ArmedTrials


@dataclass(frozen=True, slots=True)
class FlagDesk:
    """A node's flags: how they are changed, what they are for whom, who may ask, who is told."""

    flags: Flags
    values: FlagValues
    access: FlagAccess
    streams: Streams
    rates: Rates

    @classmethod
    def over(cls, records: Records, clock: Clock, audit: Audit, armed: ArmedTrials, emit: Emit = discard) -> FlagDesk:
        """Put them together; `armed` are the trials that the node follows."""
        values = FlagValues(FlagBook(records, clock, emit), lambda: armed.armed, armed.read)
        access = FlagAccess(records, clock, audit)
        return cls(Flags(records, clock, audit), values, access, Streams(values, clock), Rates(clock))
