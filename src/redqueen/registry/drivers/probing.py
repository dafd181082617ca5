"""Asks instances whether they accept connections, all at once, within a short limit."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from redqueen.registry.eviction import Probe
from redqueen.registry.model import Identity, Instance

LIMIT_S = 0.4
_AT_ONCE = 64
_TRIES, _TRY_S, _PAUSE_S = 3, 0.1, 0.05


async def probe_all(instances: Iterable[Instance]) -> dict[Identity, Probe]:
    """Try a TCP connect to each instance; who has no port to call is silent."""
    found: dict[Identity, Probe] = {}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def ask(instance: Instance) -> None:
        async with limiter:
            found[instance.identity] = await _probe(instance, LIMIT_S)

    async with anyio.create_task_group() as group:
        for instance in instances:
            group.start_soon(ask, instance)
    return found


async def probe_suspect(instance: Instance) -> Probe:
    """Try one instance a few times within about 0.3 s; one connection that it accepts suffices."""
    found = Probe.SILENT
    for number in range(_TRIES):
        if number:
            await anyio.sleep(_PAUSE_S)
        found = await _probe(instance, _TRY_S)
        if found is Probe.ACCEPTED:
            break
    return found


async def _probe(instance: Instance, limit_s: float) -> Probe:
    port = instance.port if instance.port_enabled else instance.secure_port * instance.secure_port_enabled
    if not port:
        return Probe.SILENT
    try:
        with anyio.fail_after(limit_s):
            stream = await anyio.connect_tcp(instance.ip or instance.host, port)
            await stream.aclose()
    except TimeoutError:
        return Probe.SILENT
    except (OSError, ValueError) as error:
        return Probe.REFUSED if _refused(error) else Probe.SILENT
    return Probe.ACCEPTED


def _refused(error: BaseException | None) -> bool:
    """Tell whether a refusal (and not, say, no route) is behind an error of anyio's."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__
    return False
