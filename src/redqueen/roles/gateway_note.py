"""What a gateway serves, in a file of its node's folder, for whoever shows the region."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from redqueen.events import Event
from redqueen.fleet.datadir import read_json, write_json
from redqueen.fleet.nodefiles import nodes_dir
from redqueen.gateway.model import GatewayState
from redqueen.registry.happenings import RegistriesLost, RegistryFollowed

_GATEWAY_FILE = "gateway.json"
_SOURCES = {"endpoints": "the registries", "routes": "the store"}


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
