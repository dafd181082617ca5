"""The agent beside each Envoy: follows the region's inputs and keeps one Envoy serving them.

Its loops: inputs (endpoints by stream, routes by poll), snapshots (debounced, written, confirmed or
taken back), Envoy itself (adopted or started, watched, restarted), and what Envoy saw (tries, figures, players).
Envoy never depends on the agent: it serves on while the agent is dead, and the next agent adopts it.
Without any answer from the region the last good files stay in effect. Enter at `run`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from redqueen import processes
from redqueen.clock import Clock
from redqueen.confine import landlock_abi
from redqueen.errors import InvalidInput, RedQueenError
from redqueen.events import Emit, LoopFailed
from redqueen.gateway.compiler import Compiler, compile
from redqueen.gateway.envoy_admin import admin_client
from redqueen.gateway.envoy_process import Envoy, EnvoyHouse, restart_delay_s, short_lives
from redqueen.gateway.evidence import LogTail, suspects_in, unheard
from redqueen.gateway.figures import Kept, Totals, between, totals_in
from redqueen.gateway.model import (
    Endpoint,
    EndpointsLeftOut,
    EndpointsSuspected,
    EnvoyAdopted,
    EnvoyHandoverFailed,
    EnvoyLost,
    EnvoyStarted,
    EnvoyUnconfined,
    GatewaySettings,
    Inputs,
    RouteInputs,
    Snapshot,
    SourceHeard,
    SourceSilent,
)
from redqueen.gateway.player_log import LOOK_S, NAME, PlayerLog
from redqueen.gateway.ports import (
    EndpointSource,
    EvidenceSink,
    FigureSink,
    NoEvidence,
    NoPlayers,
    OnEnvoy,
    PlayerSink,
    Report,
    RouteSource,
    ignore_envoy,
    ignore_state,
)
from redqueen.gateway.publisher import Publisher
from redqueen.gateway.routes import default_routes
from redqueen.gateway.snapshot_folder import SnapshotFolder
from redqueen.gateway.watches import system_limit, watched_services
from redqueen.processes import ProcessId

DEBOUNCE_S = 0.01
# A rollback is a row in the records: what is read a moment after it shall be in effect a second later.
POLL_ROUTES_S = 0.75
FIRST_INPUTS_S = 1.0
RETRY_S = 1.0
CHECK_S = 1.0
LOOK_FOR_TRIES_S = 0.1
CHECKS_UNTIL_HUNG = 5
SOURCE_TIMEOUT_S = 5.0


async def run(
    settings: GatewaySettings,
    endpoint_source: EndpointSource,
    route_source: RouteSource,
    clock: Clock,
    emit: Emit,
    *,
    drain: anyio.Event,
    report: Report = ignore_state,
    on_envoy: OnEnvoy = ignore_envoy,
    evidence: EvidenceSink | None = None,
    figures: FigureSink | None = None,
    players: PlayerSink | None = None,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a gateway running until `drain` is set; then let clients move on and end Envoy.

    Cancelled instead, it leaves Envoy serving for the next agent. `task_status` is told when Envoy
    first answers. Raises InvalidInput if the media folder cannot be served safely.
    """
    _checked_media_root(settings)
    async with admin_client() as client:
        agent = _Agent(settings, EnvoyHouse(settings, client, clock), clock, emit, report, on_envoy)
        agent.prepare()
        async with anyio.create_task_group() as group:
            agent.within(group)
            group.start_soon(agent.follow, "endpoints", lambda: agent.follow_endpoints(endpoint_source))
            group.start_soon(agent.follow, "routes", lambda: agent.poll_routes(route_source))
            await agent.first_snapshot()
            group.start_soon(agent.publish)
            group.start_soon(agent.keep_envoy, task_status)
            group.start_soon(agent.watch_tries, evidence or NoEvidence())
            group.start_soon(agent.count, figures or Kept())
            group.start_soon(agent.hear_players, players or NoPlayers())
            await drain.wait()
            await agent.drain()
            group.cancel_scope.cancel()


def _checked_media_root(settings: GatewaySettings) -> None:
    settings.media_root.mkdir(parents=True, exist_ok=True)
    real = settings.media_root.resolve()
    if real != settings.media_root:
        raise InvalidInput(
            "gateway.media_root",
            f"{settings.media_root} cannot be served",
            why=f"it leads through a symlink to {real}",
            hint="Give the data folder by its real path",
        )


class _Agent:
    """The agent's knowledge and loops."""

    def __init__(
        self,
        settings: GatewaySettings,
        house: EnvoyHouse,
        clock: Clock,
        emit: Emit,
        report: Report,
        on_envoy: OnEnvoy,
    ) -> None:
        self._settings, self._house, self._clock, self._emit, self._on_envoy = settings, house, clock, emit, on_envoy
        self._folder = SnapshotFolder(settings.folder / "envoy")
        self._publisher = Publisher(self._folder, settings.log, clock, emit, report)
        self._endpoints: tuple[Endpoint, ...] | None = None
        self._routes: RouteInputs | None = None
        self._heard: dict[str, bool] = {}
        self._changed = anyio.Event()
        self._envoy: Envoy | None = None
        self._adopted = False
        self._taken = anyio.Event()
        self._leaving: list[Envoy] = []
        self._draining = False
        self._left_out: tuple[str, ...] = ()
        self._compiled: tuple[Inputs, Snapshot | None] | None = None
        self._compiler = Compiler()
        self._watched_services = watched_services(system_limit())

    def within(self, group: TaskGroup) -> None:
        """Take the group that background work belongs to."""
        self._group = group

    def prepare(self) -> None:
        """Make the folders, and say so if the kernel cannot keep Envoy inside them."""
        self._folder.prepare()
        if landlock_abi() == 0:
            self._emit(EnvoyUnconfined())

    # --- inputs -------------------------------------------------------------------------------

    async def follow(self, source: str, once: Callable[[], Awaitable[None]]) -> None:
        """Ask a source again and again; its failures change nothing but the log."""
        while True:
            try:
                await once()
                because = "it ended"
            except Exception as error:  # noqa: BLE001 - a source's mistake must not close the front door
                because = str(error) or type(error).__name__
            if self._heard.get(source, True):
                self._heard[source] = False
                self._emit(SourceSilent(source, because))
                self._publisher.hear(self._silent())
            await self._clock.sleep(RETRY_S)

    def _hear(self, source: str) -> None:
        was_silent = not self._heard.get(source, True)
        self._heard[source] = True
        if was_silent:
            self._emit(SourceHeard(source))
            self._publisher.hear(self._silent())

    def _silent(self) -> tuple[str, ...]:
        return tuple(sorted(source for source, heard in self._heard.items() if not heard))

    async def follow_endpoints(self, source: EndpointSource) -> None:
        """Take each set of endpoints as it comes."""
        async for endpoints in source.watch():
            self._hear("endpoints")
            if endpoints != self._endpoints:
                self._endpoints = endpoints
                self._changed.set()

    async def poll_routes(self, source: RouteSource) -> None:
        """Take the routes again and again."""
        while True:
            with anyio.fail_after(SOURCE_TIMEOUT_S):
                routes = await source.read()
            self._hear("routes")
            if routes != self._routes:
                self._routes = routes
                self._changed.set()
            await self._clock.sleep(POLL_ROUTES_S)

    # --- snapshots ----------------------------------------------------------------------------

    async def first_snapshot(self) -> None:
        """Have files that Envoy can start from: those on disk, or else of what is known within a second."""
        on_disk = self._folder.load()
        if on_disk is None:
            on_disk = self._folder.load_good()
            if on_disk is not None:
                self._folder.write(on_disk)
        if on_disk is not None:
            self._publisher.start_with(on_disk)
            return
        with anyio.move_on_after(FIRST_INPUTS_S):
            while self._endpoints is None or self._routes is None:
                await self._clock.sleep(0.01)
        # Whatever is known by now: an Envoy that answers 503 is better than a closed port.
        snapshot = self._compile(self._endpoints or (), self._routes or RouteInputs(default_routes()))
        if snapshot is None:
            snapshot = compile(self._inputs((), RouteInputs(default_routes())))
        self._folder.write(snapshot)
        self._publisher.start_with(snapshot)

    async def publish(self) -> None:
        """Turn every change of inputs into a snapshot, and try again while one is not in effect."""
        while True:
            with anyio.move_on_after(RETRY_S):
                await self._changed.wait()
                self._changed = anyio.Event()
                await self._clock.sleep(DEBOUNCE_S)
            await self._turn()

    async def _turn(self) -> None:
        wanted = None
        if self._endpoints is not None and self._routes is not None:
            wanted = self._compile(self._endpoints, self._routes)
        await self._publisher.bring(wanted, self._envoy, newer=self._changed.wait)
        if self._envoy is not None and self._envoy.fingerprint != self._house.fingerprint() and not self._draining:
            await self._succeed(self._envoy)

    def _inputs(self, endpoints: tuple[Endpoint, ...], routes: RouteInputs) -> Inputs:
        settings = self._settings
        return Inputs(
            node_id=settings.envoy_id,
            zone=settings.zone,
            listen_host=settings.listen_host,
            listen_port=settings.listen_port,
            admin_host=settings.admin_host,
            folder=str(self._folder.path),
            media_root=str(settings.media_root),
            endpoints=endpoints,
            routes=routes.routes,
            media_keys=routes.media,
            services=routes.services,
            own_hosts=routes.own_hosts,
            watched_services=self._watched_services,
            tls=settings.tls,
            tls_pair=routes.tls_pair,
            trials=routes.trials,
            pins=routes.pins,
            viewer_secret=routes.viewer_secret,
            latency_bounds_ms=settings.latency_bounds_ms,
            otlp_url=settings.otlp_url,
        )

    def _compile(self, endpoints: tuple[Endpoint, ...], routes: RouteInputs) -> Snapshot | None:
        inputs = self._inputs(endpoints, routes)
        if self._compiled is None or self._compiled[0] != inputs:
            self._compiled = (inputs, self._compile_now(inputs))
        return self._compiled[1]

    def _compile_now(self, inputs: Inputs) -> Snapshot | None:
        try:
            snapshot = self._compiler.compile(inputs)
        except InvalidInput as error:
            self._publisher.refuse("", str(error))
            return None
        left_out = tuple(f"{item.node_id}: {item.because}" for item in snapshot.left_out)
        if left_out != self._left_out:
            self._left_out = left_out
            self._emit(EndpointsLeftOut(left_out))
        return snapshot

    async def watch_tries(self, sink: EvidenceSink) -> None:
        """Tell whoever can ask about each endpoint that Envoy could not reach."""
        tail, told = LogTail(self._settings.log), dict[tuple[str, str], float]()
        while True:
            await self._clock.sleep(LOOK_FOR_TRIES_S)
            try:
                found = suspects_in(tail.read())
                news, told = unheard(found, told, self._clock.monotonic())
                if news:
                    self._emit(EndpointsSuspected(tuple(f"{one.node_id}: {one.because}" for one in news)))
                    with anyio.fail_after(SOURCE_TIMEOUT_S):
                        await sink.suspect(news)
            except Exception as error:  # noqa: BLE001 - without evidence the leases still run out; it is tried again
                self._emit(LoopFailed("gateway.evidence", str(error) or type(error).__name__, RETRY_S))
                await self._clock.sleep(RETRY_S)

    async def hear_players(self, sink: PlayerSink) -> None:
        """Hand on what players say of themselves on media requests."""
        log = PlayerLog(self._folder.path / NAME)
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                lines, dropped = log.read()
                if lines:
                    sink.told(lines, dropped)
            except OSError as error:
                self._emit(LoopFailed("gateway.players", str(error), LOOK_S))

    async def count(self, sink: FigureSink) -> None:
        """Tell each second what Envoy counted in it; a second in which Envoy does not answer is told with the next."""
        watched: ProcessId | None = None
        before: Totals = {}
        while True:
            await self._clock.sleep(1.0 - self._clock.now() % 1.0)
            second, envoy = round(self._clock.now()) - 1, self._envoy
            if envoy is None:
                continue
            try:
                now = totals_in(await envoy.admin.counts())
            except (RedQueenError, msgspec.DecodeError) as error:
                self._emit(LoopFailed("gateway.figures", str(error), 1.0))
                continue
            if watched != envoy.process:
                # What an adopted Envoy counted so far, the agent before this one told.
                watched, before = envoy.process, now if self._adopted else {}
            sink.add(second, between(before, now), now)
            before = now

    # --- Envoy --------------------------------------------------------------------------------

    async def keep_envoy(self, task_status: TaskStatus[None]) -> None:
        """Have an Envoy at all times: adopt or start one, watch it, and begin again when it is lost."""
        lives_s: list[float] = []
        self._take(await self._house.adopt(), because="adopted")
        adopted = self._envoy is not None
        while True:
            born = self._clock.monotonic()
            if self._envoy is None:
                await self._start("none was running" if not lives_s else "the last one was lost")
            if self._envoy is not None:
                await self._publisher.confirm_all(self._envoy, newborn=bool(lives_s) or not adopted)
                task_status.started()
                task_status = anyio.TASK_STATUS_IGNORED
                await self._until_lost()
            lives_s = [*lives_s[-9:], self._clock.monotonic() - born]
            delay_s = restart_delay_s(lives_s)
            if short_lives(lives_s) >= 3:
                self._publisher.go_back("Envoy ended three times within seconds")
            await self._clock.sleep(delay_s)

    async def _start(self, because: str) -> None:
        try:
            await self._born(self._house.start, because)
        except RedQueenError as error:
            self._emit(EnvoyLost(0, str(error), 0.0))

    async def _born(self, start: Callable[[], Awaitable[Envoy]], because: str) -> None:
        began = self._clock.monotonic()
        self._take(await start(), because=because, took_ms=(self._clock.monotonic() - began) * 1000)

    def _take(self, found: Envoy | None, *, because: str, took_ms: float = 0.0) -> None:
        self._envoy = found
        self._taken.set()
        self._taken = anyio.Event()
        if found is None:
            return
        self._on_envoy(found.process)
        self._adopted = because == "adopted"
        event = EnvoyAdopted(found.process.pid)
        self._emit(event if self._adopted else EnvoyStarted(found.process.pid, because, round(took_ms, 1)))

    async def _until_lost(self) -> None:
        """Return when the current Envoy is gone; one that does not answer is ended."""
        while self._envoy is not None:
            watched = self._envoy
            because = await self._lost(watched)
            if self._envoy is not watched:
                continue  # its successor has taken over
            if self._draining:
                await anyio.sleep_forever()
            self._envoy = None
            self._on_envoy(None)
            self._publisher.envoy_lost()
            self._emit(EnvoyLost(watched.process.pid, because, 0.0))

    async def _lost(self, watched: Envoy) -> str:
        because, taken = "it exited", self._taken
        async with anyio.create_task_group() as group:

            async def check() -> None:
                nonlocal because
                missed = 0
                while missed < CHECKS_UNTIL_HUNG:
                    await self._clock.sleep(CHECK_S)
                    missed = 0 if await watched.admin.is_alive() else missed + 1
                because = f"it did not answer {CHECKS_UNTIL_HUNG} times"
                self._house.kill(watched.process)

            async def until_succeeded() -> None:
                await taken.wait()
                group.cancel_scope.cancel()

            group.start_soon(check)
            group.start_soon(until_succeeded)
            await processes.wait_exit(watched.process)
            group.cancel_scope.cancel()
        return because

    async def _succeed(self, old: Envoy) -> None:
        """Have an Envoy with the new flags take the old one's sockets over, or else share its port and drain it."""
        because = "flags, binary or bootstrap changed"
        try:
            await self._born(lambda: self._house.succeed(old), because)
            end_old = self._house.outlive
        except RedQueenError as error:
            self._emit(EnvoyHandoverFailed(old.process.pid, str(error)))
            await self._start(because)
            end_old = self._house.drain
        if self._envoy is not None and self._envoy is not old:
            await self._publisher.confirm_all(self._envoy, newborn=True)
            # In the background: the newcomer's snapshots must not wait for the old one's last clients.
            self._leaving.append(old)
            self._group.start_soon(self._let_go, old, end_old)

    async def _let_go(self, old: Envoy, end: Callable[[Envoy], Awaitable[None]]) -> None:
        await end(old)
        self._leaving.remove(old)

    async def drain(self) -> None:
        """Let clients move on, wait for requests in flight, end Envoy."""
        self._draining = True
        if self._envoy is not None:
            await self._house.drain(self._envoy)
            self._on_envoy(None)
        for old in self._leaving:
            # Its successor is gone, so nobody else would end it.
            await processes.stop(old.process, grace_s=1)
