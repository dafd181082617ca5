"""What a service file may say; every field wrong is refused with the file, the key, the value and what is accepted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.fleet.declared import RESERVED, ServiceFile, converted, parsed, same_process

GOOD = """
name = "shop"
owner = "Team Shop"
command = ["node", "server.mjs"]
version = "1.2"
directory = "."
health = "/healthz"
count = 2
[environment]
COLOUR = "red"
[limits]
memory_mb = 256
descriptors = 512
[timings]
start_s = 5
drain_s = 1.5
stop_s = 5.0
[[routes]]
path = "/shop"
[policy]
zone = "any"
"""


def test_a_whole_file_is_read() -> None:
    file = parsed(GOOD.encode(), "shop.toml")
    assert (file.name, file.owner, file.command, file.count) == ("shop", "Team Shop", ("node", "server.mjs"), 2)
    assert file.routes == [{"path": "/shop"}]
    program = file.program
    assert (program.memory_bytes, program.drain_s, program.environment) == (256 << 20, 1.5, (("COLOUR", "red"),))


def test_little_has_to_be_said() -> None:
    file = parsed(b'name = "shop"\nowner = "me"\ncommand = ["shop"]', "shop.toml")
    assert (file.health, file.count_per_zone, file.limits.memory_mb, file.timings.start_s) == ("/health", None, 512, 30)


@pytest.mark.parametrize(
    ("line", "instead", "key", "value", "accepted"),
    [
        ('name = "shop"', 'name = "Shop"', "name", "'Shop'", "lower-case letters"),
        ('name = "shop"', 'name = "shop-"', "name", "'shop-'", "last no `-`"),
        ('name = "shop"', "name = 3", "name", "3", "text in quotes"),
        ('name = "shop"', 'name = "api"', "name", "'api'", "none of the region's own names"),
        ('owner = "Team Shop"', 'owner = ""', "owner", "''", "who answers for the service"),
        ('["node", "server.mjs"]', "[]", "command", "[]", "a program and its arguments"),
        ('["node", "server.mjs"]', '"node server.mjs"', "command", "'node server.mjs'", "a list"),
        ('["node", "server.mjs"]', '["node", 1]', "command[1]", "1", "text in quotes"),
        ('["node", "server.mjs"]', '["node", "a\\u0000"]', "command[1]", "", "without null characters"),
        ('version = "1.2"', 'version = "../1"', "version", "'../1'", "first a letter or digit"),
        ('directory = "."', 'directory = ""', "directory", "''", "a folder"),
        ('health = "/healthz"', 'health = "healthz"', "health", "'healthz'", "begins with `/`"),
        ('health = "/healthz"', 'health = "/a b"', "health", "'/a b'", "without spaces"),
        ("count = 2", "count = 0", "count", "0", "1 to 128"),
        ("count = 2", "count = 1.5", "count", "1.5", "a whole number"),
        ("count = 2", "count = 2\ncount_per_zone = 1", "count", "2", "absent where `count_per_zone` is given"),
        ("count = 2", "count_per_zone = 17", "count_per_zone", "17", "1 to 16"),
        ('COLOUR = "red"', "COLOUR = 1", "environment[...]", "", "text in quotes"),
        ('COLOUR = "red"', '"1X" = "red"', "environment", "'1X'", "first no digit"),
        ('COLOUR = "red"', 'PORT = "1"', "environment.PORT", "'1'", "set by the region itself"),
        ('COLOUR = "red"', 'REDQUEEN_NODE = "x"', "environment.REDQUEEN_NODE", "'x'", "set by the region itself"),
        ("memory_mb = 256", "memory_mb = 1", "limits.memory_mb", "1", "16 to 1048576"),
        ("memory_mb = 256", 'memory_mb = "1G"', "limits.memory_mb", "'1G'", "a whole number"),
        ("memory_mb = 256", "memory = 1", "limits.memory", "1", "one of memory_mb, descriptors"),
        ("descriptors = 512", "descriptors = 8", "limits.descriptors", "8", "32 to 1048576"),
        ("start_s = 5", "start_s = 0", "timings.start_s", "0", "0.5 to 600"),
        ("drain_s = 1.5", "drain_s = -1", "timings.drain_s", "-1", "0 to 60"),
        ("stop_s = 5.0", 'stop_s = "5"', "timings.stop_s", "'5'", "a number"),
        ("stop_s = 5.0", "stop_s = 61", "timings.stop_s", "61", "0.1 to 60"),
        ('[[routes]]\npath = "/shop"', "[routes]", "routes", "{}", "a list"),
        ('[policy]\nzone = "any"', "", "", "", ""),
        ("count = 2", "cuont = 2", "cuont", "2", "one of name, owner, command"),
    ],
)
def test_every_wrong_field_is_named_with_its_value_and_what_is_accepted(
    line: str, instead: str, key: str, value: str, accepted: str
) -> None:
    assert line in GOOD
    text = GOOD.replace(line, instead)
    if not key:
        parsed(text.encode(), "shop.toml")
        return
    with pytest.raises(InvalidInput) as caught:
        parsed(text.encode(), "shop.toml")
    assert caught.value.what.startswith(f"shop.toml: {key} = ")
    assert value in caught.value.what
    assert accepted in caught.value.why
    assert caught.value.code == "service.file"
    assert caught.value.hint


@pytest.mark.parametrize("field", ["name", "owner", "command"])
def test_what_must_be_said_is_asked_for(field: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(field))
    with pytest.raises(InvalidInput, match=re.escape(f"shop.toml: {field} is missing")):
        parsed(text.encode(), "shop.toml")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_names_of_the_region_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        converted({"name": name, "owner": "me", "command": ["x"]}, "x")


def test_what_is_no_toml_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidInput, match="line 1"):
        parsed(b"name =\nowner = 1", "shop.toml")
    with pytest.raises(InvalidInput, match="not TOML"):
        parsed(b"\xff", "shop.toml")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_the_reader(text: bytes) -> None:
    try:
        assert isinstance(parsed(text, "x"), ServiceFile)
    except InvalidInput as error:
        assert "x" in error.what


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(ServiceFile.__struct_fields__), PLAIN)
def test_no_value_of_any_field_breaks_the_reader(field: str, value: object) -> None:
    raw = {"name": "shop", "owner": "me", "command": ["x"], field: value}
    try:
        converted(raw, "x")
    except InvalidInput as error:
        assert field in error.what


def test_counts_and_routes_need_no_fresh_processes() -> None:
    file = parsed(GOOD.encode(), "x")
    other = parsed(GOOD.replace("count = 2", "count = 3").replace("/shop", "/store").encode(), "x")
    assert same_process(file, other)
    for line, instead in (("red", "blue"), ('"1.2"', '"1.3"'), ("512", "513"), ("server.mjs", "other.mjs")):
        assert not same_process(file, parsed(GOOD.replace(line, instead).encode(), "x"))
