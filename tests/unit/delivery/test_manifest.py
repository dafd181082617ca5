"""redqueen.toml: what it may say, and the words for everything else - file, key, value, what would do."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from redqueen.delivery.groups import build_of
from redqueen.delivery.manifest import Manifest, converted, parsed, service_file
from redqueen.errors import InvalidInput
from redqueen.fleet.model import Edition

GOOD: dict[str, Any] = {"service": "hello", "owner": "ada", "command": ["python3", "server.py"]}
OWN: dict[str, Any] = {"service": "api", "owner": "ada", "code": "src"}

WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    # what differs from a good file, the key that is named, its value, what would do
    ({"service": "Hello"}, "service", "'Hello'", "lower-case"),
    ({"service": "a" * 33}, "service", "aaa", "at most 32"),
    ({"service": "hello--r1-canary"}, "service", "hello--r1-canary", "without `--`"),
    ({"service": "gateway"}, "service", "'gateway'", "own names"),
    ({"service": 7}, "service", "7", "text"),
    ({"owner": ""}, "owner", "''", "who answers"),
    ({"version": "a b"}, "version", "'a b'", "letters, digits"),
    ({"version": "v" * 60}, "version", "vvv", "at most 50"),
    ({"command": []}, "command", "[]", "a program"),
    ({"command": "python3 server.py"}, "command", "'python3 server.py'", "a list"),
    ({"command": ["run", "a\0b"]}, "command[1]", "a\\x00b", "without null"),
    ({"command": ["run", 7]}, "command[1]", "7", "text"),
    ({"directory": "/srv"}, "directory", "'/srv'", "relative"),
    ({"directory": "../other"}, "directory", "'../other'", "without `..`"),
    ({"health": "health"}, "health", "'health'", "begins with `/`"),
    ({"count": 0}, "count", "0", "1 to"),
    ({"count": 1, "count_per_zone": 1}, "count", "1", "absent"),
    ({"count_per_zone": 99}, "count_per_zone", "99", "1 to 16"),
    ({"count": "two"}, "count", "'two'", "a whole number"),
    ({"code": "src"}, "code", "'src'", "absent"),
    ({"web": "dist"}, "web", "'dist'", "absent"),
    ({"config": {"PORT": "80"}}, "config.PORT", "'80'", "set by the region"),
    ({"config": {"REDQUEEN_X": "1"}}, "config.REDQUEEN_X", "'1'", "set by the region"),
    ({"config": {"A-B": "1"}}, "config", "'A-B'", "names of letters"),
    ({"config": {"DEBUG": 1}}, "config", '{"DEBUG":1}', "text in quotes"),
    ({"config": {"FLAGS": "{}"}, "flags": {"hello.a": True}}, "config.FLAGS", "'{}'", "[flags]"),
    ({"flags": {"polite": True}}, "flags", "'polite'", "begins with `hello.`"),
    ({"flags": {"hello": {"polite": True}}}, "flags", "'hello'", "in quotes"),
    ({"flags": {"hello.a b": True}}, "flags", "'hello.a b'", "names of lower-case letters"),
    ({"flags": {"hello.maxItems": 1}}, "flags", "'hello.maxItems'", "names of lower-case letters"),
    ({"flags": {"hello.nan": math.nan}}, "flags.hello.nan", "'nan'", "a finite number"),
    ({"flags": {"hello.far": 2**60}}, "flags.hello.far", str(2**60), "2^53"),
    ({"flags": {"hello.list": [1]}}, "flags.hello.list", "[1]", "true or false"),
    ({"flags": {"hello.big": "x" * 5000}}, "flags.hello.big", "…", "4096 bytes"),
    ({"flags": {f"hello.f{n}": True for n in range(101)}}, "flags", "101", "at most 100"),
    ({"include": ["../secrets"]}, "include[0]", "'../secrets'", "without `..`"),
    ({"include": ["!x"]}, "include[0]", "'!x'", ".gitignore"),
    ({"exclude": [""]}, "exclude[0]", "''", ".gitignore"),
    ({"exclude": ["a"] * 101}, "exclude", "101", "at most 100"),
    ({"steps": []}, "steps", "[]", "growing shares"),
    ({"steps": [0.5, 0.1]}, "steps", "[0.5,0.1]", "growing shares"),
    ({"steps": [0.6]}, "steps", "[0.6]", "at most 0.5"),
    ({"steps": [0.0, 0.1]}, "steps", "[0.0,0.1]", "above 0"),
    ({"steps": [float("nan")]}, "steps", "[null]", "growing shares"),
    ({"steps": 0.1}, "steps", "0.1", "a list"),
    ({"step_s": 0}, "step_s", "0.0", "1 to"),
    ({"horizon_s": 5}, "horizon_s", "5.0", "10 to"),
    ({"horizon_s": 100, "step_s": 60}, "horizon_s", "100.0", "at least 180"),
    ({"hold_s": 0}, "hold_s", "0.0", "1 to"),
    ({"alpha": 0.5}, "alpha", "0.5", "0.0001 to 0.2"),
    ({"alpha": float("nan")}, "alpha", "null", "0.0001 to 0.2"),
    ({"warm_s": -1}, "warm_s", "-1.0", "0 to"),
    ({"limits": {"memory_mb": 1}}, "limits.memory_mb", "1", "16 to"),
    ({"limits": {"memory": 1}}, "limits.memory", "1", "memory_mb, descriptors"),
    ({"timings": {"start_s": 0.1}}, "timings.start_s", "0.1", "0.5 to"),
    ({"timings": {"drain_s": "long"}}, "timings.drain_s", "'long'", "a number"),
    ({"routes": [{"path": "/a", "speed": 1}]}, "routes[0].speed", "1", "one of path"),
    ({"routes": [{"path": "/a", "timeout_s": "1"}]}, "routes[0].timeout_s", "'1'", "a number"),
    ({"routes": [{"path": "/"}, {"path": "shop"}]}, "routes[1]", "'shop'", ""),
    ({"routes": {"path": "/a"}}, "routes", '{"path":"/a"}', "a list"),
    ({"policy": {"zone": "far"}}, "policy.zone", "'far'", "one of"),
    ({"policy": {"max": 1}}, "policy.max", "1", "one of connect_timeout_s"),
    ({"metrics": [{"name": "request_errors"}] * 2}, "metrics[1].name", "'request_errors'", "only once"),
    ({"metrics": [{"name": "request_errors", "weight": 0}]}, "metrics[0].weight", "0.0", "above 0"),
    ({"metrics": [{"margin": 1.1}]}, "metrics[0].name", "", "missing"),
    ({"metrics": [{"name": "happiness"}]}, "metrics[0].name", "'happiness'", "request_errors"),
    ({"metrics": [{"name": "delay"}]}, "metrics[0].name", "'delay'", "play_delay"),
    ({"metrics": [{"name": "request_errors", "margin": 0.9}]}, "metrics[0].margin", "0.9", "above 1"),
    ({"metrics": [{"name": "request_errors", "expected": 9}]}, "metrics[0].expected", "9.0", "at most 6"),
    ({"serivce": "x"}, "serivce", "'x'", "service, owner"),
]


@pytest.mark.parametrize(("change", "key", "value", "accepted"), WRONG, ids=lambda part: str(part)[:40])
def test_each_wrong_field_is_refused_with_file_key_value_and_what_would_do(
    change: dict[str, Any], key: str, value: str, accepted: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        converted({**GOOD, **change}, "shop/redqueen.toml")
    words = str(caught.value)
    assert words.startswith("shop/redqueen.toml")
    assert key in caught.value.what and value in words and accepted in words
    assert caught.value.hint


@pytest.mark.parametrize("key", ["service", "owner"])
def test_what_has_no_default_is_missed_by_name(key: str) -> None:
    with pytest.raises(InvalidInput, match=f"redqueen.toml: {key} is missing"):
        converted({name: value for name, value in GOOD.items() if name != key})


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"command": ["x"]}, "command"),
        ({"health": "/other"}, "health"),
        ({"count": 2}, "count"),
        ({"config": {"A": "1"}}, "config"),
        ({"routes": [{"path": "/"}]}, "routes"),
        ({"code": ""}, "code"),
        ({"code": "/usr/lib"}, "code"),
        ({"web": "../dist"}, "web"),
    ],
)
def test_the_regions_own_api_is_shipped_by_folders_not_by_a_command(change: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidInput, match=f"redqueen.toml: {key} = "):
        converted({**OWN, **change})


@pytest.mark.parametrize("text", [b"service = ", b"\xff\xfe", b"[" * 50_000, b"a = " + b"[" * 5000])
def test_what_is_no_toml_is_refused_as_such(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="is not TOML"):
        parsed(text)


def test_a_file_beyond_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(InvalidInput, match="300000 bytes"):
        parsed(b" " * 300_000)


def test_a_manifest_becomes_the_declared_service_with_its_flags_in_one_variable() -> None:
    manifest = converted(
        {
            **GOOD,
            "version": "2.0",
            "directory": "app",
            "config": {"GREETING": "hi"},
            "flags": {"hello.polite": True, "hello.size": 3},
            "routes": [{"path": "/hello"}],
            "count": 2,
        }
    )
    file = build_of(manifest, "r3", "/data/releases/ab").file
    assert file is not None
    assert (file.name, file.version, file.directory, file.count) == ("hello", "2.0+r3", "/data/releases/ab/app", 2)
    assert file.environment["GREETING"] == "hi" and file.routes == [{"path": "/hello"}]
    assert json.loads(file.environment["FLAGS"]) == {"hello.polite": True, "hello.size": 3}


def test_a_release_of_the_api_becomes_an_edition() -> None:
    manifest = converted({**OWN, "web": "web/dist"})
    assert build_of(manifest, "r1", "/d").edition == Edition("r1", "/d/src", "/d/web/dist")


@given(
    some.recursive(
        some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
        lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=10), inner, max_size=3),
        max_leaves=10,
    ),
    some.sampled_from([*Manifest.__struct_fields__, "other"]),
)
def test_any_value_of_any_key_is_taken_or_refused_in_words(value: object, key: str) -> None:
    try:
        manifest = converted({**GOOD, key: value})
    except InvalidInput as error:
        assert "redqueen.toml" in error.what and error.hint
    else:
        service_file(manifest, "r1", "/data")


def test_tables_in_tables_without_end_are_refused_in_words() -> None:
    endless: dict[str, Any] = {}
    for _ in range(2000):
        endless = {"a": endless}
    for change, words in (({"flags": {"hello.deep": endless}}, "without end"), ({"zone": endless}, "zone = …")):
        with pytest.raises(InvalidInput, match=words):
            converted({**GOOD, **change})
