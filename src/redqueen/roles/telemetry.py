"""A node's telemetry put together: where events lie, what signs grants, which trials every play is in.

Releases and trials in which nothing is changed have every play, though a gateway's word on where a
request went stands before; whether a flag was felt is told by the flags (what a page, a player or a
program reads). Enter at `make_telemetry`, `make_lake` and `traced`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redqueen.fleet.datadir import registry_key
from redqueen.roles.node import Node
from redqueen.telemetry.grants import secret_of
from redqueen.telemetry.parquet import Lake
from redqueen.telemetry.service import Telemetry
from redqueen.trials.following import ArmedTrials, NodeAssignment

if TYPE_CHECKING:
    from redqueen.api.tracing import Tracing  # loads OpenTelemetry, which most regions do not use


COMPACT_EVERY_S: Final = 3600.0


def make_telemetry(node: Node, armed: ArmedTrials) -> Telemetry:
    """Give an api node its telemetry; all nodes of this machine spool below one folder."""
    data, spec = node.spec.data_path, node.spec
    secret = secret_of(registry_key(data))
    return Telemetry(
        data / "telemetry", spec.node_id, secret, make_lake(node), NodeAssignment(armed), node.clock, node.emit
    )


@contextlib.contextmanager
def traced(node: Node) -> Generator[Tracing | None]:
    """Trace what the node does and asks of its store, where the settings name a collector; None where they do not."""
    url, spec = node.region.telemetry.otlp_url, node.spec
    if not url:
        yield None
        return
    from redqueen.api.tracing import Tracing

    tracing = Tracing.exporting(url, service=spec.service, release=spec.version, zone=spec.zone, node=spec.node_id)
    node.stores = replace(node.stores, records=tracing.records(node.stores.records))
    try:
        yield tracing
    finally:
        tracing.close()


def make_lake(node: Node) -> Lake:
    """Give the region's events in its object store."""
    return Lake(node.stores.objects, scratch_of(node.spec.data_path))


async def compacted(node: Node, lake: Lake) -> None:
    """Make one file of each hour of events that is over; the leader's turn."""
    await lake.compact(node.clock.now())


def scratch_of(data: Path) -> Path:
    """Return the folder for files that are being made."""
    return data / "scratch"
