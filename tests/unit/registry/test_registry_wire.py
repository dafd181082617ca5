"""Eureka's wire: exact statuses, bodies and documents, as real clients need them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.registry import calls, documents, wire, xml
from redqueen.registry.ledger import Ledger
from redqueen.registry.model import Moment

NOW = Moment(10.0, 1_700_000_000_000)
JSON = {"accept": "application/json"}


def document(**changes: object) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "instanceId": "host:orders:8080",
        "hostName": "host",
        "app": "ORDERS",
        "ipAddr": "127.0.0.1",
        "status": "UP",
        "overriddenstatus": "UNKNOWN",
        "port": {"$": 8080, "@enabled": "true"},
        "securePort": {"$": 443, "@enabled": "false"},
        "countryId": 1,
        "dataCenterInfo": {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"},
        "leaseInfo": {"renewalIntervalInSecs": 30, "durationInSecs": 90},
        "metadata": {"management.port": "8081"},
        "vipAddress": "orders,orders-v2",
        "secureVipAddress": "orders-tls",
        "lastDirtyTimestamp": "1699999999000",
    }
    fields.update(changes)
    return {"instance": {k: v for k, v in fields.items() if v is not None}}


def ask(ledger: Ledger, method: str, path: str, body: object = None, **headers: str) -> wire.Response:
    path, _, query = path.partition("?")
    pairs = dict(p.split("=", 1) for p in query.split("&") if p)
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    request = wire.Request(
        method, tuple(path.split("/")), pairs, {k.replace("_", "-"): v for k, v in headers.items()}, sent
    )
    return wire.answer(ledger, request, NOW)


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger("here", NOW)
    assert ask(ledger, "POST", "apps/ORDERS", document()).status == 204
    return ledger


def test_registration_is_answered_by_204_without_a_body() -> None:
    response = ask(Ledger("here", NOW), "POST", "apps/orders", document())
    assert (response.status, response.body) == (204, b"")


@pytest.mark.parametrize("field", ["instanceId", "hostName", "ipAddr", "app", "dataCenterInfo"])
def test_registration_without_a_needed_field_is_refused_by_name(field: str) -> None:
    response = ask(Ledger("here", NOW), "POST", "apps/ORDERS", document(**{field: None}))
    assert response.status == 400
    assert field in json.loads(response.body)["why"]


def test_registration_under_another_apps_path_is_refused() -> None:
    assert ask(Ledger("here", NOW), "POST", "apps/BILLING", document()).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"null",
        b"<instance>",
        b"<a>" * 50 + b"</a>" * 50,
        b'<!DOCTYPE x [<!ENTITY a "b">]><instance>&a;</instance>',
        b'{"instance": {"port": {"$": "NaN"}}}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_body_is_a_clean_400(body: bytes) -> None:
    assert ask(Ledger("here", NOW), "POST", "apps/ORDERS", body).status == 400


@pytest.mark.parametrize("port", ["-1", "65536", "x", "inf", 1e300])
def test_what_is_not_a_port_is_refused(port: object) -> None:
    body = document(port={"$": port, "@enabled": "true"})
    assert ask(Ledger("here", NOW), "POST", "apps/ORDERS", body).status == 400 or port == "-1"


def test_a_heartbeat_is_200_with_an_empty_body(ledger: Ledger) -> None:
    response = ask(ledger, "PUT", "apps/ORDERS/host:orders:8080?status=UP&lastDirtyTimestamp=1699999999000")
    assert (response.status, response.body) == (200, b"")


@pytest.mark.parametrize(
    "path", ["apps/ORDERS/other", "apps/OTHER/x", "apps/ORDERS/host:orders:8080?lastDirtyTimestamp=1700000000001"]
)
def test_a_heartbeats_404_has_an_empty_body(ledger: Ledger, path: str) -> None:
    response = ask(ledger, "PUT", path, accept="application/json")
    assert (response.status, response.body) == (404, b"")


def test_a_replicated_outdated_heartbeat_is_409_with_the_instance(ledger: Ledger) -> None:
    path = "apps/ORDERS/host:orders:8080?lastDirtyTimestamp=5"
    response = ask(ledger, "PUT", path, accept="application/json", x_netflix_discovery_replication="true")
    assert (response.status, json.loads(response.body)["instance"]["hostName"]) == (409, "host")


def test_cancelling_is_200_and_then_404(ledger: Ledger) -> None:
    assert ask(ledger, "DELETE", "apps/ORDERS/host:orders:8080").status == 200
    assert ask(ledger, "DELETE", "apps/ORDERS/host:orders:8080").status == 404
    assert ask(ledger, "GET", "apps/ORDERS").status == 404


def test_json_reads_as_eurekas_clients_expect(ledger: Ledger) -> None:
    found = json.loads(ask(ledger, "GET", "apps", **JSON).body)["applications"]
    assert (found["versions__delta"], found["apps__hashcode"]) == ("1", "UP_1_")
    instance = found["application"][0]["instance"][0]
    assert instance["port"] == {"$": 8080, "@enabled": "true"}
    assert instance["dataCenterInfo"] == document()["instance"]["dataCenterInfo"]
    assert instance["leaseInfo"]["durationInSecs"] == 90
    for name in ("lastUpdatedTimestamp", "lastDirtyTimestamp", "actionType", "isCoordinatingDiscoveryServer"):
        assert isinstance(instance[name], str)
    assert instance["overriddenStatus"] == "UNKNOWN"


def test_without_json_in_accept_the_answer_is_xml(ledger: Ledger) -> None:
    response = ask(ledger, "GET", "apps", accept="*/*")
    assert response.headers["content-type"] == "application/xml"
    text = response.body.decode()
    assert '<port enabled="true">8080</port>' in text
    assert '<dataCenterInfo class="com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo">' in text
    assert "<overriddenstatus>UNKNOWN</overriddenstatus>" in text
    assert "<management.port>8081</management.port>" in text


def test_an_xml_registration_reads_back_as_it_was(ledger: Ledger) -> None:
    body = ask(ledger, "GET", "apps/ORDERS/host:orders:8080").body
    other = Ledger("there", NOW)
    assert ask(other, "POST", "apps/ORDERS", body, content_type="application/xml").status == 204
    assert other.living()[0].instance == ledger.living()[0].instance


def test_an_empty_registry_has_an_empty_hash() -> None:
    found = json.loads(ask(Ledger("here", NOW), "GET", "apps", **JSON).body)["applications"]
    assert (found["apps__hashcode"], found["application"]) == ("", [])


def test_long_answers_are_gzipped_for_who_takes_it(ledger: Ledger) -> None:
    response = ask(ledger, "GET", "apps", accept="application/json", accept_encoding="gzip, deflate")
    assert response.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(response.body))["applications"]["apps__hashcode"] == "UP_1_"


def test_gzipped_bodies_are_read_and_bombs_refused() -> None:
    ledger = Ledger("here", NOW)
    zipped = gzip.compress(json.dumps(document()).encode())
    assert ask(ledger, "POST", "apps/ORDERS", zipped, content_encoding="gzip").status == 204
    for bad in (gzip.compress(b" " * (8 << 20)), zipped[:40], b"no"):
        assert ask(ledger, "POST", "apps/ORDERS", bad, content_encoding="gzip").status == 400


def test_the_delta_holds_whole_deleted_records_and_the_whole_registrys_hash(ledger: Ledger) -> None:
    ask(ledger, "POST", "apps/ORDERS", document(instanceId="second"))
    ask(ledger, "DELETE", "apps/ORDERS/host:orders:8080")
    found = json.loads(ask(ledger, "GET", "apps/delta", **JSON).body)["applications"]
    assert found["apps__hashcode"] == "UP_1_"
    by_id = {i["instanceId"]: i for i in found["application"][0]["instance"]}
    assert by_id["second"]["actionType"] == "ADDED"
    gone = by_id["host:orders:8080"]
    assert (gone["actionType"], gone["hostName"], gone["port"]["$"]) == ("DELETED", "host", 8080)
    assert gone["dataCenterInfo"]["name"] == "MyOwn"


def test_the_deltas_version_changes_whenever_its_content_does(ledger: Ledger) -> None:
    def version() -> int:
        return int(json.loads(ask(ledger, "GET", "apps/delta", **JSON).body)["applications"]["versions__delta"])

    seen = [version()]
    ask(ledger, "PUT", "apps/ORDERS/host:orders:8080/status?value=OUT_OF_SERVICE")
    seen.append(version())
    ask(ledger, "DELETE", "apps/ORDERS/host:orders:8080/status")
    seen.append(version())
    later = Moment(NOW.mono_s + 500, NOW.wall_ms + 500_000)
    ledger.apply(calls.Sweep(), later)
    seen.append(version())
    assert len(set(seen)) == 4 and min(seen) > 1


def test_an_override_is_set_read_and_taken_back(ledger: Ledger) -> None:
    path = "apps/ORDERS/host:orders:8080"
    assert ask(ledger, "PUT", f"{path}/status?value=OUT_OF_SERVICE").status == 200
    found = json.loads(ask(ledger, "GET", path, **JSON).body)["instance"]
    assert (found["status"], found["overriddenStatus"]) == ("OUT_OF_SERVICE", "OUT_OF_SERVICE")
    assert ask(ledger, "DELETE", f"{path}/status?value=UP").status == 200
    assert json.loads(ask(ledger, "GET", path, **JSON).body)["instance"]["status"] == "UP"
    assert ask(ledger, "PUT", f"{path}/status?value=NICE").status == 400
    assert ask(ledger, "PUT", "apps/ORDERS/x/status?value=UP").status == 404


def test_metadata_is_set_by_query(ledger: Ledger) -> None:
    assert ask(ledger, "PUT", "apps/ORDERS/host:orders:8080/metadata?colour=red").status == 200
    found = json.loads(ask(ledger, "GET", "instances/host:orders:8080", **JSON).body)["instance"]
    assert found["metadata"] == {"management.port": "8081", "colour": "red"}


@pytest.mark.parametrize(
    ("path", "hash_code"), [("vips/orders-v2", "UP_1_"), ("svips/Orders-TLS", "UP_1_"), ("vips/x", ""), ("svips/x", "")]
)
def test_instances_are_found_by_their_virtual_addresses(ledger: Ledger, path: str, hash_code: str) -> None:
    """Nobody under a name is an empty answer, as Netflix's server says: a 404 would leave readers with their last."""
    response = ask(ledger, "GET", path, **JSON)
    found = json.loads(response.body)["applications"]
    assert (response.status, found["apps__hashcode"], found["versions__delta"]) == (200, hash_code, "-1")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "nothing"), ("POST", "apps"), ("PUT", "apps/A"), ("GET", "instances/x")]
)
def test_unknown_calls_are_404(ledger: Ledger, method: str, path: str) -> None:
    assert ask(ledger, method, path).status == 404


def test_a_batch_of_eurekas_replication_answers_each_entry() -> None:
    ledger = Ledger("here", NOW)
    instance = document()["instance"]
    entry = {"appName": "ORDERS", "id": "host:orders:8080", "lastDirtyTimestamp": 1699999999000}
    actions = [
        {**entry, "action": "Heartbeat"},
        {**entry, "action": "Register", "instanceInfo": instance},
        {**entry, "action": "Heartbeat"},
        {**entry, "action": "Heartbeat", "lastDirtyTimestamp": 1},
        {**entry, "action": "StatusUpdate", "status": "OUT_OF_SERVICE"},
        {**entry, "action": "DeleteStatusOverride"},
        {**entry, "action": "Cancel"},
        {**entry, "action": "Dance"},
    ]
    response = ask(ledger, "POST", "peerreplication/batch", {"replicationList": actions})
    answers = json.loads(response.body)["responseList"]
    assert [a["statusCode"] for a in answers] == [404, 200, 200, 409, 200, 200, 200, 400]
    assert answers[3]["responseEntity"]["hostName"] == "host"
    assert ask(ledger, "POST", "peerreplication/batch", {"replicationList": 1}).status == 400


NAMES = st.text(min_size=1, max_size=8).filter(lambda name: not name.startswith("@"))


@given(st.dictionaries(NAMES, st.text(max_size=8), max_size=4))
def test_any_metadata_survives_json_and_always_gives_readable_xml(metadata: dict[str, str]) -> None:
    ledger = Ledger("here", NOW)
    try:
        body = json.dumps(document(metadata=metadata)).encode()
        instance = documents.read_instance(wire.read_body(wire.Request("POST", ("apps", "ORDERS"), body=body)), 0)
    except InvalidInput:
        return
    ledger.apply(calls.Register(instance), NOW)
    found = json.loads(ask(ledger, "GET", "instances/host:orders:8080", **JSON).body)["instance"]["metadata"]
    assert found == {**metadata, **{k: v for k, v in metadata.items() if v}}
    assert "instance" in xml.read(ask(ledger, "GET", "instances/host:orders:8080").body)


def test_names_that_xml_does_not_allow_are_spelt_and_read_back() -> None:
    written = xml.write({"metadata": {"a key/1": "x<>&\"'\x00", "1st": "y", "\U0001f3ac": "z"}})
    assert xml.read(written) == {"metadata": {"a key/1": "x<>&\"'", "1st": "y", "\U0001f3ac": "z"}}


@given(
    st.dictionaries(st.text(st.sampled_from("_-.$@a1 :é\U0001f3ac"), min_size=1, max_size=6), st.just("v"), max_size=3)
)
def test_any_key_is_spelt_so_that_it_reads_back(keys: dict[str, str]) -> None:
    assert xml.read(xml.write({"metadata": keys})) == {"metadata": keys or ""}


def test_keys_as_xstream_spells_them_are_read() -> None:
    read = xml.read(b"<metadata><a__b>1</a__b><c_-d>2</c_-d><plain_one>3</plain_one><x_.0020y>4</x_.0020y></metadata>")
    assert read == {"metadata": {"a_b": "1", "c$d": "2", "plain_one": "3", "x y": "4"}}


def test_gzip_is_not_forced_on_who_refuses_it(ledger: Ledger) -> None:
    for accepted in ("identity", "gzip;q=0, identity", "gzip; q=0.0"):
        response = ask(ledger, "GET", "apps", accept="application/json", accept_encoding=accepted)
        assert "content-encoding" not in response.headers
    response = ask(ledger, "GET", "apps", accept="application/json", accept_encoding="deflate, gzip;q=0.5")
    assert response.headers["content-encoding"] == "gzip"


def test_a_peers_heartbeat_of_what_changed_there_brings_its_override(ledger: Ledger) -> None:
    path = "apps/ORDERS/host:orders:8080?lastDirtyTimestamp=1700000000001&overriddenstatus=OUT_OF_SERVICE"
    assert ask(ledger, "PUT", path).status == 404
    assert json.loads(ask(ledger, "GET", "apps", **JSON).body)["applications"]["apps__hashcode"] == "UP_1_"
    assert ask(ledger, "PUT", path, x_netflix_discovery_replication="true").status == 404
    found = json.loads(ask(ledger, "GET", "apps", **JSON).body)["applications"]
    assert found["apps__hashcode"] == "OUT_OF_SERVICE_1_"


def test_answers_are_kept_only_while_they_are_true(ledger: Ledger) -> None:
    def told(path: str, **headers: str) -> list[str]:
        body = ask(ledger, "GET", path, **headers).body
        return [i["status"] for a in json.loads(body)["applications"]["application"] for i in a["instance"]]

    for path in ("apps", "vips/orders", "svips/orders-tls"):
        assert told(path, **JSON) == told(path, **JSON) == ["UP"]
        ask(ledger, "PUT", "apps/ORDERS/host:orders:8080/status?value=OUT_OF_SERVICE")
        assert told(path, **JSON) == ["OUT_OF_SERVICE"]
        ask(ledger, "DELETE", "apps/ORDERS/host:orders:8080/status")
    ask(ledger, "DELETE", "apps/ORDERS/host:orders:8080")
    assert [told(path, **JSON) for path in ("apps", "vips/orders", "svips/orders-tls")] == [[], [], []]
