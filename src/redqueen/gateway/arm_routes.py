"""The routes of a release under trial, for the viewers of its arm alone: its code and its routes go together.

A group of nodes may bring routes of its own. Who is sent to it gets these in place of the service's: new
paths, other policies, no longer what the release leaves out. Everybody else is answered as before, so that
where a new path was somebody else's so far, that answer stands beside it, with the trial's plan. Where
that cannot be, the release's routes are held as a whole, with the reason, until the promotion makes them
everybody's: a path that another service claims, a host that is new or given up, a path that is only partly
another's, or one of a service that is itself on trial. Pure. Enter at `own_routes` and `table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from redqueen.gateway.arms import GROUP_MARK, Arrangement, base_service
from redqueen.gateway.claims import METHODS, covers, overlaps, precedence, refusal
from redqueen.gateway.model import LeftOut, Route

Arrangements = Mapping[str, Arrangement]


@dataclass(frozen=True, slots=True)
class Placed:
    """A line of the table: whose answer, how it is arranged, and on which hosts (none: the region's own)."""

    route: Route
    arrangement: Arrangement | None
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """All lines in the order in which they are tried; `routes` are those that some viewer can meet."""

    placed: tuple[Placed, ...]
    routes: tuple[Route, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class _Arm:
    """An arm whose group brings routes: what the script says of its viewers (`<trial>=<arm>`), and the routes."""

    service: str
    words: str
    group: str
    arrangement: Arrangement
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """What an arm's own routes are in the table: lines beside the others, and lines that are not its viewers'."""

    added: tuple[tuple[Route, list[Placed]], ...]
    lost: Mapping[Route, Arrangement]


class _Held(Exception):
    """A release's routes cannot be given to some viewers only; the text says why."""


def own_routes(routes: Iterable[Route]) -> tuple[tuple[Route, ...], dict[str, tuple[Route, ...]]]:
    """Split declared routes into everybody's and those that groups bring, by group."""
    everybodys: list[Route] = []
    groups: dict[str, list[Route]] = {}
    for route in routes:
        (groups.setdefault(route.declared_by, []) if GROUP_MARK in route.declared_by else everybodys).append(route)
    return tuple(everybodys), {group: tuple(found) for group, found in sorted(groups.items())}


def table(
    settled: Sequence[Route],
    arrangements: Arrangements,
    brought: Mapping[str, tuple[Route, ...]],
    own_hosts: Iterable[str] = (),
) -> Table:
    """Return the lines of `settled` routes with what is tried; `brought` are the groups' own routes."""
    own = tuple(own_hosts)
    added: list[tuple[Route, list[Placed]]] = []
    lost: dict[Route, Arrangement] = {}
    left_out: list[LeftOut] = []
    for arm in _arms(settled, arrangements, brought):
        try:
            change = _change(arm, settled, [route for route, _ in added], arrangements, lost, own)
        except _Held as why:
            because = f"the routes of {arm.group} are its viewers' from the promotion on, not before: {why}"
            left_out.append(LeftOut(arm.words, because))
            continue
        added += change.added
        lost.update(change.lost)
    return _merged(settled, arrangements, added, lost, left_out)


def _arms(
    settled: Iterable[Route], arrangements: Arrangements, brought: Mapping[str, tuple[Route, ...]]
) -> Iterable[_Arm]:
    for service, arrangement in sorted(arrangements.items()) if brought else ():
        since_ms = min((one.since_ms for one in settled if one.declared_by == service), default=0)
        for words, group in arrangement.groups:
            routes = tuple(_as_of(one, service, group, since_ms) for one in brought.get(group, ()))
            if routes:
                yield _Arm(service, words, group, arrangement, routes)


def _as_of(route: Route, service: str, group: str, since_ms: int) -> Route:
    """Give a group's route as the service's own would be, so that what is the same is seen to be."""
    target = service if base_service(route.service) == service or route.service == group else route.service
    return replace(route, service=target, declared_by=service, since_ms=since_ms)


def _usual(route: Route, arrangements: Arrangements) -> Arrangement | None:
    return None if route.redirect is not None else arrangements.get(route.service)


def _change(
    arm: _Arm,
    settled: Sequence[Route],
    added: Sequence[Route],
    arrangements: Arrangements,
    lost: Mapping[Route, Arrangement],
    own_hosts: Iterable[str],
) -> _Change:
    """Say what an arm's routes change. Raises _Held."""
    fresh = [route for route in arm.routes if route not in settled]
    because = refusal((*settled, *added), fresh, arm.service, own_hosts)
    if because is not None:
        raise _Held(because)
    old = [one for one in settled if one.declared_by == arm.service and one not in arm.routes]
    left = {host for one in (*settled, *fresh) if one not in old for host in one.hosts}
    for gone in sorted({host for one in old for host in one.hosts} - left):
        raise _Held(f"{gone} would have no routes any more")
    return _Change(
        tuple((route, _lines(route, arm, settled, arrangements)) for route in fresh),
        {one: _without(lost.get(one) or _tried(one, arm, arrangements), arm) for one in old},
    )


def _tried(route: Route, arm: _Arm, arrangements: Arrangements) -> Arrangement:
    """Return how a route is arranged, if the arm's plan may be its plan too. Raises _Held."""
    usual = _usual(route, arrangements) or Arrangement(route.service)
    if usual.plan not in ("", arm.arrangement.plan):
        raise _Held(f"{route.prefix} is of {route.service}, which is on trial itself")
    return usual


def _without(usual: Arrangement, arm: _Arm) -> Arrangement:
    groups = tuple(one for one in usual.groups if one[0] != arm.words)
    return replace(usual, groups=groups, plan=arm.arrangement.plan, besides=(*usual.besides, arm.words))


def _lines(route: Route, arm: _Arm, settled: Sequence[Route], arrangements: Arrangements) -> list[Placed]:
    """Give an arm's new route, and behind it what everybody else is answered there. Raises _Held."""
    home = arm.group if route.service == arm.service else route.service
    found = [Placed(route, Arrangement(home, only=arm.words), route.hosts)]
    for host in route.hosts or ("",):
        there = [one for one in settled if (host in one.hosts if host else not one.hosts)]
        if host and not there:
            raise _Held(f"{host} has no routes yet")
        found += _others(route, arm, there, (host,) if host else (), arrangements)
    return found


def _others(
    route: Route, arm: _Arm, there: Iterable[Route], hosts: tuple[str, ...], arrangements: Arrangements
) -> list[Placed]:
    below = _answering(route, there)
    if all(_usual(one, arrangements) == arm.arrangement for one in below) and _whole(below, route):
        return []  # all of them are the service's own, whose lines have the plan already
    found: list[Placed] = []
    for one in below:
        usual = _tried(one, arm, arrangements)
        if not covers(one, route):
            raise _Held(f"a part of {route.prefix} is {one.prefix} of {one.declared_by or 'the region'}")
        cut = replace(one, methods=_common(one, route) or ())
        found.append(Placed(cut, replace(_without(usual, arm), path=(route.prefix, route.exact)), hosts))
    if not _whole(below, route):
        nobody = Arrangement("", plan=arm.arrangement.plan, besides=(arm.words,), path=(route.prefix, route.exact))
        found.append(Placed(Route(route.prefix, "", methods=route.methods), nobody, hosts))
    return found


def _answering(route: Route, there: Iterable[Route]) -> list[Route]:
    """Return the routes that answer today where `route` will, as far as the first that answers everything there."""
    found: list[Route] = []
    for one in there:
        if precedence(one) >= precedence(route) and overlaps(one, route) and _common(one, route) is not None:
            found.append(one)
            if _whole([one], route):
                break
    return found


def _whole(below: Sequence[Route], route: Route) -> bool:
    return bool(below) and covers(below[-1], route) and set(_all(route)) <= set(_all(below[-1]))


def _all(route: Route) -> tuple[str, ...]:
    return route.methods or METHODS


def _common(one: Route, other: Route) -> tuple[str, ...] | None:
    """Return the methods that both take; empty: all; None: there is none."""
    if not one.methods and not other.methods:
        return ()
    return tuple(name for name in METHODS if name in _all(one) and name in _all(other)) or None


def _merged(
    settled: Sequence[Route],
    arrangements: Arrangements,
    added: list[tuple[Route, list[Placed]]],
    lost: Mapping[Route, Arrangement],
    left_out: Iterable[LeftOut],
) -> Table:
    parts = [(one, [Placed(one, lost.get(one) or _usual(one, arrangements), one.hosts)]) for one in settled]
    if added:
        # Stable: of two with one claim everybody's comes first, and does not take the arm's viewers.
        parts = sorted(parts + added, key=lambda part: precedence(part[0]))
    routes = (*settled, *(route for route, _ in added))
    return Table(tuple(one for _, lines in parts for one in lines), routes, tuple(left_out))
