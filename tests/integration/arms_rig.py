"""A gateway with a service under trial: real Envoy, nodes of the service and of its groups in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import xxhash
from gateway_rig import Endpoints, Gateway, Routes, gateway, jwks
from policy_region import Node

from redqueen.gateway.figures import Kept
from redqueen.gateway.model import ArmRange, GatewayState, MediaKeys, Policy, Route, RouteInputs, ServiceTrial
from redqueen.gateway.routes import default_routes
from redqueen.viewers import COOKIE, mint, new_viewer

SECRET = bytes(range(16))
BUCKETS = 1 << 20
CANARY, BASELINE = "shop--r1-canary", "shop--r1-baseline"
TRIAL = ServiceTrial(
    "shop-r1",
    "shop",
    0xFEDC_BA98_7654_3210,
    0x0123_4567_89AB_CDEF,
    0,
    BUCKETS,
    (
        ArmRange("canary", 0, 300_000, CANARY),
        ArmRange("baseline", BUCKETS - 300_000, BUCKETS, BASELINE),
        ArmRange("control", 300_000, BUCKETS - 300_000, "shop"),
    ),
)
SHOP = Route("/shop", "shop", Policy(slow_s=None), declared_by="shop")


def bucket(viewer: int, salt: int) -> int:
    """Give a viewer's bucket, as everybody else computes it."""
    return xxhash.xxh64_intdigest(viewer.to_bytes(8, "little"), seed=salt) >> 44


def arm_of(viewer: int, trial: ServiceTrial = TRIAL) -> ArmRange | None:
    """Give a viewer's arm, None for one who is not in the trial."""
    if not trial.layer_first <= bucket(viewer, trial.layer_salt) < trial.layer_last:
        return None
    at = bucket(viewer, trial.salt)
    return next((arm for arm in trial.arms if arm.first <= at < arm.last), None)


def viewer_in(name: str, trial: ServiceTrial = TRIAL) -> int:
    """Give a viewer of an arm; "" gives one who is not in the trial."""
    while True:
        viewer = new_viewer()
        arm = arm_of(viewer, trial)
        if (arm.name if arm else "") == name:
            return viewer


def cookie_of(viewer: int, *more: str) -> dict[str, str]:
    """Give the request header by which a viewer is known."""
    return {"cookie": "; ".join([f"{COOKIE}={mint(SECRET, viewer)}", *more])}


@dataclass
class TrialRegion:
    """A running gateway, its nodes by name, and the sources that a test may change."""

    running: Gateway
    nodes: dict[str, Node]
    endpoints: Endpoints
    told: Routes
    _known: dict[str, int] = field(default_factory=dict[str, int])
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30, trust_env=False))

    @property
    def url(self) -> str:
        return self.running.url

    async def apply(self, **changes: object) -> GatewayState:
        """Change what the product decides, and wait until the gateway serves it."""
        before = self.running.states[-1].version
        self.told.now = replace(self.told.now, **changes)  # pyright: ignore[reportArgumentType]
        return await self.running.until_state(lambda state: state.serving and state.version != before)

    def mark(self) -> None:
        """Forget what came so far."""
        self._known = {node.name: len(node.asked) for node in self.nodes.values()}

    def last(self) -> dict[str, str]:
        """Return the headers of the one request that came since the mark, and set it."""
        new = [node for node in self.nodes.values() if len(node.asked) != self._known.get(node.name, 0)]
        self.mark()
        assert len(new) == 1
        return new[0].asked[-1].headers

    async def who(self, viewer: int | None = None, path: str = "/shop/x", method: str = "GET") -> str:
        """Ask as a viewer, and return which node answered."""
        answer = await self.client.request(method, self.url + path, headers=cookie_of(viewer) if viewer else {})
        assert answer.status_code == 200, answer.text
        return answer.text.partition(" ")[0]


def nodes() -> list[Node]:
    return [Node("own", "shop"), Node("canary", CANARY), Node("baseline", BASELINE)]


@asynccontextmanager
async def trial_region(
    folder: Path, *, figures: Kept | None = None, otlp_url: str = "", **told: object
) -> AsyncIterator[TrialRegion]:
    """Run a gateway over a service and its two groups; the trial is on unless `trials` says otherwise."""
    async with AsyncExitStack() as stack:
        started = nodes()
        for node in started:
            stack.callback((await node.start()).close)
        endpoints = Endpoints(*(node.endpoint() for node in started))
        inputs = RouteInputs((*default_routes(), SHOP), MediaKeys(jwks()), trials=(TRIAL,), viewer_secret=SECRET)
        routes = Routes(replace(inputs, **told))  # pyright: ignore[reportArgumentType]
        running = await stack.enter_async_context(
            gateway(folder, endpoints, routes, figures=figures, otlp_url=otlp_url)
        )
        await running.until_state(lambda state: state.serving)
        region = TrialRegion(running, {node.name: node for node in started}, endpoints, routes)
        stack.push_async_callback(region.client.aclose)
        yield region
