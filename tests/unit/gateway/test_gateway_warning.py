"""What the operator is told of a gateway that serves, but not by what it was given last."""

from __future__ import annotations

from pathlib import Path

import pytest

from redqueen.gateway.model import GatewayState
from redqueen.roles.gateway_note import GatewayNote, gateway_state, warning


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (GatewayState("1", serving=True), ""),
        (GatewayState("", serving=False), "no snapshot is confirmed yet"),
        (GatewayState("1", serving=True, rejected="2", because="bad key"), "it refuses snapshot 2: bad key"),
        (GatewayState("1", serving=True, because="no route"), "it refuses what it was given: no route"),
        (
            GatewayState("1", serving=True, silent=("endpoints", "routes")),
            "the registries and the store cannot be read; what was known last stays in effect",
        ),
    ],
)
def test_a_gateways_state_is_told_in_words(state: GatewayState, told: str):
    assert warning(state) == told


def test_what_a_gateway_notes_is_read_back_and_a_folder_that_is_gone_costs_nothing(tmp_path: Path):
    state = GatewayState("1", serving=True, rejected="2", because="bad key", silent=("routes",))
    folder = tmp_path / "nodes" / "gateway-a-1"
    GatewayNote(folder)(state)
    assert gateway_state(tmp_path, "gateway-a-1") is None
    folder.mkdir(parents=True)
    GatewayNote(folder)(state)
    assert gateway_state(tmp_path, "gateway-a-1") == state
