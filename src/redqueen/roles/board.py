"""The fleet's views in the records, and the news of an exit for the registries."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import msgspec

from redqueen.events import Event
from redqueen.fleet.datadir import read_json, write_json
from redqueen.fleet.model import NodeSpec, NodeView
from redqueen.fleet.nodefiles import nodes_dir
from redqueen.gateway.model import GatewayState
from redqueen.registry.client import report_exit
from redqueen.registry.happenings import RegistriesLost, RegistryFollowed
from redqueen.store.ports import Delete, Put, Records

_PARTITION = "fleet/nodes"
_GATEWAY_FILE = "gateway.json"
_SOURCES = {"endpoints": "the registries", "routes": "the store"}


class RecordBoard:
    """The fleet's NodeBoard over records: one row a process."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def publish(self, view: NodeView) -> None:
        """Put a node's view in place of its earlier one."""
        await self._records.put(_PARTITION, Put(view.node_id, msgspec.json.encode(view)))

    async def remove(self, node_id: str) -> None:
        """Take a node off; no error when it is not there."""
        await self._records.delete(_PARTITION, Delete(node_id))

    async def read(self) -> list[NodeView]:
        """Return all views, by node id."""
        rows = await self._records.scan(_PARTITION)
        return [msgspec.json.decode(row.value, type=NodeView) for row in rows]


class GatewayNote:
    """Keeps what a gateway serves in a file of its node's folder, for whoever shows the region."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _GATEWAY_FILE
        self._state = GatewayState("", serving=False)
        self._alone = False

    @property
    def state(self) -> GatewayState:
        """Return what the gateway serves now."""
        return self._state

    def __call__(self, state: GatewayState) -> None:
        """Put the state in place of the earlier one; a disk that refuses costs only the picture."""
        self._state = state
        self._write()

    def hear(self, event: Event) -> None:
        """Take what happens with the registries, which are followed without an end."""
        if isinstance(event, (RegistriesLost, RegistryFollowed)) and event.purpose == "watch":
            self._alone = isinstance(event, RegistriesLost)
            self._write()

    def _write(self) -> None:
        silent = {*self._state.silent, "endpoints"} if self._alone else self._state.silent
        with contextlib.suppress(OSError):
            write_json(self._path, replace(self._state, silent=tuple(sorted(silent))))


def gateway_state(data_dir: Path, node_id: str) -> GatewayState | None:
    """Return what a gateway of this machine said last; None if it never did."""
    return read_json(nodes_dir(data_dir) / node_id / _GATEWAY_FILE, GatewayState)


def warning(state: GatewayState) -> str:
    """Say what is wrong with a gateway that serves all the same; empty if nothing is."""
    if state.because:
        return f"it refuses {f'snapshot {state.rejected}' if state.rejected else 'what it was given'}: {state.because}"
    if not state.serving:
        return "no snapshot is confirmed yet"
    silent = " and ".join(_SOURCES.get(source, source) for source in state.silent)
    return f"{silent} cannot be read; what was known last stays in effect" if silent else ""


class RegistryNotice:
    """Tells every registry that a node's process has ended, so that nobody waits for its lease."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def exited(self, spec: NodeSpec, because: str) -> None:
        """Report the exit to all registries the node knew."""
        await report_exit(spec.registry_urls, spec.service.upper(), spec.node_id, because, token=self._token)
