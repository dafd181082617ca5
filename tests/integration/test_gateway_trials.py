"""A gateway node, its registry and the records as they are: what is written there is in effect in under two seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest
from arms_rig import arm_of, viewer_in
from node_rig import nodes
from policy_region import Node
from registry_node import say

from redqueen import config
from redqueen.accounts.viewer_keys import ViewerKeys
from redqueen.clock import SystemClock
from redqueen.delivery.pins import Pins
from redqueen.events import discard
from redqueen.fleet.datadir import registry_key
from redqueen.fleet.model import Role
from redqueen.registry.client import Registrar, watch
from redqueen.registry.model import Instance, Status
from redqueen.registry.rights import REGION
from redqueen.registry.rights import mint as region_token
from redqueen.roles.gateway import service_trials
from redqueen.roles.stores import Stores
from redqueen.store.ports import Delete, Put, Records
from redqueen.telemetry.model import FigureBin
from redqueen.trials.following import ARMED
from redqueen.trials.model import BUCKETS, Armed, ArmedArm, Audience, Subject
from redqueen.viewers import COOKIE, mint

pytestmark = pytest.mark.anyio
CANARY = "api--r1-canary"
TRIAL = Armed(
    "api-r1",
    Subject.RELEASE,
    "api",
    0xFEDC_BA98_7654_3210,
    "api",
    0x0123_4567_89AB_CDEF,
    (
        ArmedArm("canary", 0, BUCKETS // 2, group=CANARY, treatment=True),
        ArmedArm("control", BUCKETS // 2, BUCKETS),
    ),
)
[ROUTED] = service_trials([TRIAL])


@dataclass
class Running:
    """A gateway node with two nodes behind it, and the records that it reads."""

    url: str
    records: Records
    secret: bytes
    telemetry: str
    token: str
    client: httpx.AsyncClient

    async def who(self, viewer: int) -> str:
        headers = {"cookie": f"{COOKIE}={mint(self.secret, viewer)}"}
        answer = await self.client.get(f"{self.url}/api/v1/x", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text.partition(" ")[0]

    async def until(self, viewer: int, node: str) -> float:
        began = time.monotonic()
        with anyio.fail_after(30):
            while await self.who(viewer) != node:
                await anyio.sleep(0.01)
        return time.monotonic() - began


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    clock = SystemClock()
    with nodes(folder / "region") as region:
        async with AsyncExitStack() as stack:
            await region.prepare()
            ports = [int(url.rpartition(":")[2]) for url in region.registry_urls]
            region.start(Role.REGISTRY, "a", ports[0])
            region.start(Role.REGISTRY, "b", ports[1])
            gateway = region.start(Role.GATEWAY, "a")
            stores = Stores.open(region.data_dir, config.load(region.data_dir), clock, discard)
            stack.push_async_callback(stores.records.close)
            token = region_token(registry_key(region.data_dir), REGION)
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            for node in (Node("own", "api"), Node("canary", CANARY)):
                stack.callback((await node.start()).close)
                registrar = Registrar(region.registry_urls, _instance(node), clock, discard, token=token)
                await group.start(registrar.run)
                await say(registrar, Status.UP)
            with anyio.fail_after(60):
                while not region.is_ready(gateway):
                    await anyio.sleep(0.05)
                telemetry = ""
                async for instances in watch(region.registry_urls, clock=clock, emit=discard, token=token):
                    known = {one.app.lower(): one.metadata.get("telemetry", "") for one in instances}
                    telemetry = known.get("gateway", "")
                    if telemetry and CANARY in known:
                        break
            client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
            secret = await ViewerKeys(stores.records, clock).secret()
            found = Running(region.url, stores.records, secret, telemetry, token, client)
            with anyio.fail_after(30):
                while (await client.get(f"{region.url}/api/v1/x")).status_code != 200:
                    await anyio.sleep(0.05)
            yield found


def _instance(node: Node) -> Instance:
    return Instance(
        app=node.service.upper(),
        instance_id=f"{node.name}-node",
        host="127.0.0.1",
        ip="127.0.0.1",
        port=node.port,
        vip=node.service,
        zone="a",
        lease_s=30,
    )


async def test_trials_and_pins_are_in_effect_within_two_seconds_and_the_figures_are_told(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        viewer, control = (viewer_in(name, ROUTED) for name in ("canary", "control"))
        pins, took = Pins(region.records), list[float]()
        for _ in range(2):
            await region.records.put(ARMED, Put("api-r1", msgspec.json.encode(TRIAL)))
            took.append(await region.until(viewer, "canary"))
            assert await region.who(control) == "own"
            await region.records.delete(ARMED, Delete("api-r1"))
            took.append(await region.until(viewer, "own"))
            await pins.pin("api", CANARY)
            took.append(await region.until(control, "canary"))
            await pins.unpin("api")
            took.append(await region.until(control, "own"))
        print(f"in effect after {statistics.median(took):.2f} s as a rule, {max(took):.2f} s at most")  # noqa: T201
        assert statistics.median(took) < 2 and max(took) < 10, took
        await region.records.put(ARMED, Put("api-r1", msgspec.json.encode(TRIAL)))
        await region.until(viewer, "canary")
        headers = {"authorization": f"Bearer {region.token}"}
        bins: list[FigureBin] = []
        with anyio.fail_after(30):
            while not any(one.arm == "canary" and any(one.latency) for one in bins):
                answer = await region.client.get(
                    f"{region.telemetry}/telemetry/v1/figures?since={int(time.time()) - 5}", headers=headers
                )
                bins = msgspec.msgpack.decode(answer.content, type=list[FigureBin])
                await anyio.sleep(0.1)
        metrics = await region.client.get(f"{region.telemetry}/metrics", headers=headers)
        assert 'trial="api-r1",arm="canary"}' in metrics.text
        assert (await region.client.get(f"{region.telemetry}/metrics")).status_code == 401
        for path in ("/metrics", "/telemetry/v1/figures", "/telemetry/v1/sessions?since=1", "/metri%63s"):
            assert (await region.client.get(region.url + path, headers=headers)).status_code == 404


def test_only_releases_that_the_gateway_can_judge_by_itself_are_routed() -> None:
    assert arm_of(0, ROUTED) is not None
    assert [arm.service for arm in ROUTED.arms] == [CANARY, "api"]
    flag = msgspec.structs.replace(TRIAL, subject=Subject.FLAG)
    mobile = msgspec.structs.replace(TRIAL, audience=Audience(devices=("mobile",)))
    zone = msgspec.structs.replace(TRIAL, audience=Audience(zones=("b",)))
    assert service_trials([flag, mobile, msgspec.structs.replace(TRIAL, subject=Subject.NOTHING)]) == ()
    assert service_trials([zone])[0].zones == ("b",)
