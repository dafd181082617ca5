"""The registry's nouns: instances, their statuses, and the record that two registries agree on.

An `Instance` is what a node says of itself and what readers see. A `Record` is what a registry
knows of one identity: two registers that merge without order (a versioned payload, and the last
sign of life), so that peers converge whatever the network does. Refuses nothing: borders check.
Enter at `Instance`, `Record` and `visible`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Status(StrEnum):
    """What an instance may be asked for; the five words of Eureka."""

    UP = "UP"
    DOWN = "DOWN"
    STARTING = "STARTING"
    OUT_OF_SERVICE = "OUT_OF_SERVICE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Pages:
    """Addresses for people and health checkers that foreign clients publish."""

    home: str = ""
    status: str = ""
    health: str = ""
    secure_health: str = ""


@dataclass(frozen=True, slots=True)
class DataCenter:
    """Where a foreign client says that it runs (Amazon's carries metadata)."""

    kind: str = "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"
    name: str = "MyOwn"
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """Which instance: application (upper case) and the instance's id within it."""

    app: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of an application, as it reported itself.

    `port` 0 means that it cannot be called. `lease_s` is how long it is believed without a sign
    of life, `renewal_s` how often it means to give one. `dirty_at_ms` (its own clock, epoch)
    orders its own words: a newer one replaces an older one.
    """

    app: str
    instance_id: str
    host: str
    port: int
    status: Status = Status.STARTING
    zone: str = ""
    version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    lease_s: float = 3.0
    renewal_s: float = 1.0
    dirty_at_ms: int = 0
    ip: str = ""
    port_enabled: bool = True
    secure_port: int = 443
    secure_port_enabled: bool = False
    vip: str = ""
    secure_vip: str = ""
    override: Status = Status.UNKNOWN
    pages: Pages = field(default_factory=Pages)
    data_center: DataCenter = field(default_factory=DataCenter)
    country_id: int = 1
    group: str = ""
    scaling_group: str = ""

    @property
    def identity(self) -> Identity:
        """Name this instance among all."""
        return Identity(self.app, self.instance_id)


InstanceSet = tuple[Instance, ...]
"""Instances ordered by identity."""


def with_metadata(instance: Instance, changes: Mapping[str, str]) -> Instance:
    """Give the instance with `changes` laid over its metadata; zone and version follow."""
    merged = {**instance.metadata, **changes}
    zone = merged.get("zone", instance.zone)
    return replace(instance, metadata=merged, zone=zone, version=merged.get("version", instance.version))


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, as the loop hands it to rules: monotonic seconds and wall milliseconds (epoch)."""

    mono_s: float
    wall_ms: int


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Orders all writes to one identity, everywhere: greater wins.

    `stamp_ms` is the instance's dirty timestamp (never lowered), `edit` counts the registries'
    own writes since, `origin` (unique to one life of one registry) breaks ties.
    """

    stamp_ms: int
    edit: int
    origin: str


@dataclass(frozen=True, slots=True)
class Record:
    """What a registry knows of one identity.

    The payload (`instance`, `gone`, `override`, stamps) belongs to `version` and is replaced as a
    whole. `beat_ms` (hybrid logical clock over wall milliseconds) counts signs of life; `lapsed`
    says that the lease ran out after exactly that beat. `gone` is empty, or why the instance was
    removed on purpose. `owner` is whose token registered it, empty for nobody's.
    """

    instance: Instance
    version: Version
    beat_ms: int
    lapsed: bool = False
    gone: str = ""
    override: Status = Status.UNKNOWN
    registered_ms: int = 0
    updated_ms: int = 0
    up_ms: int = 0
    owner: str = ""

    @property
    def identity(self) -> Identity:
        """Name the instance that this is about."""
        return self.instance.identity

    @property
    def living(self) -> bool:
        """Tell whether readers see it."""
        return not self.lapsed and not self.gone


def effective_status(reported: Status, override: Status) -> Status:
    """Decide what readers see: DOWN or STARTING as reported, then an override, then the report."""
    if reported in (Status.DOWN, Status.STARTING):
        return reported
    return reported if override is Status.UNKNOWN else override


def visible(record: Record) -> Instance:
    """Give the instance as readers see it, its override applied."""
    status = effective_status(record.instance.status, record.override)
    if status is record.instance.status and record.override is record.instance.override:
        return record.instance
    return replace(record.instance, status=status, override=record.override)


class Action(StrEnum):
    """How a change looks to readers; the three words of Eureka's deltas."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Change:
    """A change that readers can see, with its reason."""

    action: Action
    record: Record
    because: str
