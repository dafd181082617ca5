"""Whatever is handed to the gateway's compiler or written in a service file is taken whole or refused in words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.api.declarations import gateway_side
from redqueen.errors import InvalidInput
from redqueen.fleet.declared import ServiceFile, converted, parsed
from redqueen.gateway.compiler import compile
from redqueen.gateway.model import Endpoint, EndpointStatus, Inputs, MediaKeys, Route, Snapshot

_ODD = st.sampled_from(
    ["", "a", "api", "/", "/x", "..", "/../x", "a/b", "%2e", "\0", "\n", '"', "\\", "é", "{}", "a" * 300, "-", "${x}",
    "*", "/v/", "/media"]
)  # fmt: skip
_text = st.one_of(_ODD, st.text(max_size=12))
NOT_ONE_HOST = ("0.0.0.0", "224.0.0.1", "10.0.0.999", "localhost")  # noqa: S104 - never bound
_hosts = st.one_of(_text, st.sampled_from(["127.0.0.1", "::1", "fe80::1%eth0", *NOT_ONE_HOST]))
_endpoints = st.builds(
    Endpoint,
    service=st.one_of(st.just("api"), _text),
    node_id=_text,
    host=_hosts,
    port=st.one_of(st.integers(-5, 70_000), st.sampled_from([80, 8080])),
    zone=_text,
    version=_text,
    status=st.sampled_from(EndpointStatus),
)
_routes = st.builds(Route, prefix=st.one_of(st.just("/"), _text), service=st.one_of(st.just("api"), _text))


def compiled(**changes: Any) -> Snapshot | None:
    fixed = {
        "node_id": "envoy-a-1", "zone": "a", "listen_host": "127.0.0.1", "listen_port": 8080, "admin_host": "127.0.0.1",
        "folder": "/srv/region/envoy", "media_root": "/srv/region/objects/media",
    }  # fmt: skip
    try:
        return compile(Inputs(**{**fixed, **changes}))
    except InvalidInput as error:
        assert error.what
        return None


@settings(max_examples=50)
@given(st.lists(_endpoints, max_size=6), st.lists(_routes, max_size=4))
def test_any_endpoints_and_routes_compile_to_json_of_the_right_names_or_are_refused(endpoints, routes) -> None:
    snapshot = compiled(endpoints=tuple(endpoints), routes=tuple(routes))
    if snapshot is None:
        return
    again = compiled(endpoints=tuple(reversed(endpoints)), routes=tuple(routes))
    assert again is not None
    assert dict(again.files) == dict(snapshot.files)
    for name, content in snapshot.files.items():
        assert "/" not in name
        assert name.endswith(".json")
        json.loads(content)
    sent = b"".join(content for name, content in snapshot.files.items() if name != "bootstrap.json")
    for endpoint in endpoints:
        # An address that is no single host is never given requests.
        if endpoint.host in NOT_ONE_HOST:
            assert f'"address":"{endpoint.host}"'.encode() not in sent.replace(b" ", b"")


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {}, optional={key: _text for key in ("node_id", "zone", "folder",
        "media_root")} | {"listen_port": st.integers(-9, 99_999)}
    ),
    _text,
)  # fmt: skip
def test_any_settings_compile_or_are_refused(changes: dict[str, Any], keys: str) -> None:
    compiled(**changes, media_keys=MediaKeys(keys), routes=(Route("/", "api"),))


_leaves = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**9), st.floats(), _text)
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3), max_leaves=5
)
_KEYS = (*ServiceFile.__struct_fields__, "unknown")
GOOD = {"name": "hello", "owner": "me", "command": ["python3", "x.py"], "routes": [{"path": "/hello"}]}


def settled(raw: Any) -> ServiceFile | None:
    """Check both halves of a service file, as the region does."""
    try:
        file = converted(raw, "service.toml")
        gateway_side(file, "service.toml")
    except InvalidInput as error:
        assert "service.toml" in str(error)
        return None
    return file


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(_KEYS), _values, max_size=4))
def test_any_values_in_a_service_file_are_taken_or_refused_naming_the_file(changes: dict[str, Any]) -> None:
    file = settled({**GOOD, **changes})
    if file is not None:
        assert settled(msgspec.to_builtins(file)) == file
        assert "\0" not in "".join((*file.command, *file.environment, *file.environment.values()))


_ROUTE_KEYS = (
    "path", "match", "hosts", "methods", "service", "rewrite", "redirect", "priority", "timeout_s", "retries", "cors",
    "request_headers", "hedge_after_s", "unknown",
)  # fmt: skip


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(_ROUTE_KEYS), _values, max_size=4))
def test_any_route_in_a_service_file_compiles_or_is_refused(route: dict[str, Any]) -> None:
    raw = {**GOOD, "routes": [{"path": "/hello", **route}]}
    file = settled(raw)
    if file is not None:
        snapshot = compiled(routes=gateway_side(file, "service.toml").routes)
        for content in snapshot.files.values() if snapshot else ():
            json.loads(content)


@settings(max_examples=50)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=80).map(lambda text: text.encode(errors="replace"))))
def test_any_bytes_as_a_service_file_are_refused_in_words(text: bytes) -> None:
    try:
        parsed(text, "service.toml")
    except InvalidInput as error:
        assert "service.toml" in str(error)
