"""Whatever is sent as a body: it is accepted whole, or refused by a clear 400 and nothing has changed."""

from __future__ import annotations

import gzip
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.registry import documents, wire, xml
from redqueen.registry.ledger import Ledger
from redqueen.registry.model import Moment

NOW = Moment(10.0, 1_700_000_000_000)
JSON = {"accept": "application/json"}
KINDS = ("application/json", "application/xml", "text/plain", "", "application/json; charset=utf-16")
FIELDS = {
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
    "vipAddress": "orders",
    "lastDirtyTimestamp": "1699999999000",
    "homePageUrl": "http://host/",
}
WHOLE = json.dumps({"instance": FIELDS}).encode()
WHOLE_XML = xml.write({"instance": FIELDS})
CLASSES = {"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "com.netflix.appinfo.AmazonInfo"}


def ask(ledger: Ledger, method: str, path: str, body: bytes = b"", **headers: str) -> wire.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.answer(ledger, wire.Request(method, tuple(path.split("/")), {}, named, body), NOW)


def known(ledger: Ledger) -> tuple[object, ...]:
    """Give everything that a body may have changed."""
    return (tuple(ledger.table.records()), ledger.version, ledger.dirty)


def settled() -> Ledger:
    ledger = Ledger("here", NOW)
    assert ask(ledger, "POST", "apps/ORDERS", WHOLE).status == 204
    ledger.dirty = False
    return ledger


def refused_cleanly(ledger: Ledger, path: str, body: bytes, **headers: str) -> wire.Response:
    """Send a body; a refusal must say why, in few words, and change nothing."""
    before = known(ledger)
    response = ask(ledger, "POST", path, body, **headers)
    if response.status == 400:
        told = json.loads(response.body)
        assert told["code"].startswith("registry.") and told["what"] and len(response.body) < 1024
        assert known(ledger) == before
    return response


@given(
    body=st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    kind=st.sampled_from(KINDS),
    coding=st.sampled_from(("", "gzip", "deflate", "identity")),
    path=st.sampled_from(("apps/ORDERS", "peerreplication/batch")),
)
def test_any_bytes_are_refused_or_taken_and_never_break_anything(
    body: bytes, kind: str, coding: str, path: str
) -> None:
    ledger = settled()
    assert refused_cleanly(ledger, path, body, content_type=kind, content_encoding=coding).status == 400


ODD_NUMBERS = st.sampled_from((2**31, 2**63, 2**64, -1, 10**30, 1e308, 1e-320, -0.0, "9" * 400, "1e999", "NaN", "0x10"))
ODD_TEXTS = st.sampled_from(
    ("", " ", "\x00", "\ud7ff", "\U0001f3ac", "a" * 5000, "<&>\"'", "]]>", "../..", "@class", "$")
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | ODD_NUMBERS | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXTS | st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
SMALL = st.sampled_from(
    ("$", "@enabled", "@class", "name", "metadata", "durationInSecs", "renewalIntervalInSecs", "zone")
)


@st.composite
def bent(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a registration some of whose fields are not what they should be."""
    fields: dict[str, Any] = dict(FIELDS)
    for name in draw(st.lists(st.sampled_from(list(FIELDS)), min_size=1, max_size=4, unique=True)):
        inner = fields[name]
        if isinstance(inner, dict) and draw(st.booleans()):
            fields[name] = {**inner, draw(SMALL): draw(ODD)}
        else:
            fields[name] = draw(ODD)
    return fields


@given(bent())
@settings(max_examples=100)
def test_what_is_taken_of_odd_registrations_is_readable_for_every_client(fields: dict[str, Any]) -> None:
    ledger = Ledger("here", NOW)
    response = refused_cleanly(
        ledger, "apps/ORDERS", json.dumps({"instance": fields}).encode(), content_type="application/json"
    )
    assert response.status in (204, 400)
    if response.status == 204:
        for path in ("apps", "apps/delta", "apps/ORDERS"):
            readable(ask(ledger, "GET", path, **JSON).body, ask(ledger, "GET", path).body)


def readable(told: bytes, told_xml: bytes) -> None:
    """Check what makes Java clients drop a whole answer: odd classes and names, numbers beyond int and long."""
    outer = json.loads(told)
    apps = outer["applications"]["application"] if "applications" in outer else [outer["application"]]
    instances = [instance for app in apps for instance in app["instance"]]
    assert len(instances) == 1
    for instance in instances:
        assert instance["dataCenterInfo"]["@class"] in CLASSES
        assert instance["dataCenterInfo"]["name"] in ("MyOwn", "Netflix", "Amazon")
        assert not any(key.startswith("@") for key in instance["metadata"])
        assert 0 <= instance["countryId"] < 2**31
        assert all(0 <= instance["leaseInfo"][name] < 2**31 for name in ("durationInSecs", "renewalIntervalInSecs"))
        assert 0 <= int(instance["lastDirtyTimestamp"]) < 2**63
        assert 0 <= instance["port"]["$"] < 65536 and instance["port"]["@enabled"] in ("true", "false")
    root = ElementTree.fromstring(told_xml)  # noqa: S314 - our own answer, read by another parser
    named = [element for element in root.iter() if "class" in element.attrib]
    assert [element.tag for element in named] == ["dataCenterInfo"] and named[0].get("class") in CLASSES


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("metadata", {"@class": "java.lang.ProcessBuilder", "a": 1, "b": None, "c": ["x"]}, 204),
        ("dataCenterInfo", {"@class": "java.lang.ProcessBuilder", "name": "MyOwn"}, 204),
        ("dataCenterInfo", {"@class": "a", "name": "Amazon", "metadata": {"@class": "b", "instance-id": "i-1"}}, 204),
        ("dataCenterInfo", {"name": "Elsewhere"}, 400),
        ("dataCenterInfo", {"name": {"$": "MyOwn"}}, 400),
        ("countryId", 2**31, 204),
        ("countryId", "99999999999", 204),
        ("countryId", 10**30, 204),
        ("leaseInfo", {"durationInSecs": 2**40, "renewalIntervalInSecs": -5}, 204),
        ("leaseInfo", {"durationInSecs": "1e300"}, 204),
        ("leaseInfo", [1], 204),
        ("lastDirtyTimestamp", 2**63, 204),
        ("port", 8080, 204),
        ("port", {"$": "8080", "@enabled": True}, 204),
        ("port", {"$": 10**14}, 400),
        ("port", {"$": "eighty"}, 400),
        ("status", "up", 204),
        ("status", ["UP"], 400),
        ("overriddenstatus", "SIDEWAYS", 400),
        ("app", 7, 400),
        ("ipAddr", " ", 400),
    ],
)
def test_what_would_break_other_readers_is_put_right_or_refused(field: str, value: object, status: int) -> None:
    ledger = Ledger("here", NOW)
    response = refused_cleanly(ledger, "apps/ORDERS", json.dumps({"instance": {**FIELDS, field: value}}).encode())
    assert response.status == status, response.body
    if status == 204:
        for path in ("apps", "apps/delta", "apps/ORDERS"):
            readable(ask(ledger, "GET", path, **JSON).body, ask(ledger, "GET", path).body)


@given(bent() | st.just(dict(FIELDS)))
@settings(max_examples=100)
def test_the_quick_reading_of_a_registration_never_differs_from_the_careful_one(fields: dict[str, Any]) -> None:
    body = json.dumps({"instance": fields}).encode()
    quick = documents.read_common(body, 7)
    if quick is not None:
        assert quick == documents.read_instance(json.loads(body), 7)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"metadata": {"zone": "b", "version": "2"}},
        {"overriddenStatus": "OUT_OF_SERVICE"},
        {"overriddenStatus": None, "overriddenstatus": "DOWN"},
        {
            "port": {"$": 0, "@enabled": True},
            "lastDirtyTimestamp": 5,
            "countryId": "2",
            "asgName": "x",
            "appGroupName": "y",
        },
        {"vipAddress": None, "homePageUrl": None, "sid": "na", "metadata": None, "actionType": "ADDED"},
    ],
)
def test_what_clients_usually_say_is_read_quickly_and_alike(changed: dict[str, Any]) -> None:
    body = json.dumps({"instance": {**FIELDS, **changed}}).encode()
    quick = documents.read_common(body, 7)
    assert quick is not None and quick == documents.read_instance(json.loads(body), 7)


@given(bent())
def test_the_same_odd_registration_as_xml_is_taken_or_refused_too(fields: dict[str, Any]) -> None:
    ledger = Ledger("here", NOW)
    names = {name: value for name, value in fields.items() if value is not None}
    try:
        body = xml.write({"instance": names})
    except (ValueError, IndexError):  # not a document that XML could hold
        return
    assert refused_cleanly(ledger, "apps/ORDERS", body, content_type="application/xml").status in (204, 400)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instance":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"instance":' + b'{"metadata":' * 50_000 + b"1" + b"}" * 50_001,
        b'{"instance":{"countryId":' + b"9" * 100_000 + b"}}",
        b'{"instance":{"app":' + b"9" * 100_000 + b"}}",
        b'{"instance":{"countryId":1e' + b"9" * 1000 + b"}}",
        b'{"instance":{"app":"\\ud800","instanceId":"a","hostName":"h","ipAddr":"i","dataCenterInfo":{"name":"MyOwn"}}}',
        '{"instance":{}}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"\x00" * 1000,
    ],
    ids=["lists", "objects", "digits", "digits-as-name", "exponent", "surrogate", "utf-16", "mark", "zeros"],
)
def test_json_bombs_are_refused(body: bytes) -> None:
    for path in ("apps/ORDERS", "peerreplication/batch"):
        assert refused_cleanly(settled(), path, body, content_type="application/json").status == 400


ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    "body",
    [
        f'<!DOCTYPE b [<!ENTITY e0 "ha">{ENTITIES}]><instance><app>&e11;</app></instance>'.encode(),
        b'<!DOCTYPE b [<!ENTITY e SYSTEM "file:///etc/passwd">]><instance><app>&e;</app></instance>',
        b'<!DOCTYPE b SYSTEM "http://127.0.0.1:1/b.dtd"><instance/>',
        b"<!DOCTYPE b>" + WHOLE_XML,
        WHOLE_XML.replace(b"<status>", b"<a>" * 9 + b"</a>" * 9 + b"<status>"),
        WHOLE_XML + WHOLE_XML,
        b"<instance>&undeclared;</instance>",
        b"<instance>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</instance>",
        b"<instance" + b"".join(b' a%d="1"' % n for n in range(20_000)) + b"/>",
        b'<?xml version="1.0" encoding="utf-7"?><instance/>',
        b'<?xml version="1.0" encoding="nonsense"?><instance/>',
        b'<?xml version="1.0" encoding="idna"?><instance/>',
        b"<instance><app>\x00</app></instance>",
        "<instance/>".encode("utf-32"),
        b"<instance/><instance/>",
        b"<instance><app></instance>",
        b"",
    ],
)
def test_xml_bombs_and_odd_encodings_are_refused(body: bytes) -> None:
    for path in ("apps/ORDERS", "peerreplication/batch"):
        assert refused_cleanly(settled(), path, body, content_type="application/xml").status == 400


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_xml_is_read_in_the_encoding_that_it_declares(encoding: str) -> None:
    ledger = Ledger("here", NOW)
    written = xml.write({"instance": {**FIELDS, "metadata": {"town": "Zürich"}}}).decode()
    body = f'<?xml version="1.0" encoding="{encoding}"?>{written}'.encode(encoding)
    assert ask(ledger, "POST", "apps/ORDERS", body, content_type="application/xml").status == 204
    assert ledger.living()[0].instance.metadata == {"town": "Zürich"}


def test_a_gzip_bomb_costs_no_more_than_what_may_be_sent_plain() -> None:
    ledger = settled()
    bomb = gzip.compress(b" " * (32 << 20), 1)
    assert len(bomb) < wire.MOST_BODY_BYTES
    zipped = gzip.compress(WHOLE)
    for body in (bomb, zipped + zipped, zipped[:-1], zipped + b"x", gzip.compress(zipped)):
        assert refused_cleanly(ledger, "apps/ORDERS", body, content_encoding="gzip").status == 400


@given(
    st.lists(st.dictionaries(st.sampled_from(("appName", "id", "action", "instanceInfo", "status")), ODD), max_size=3)
)
def test_any_replication_list_is_answered_entry_by_entry_or_refused(entries: list[dict[str, Any]]) -> None:
    ledger = settled()
    body = json.dumps({"replicationList": entries}).encode()
    response = refused_cleanly(ledger, "peerreplication/batch", body)
    assert response.status == 400 or len(json.loads(response.body)["responseList"]) == len(entries)


def test_a_replicated_registration_cannot_speak_of_another_instance_than_its_entry() -> None:
    ledger = Ledger("here", NOW)
    entry = {"appName": "OTHER", "id": "x", "action": "Register", "instanceInfo": FIELDS}
    body = json.dumps({"replicationList": [entry]}).encode()
    assert json.loads(ask(ledger, "POST", "peerreplication/batch", body).body)["responseList"] == [{"statusCode": 400}]
    assert ledger.living() == []


def test_metadata_cannot_name_classes_to_readers_nor_grow_without_end() -> None:
    ledger = settled()

    def lay(**values: str) -> int:
        asked = ("apps", "ORDERS", "host:orders:8080", "metadata")
        return wire.answer(ledger, wire.Request("PUT", asked, values), NOW).status

    assert lay(**{"@class": "java.lang.ProcessBuilder", "colour": "red"}) == 200
    assert ledger.living()[0].instance.metadata == {"management.port": "8081", "colour": "red"}
    statuses = [lay(**{f"key-{n}": "x" * 4000}) for n in range(40)]
    assert statuses[0] == 200 and statuses[-1] == 400
    assert len(ask(ledger, "GET", "apps", **JSON).body) < 100_000
