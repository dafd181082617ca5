"""What is tried on which service, as a gateway can serve it now: the groups that answer, and the script's plan.

A trial's arm goes to a group of nodes of its own; a pin sends a whole service to one. A group without
a node that is UP answers nobody: its viewers go where they would go without a trial and are not
counted, and a pin to it does not hold. Refuses (leaves out, with the reason) trials that cannot be
compiled. Services without trial or pin get nothing from here. Enter at `arrangements` and `arranged`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redqueen.gateway.arms_script import ARMS, ARMS_HEADER, PLAN
from redqueen.gateway.claims import NAME
from redqueen.gateway.envoy_json import FILTER, filter_named
from redqueen.gateway.model import Endpoint, EndpointStatus, Inputs, LeftOut, ServiceTrial
from redqueen.gateway.service_routes import path_match

FILTER_NAME = "arms"
GROUP_MARK = "--"
"""Stands in a group's name between its service and the rest; declared services have no such names."""
_BUCKETS = 1 << 20
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_MOST_ARMS = 16


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where one service's requests go: all to `home`, but those of an arm to its group."""

    home: str
    groups: tuple[tuple[str, str], ...] = ()
    """What the script says of a request (`<trial>=<arm>`), and the group that answers it."""
    plan: str = ""
    """What the script works by; empty: nothing is tried."""
    only: str = ""
    """Taken are only requests of which the script says this: an arm's own route."""
    besides: tuple[str, ...] = ()
    """Requests of which the script says one of these are not taken: their arms have other routes."""
    path: tuple[str, bool] | None = None
    """Taken are only requests for this path (exactly it, or what lies below it too); None: all that the route takes."""


def base_service(name: str) -> str:
    """Name the service that a group belongs to; any other service is its own."""
    return name.partition(GROUP_MARK)[0]


def living_groups(endpoints: Mapping[str, Iterable[Endpoint]]) -> frozenset[str]:
    """Name the groups that have a node which is UP, of all endpoints by service."""
    groups = ((service, found) for service, found in endpoints.items() if GROUP_MARK in service)
    return frozenset(service for service, found in groups if any(one.status is EndpointStatus.UP for one in found))


def groups_named(inputs: Inputs) -> frozenset[str]:
    """Name the groups that trials and pins speak of, living or not."""
    arms = (arm.service for trial in inputs.trials for arm in trial.arms)
    return frozenset(name for name in (*arms, *(group for _, group in inputs.pins)) if GROUP_MARK in name)


def arrangements(inputs: Inputs, living: frozenset[str]) -> tuple[Mapping[str, Arrangement], tuple[LeftOut, ...]]:
    """Return the services under a trial or a pin, and what of both cannot be served now, with the reason."""
    found: dict[str, Arrangement] = {}
    left_out: list[LeftOut] = []
    for service, group in inputs.pins:
        because = _unpinnable(service, group, living)
        if because is None:
            found[service] = Arrangement(group)
        else:
            left_out.append(LeftOut(service, f"pin to {group}: {because}"))
    trials: dict[str, list[ServiceTrial]] = {}
    for trial in sorted(inputs.trials, key=lambda one: one.trial):
        because = _uncompilable(trial, inputs)
        if because is not None:
            left_out.append(LeftOut(trial.trial, because))
        elif not trial.zones or inputs.zone in trial.zones:
            served, gone = _served(trial, living)
            trials.setdefault(trial.service, []).append(served)
            left_out += gone
    for service, tried in trials.items():
        home = found[service].home if service in found else service
        found[service] = _arranged(home, tried, inputs)
    return found, tuple(left_out)


def arms_filter() -> dict[str, Any]:
    """Give the filter of the chain: it is not made for a request unless its route brings a plan."""
    code = {"inline_string": ARMS}
    # Headers that it adds have no say in the route, but where it says so itself.
    script = filter_named(FILTER_NAME, "lua.v3.Lua", default_source_code=code, clear_route_cache=False)
    return {**script, "disabled": True}


def arranged(entries: Sequence[dict[str, Any]], arrangement: Arrangement | None) -> list[dict[str, Any]]:
    """Give a route's entries as its service is arranged: each once more for each group, in front of the plain ones."""
    if arrangement is None:
        return list(entries)
    if arrangement.path is not None:
        path = path_match(arrangement.path[0], exact=arrangement.path[1])
        entries = [_cut(entry, path) for entry in entries]
    if arrangement.only:
        return [_sent(_where(entry, _says(arrangement.only)), arrangement.home) for entry in entries]
    found = [_sent(_where(entry, _says(words)), group) for words, group in arrangement.groups for entry in entries]
    besides = [_never_says(words) for words in arrangement.besides]
    plain = [_sent(_where(entry, *besides), arrangement.home) for entry in entries]
    return found + [_planned(entry, arrangement.plan) for entry in plain]


def _cut(entry: dict[str, Any], path: dict[str, Any]) -> dict[str, Any]:
    headers = entry["match"].get("headers")
    return {**entry, "match": {**path, **({"headers": headers} if headers else {})}}


def _where(entry: dict[str, Any], *conditions: dict[str, Any]) -> dict[str, Any]:
    match = entry["match"]
    return {**entry, "match": {**match, "headers": [*match.get("headers", ()), *conditions]}} if conditions else entry


def _says(words: str) -> dict[str, Any]:
    # The script says so; nobody outside can send that header.
    return {"name": ARMS_HEADER, "string_match": {"exact": words}}


def _never_says(words: str) -> dict[str, Any]:
    return {**_says(words), "invert_match": True, "treat_missing_header_as_empty": True}


def _sent(entry: dict[str, Any], cluster: str) -> dict[str, Any]:
    # Redirects are sent nowhere.
    return {**entry, "route": {**entry["route"], "cluster": cluster}} if "route" in entry else entry


def _planned(entry: dict[str, Any], plan: str) -> dict[str, Any]:
    if not plan:
        return entry
    script = {"@type": FILTER + "lua.v3.LuaPerRoute", "filter_context": {PLAN: plan}}
    return {**entry, "typed_per_filter_config": {**entry.get("typed_per_filter_config", {}), FILTER_NAME: script}}


def _unpinnable(service: str, group: str, living: frozenset[str]) -> str | None:
    if base_service(group) != service or not NAME.fullmatch(group) or group == service:
        return f"it is no group of {service}"
    return None if group in living else "it has no node that is UP; the service's own nodes answer"


def _uncompilable(trial: ServiceTrial, inputs: Inputs) -> str | None:
    if len(inputs.viewer_secret) != 16:
        return "the viewers' secret is not known"
    if not _WORD.fullmatch(trial.trial) or not trial.arms or len(trial.arms) > _MOST_ARMS:
        return f"it must have a plain name and 1 to {_MOST_ARMS} arms"
    if not all(0 <= salt < 1 << 64 for salt in (trial.salt, trial.layer_salt)):
        return "its salts must have 64 bits"
    ranges = [(trial.layer_first, trial.layer_last), *((arm.first, arm.last) for arm in trial.arms)]
    if not all(0 <= first <= last <= _BUCKETS for first, last in ranges):
        return f"its ranges must lie within 0 and {_BUCKETS}"
    for arm in trial.arms:
        if not _WORD.fullmatch(arm.name) or not NAME.fullmatch(arm.service):
            return f"arm {arm.name[:60]!r} of {arm.service[:60]!r} has no plain name"
        if base_service(arm.service) != trial.service:
            return f"arm {arm.name}: {arm.service} is no group of {trial.service}"
    return None


def _served(trial: ServiceTrial, living: frozenset[str]) -> tuple[ServiceTrial, list[LeftOut]]:
    kept = tuple(arm for arm in trial.arms if arm.service == trial.service or arm.service in living)
    gone = [
        LeftOut(trial.trial, f"arm {arm.name}: {arm.service} has no node that is UP; the service's own nodes answer")
        for arm in trial.arms
        if arm not in kept
    ]
    return replace(trial, arms=kept), gone


def _arranged(home: str, trials: Iterable[ServiceTrial], inputs: Inputs) -> Arrangement:
    groups: list[tuple[str, str]] = []
    words = [inputs.viewer_secret.hex(), "secure" if inputs.tls is not None else "plain"]
    for trial in trials:
        words += [trial.trial, trial.service, f"{trial.salt:016x}", f"{trial.layer_salt:016x}"]
        words += [str(trial.layer_first), str(trial.layer_last), str(len(trial.arms))]
        for arm in trial.arms:
            moved = arm.service != trial.service
            words += [arm.name, str(arm.first), str(arm.last), "moved" if moved else "own"]
            if moved:
                groups.append((f"{trial.trial}={arm.name}", arm.service))
    return Arrangement(home, tuple(groups), " ".join(words))
