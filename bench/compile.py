"""How long the gateway's compiler takes: 10,000 instances behind 1,000 routes, then one change at a time.

Each figure is checked for being right as well: what the incremental compiler gives is compared byte
by byte with a compilation from scratch. Enter at `main`; `--rounds` says how often each is repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import statistics
import sys
import time

from record import Bar, publish, spread
from redqueen.gateway.compiler import Compiler, compile
from redqueen.gateway.model import Endpoint, Inputs, Policy, Priority, Route
from redqueen.gateway.routes import default_routes

INSTANCES, ROUTES = 10_000, 1_000


def endpoint(number: int) -> Endpoint:
    """Give one of the region's instances."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    zone = "abc"[number // ROUTES % 3]
    return Endpoint(f"service-{number % ROUTES:04}", f"node-{number:05}", address, 8080, zone, "1.4.2")


def route(number: int) -> Route:
    """Give one of the region's routes: every tenth has a host of its own, every seventh a longer path."""
    path = f"/s{number:04}" + ("/v1/items" if number % 7 == 0 else "")
    hosts = (f"s{number}.example",) if number % 10 == 0 else ()
    policy = Policy(priority=tuple(Priority)[number % 3], timeout_s=float(1 + number % 30))
    name = f"service-{number:04}"
    return Route(path, name, policy, hosts=hosts, declared_by=name, since_ms=number)


def region() -> Inputs:
    """Give everything a gateway of the large region knows."""
    return Inputs(
        node_id="gateway-a-1",
        zone="a",
        listen_host="127.0.0.1",
        listen_port=8080,
        admin_host="127.0.0.1",
        folder="/data/nodes/gateway-a-1/envoy",
        media_root="/data/objects/media",
        endpoints=tuple(endpoint(number) for number in range(INSTANCES)),
        routes=(*default_routes(), *(route(number) for number in range(ROUTES))),
    )


def fresh(inputs: Inputs, *, gone: int) -> Inputs:
    """Give the same region without one instance, each value a new object, as a registry's stream tells it."""
    left = [dataclasses.replace(one) for number, one in enumerate(inputs.endpoints) if number != gone]
    return dataclasses.replace(inputs, endpoints=tuple(left))


def measured(rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Return the milliseconds of whole compilations, one-instance changes and one-route changes."""
    inputs = region()
    whole, instance, routed = [], [], []
    for _ in range(rounds):
        gc.collect()
        began = time.perf_counter()
        compile(inputs)
        whole.append((time.perf_counter() - began) * 1000)
    compiler = Compiler()
    compiler.compile(inputs)
    for number in range(rounds * 5):
        changed = fresh(inputs, gone=number * 37 % INSTANCES)
        gc.collect()
        began = time.perf_counter()
        snapshot = compiler.compile(changed)
        instance.append((time.perf_counter() - began) * 1000)
        if number < 2 and snapshot != compile(changed):
            raise SystemExit("the incremental compiler gave other bytes")
    for number in range(rounds):
        routes = (*inputs.routes, dataclasses.replace(route(ROUTES + number), service="service-0001"))
        began = time.perf_counter()
        compiler.compile(dataclasses.replace(inputs, routes=routes))
        routed.append((time.perf_counter() - began) * 1000)
    return whole, instance, routed


def main() -> int:
    """Measure, print, write the result; 0 when both bars were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    whole, instance, routed = measured(rounds)
    sizes = [len(content) for content in compile(region()).files.values()]
    return publish(
        "compile",
        "10,000 instances and 1,000 routes compile in under 1 s, a one-instance change in under 20 ms",
        [
            Bar("everything from scratch, median", statistics.median(whole), 1000, "ms"),
            Bar("one instance gone, median", statistics.median(instance), 20, "ms"),
        ],
        {
            "scratch_ms": spread(whole),
            "one_instance_ms": spread(instance),
            "one_instance_p99_ms": round(statistics.quantiles(instance, n=100)[98], 3),
            "one_route_ms": spread(routed),
            "files": len(sizes),
            "bytes": sum(sizes),
            "routes_file_bytes": len(compile(region()).files["rds.json"]),
        },
        settings={"instances": INSTANCES, "routes": ROUTES, "rounds": rounds},
    )


if __name__ == "__main__":
    sys.exit(main())
