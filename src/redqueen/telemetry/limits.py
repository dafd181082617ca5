"""How much one address, one viewer and one session may send before it has to wait, or is no longer judged.

Decides by budgets that fill steadily up to a store (token buckets). Valid beacons are never limited
by address: whoever has a grant answers for its session and its viewer, so an office behind one
address pays for nobody else. Forged ones are. Starts beyond `judged` of one address still play and
are kept, but are in no trial: dropping them whatever their arm moves no verdict. Each table holds
a bounded number of keys; the one untouched for longest goes first. Pure. Enter at `Limits`.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A budget that holds `store` and gains `per_s` a second."""

    store: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of one node; a region of n api nodes allows up to n times as much."""

    session_events: Rate = Rate(400, 5)
    """A player tells about one event in five seconds; 400 is a queue of half an hour without network."""
    viewer_events: Rate = Rate(2000, 20)
    viewer_starts: Rate = Rate(30, 0.5)
    """Thirty titles looked into at once, then one every two seconds."""
    address_starts: Rate = Rate(600, 10)
    """An office of a thousand, each starting a play every two minutes, needs 8 a second."""
    address_judged: Rate = Rate(120, 2)
    """A household of ten that all start a play every ten seconds needs 1 a second."""
    address_forged: Rate = Rate(60, 1)
    """Beacons without a valid token that are told what is wrong with them; the rest is told to wait."""
    most_keys: int = 50_000


class Budgets:
    """One budget a key, for at most `most` keys."""

    def __init__(self, rate: Rate, most: int) -> None:
        self._rate = rate
        self._most = most
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._left)

    def take(self, key: Hashable, cost: float, now: float) -> float:
        """Spend `cost` of a key's budget at `now` (seconds); return 0, or the seconds to wait first."""
        store, per_s = self._rate.store, self._rate.per_s
        left, since = self._left.get(key, (store, now))
        left = min(store, left + max(0.0, now - since) * per_s)
        wait_s = max(0.0, min(cost, store) - left) / per_s
        self._left[key] = (left if wait_s else left - min(cost, store), now)
        self._left.move_to_end(key)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return wait_s


class Guard:
    """The budgets of one node."""

    def __init__(self, limits: Limits) -> None:
        most = limits.most_keys
        self._session_events = Budgets(limits.session_events, most)
        self._viewer_events = Budgets(limits.viewer_events, most)
        self._viewer_starts = Budgets(limits.viewer_starts, most)
        self._address_starts = Budgets(limits.address_starts, most)
        self._address_judged = Budgets(limits.address_judged, most)
        self._address_forged = Budgets(limits.address_forged, most)

    def events(self, session: int, viewer: int, count: int, now: float) -> float:
        """Return the seconds until `count` events of a session may be sent; 0: now."""
        return self._session_events.take(session, count, now) or self._viewer_events.take(viewer, count, now)

    def start(self, viewer: int, address: str, now: float) -> float:
        """Return the seconds until a viewer may start another play; 0: now."""
        return self._viewer_starts.take(viewer, 1, now) or self._address_starts.take(network(address), 1, now)

    def judged(self, address: str, now: float) -> bool:
        """Tell whether a start from an address may be in trials."""
        return not self._address_judged.take(network(address), 1, now)

    def forged(self, address: str, now: float) -> float:
        """Count a beacon that nobody granted; return the seconds its address has to wait, 0 while it is few."""
        return self._address_forged.take(network(address), 1, now)


def network(address: str) -> str:
    """Return what stands for one household: an IPv4 address, or the /64 that an IPv6 subscriber has for itself."""
    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return "unknown"
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
