"""Instances as Eureka's documents: the field names and odd types that real clients expect.

One document form serves JSON and XML (attributes are keys with `@`, an element's text beside
attributes is `$`). Reading tolerates what foreign clients add and leave out; it refuses, with
InvalidInput, only what Eureka refuses. Enter at `read_instance`, `write_instance` and
`write_applications`. Facts: Netflix's InstanceInfo and Converters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

from redqueen.errors import InvalidInput
from redqueen.registry.model import Action, DataCenter, Instance, Pages, Record, Status, visible

Document = dict[str, object]

_STATUSES = {str(status): status for status in Status}
_NO_PAGES = Pages()
_DEFAULT = DataCenter()
_AMAZON = "com.netflix.appinfo.AmazonInfo"
_DATA_CENTERS = {"MyOwn": _DEFAULT.kind, "Netflix": _DEFAULT.kind, "Amazon": _AMAZON}
"""The names that Java clients know (any other makes them drop a whole answer), and the class of each."""
_MOST_INT = 2**31 - 1
"""Java clients read leases and countries as int: one that is greater makes them drop a whole answer."""
_MOST_LONG = 10**15
_MISSING = "The registration is not complete"


def read_instance(document: object, now_ms: int) -> Instance:
    """Read `{"instance": {...}}`, or the inner part. Raises InvalidInput naming the field."""
    outer = _mapping(document)
    fields = _mapping(outer.get("instance")) or outer
    get = fields.get
    metadata = _strings(get("metadata"))
    lease = _mapping(get("leaseInfo"))
    port, port_enabled = _port(get("port"), default=7001, enabled=True)
    secure_port, secure_port_enabled = _port(get("securePort"), default=7002, enabled=False)
    return Instance(
        app=_needed(fields, "app").upper(),
        instance_id=_needed(fields, "instanceId"),
        host=_needed(fields, "hostName"),
        ip=_needed(fields, "ipAddr"),
        port=port,
        port_enabled=port_enabled,
        secure_port=secure_port,
        secure_port_enabled=secure_port_enabled,
        status=read_status(get("status") or "UP"),
        override=read_status(get("overriddenStatus") or get("overriddenstatus") or "UNKNOWN"),
        zone=metadata.get("zone", ""),
        version=metadata.get("version", ""),
        metadata=metadata,
        lease_s=float(_seconds(lease.get("durationInSecs"), 90)),
        renewal_s=float(_seconds(lease.get("renewalIntervalInSecs"), 30)),
        dirty_at_ms=_number(get("lastDirtyTimestamp"), now_ms, _MOST_LONG),
        vip=_text(get("vipAddress")),
        secure_vip=_text(get("secureVipAddress")),
        pages=_read_pages(fields),
        data_center=_read_data_center(get("dataCenterInfo")),
        country_id=_number(get("countryId"), 1, _MOST_INT),
        group=_text(get("appGroupName")),
        scaling_group=_text(get("asgName")),
    )


class _Port(msgspec.Struct, gc=False):
    number: int = msgspec.field(name="$")
    enabled: str | bool = msgspec.field(name="@enabled")


class _Lease(msgspec.Struct, rename="camel", gc=False):
    duration_in_secs: int
    renewal_interval_in_secs: int


class _Centre(msgspec.Struct, gc=False):
    name: str
    metadata: object = None


class _Common(msgspec.Struct, rename="camel"):
    """A registration in the words of Netflix's, Python's and Node's clients; what else they say is let pass."""

    instance_id: str
    host_name: str
    app: str
    ip_addr: str
    port: _Port
    secure_port: _Port
    data_center_info: _Centre
    lease_info: _Lease
    status: str
    overridden_status: str | None = None
    overriddenstatus: str | None = None
    metadata: dict[str, str] | None = None
    last_dirty_timestamp: int | str | None = None
    vip_address: str | None = None
    secure_vip_address: str | None = None
    home_page_url: str | None = None
    status_page_url: str | None = None
    health_check_url: str | None = None
    secure_health_check_url: str | None = None
    country_id: int | str | None = None
    app_group_name: str | None = None
    asg_name: str | None = None


class _CommonBody(msgspec.Struct):
    instance: _Common


_COMMON = msgspec.json.Decoder(_CommonBody)


def read_common(body: bytes, now_ms: int) -> Instance | None:
    """Read a registration in JSON as nearly all are, at half the cost; None for what `read_instance` must judge.

    Whatever this takes, `read_instance` reads alike.
    """
    try:
        said = _COMMON.decode(body).instance
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    needed = (said.app, said.instance_id, said.host_name, said.ip_addr)
    status = _STATUSES.get(said.status)
    override = _STATUSES.get(said.overridden_status or said.overriddenstatus or "UNKNOWN")
    port, secure, centre, metadata = said.port, said.secure_port, said.data_center_info, said.metadata or {}
    plain = centre.metadata is None and centre.name == _DEFAULT.name and all(text == text.strip() for text in needed)
    ports = 0 <= port.number < 65536 and 0 <= secure.number < 65536
    if (
        status is None
        or override is None
        or not (plain and ports and all(needed))
        or any(k[:1] == "@" for k in metadata)
    ):
        return None
    try:
        dirty_at_ms = _number(said.last_dirty_timestamp, now_ms, _MOST_LONG)
        country_id = _number(said.country_id, 1, _MOST_INT)
    except InvalidInput:
        return None
    return Instance(
        app=said.app.upper(),
        instance_id=said.instance_id,
        host=said.host_name,
        ip=said.ip_addr,
        port=port.number,
        port_enabled=port.enabled is True or str(port.enabled).lower() == "true",
        secure_port=secure.number,
        secure_port_enabled=secure.enabled is True or str(secure.enabled).lower() == "true",
        status=status,
        override=override,
        zone=metadata.get("zone", ""),
        version=metadata.get("version", ""),
        metadata=metadata,
        lease_s=float(_seconds(said.lease_info.duration_in_secs, 90)),
        renewal_s=float(_seconds(said.lease_info.renewal_interval_in_secs, 30)),
        dirty_at_ms=dirty_at_ms,
        vip=said.vip_address or "",
        secure_vip=said.secure_vip_address or "",
        pages=_common_pages(said),
        data_center=_DEFAULT,
        country_id=country_id,
        group=said.app_group_name or "",
        scaling_group=said.asg_name or "",
    )


def _common_pages(said: _Common) -> Pages:
    home, status, health, secure = (
        said.home_page_url or "",
        said.status_page_url or "",
        said.health_check_url or "",
        said.secure_health_check_url or "",
    )
    return Pages(home, status, health, secure) if home or status or health or secure else _NO_PAGES


def read_status(value: object) -> Status:
    """Read one of Eureka's five words. Raises InvalidInput."""
    status = _STATUSES.get(value) if isinstance(value, str) else None
    if status is None:
        status = _STATUSES.get(_text(value).upper())
    if status is None:
        raise InvalidInput(
            "registry.status", f"{_text(value)[:40]!r} is not a status", hint=f"Use one of {', '.join(Status)}"
        )
    return status


def _read_pages(fields: Mapping[str, object]) -> Pages:
    get = fields.get
    pages = Pages(
        _text(get("homePageUrl")),
        _text(get("statusPageUrl")),
        _text(get("healthCheckUrl")),
        _text(get("secureHealthCheckUrl")),
    )
    return _NO_PAGES if pages == _NO_PAGES else pages


def _read_data_center(value: object) -> DataCenter:
    """Read where it runs. The class is what belongs to the name: readers build objects of it."""
    fields = _mapping(value)
    name = _text(fields.get("name"))
    if not name:
        raise InvalidInput("registry.instance", _MISSING, why="dataCenterInfo.name is missing", hint="Send it")
    kind = _DATA_CENTERS.get(name)
    if kind is None:
        hint = f"Use one of {', '.join(_DATA_CENTERS)}"
        raise InvalidInput("registry.instance", f"{name[:40]!r} is not a name for dataCenterInfo", hint=hint)
    metadata = _strings(fields.get("metadata"))
    return DataCenter(kind, name, metadata) if metadata or name != _DEFAULT.name else _DEFAULT


def _port(value: object, *, default: int, enabled: bool) -> tuple[int, bool]:
    said: object = enabled
    if isinstance(value, dict):
        fields = cast(Document, value)
        value, said = fields.get("$"), fields.get("@enabled", enabled)
    number = _number(value, default, _MOST_LONG)
    if number > 65535:
        raise InvalidInput("registry.instance", f"{number} is not a port", hint="Use 0 to 65535")
    return number, said is True or _text(said).lower() == "true"


def _needed(fields: Mapping[str, object], name: str) -> str:
    value = _text(fields.get(name)).strip()
    if not value:
        raise InvalidInput("registry.instance", _MISSING, why=f"{name} is missing", hint="Send it")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _strings(value: object) -> dict[str, str]:
    """Read a map of texts. Attributes (`@class`) are left out: they would name classes to readers."""
    return {k: v if isinstance(v, str) else _text(v) for k, v in _mapping(value).items() if k[:1] != "@"}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else ""


def _seconds(value: object, default: int) -> int:
    return max(1, _number(value, default, _MOST_INT))


def _number(value: object, default: int, most: int) -> int:
    """Read a whole number of at most `most` (no less than 0). Raises InvalidInput."""
    if type(value) is int:
        return min(max(value, 0), most)
    text = _text(value)
    try:
        number = float(text) if text else float(default)
    except ValueError as error:
        raise InvalidInput("registry.instance", f"{text[:40]!r} is not a number", hint="Send a number") from error
    if not math.isfinite(number):
        raise InvalidInput("registry.instance", f"{number} is not a finite number", hint="Send a number")
    return int(min(max(number, 0.0), float(most)))


def write_instance(record: Record, action: Action) -> Document:
    """Write the inner document of one instance as readers see it."""
    instance = visible(record)
    document: Document = {
        "instanceId": instance.instance_id,
        "hostName": instance.host,
        "app": instance.app,
        "ipAddr": instance.ip or instance.host,
        "status": str(instance.status),
        "overriddenStatus": str(instance.override),
        "port": _write_port(instance.port, instance.port_enabled),
        "securePort": _write_port(instance.secure_port, instance.secure_port_enabled),
        "countryId": instance.country_id,
        "dataCenterInfo": _write_data_center(instance.data_center),
        "leaseInfo": _write_lease(record),
        "metadata": _write_metadata(instance),
        "homePageUrl": instance.pages.home,
        "statusPageUrl": instance.pages.status,
        "healthCheckUrl": instance.pages.health,
        "secureHealthCheckUrl": instance.pages.secure_health,
        "vipAddress": instance.vip,
        "secureVipAddress": instance.secure_vip,
        "isCoordinatingDiscoveryServer": "false",
        "lastUpdatedTimestamp": str(record.updated_ms),
        "lastDirtyTimestamp": str(instance.dirty_at_ms),
        "actionType": str(action),
    }
    optional = {"appGroupName": instance.group, "asgName": instance.scaling_group}
    return document | {name: value for name, value in optional.items() if value}


def _write_port(number: int, enabled: bool) -> Document:
    return {"$": number, "@enabled": "true" if enabled and number else "false"}


def _write_data_center(data_center: DataCenter) -> Document:
    document: Document = {"@class": data_center.kind, "name": data_center.name}
    if data_center.metadata:
        document["metadata"] = dict(data_center.metadata)
    return document


def _write_lease(record: Record) -> Document:
    """Write the lease; Eureka knows whole seconds, so fractions are rounded up."""
    return {
        "renewalIntervalInSecs": math.ceil(record.instance.renewal_s),
        "durationInSecs": math.ceil(record.instance.lease_s),
        "registrationTimestamp": record.registered_ms,
        "lastRenewalTimestamp": record.beat_ms,
        "evictionTimestamp": 0 if record.living else record.updated_ms,
        "serviceUpTimestamp": record.up_ms,
    }


def _write_metadata(instance: Instance) -> dict[str, str]:
    own = {"zone": instance.zone, "version": instance.version}
    return {**instance.metadata, **{name: value for name, value in own.items() if value}}


def write_applications(
    instances: Iterable[tuple[str, object]], *, delta_version: int, of_registry: Iterable[Record]
) -> Document:
    """Write the outer document of many instances, each with its application; the hash covers `of_registry`."""
    groups: dict[str, list[object]] = {}
    for app, instance in instances:
        groups.setdefault(app, []).append(instance)
    return {
        "applications": {
            "versions__delta": str(delta_version),
            "apps__hashcode": hash_code(of_registry),
            "application": [{"name": app, "instance": groups[app]} for app in sorted(groups)],
        }
    }


def write_application(app: str, instances: list[object]) -> Document:
    """Write the outer document of one application."""
    return {"application": {"name": app, "instance": instances}}


def hash_code(records: Iterable[Record]) -> str:
    """Count the living by status, in alphabetical order: `DOWN_1_UP_3_`; an empty registry is ""."""
    counts: dict[str, int] = {}
    for record in records:
        if record.living:
            status = str(visible(record).status)
            counts[status] = counts.get(status, 0) + 1
    return "".join(f"{status}_{count}_" for status, count in sorted(counts.items()))
