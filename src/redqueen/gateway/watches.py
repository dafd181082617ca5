"""How many files Envoy may watch: it spends one of the system's inotify instances on each.

A user has so many for all processes together (128 by default), and an Envoy that asks for one more
ends itself. So only so many services get a file of their own; the others share one.
Enter at `watched_services`, `system_limit`.
"""

from __future__ import annotations

from pathlib import Path

FEWEST = 20
_ELSEWHERE = 64
# Three gateways of a machine, each twice while it is replaced.
_ENVOYS = 6
_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")


def watched_services(limit: int) -> int:
    """Return for how many services a gateway may have Envoy watch a file, of `limit` watches a user has."""
    return max(FEWEST, (limit - _ELSEWHERE) // _ENVOYS)


def system_limit() -> int:
    """Return the watches that a user has on this machine; 0 where the system does not say."""
    try:
        return int(_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
