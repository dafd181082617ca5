"""A declared service: the file by which any HTTP service, in any language, becomes part of a region.

Decides what a service file may say and refuses everything else with the file, the key, the value
and what would be accepted. Routes and their policy are handed on as they stand: the gateway's
rules judge them. Names of Red Queen's own roles are refused. Pure: whether the command can be
run is asked in `drivers/command.py`. Enter at `parsed` (a TOML file) and `checked` (any other way).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from redqueen.errors import InvalidInput
from redqueen.fleet.groups import RESERVED_MARK
from redqueen.fleet.model import Edition, Program, Role
from redqueen.refusals import Refusals

RESERVED: Final = frozenset({role.value for role in Role} | {"envoy", "supervisor", "redqueen", "eureka", "media"})
"""Names that mean something in a region already."""
OWN_VARIABLES: Final = ("HOST", "PORT", "REDQUEEN_")
"""Environment variables that the region sets itself (the last is a prefix)."""
_REFUSALS: Final = Refusals("service.file", "Change it and add again", "docs/services.md")
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_OWNER = re.compile(r"[\w.@+ -]{1,80}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PATH = re.compile(r"/[!-~]{0,255}")
_MAX_COUNT, _MAX_WORD, _MAX_WORDS = 16, 4096, 64


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one instance may use; whoever uses more is ended and replaced."""

    memory_mb: int = 512
    """Megabytes (2^20 bytes) of memory of the command and all its children together."""
    descriptors: int = 1024
    """Open files and connections of one process."""


class Timings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long an instance may take; seconds."""

    start_s: float = 30.0
    """From its start until its health path answers for the first time."""
    drain_s: float = 2.0
    """From OUT_OF_SERVICE until it is told to end: gateways let go of it and requests finish."""
    stop_s: float = 10.0
    """From SIGTERM until SIGKILL."""


class ServiceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a service file says."""

    name: str
    owner: str
    command: tuple[str, ...]
    """The program and its arguments; no shell reads them."""
    version: str = "1"
    directory: str = "."
    """Where the command runs; relative to the service file."""
    health: str = "/health"
    """The path that answers 2xx while the instance may be sent requests."""
    count: int | None = None
    """Instances in the whole region, spread over its zones."""
    count_per_zone: int | None = None
    """Instances in each zone (1 where neither count is given)."""
    environment: dict[str, str] = {}
    limits: Limits = Limits()
    timings: Timings = Timings()
    routes: list[dict[str, Any]] = []
    policy: dict[str, Any] = {}

    @property
    def program(self) -> Program:
        """Return what each of its nodes is told to run."""
        return Program(
            command=self.command,
            directory=self.directory,
            health=self.health,
            owner=self.owner,
            environment=tuple(sorted(self.environment.items())),
            memory_bytes=self.limits.memory_mb << 20,
            descriptors=self.limits.descriptors,
            start_s=self.timings.start_s,
            drain_s=self.timings.drain_s,
            stop_s=self.timings.stop_s,
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """A declared service that shall run; a new `revision` replaces its instances."""

    file: ServiceFile
    revision: int = 1
    since_ms: int = 0
    """When it was first declared; of two services that claim one route the earlier has it."""
    edition: Edition | None = None
    """A group of the region's own api role: what its nodes run in place of the file's command."""

    def wanted(self, zones: int) -> int:
        """Return how many instances there shall be in a region of so many zones."""
        return (self.file.count_per_zone or 1) * zones if self.file.count is None else self.file.count


@dataclass(frozen=True, slots=True)
class Wishes:
    """All that was asked of the fleet while it runs: services, and restarts of its own roles by role."""

    services: tuple[Wish, ...] = ()
    revisions: tuple[tuple[str, int], ...] = ()
    editions: tuple[tuple[str, Edition], ...] = ()
    """What the region's own roles run in place of the installed version, by role."""

    def revision(self, role: Role) -> int:
        """Return how often a role of our own was asked to restart."""
        return dict(self.revisions).get(role.value, 0)

    def edition(self, role: Role) -> Edition | None:
        """Return what a role of our own runs in place of the installed version, or None."""
        return dict(self.editions).get(role.value)


def parsed(text: bytes, source: str) -> ServiceFile:
    """Read a service file; `source` is its name in errors. Raises InvalidInput."""
    try:
        raw = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "service.file", f"{source} is not TOML: {error}", hint="See docs/services.md for an example"
        ) from error
    return converted(raw, source)


def converted(raw: object, source: str) -> ServiceFile:
    """Make a service file of plain values. Raises InvalidInput naming the key, its value, what is accepted."""
    try:
        file = msgspec.convert(raw, ServiceFile)
    except msgspec.ValidationError as error:
        raise _REFUSALS.refused(raw, source, str(error), _TABLES) from error
    return checked(file, source)


def checked(file: ServiceFile, source: str) -> ServiceFile:
    """Return `file` if everything in it can be. Raises InvalidInput naming the key."""
    wrong = first_wrong(file)
    if wrong is None:
        return file
    key, value, accepted = wrong
    raise _REFUSALS.wrong(source, key, value, accepted)


def same_process(one: ServiceFile, other: ServiceFile) -> bool:
    """Tell whether a running instance of `one` is also right for `other`: only counts and routes may differ."""
    return one.program == other.program and one.version == other.version


def first_wrong(file: ServiceFile) -> tuple[str, object, str] | None:
    """Return the first key that cannot be: the key, its value and what is accepted; None: all can."""
    return _wrong_name(file) or _wrong_command(file) or _wrong_number(file) or _wrong_variable(file)


def _wrong_name(file: ServiceFile) -> tuple[str, object, str] | None:
    if not _NAME.fullmatch(file.name):
        return "name", file.name, "lower-case letters, digits and `-`, at most 40, first a letter, last no `-`"
    if RESERVED_MARK in file.name:
        return "name", file.name, f"without `{RESERVED_MARK}`, which marks the groups of a release"
    if file.name in RESERVED:
        return "name", file.name, f"none of the region's own names ({', '.join(sorted(RESERVED))})"
    if not _OWNER.fullmatch(file.owner):
        return "owner", file.owner, "who answers for the service: 1 to 80 letters, digits, spaces and `.@+-_`"
    if not _VERSION.fullmatch(file.version):
        return "version", file.version, "letters, digits and `._+-`, at most 64, first a letter or digit"
    return None


def _wrong_command(file: ServiceFile) -> tuple[str, object, str] | None:
    if not file.command or not file.command[0] or len(file.command) > _MAX_WORDS:
        return "command", list(file.command), f"a program and its arguments, 1 to {_MAX_WORDS} words"
    for index, word in enumerate(file.command):
        if "\0" in word or len(word) > _MAX_WORD:
            return f"command[{index}]", word[:40], f"text without null characters, at most {_MAX_WORD} characters"
    if not file.directory or "\0" in file.directory:
        return "directory", file.directory, "a folder"
    if not _PATH.fullmatch(file.health) or "#" in file.health:
        return "health", file.health, "a path that begins with `/`, without spaces, at most 256 characters"
    return None


def _wrong_number(file: ServiceFile) -> tuple[str, object, str] | None:
    if file.count is not None and file.count_per_zone is not None:
        return "count", file.count, "absent where `count_per_zone` is given"
    bounds = (
        ("count", file.count, 1, 8 * _MAX_COUNT),
        ("count_per_zone", file.count_per_zone, 1, _MAX_COUNT),
        ("limits.memory_mb", file.limits.memory_mb, 16, 1 << 20),
        ("limits.descriptors", file.limits.descriptors, 32, 1 << 20),
        ("timings.start_s", file.timings.start_s, 0.5, 600),
        ("timings.drain_s", file.timings.drain_s, 0, 60),
        ("timings.stop_s", file.timings.stop_s, 0.1, 60),
    )
    for key, value, lowest, highest in bounds:
        if value is not None and not lowest <= value <= highest:
            return key, value, f"{lowest:g} to {highest}"
    return None


def _wrong_variable(file: ServiceFile) -> tuple[str, object, str] | None:
    for name, value in file.environment.items():
        if not _VARIABLE.fullmatch(name):
            return "environment", name, "names of letters, digits and `_`, first no digit"
        if name in OWN_VARIABLES or name.startswith(OWN_VARIABLES[-1]):
            return f"environment.{name}", value, "set by the region itself (HOST, PORT and REDQUEEN_…); leave it out"
        if "\0" in value:
            return f"environment.{name}", value, "text without null characters"
    return None


_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {"": ServiceFile, "limits": Limits, "timings": Timings}
