"""Names of groups: nodes of a service that try another version, or keep an old one warm, beside the service's own.

A group is a service to fleet, registries and gateways, named `<service>--<release>-<part>`:
gateways send an arm's requests to it, by its own routes where it brings some. `--` is reserved for
these names, so that nobody declares one by hand. Pure. Enter at `group_name` and `group_of`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

RESERVED_MARK: Final = "--"
"""What only the names of groups contain."""
LONGEST: Final = 64
"""Characters of a group's name: a service's 40, the mark, a release and a part."""
_NAME = re.compile(r"(?P<service>[a-z][a-z0-9-]*?)--(?P<release>r[0-9]{1,8})-(?P<part>[a-z]{1,10})")


@dataclass(frozen=True, slots=True)
class Group:
    """What a group's name says: whose it is, which release's, and what it is for (`canary`, `baseline`, `warm`)."""

    service: str
    release: str
    part: str

    @property
    def name(self) -> str:
        """Return its name as a service."""
        return f"{self.service}{RESERVED_MARK}{self.release}-{self.part}"


def group_name(service: str, release: str, part: str) -> str:
    """Return the name of a release's group."""
    return Group(service, release, part).name


def group_of(name: str) -> Group | None:
    """Return what a group's name says, or None for the name of a service."""
    found = _NAME.fullmatch(name) if RESERVED_MARK in name else None
    return Group(found["service"], found["release"], found["part"]) if found else None
