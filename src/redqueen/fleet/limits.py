"""What a node may use of the machine, and when it uses too much.

A declared service names its limits; the region's own roles have generous ones that only a leak
reaches. Too much memory ends a node at once, descriptors only when they stay used up (a burst is
no leak). The kernel's limits stand behind these, far enough out that this text, not a crash, tells
the reason. Pure. Enter at `exceeded` and `OWN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redqueen.fleet.model import Role

_MB: Final = 1 << 20
_STUCK: Final = 4
"""So many looks in a row with all descriptors in use are a leak."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Bytes of memory of a node's processes together; open descriptors of any one of them."""

    memory_bytes: int
    descriptors: int

    @property
    def data_bytes(self) -> int:
        """Return the kernel's bound for one process's data: room for runtimes that map more than they use."""
        return 2 * self.memory_bytes + 512 * _MB


OWN: Final[Mapping[Role, Allowance]] = {
    Role.REGISTRY: Allowance(2048 * _MB, 65_536),
    Role.GATEWAY: Allowance(2048 * _MB, 65_536),
    Role.API: Allowance(2048 * _MB, 65_536),
    Role.WORKER: Allowance(4096 * _MB, 16_384),
    Role.CONTROL: Allowance(1024 * _MB, 16_384),
}
"""The region's own roles; a worker's engines are bounded one by one where they are started."""


@dataclass(frozen=True, slots=True)
class Use:
    """What was seen: bytes of all processes together, the most descriptors that one of them has open."""

    memory_bytes: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often in a row descriptors were used up, and why the node must end (empty: it need not)."""

    stuck: int = 0
    because: str = ""


def exceeded(use: Use, allowance: Allowance, before: Verdict) -> Verdict:
    """Judge one look, given the verdict of the look before."""
    if use.memory_bytes > allowance.memory_bytes:
        used, limit = use.memory_bytes / _MB, allowance.memory_bytes / _MB
        return Verdict(because=f"it used {used:.0f} MB of memory and may use {limit:.0f} MB")
    if use.descriptors < allowance.descriptors:
        return Verdict()
    stuck = before.stuck + 1
    if stuck < _STUCK:
        return Verdict(stuck)
    return Verdict(stuck, f"it has all its {allowance.descriptors} descriptors open and closes none")
