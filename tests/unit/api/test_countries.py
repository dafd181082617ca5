"""Where requests come from: by an edge's header, by a database of addresses, and what a bad file costs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from redqueen import config
from redqueen.api.countries import LOOK_S, Countries, CountriesRefused, Database, read_database
from redqueen.cli import doctor
from redqueen.errors import InvalidInput
from redqueen.events import Event, discard
from redqueen.roles import region
from redqueen.testing.clock import VirtualClock

MAXMIND = {"81.2.69.0/24": {"country": {"iso_code": "GB"}}, "2001:db8::/32": {"country": {"iso_code": "DE"}}}


def put_database(path: Path, entries: Mapping[str, Any], *, version: int = 6) -> Path:
    """Write a database; it gets its place as updaters do it, whole."""
    writer = MMDBWriter(ip_version=version, database_type="Test-Country", ipv4_compatible=version == 6)
    for network, record in entries.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path) + ".new")
    os.replace(str(path) + ".new", path)
    return path


def test_an_address_has_the_country_of_its_network(tmp_path: Path) -> None:
    known = Countries("", Database(put_database(tmp_path / "c.mmdb", MAXMIND), VirtualClock(), discard))
    asked = ("81.2.69.142", "81.2.70.1", "2001:db8::1", "::1", "unknown", "", "1.2.3.4, 81.2.69.142")
    assert [known.of({}, address) for address in asked] == ["GB", "", "DE", "", "", "", ""]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"country_code": "FR"}, "FR"),
        ({"country": "FR"}, "FR"),
        ({"registered_country": {"iso_code": "FR"}}, "FR"),
        ({"country": {"iso_code": "FR"}, "registered_country": {"iso_code": "US"}}, "FR"),
        ({"country": {"iso_code": "fr"}}, ""),
        ({"country": {"names": {"en": "France"}}}, ""),
    ],
)
def test_databases_write_a_country_in_several_ways(tmp_path: Path, record: Any, code: str) -> None:
    entries = {"10.0.0.0/8": record, "81.2.69.0/24": {"country": {"iso_code": "GB"}}}
    file = put_database(tmp_path / "c.mmdb", entries, version=4)
    known = Countries("", Database(file, VirtualClock(), discard))
    assert known.of({}, "10.1.2.3") == code
    assert known.of({}, "2001:db8::1") == ""


def test_the_edges_header_goes_first_and_nonsense_in_it_says_nothing(tmp_path: Path) -> None:
    known = Countries("CF-IPCountry", Database(put_database(tmp_path / "c.mmdb", MAXMIND), VirtualClock(), discard))
    for told, code in (("de", "DE"), ("XX", "GB"), ("T1", "GB"), ("", "GB"), ("DE, FR", "GB"), ("D" * 10_000, "GB")):
        assert known.of({"cf-ipcountry": told}, "81.2.69.1") == code
    assert Countries().of({"cf-ipcountry": "DE", "": "DE"}, "81.2.69.1") == ""


def test_a_renewed_file_is_read_and_a_bad_one_is_said_once_while_the_last_good_one_stays(tmp_path: Path) -> None:
    clock, events = VirtualClock(), list[Event]()
    file = put_database(tmp_path / "c.mmdb", MAXMIND)
    known = Countries("", Database(file, clock, events.append))
    assert known.of({}, "81.2.69.1") == "GB"
    put_database(file, {"81.2.69.0/24": {"country": {"iso_code": "IE"}}})
    assert known.of({}, "81.2.69.1") == "GB"
    clock.advance(LOOK_S)
    assert known.of({}, "81.2.69.1") == "IE"
    file.write_bytes(file.read_bytes()[:100])
    for _ in range(3):
        clock.advance(LOOK_S)
        assert known.of({}, "81.2.69.1") == "IE"
    assert [type(event) for event in events] == [CountriesRefused]


def _asn(path: Path) -> None:
    put_database(path, {"81.2.69.0/24": {"autonomous_system_number": 1}})


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"no database" * 99), "not a MaxMind DB"),
        (lambda path: path.write_bytes(b""), "not a MaxMind DB"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.touch() or os.truncate(path, 200 << 20), "more than 128 MiB"),
        (_asn, "names no countries"),
    ],
    ids=["missing", "garbage", "empty", "folder", "large", "other"],
)
@pytest.mark.anyio
async def test_what_is_no_database_of_countries_stops_up_with_its_reason(tmp_path: Path, make: Any, why: str) -> None:
    make(tmp_path / "c.mmdb")
    (tmp_path / "redqueen.toml").write_text('country_database = "c.mmdb"\n')
    with pytest.raises(InvalidInput) as refused:
        await region.prepare(tmp_path, config.load(tmp_path), "http://127.0.0.1:1")
    assert why in str(refused.value) and str(tmp_path / "c.mmdb") in str(refused.value)


def test_the_doctor_looks_at_the_database_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "redqueen.toml").write_text('country_database = "c.mmdb"\n')
    (check,) = [one for one in doctor.examine(tmp_path) if one.name == "countries"]
    assert (check.verdict, "no such file" in check.found) == ("fail", True)


def test_a_file_that_is_damaged_inside_knows_nothing_and_raises_nothing(tmp_path: Path) -> None:
    file = put_database(tmp_path / "c.mmdb", MAXMIND)
    whole = file.read_bytes()
    found = set[str]()
    for at in range(0, len(whole), max(1, len(whole) // 200)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        known = Countries("", Database(file, VirtualClock(), discard))
        found |= {known.of({}, "81.2.69.1"), known.of({}, "2001:db8::1")}
    assert "GB" in found
    assert all(code == "" or len(code) == 2 for code in found)


def test_a_database_says_how_old_it_is(tmp_path: Path) -> None:
    assert read_database(put_database(tmp_path / "c.mmdb", MAXMIND)).metadata().database_type == "Test-Country"
