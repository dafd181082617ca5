"""Other people's Eureka clients, unchanged, against two real registries over sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from foreign_clients import KINDS, ForeignClient, Kind, Relay
from registry_node import RegistryProcess

from redqueen.testing.region import free_port

NEIGHBOUR = "neighbour:1"


class Pair:
    """Two registries that are peers, each behind a relay."""

    def __init__(self, folder: Path) -> None:
        one, other = free_port(), free_port()
        self.folder = folder
        self.registries = [RegistryProcess(one, [other], folder), RegistryProcess(other, [one], folder)]
        self.relays = [Relay(one), Relay(other)]
        self.urls = [relay.url for relay in self.relays]

    def start(self) -> None:
        for registry in self.registries:
            registry.launch()
        for registry in self.registries:
            registry.wait_ready()

    def restart_empty(self) -> None:
        """Kill both at once and start them without anything that they knew."""
        self.close()
        for snapshot in self.folder.glob("*.json"):
            snapshot.unlink()
        self.start()

    def close(self) -> None:
        for registry in self.registries:
            registry.kill()

    def call(self, method: str, path: str, *, at: int = 0, body: object = None) -> httpx.Response:
        url = f"{self.registries[at].url}/eureka/v2/{path}"
        headers = {"accept": "application/json"}
        return httpx.request(method, url, json=body, headers=headers, timeout=30, trust_env=False)

    def know(self, app: str, instance_id: str, status: str) -> bool:
        """Tell whether both registries say this of an instance ("" for that they do not know it)."""
        answers = [self.call("GET", f"apps/{app}/{instance_id}", at=at) for at in (0, 1)]
        return all((a.json()["instance"]["status"] if a.status_code == 200 else "") == status for a in answers)

    def renewed_ms(self, app: str, instance_id: str) -> int:
        return self.call("GET", f"apps/{app}/{instance_id}").json()["instance"]["leaseInfo"]["lastRenewalTimestamp"]

    def register(self, app: str, instance_id: str, port: int) -> None:
        instance = {
            "app": app,
            "instanceId": instance_id,
            "hostName": "127.0.0.1",
            "ipAddr": "127.0.0.1",
            "vipAddress": app.lower(),
            "status": "UP",
            "port": {"$": port, "@enabled": "true"},
            "dataCenterInfo": {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"},
            "leaseInfo": {"renewalIntervalInSecs": 30, "durationInSecs": 90},
        }
        assert self.call("POST", f"apps/{app}", at=1, body={"instance": instance}).status_code == 204

    def heard(self, method: str, path: str) -> int:
        return sum(relay.heard(method, path) for relay in self.relays)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("registries"))
    try:
        pair.start()
        yield pair
    finally:
        pair.close()
        for relay in pair.relays:
            relay.close()


def test_the_answer_to_head_has_no_body_that_the_next_answer_would_be_taken_for(pair: Pair) -> None:
    with httpx.Client(base_url=pair.registries[0].url, timeout=30, trust_env=False) as one:
        for path in ("/eureka/v2/apps", "/eureka/v2/nothing", "/registry/v1/nothing"):
            assert one.head(path).content == b""
            assert one.get("/registry/v1/health").json()["epoch"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_foreign_client_lives_with_the_registries_as_with_eureka(kind: Kind, pair: Pair, tmp_path: Path) -> None:
    app, own, neighbours = f"FOREIGN-{kind.name.upper()}", f"host:{kind.name}:9999", f"NEAR-{kind.name.upper()}"
    client = ForeignClient(kind.prepare(), pair.urls, app, own, tmp_path / "client.log")
    try:
        client.until(lambda: pair.know(app, own, "UP"), "both registries know it")
        client.until(lambda: client.view.get(own) == "UP", "it reads itself")
        first_ms = pair.renewed_ms(app, own)
        client.until(lambda: pair.renewed_ms(app, own) > first_ms, "it renews")
        follows_others(client, pair, neighbours)
        is_overridden(kind, client, pair, app, own)
        with client.paused(lambda: not any(relay.open for relay in pair.relays)):
            pair.restart_empty()
        client.until(lambda: pair.know(app, own, "UP"), "it registered again with registries that forgot it")
        client.say("leave")
        assert client.ended() == 0
        assert pair.know(app, own, "")
    finally:
        client.kill()


def follows_others(client: ForeignClient, pair: Pair, app: str) -> None:
    """A neighbour that comes and goes at the other registry comes and goes in the client's view, by its deltas."""
    asked = pair.heard("GET", "/eureka/(v2/)?apps/delta")
    pair.register(app, NEIGHBOUR, 8888)
    client.until(lambda: client.view.get(NEIGHBOUR) == "UP", "it sees its neighbour")
    assert pair.call("DELETE", f"apps/{app}/{NEIGHBOUR}", at=1).status_code == 200
    client.until(lambda: NEIGHBOUR not in client.view, "it sees its neighbour leave")
    assert pair.heard("GET", "/eureka/(v2/)?apps/delta") > asked


def is_overridden(kind: Kind, client: ForeignClient, pair: Pair, app: str, own: str) -> None:
    """An override shows in both registries and in the client's own view, and goes again."""
    if kind.overrides:
        client.say("override OUT_OF_SERVICE")
    else:
        assert pair.call("PUT", f"apps/{app}/{own}/status?value=OUT_OF_SERVICE").status_code == 200
    client.until(lambda: pair.know(app, own, "OUT_OF_SERVICE"), "it is overridden")
    client.until(lambda: client.view.get(own) == "OUT_OF_SERVICE", "it sees its override")
    if kind.overrides:
        client.say("clear")
    else:
        assert pair.call("DELETE", f"apps/{app}/{own}/status?value=UP").status_code == 200
    client.until(lambda: pair.know(app, own, "UP"), "the override is gone")
    client.until(lambda: client.view.get(own) == "UP", "it sees its override gone")
