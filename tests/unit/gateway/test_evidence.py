"""What failed tries make of endpoints: who is suspected, how often that is told, and what a log's tail reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redqueen.gateway.evidence import TELL_AGAIN_S, LogTail, Suspected, suspects_in, unheard


def attempt(flags: str, node: str = "shop-1", upstream: str = "127.0.0.1:8000", service: str = "shop") -> bytes:
    fields = {"time": "t", "event": "Attempt", "service": service, "upstream": upstream, "upstream_node": node}
    return json.dumps({**fields, "flags": flags}, separators=(",", ":")).encode() + b"\n"


def test_who_refuses_or_hangs_up_is_suspected_once():
    text = attempt("UF") + attempt("UF") + b'{"event":"Request","flags":"UF"}\n' + attempt("UC", "shop-2", "[::1]:81")
    assert suspects_in(text) == [
        Suspected("shop", "shop-1", "127.0.0.1", 8000, "a gateway could not connect"),
        Suspected("shop", "shop-2", "::1", 81, "it hung up on a gateway in the middle of a request"),
    ]


@pytest.mark.parametrize("flags", ["UT", "-", "LR", "UR", "UO"])
def test_slow_and_busy_endpoints_are_not_suspected(flags: str):
    assert suspects_in(attempt(flags)) == []


@pytest.mark.parametrize(
    "text",
    [b"", b'{"event":"Attempt" torn\n', attempt("UF", upstream=""), attempt("UF", node=""), attempt("UF", service="")],
)
def test_lines_that_name_nobody_are_passed_over(text: bytes):
    assert suspects_in(text) == []


def test_one_endpoint_is_told_about_once_a_second():
    (suspect,) = suspects_in(attempt("UF"))
    news, told = unheard([suspect], {}, 10.0)
    assert news == [suspect]
    assert unheard([suspect], told, 10.5) == ([], told)
    assert unheard([suspect], told, 10.0 + TELL_AGAIN_S)[0] == [suspect]
    assert unheard([], told, 10.0 + TELL_AGAIN_S)[1] == {}


def test_a_tail_reads_whole_lines_from_now_on_and_anew_after_a_cut(tmp_path: Path):
    log = tmp_path / "gateway.log"
    assert LogTail(log).read() == b""
    log.write_bytes(b"old\n")
    tail = LogTail(log)
    assert tail.read() == b""
    with log.open("ab") as lines:
        lines.write(b"one\ntwo")
    assert tail.read() == b"one\n"
    with log.open("ab") as lines:
        lines.write(b"!\n")
    assert tail.read() == b"two!\n"
    log.write_bytes(b"new\n")
    assert tail.read() == b"new\n"
