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

from redqueen.errors import InvalidInput
from redqueen.registry.model import Action, DataCenter, Instance, Pages, Record, Status, visible

Document = dict[str, object]

_AMAZON = "com.netflix.appinfo.AmazonInfo"
_MISSING = "The registration is not complete"


def read_instance(document: object, now_ms: int) -> Instance:
    """Read `{"instance": {...}}`, or the inner part. Raises InvalidInput naming the field."""
    outer = _mapping(document)
    fields = _mapping(outer.get("instance")) or outer
    app = _needed(fields, "app").upper()
    metadata = _strings(fields.get("metadata"))
    lease = _mapping(fields.get("leaseInfo"))
    port, port_enabled = _port(fields.get("port"), default=7001, enabled=True)
    secure_port, secure_port_enabled = _port(fields.get("securePort"), default=7002, enabled=False)
    return Instance(
        app=app,
        instance_id=_needed(fields, "instanceId"),
        host=_needed(fields, "hostName"),
        ip=_needed(fields, "ipAddr"),
        port=port,
        port_enabled=port_enabled,
        secure_port=secure_port,
        secure_port_enabled=secure_port_enabled,
        status=read_status(fields.get("status") or "UP"),
        override=read_status(fields.get("overriddenStatus") or fields.get("overriddenstatus") or "UNKNOWN"),
        zone=metadata.get("zone", ""),
        version=metadata.get("version", ""),
        metadata=metadata,
        lease_s=max(1.0, _number(lease.get("durationInSecs"), 90.0)),
        renewal_s=max(1.0, _number(lease.get("renewalIntervalInSecs"), 30.0)),
        dirty_at_ms=int(_number(fields.get("lastDirtyTimestamp"), float(now_ms))),
        vip=_text(fields.get("vipAddress")),
        secure_vip=_text(fields.get("secureVipAddress")),
        pages=_read_pages(fields),
        data_center=_read_data_center(fields.get("dataCenterInfo")),
        country_id=int(_number(fields.get("countryId"), 1.0)),
        group=_text(fields.get("appGroupName")),
        scaling_group=_text(fields.get("asgName")),
    )


def read_status(value: object) -> Status:
    """Read one of Eureka's five words. Raises InvalidInput."""
    try:
        return Status(_text(value).upper())
    except ValueError as error:
        raise InvalidInput(
            "registry.status", f"{_text(value)[:40]!r} is not a status", hint=f"Use one of {', '.join(Status)}"
        ) from error


def _read_pages(fields: Mapping[str, object]) -> Pages:
    names = ("homePageUrl", "statusPageUrl", "healthCheckUrl", "secureHealthCheckUrl")
    return Pages(*(_text(fields.get(name)) for name in names))


def _read_data_center(value: object) -> DataCenter:
    fields = _mapping(value)
    name = _text(fields.get("name"))
    if not name:
        raise InvalidInput("registry.instance", _MISSING, why="dataCenterInfo.name is missing", hint="Send it")
    kind = _text(fields.get("@class")) or (_AMAZON if name == "Amazon" else DataCenter().kind)
    return DataCenter(kind=kind, name=name, metadata=_strings(fields.get("metadata")))


def _port(value: object, *, default: int, enabled: bool) -> tuple[int, bool]:
    fields = _mapping(value)
    number = int(_number(fields.get("$") if fields else value, float(default)))
    if not 0 <= number < 65536:
        raise InvalidInput("registry.instance", f"{number} is not a port", hint="Use 0 to 65535")
    return number, _text(fields.get("@enabled", enabled)).lower() == "true"


def _needed(fields: Mapping[str, object], name: str) -> str:
    value = _text(fields.get(name)).strip()
    if not value:
        raise InvalidInput("registry.instance", _MISSING, why=f"{name} is missing", hint="Send it")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _strings(value: object) -> dict[str, str]:
    return {k: _text(v) for k, v in _mapping(value).items() if not k.startswith("@")}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else ""


def _number(value: object, default: float) -> float:
    try:
        number = float(_text(value) or default)
    except ValueError as error:
        raise InvalidInput(
            "registry.instance", f"{_text(value)[:40]!r} is not a number", hint="Send a number"
        ) from error
    if not math.isfinite(number):
        raise InvalidInput("registry.instance", f"{number} is not a finite number", hint="Send a number")
    return min(max(number, 0.0), 1e15)


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
    instances: Iterable[tuple[Record, Action]], *, delta_version: int, of_registry: Iterable[Record]
) -> Document:
    """Write the outer document of many instances; the hash covers the living of `of_registry`."""
    return {
        "applications": {
            "versions__delta": str(delta_version),
            "apps__hashcode": hash_code(of_registry),
            "application": _by_application(instances),
        }
    }


def write_application(app: str, instances: Iterable[tuple[Record, Action]]) -> Document:
    """Write the outer document of one application."""
    return {"application": {"name": app, "instance": [write_instance(r, a) for r, a in instances]}}


def _by_application(instances: Iterable[tuple[Record, Action]]) -> list[Document]:
    groups: dict[str, list[Document]] = {}
    for record, action in instances:
        groups.setdefault(record.instance.app, []).append(write_instance(record, action))
    return [{"name": app, "instance": documents} for app, documents in sorted(groups.items())]


def hash_code(records: Iterable[Record]) -> str:
    """Count the living by status, in alphabetical order: `DOWN_1_UP_3_`; an empty registry is ""."""
    counts: dict[str, int] = {}
    for record in records:
        if record.living:
            status = str(visible(record).status)
            counts[status] = counts.get(status, 0) + 1
    return "".join(f"{status}_{count}_" for status, count in sorted(counts.items()))
