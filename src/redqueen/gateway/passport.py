"""A request's passport: the one line that says where it went, how long each part took, and whose fault it was.

Envoy writes it as JSON, the verdict included: `fault_of` is compiled into Envoy's own expression
language, so that the line needs no reader to explain it. Each failed try has a line of its own
with the same request id; `joined` puts them into the request's. A path that may hold a token is
never written. Enter at `access_log`, `attempt_log`, `fault_of`, `joined`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from redqueen.gateway.envoy_json import TYPE

REQUEST, ATTEMPT = "Request", "Attempt"
SLOW_MS = 1000
_LONGEST = 512


class Fault(StrEnum):
    """Who a failed request is owed to."""

    NONE = "none"
    CLIENT = "client"
    GATEWAY = "gateway"
    SERVICE = "service"


# What Envoy's response code details begin with. Source: Envoy's response_code_details documentation.
# Nobody there, silent, or too slow to be given more: the service's state, not the gateway's.
_SERVICE = (
    "upstream_",
    "response_timeout",
    "response_payload_too_large",
    "websocket_handshake_unsuccessful",
    "no_healthy_upstream",
    "reached_concurrency_limit",
    "denied_by_admission_control",
)
_CLIENT = ("downstream_remote", "downstream_local_disconnect(codec_error", "http1.", "http2.", "http3.")
# We close a connection because we leave.
_GATEWAY = ("downstream_local",)
# Without an answer begun the service is silent; with one, it is the client who reads no further.
_SERVICE_FROM_500 = ("via_upstream", "stream_idle_timeout")
_CLIENT_BELOW_500 = ("stream_idle_timeout",)

# Envoy's flags of a try, each with its bit, and what became of the try.
_OUTCOMES: tuple[tuple[str, int, str], ...] = (
    ("UF", 1 << 5, "no connection"),
    ("UT", 1 << 2, "no answer in time"),
    ("UC", 1 << 6, "connection lost"),
    ("UR", 1 << 4, "reset by the node"),
    ("LR", 1 << 3, "given up by the gateway"),
    ("UPE", 1 << 23, "not HTTP"),
    ("UO", 1 << 7, "too many at once"),
)


def fault_of(status: int, details: str) -> Fault:
    """Say whose fault a request's end was, from its status (0: none was sent) and Envoy's details."""
    if details.startswith(_SERVICE):
        return Fault.SERVICE
    if details.startswith(_CLIENT):
        return Fault.CLIENT
    if details.startswith(_GATEWAY):
        return Fault.GATEWAY
    if status >= 500:
        return Fault.SERVICE if details.startswith(_SERVICE_FROM_500) else Fault.GATEWAY
    return Fault.CLIENT if status >= 400 or details.startswith(_CLIENT_BELOW_500) else Fault.NONE


def outcome_of(status: int, flags: str) -> str:
    """Say what became of one try, from the node's status (0: none) and Envoy's flags."""
    for flag, _, outcome in _OUTCOMES:
        if flag in flags.split(","):
            return outcome
    return f"answered {status}" if status else "ended early"


def _fault_expression() -> str:
    """Write `fault_of` in CEL; Envoy takes no expression more than 32 levels deep."""

    def begins(prefixes: tuple[str, ...]) -> str:
        return "(" + " || ".join(f"response.code_details.startsWith('{prefix}')" for prefix in prefixes) + ")"

    # Most requests end well, and are told so first: the whole rule costs as much as the rest of the line. Where
    # nothing was sent there is no code, and asking for it would spoil the expression, unless a flag decides before.
    return (
        f"%CEL(response.flags == 0 && response.code < 400 ? '{Fault.NONE}'"
        f" : {begins(_SERVICE)} ? '{Fault.SERVICE}' : {begins(_CLIENT)} ? '{Fault.CLIENT}'"
        f" : {begins(_GATEWAY)} ? '{Fault.GATEWAY}'"
        f" : response.code >= 500 ? ({begins(_SERVICE_FROM_500)} ? '{Fault.SERVICE}' : '{Fault.GATEWAY}')"
        f" : response.code >= 400 || {begins(_CLIENT_BELOW_500)} ? '{Fault.CLIENT}' : '{Fault.NONE}')%"
    )


def _outcome_expression() -> str:
    text = "'answered'"
    for _, bit, outcome in reversed(_OUTCOMES):
        text = f"response.flags / {bit} % 2 == 1 ? '{outcome}' : {text}"
    return f"%CEL({text})%"


# A link's token stands in its path until the chain takes it out; a request refused before that keeps it.
_PATH = (
    "%CEL(request.url_path.startsWith('/v/') || request.url_path.contains('eyJ') ? '/v/' : request.url_path)"
    f":{_LONGEST}%"
)

_REQUEST_FIELDS: Mapping[str, str] = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "event": REQUEST,
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD):20%",
    "host": "%REQ(:AUTHORITY):100%",
    "path": _PATH,
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "fault": _fault_expression(),
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "route": "%METADATA(ROUTE:redqueen:route)%",
    "service": "%METADATA(ROUTE:redqueen:service)%",
    "priority": "%METADATA(ROUTE:redqueen:priority)%",
    # What is tried on the viewer; nothing for most requests.
    "arms": "%REQ(X-RQ-ARMS)%",
    # Who answered, or was asked last.
    "upstream": "%UPSTREAM_HOST%",
    "upstream_node": "%UPSTREAM_HOST_NAME%",
    "upstream_zone": "%METADATA(UPSTREAM_HOST:redqueen:zone)%",
    "upstream_version": "%METADATA(UPSTREAM_HOST:redqueen:version)%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "duration_ms": "%DURATION%",
    # The request's bytes; from its first byte to the first byte given to the node that answered (with all tries
    # before it); until a connection to that node was had; the node's own time; until the client had it all.
    "read_us": "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%",
    "reach_us": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    "connect_ms": "%UPSTREAM_CONNECTION_POOL_READY_DURATION%",
    "think_us": "%COMMON_DURATION(US_TX_END:US_RX_BEG:us)%",
    "send_us": "%COMMON_DURATION(US_RX_BEG:DS_TX_END:us)%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}

_ATTEMPT_FIELDS: Mapping[str, str] = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "event": ATTEMPT,
    "node": "%CEL(xds.node.id)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    # Whose nodes were tried: a group's, where the service is under trial.
    "service": "%METADATA(CLUSTER:redqueen:service)%",
    "upstream": "%UPSTREAM_HOST%",
    "upstream_node": "%UPSTREAM_HOST_NAME%",
    "upstream_zone": "%METADATA(UPSTREAM_HOST:redqueen:zone)%",
    "upstream_version": "%METADATA(UPSTREAM_HOST:redqueen:version)%",
    "status": "%RESPONSE_CODE%",
    "outcome": _outcome_expression(),
    "flags": "%RESPONSE_FLAGS%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "duration_ms": "%DURATION%",
}

# All but DC (a player that seeks drops what it was reading) and what cannot happen here.
_FAILED = ("UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "URX", "SI", "DPE", "UMSDR", "DT", "UPE", "NC", "OM")


def access_log(node_id: str) -> dict[str, Any]:
    """Log every request but the quick successes of media: a viewer makes one every second or two."""
    own_path = {"header": {"name": ":path", "string_match": {"prefix": "/media/"}, "invert_match": True}}
    filters: list[dict[str, Any]] = [
        {"status_code_filter": {"comparison": _at_least(400)}},
        {"duration_filter": {"comparison": _at_least(SLOW_MS)}},
        {"response_flag_filter": {"flags": list(_FAILED)}},
        {"header_filter": own_path},
    ]
    return _log({**_REQUEST_FIELDS, "node": node_id}, filters)


def attempt_log() -> dict[str, Any]:
    """Log each try that failed; a first try that succeeds says nothing beside the request's own line."""
    filters: list[dict[str, Any]] = [
        {"status_code_filter": {"comparison": _at_least(500)}},
        {"response_flag_filter": {"flags": [flag for flag, _, _ in _OUTCOMES]}},
    ]
    return _log(_ATTEMPT_FIELDS, filters)


def _log(fields: Mapping[str, str], filters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "stderr",
        "filter": {"or_filter": {"filters": filters}},
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
            "log_format": {"json_format": dict(fields), "omit_empty_values": True},
        },
    }


def _at_least(value: int) -> dict[str, Any]:
    return {"op": "GE", "value": {"default_value": value, "runtime_key": "redqueen.unset"}}


def joined(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the requests of some log lines, oldest first, each with its failed tries as `attempts`.

    Lines that are no passports are passed over; a verdict that Envoy could not give is given here.
    """
    requests: list[dict[str, Any]] = []
    attempts: dict[str, list[dict[str, Any]]] = {}
    for fields in _passports(lines):
        if fields.get("event") == ATTEMPT:
            attempts.setdefault(str(fields.get("request_id", "")), []).append(fields)
        else:
            requests.append(fields)
    for fields in requests:
        fields.setdefault("fault", fault_of(_status(fields), str(fields.get("details", ""))).value)
        tries = attempts.get(str(fields.get("request_id", "")), [])
        fields["attempts"] = sorted((_try(one) for one in tries), key=lambda one: str(one["time"]))
    return sorted(requests, key=lambda fields: str(fields.get("time", "")))


def _passports(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            continue
        if fields.get("event") in (REQUEST, ATTEMPT):
            yield fields


def _try(fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {"time": fields.get("time", ""), "node": fields.get("upstream_node") or fields.get("upstream", "")}
    known["outcome"] = outcome_of(_status(fields), str(fields.get("flags", "")))
    kept = ("upstream_zone", "upstream_version", "failure", "duration_ms")
    return {**known, **{name: fields[name] for name in kept if name in fields}}


def _status(fields: Mapping[str, Any]) -> int:
    status = fields.get("status", 0)
    return status if isinstance(status, int) else 0


def explained(request: Mapping[str, Any]) -> str:
    """Say in one sentence what became of a joined request."""
    status, fault = _status(request), str(request.get("fault", ""))
    asked = f"{request.get('method', '?')} {request.get('path', '?')}"
    ended = f"{status}" if status else "no answer"
    tries: list[Mapping[str, Any]] = list(request.get("attempts", ()))
    failed = ", ".join(f"{one['node'] or 'nobody'}: {one['outcome']}" for one in tries)
    who = f" from {request['upstream_node']}" if status and "upstream_node" in request else ""
    whose = "" if fault == Fault.NONE else f"; the {fault}'s fault ({request.get('details', 'no details')})"
    before = f"; failed tries: {failed}" if failed else ""
    return f"{asked}: {ended}{who} after {request.get('duration_ms', '?')} ms{whose}{before}"
