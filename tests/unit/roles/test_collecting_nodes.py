"""Whom the leader asks, who counts as silent, and what a node may answer."""

from __future__ import annotations

import json

import anyio
import anyio.abc
import msgspec
import pytest

from redqueen.registry.model import Instance, Status
from redqueen.roles.collecting import KNOWN_S, NodeSources, Roster, api_nodes, gateways
from redqueen.telemetry.model import FigureBin
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
BIN = FigureBin(100, "g", "a", "shop", "", "", 3, 0, 0, (3, *(0,) * 24))


def instance(app: str, node: str, **changes: object) -> Instance:
    values: dict[str, object] = {"app": app, "instance_id": node, "host": "127.0.0.1", "port": 81, "status": Status.UP}
    return Instance(**{**values, **changes})  # type: ignore[arg-type]


def test_api_nodes_and_their_groups_are_asked_those_that_drain_too_and_nobody_else() -> None:
    found = api_nodes(
        [
            instance("API", "a"),
            instance("API--R3-CANARY", "c"),
            instance("API", "drains", status=Status.OUT_OF_SERVICE),
            instance("API", "starts", status=Status.STARTING),
            instance("APIARY", "x"),
            instance("SHOP--API", "y"),
            instance("API", "mute", port=0),
        ]
    )
    assert found == {node: "http://127.0.0.1:81" for node in ("a", "c", "drains")}


def test_a_gateway_is_asked_where_it_says_and_a_stranger_who_says_so_is_not() -> None:
    told = {"telemetry": "http://127.0.0.1:9/"}
    found = gateways(
        [
            instance("GATEWAY", "g", metadata=told),
            instance("GATEWAY", "older"),
            instance("SHOP", "s", metadata=told),
            instance("GATEWAY", "odd", metadata={"telemetry": "file:///etc/passwd"}),
        ]
    )
    assert found == {"g": "http://127.0.0.1:9"}


def test_a_node_that_left_is_missing_for_as_long_as_it_is_wanted_unless_it_comes_back() -> None:
    roster = Roster({}, {}).changed({"a": "u", "b": "u"}, 0.0).changed({"a": "u"}, 10.0)
    assert roster.missing(10.0 + KNOWN_S - 1) == ("b",)
    assert roster.missing(10.0 + KNOWN_S) == ()
    assert roster.changed({"a": "u", "b": "u"}, 12.0).missing(12.0) == ()


class Door:
    """A node's door that answers everybody alike, or hangs."""

    def __init__(self, body: bytes, headers: str = "", *, hang: bool = False) -> None:
        self.body, self.headers, self.hang = body, headers, hang
        self.heard: list[bytes] = []
        self.url = ""

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, no database
        self.url = f"http://127.0.0.1:{port}"
        task_status.started()
        async with listener:
            await listener.serve(self._answer)

    async def _answer(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            self.heard.append(await stream.receive())
            if self.hang:
                await anyio.sleep_forever()
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(self.body)}\r\nconnection: close\r\n{self.headers}\r\n"
            await stream.send(head.encode() + self.body)


async def test_each_node_is_asked_with_the_regions_token_and_one_that_hangs_lies_or_is_late_is_silent() -> None:
    good = msgspec.msgpack.encode([BIN])
    doors = {
        "good": Door(good, "x-rq-until: 150\r\n"),
        "late": Door(good, "x-rq-until: 148\r\n"),
        "hangs": Door(good, hang=True),
        "lies": Door(json.dumps({"no": "msgpack"}).encode()),
    }
    sources = NodeSources((), "the-token", VirtualClock())
    async with anyio.create_task_group() as group:
        for door in doors.values():
            await group.start(door.serve)
        group.start_soon(sources.follow)
        await anyio.sleep(0.05)
        sources._gateways = Roster({node: door.url for node, door in doors.items()}, {})
        found = await sources.figures(100, 150)
        group.cancel_scope.cancel()
    assert found.rows == (BIN,)
    assert sorted(found.silent) == ["hangs", "late", "lies"]
    assert b"authorization: Bearer the-token" in doors["good"].heard[0]
    assert b"GET /telemetry/v1/figures?since=100 " in doors["good"].heard[0]
