"""Requests that lie about where they end, floods, and slow senders, against a real Envoy.

The backend writes down every request that reaches it: what is refused must not reach it, and what
is accepted must reach it once, with one reading.
"""

from __future__ import annotations

import contextlib
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from hostile_door import Door, door
from hostile_wire import send_raw, statuses


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory):
    with door(tmp_path_factory.mktemp("door")) as standing:
        yield standing


@pytest.fixture(autouse=True)
def unharmed(front: Door):
    yield
    front.serves()
    assert front.backend.broken == []


INNER = "GET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


def ambiguous() -> dict[str, str]:
    """Messages with two readings: each must be refused, whole."""
    chunked = f"0\r\n\r\n{INNER}"
    lengths = [
        "content-length: 5\r\ncontent-length: 6", "content-length: 5, 6", "content-length: +5", "content-length: -5",
        "content-length: 0x5", "content-length: 5\0", "content-length: 5.0", "content-length: 5 5",
        "content-length: 99999999999999999999999", "content-length: 18446744073709551617", "content-length: ",
        "content-length: 5\r\nContent-Length: 05x", "content-length: 5e1", "content-length: five",
    ]  # fmt: skip
    codings = [
        "transfer-encoding: chunked\r\ncontent-length: 4", "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, identity", "transfer-encoding: xchunked", "transfer-encoding: identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity", "transfer-encoding: chunked\x0b",
        "transfer-encoding:\r\n chunked\r\ncontent-length: 4", "transfer-encoding: ,chunked",
        "transfer-encoding : chunked\r\ncontent-length: 4", "transfer-encoding\t: chunked\r\ncontent-length: 4",
        "transfer-encoding: chunked;q=1", 'transfer-encoding: "chunked"', "transfer-encoding: gzip, chunked, chunked",
        "transfer-encoding: chunked\0",
    ]  # fmt: skip
    cases = {f"length {head!r}": f"POST /api/A HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\nabcde{INNER}" for head in lengths}
    cases |= {f"coding {head!r}": f"POST /api/A HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{chunked}" for head in codings}
    sizes = ["-1", "0x5", "+5", "g", "", " 5", "FFFFFFFFFFFFFFFFF", "5\0", "5\n", "5\r", "1_0", "\xb5"]
    post = "POST /api/A HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    cases |= {
        f"chunk size {size!r}": f"{post}{size}\r\nabcde\r\n0\r\n\r\n{INNER}".encode().decode("latin-1")
        for size in sizes
    }
    cases["chunk without its end"] = f"{post}5\r\nabcde0\r\n\r\n{INNER}"
    cases["extension with a bare line feed"] = f"{post}5;a=\nb\r\nabcde\r\n0\r\n\r\n{INNER}"
    cases["chunk ended by a bare line feed"] = f"{post}5\nabcde\n0\n\n{INNER}"
    return cases


def malformed() -> dict[str, str]:
    """Messages that no honest client sends: refused, or taken with one reading."""
    post = "POST /api/A HTTP/1.1\r\nhost: x\r\n"
    bodies = [
        f"{post}x: y\rtransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r{INNER}",
        f"{post}transfer-encoding: chunked\r\n\r\n5;\r\n;\r\nabcde\r\n0\r\n\r\n{INNER}",
        f"{post}transfer-encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n{INNER}",
        f"{post}content-length: 5\r\ncontent-length: 5\r\n\r\nabcde{INNER}",
        f"{post}transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 90\r\ntransfer-encoding: x\r\n\r\n{INNER}",
        f"GET /api/A HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n{INNER}",
    ]
    lines = [
        "GET /api/A HTTP/1.1\nhost: x\n", "GET /api/A HTTP/1.1\r\nhost: x\nx-smuggled: 1\r\n", "GET /api/A\r\n",
        "GET /api/A HTTP/0.9\r\nhost: x\r\n", "GET /api/A HTTP/1.2\r\nhost: x\r\n",
        "GET /api/A HTTP/1.1 extra\r\nhost: x\r\n", "GET  /api/A HTTP/1.1\r\nhost: x\r\n",
        "GET /api/A HTTP/2.0\r\nhost: x\r\n", "\tGET /api/A HTTP/1.1\r\nhost: x\r\n",
        "GET /api/A HTTP/1.1\r\n host: x\r\n", "GET /api/A HTTP/1.1\r\nhost : x\r\n", "GET /api/A HTTP/1.1\r\nhost\r\n",
        "GET /api/A HTTP/1.1\r\n: x\r\nhost: x\r\n", "GET /api/A HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n",
        "GET /api/A HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n", "GET /api/A HTTP/1.1\r\nhost: x\r\nx: a\r\n smuggled: b\r\n",
        "GET /api/A HTTP/1.1\r\nhost: x\r\nhost: y\r\n", "GET /api/A HTTP/1.1\r\n",
        "GET /api/A\0 HTTP/1.1\r\nhost: x\r\n",
        "GET /api/A HTTP/1.1\r\nhost: x\r\nx y: 1\r\n", "GET /api/A HTTP/1.1\r\nhost: x\r\nx\0: 1\r\n",
        "GET /api/A HTTP/1.1\r\nhost: x/../y\r\n", "GET /api/A HTTP/1.1\r\nhost: x\x7fy\r\n",
        "GET http://x/api/A HTTP/1.1\r\nhost: y\r\n", "GET ftp://x/api/A HTTP/1.1\r\nhost: y\r\n",
        "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n", "CONNECT /api/A HTTP/1.1\r\nhost: x\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\n",
        "TRACE /api/A HTTP/1.1\r\nhost: x\r\n", f"{'M' * 5000} /api/A HTTP/1.1\r\nhost: x\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\n\r\nGET /api/A HTTP/1.1\r\nhost: x\r\n",
        "GET /api/A HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nexpect: other\r\n",
        "GET /api/A HTTP/1.1\r\nhost: x\r\nconnection: close, x-request-id, host\r\n",
        "GET /api/A#frag HTTP/1.1\r\nhost: x\r\n", "GET api/A HTTP/1.1\r\nhost: x\r\n",
        "GET ?/api/A HTTP/1.1\r\nhost: x\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "\0" * 200, "\xff" * 200,
    ]  # fmt: skip
    return {repr(text): text for text in (*bodies, *(f"{line}\r\n" for line in lines))}


def attack(front: Door, number: int, text: str) -> tuple[bytes, str]:
    mark = f"case-{zlib.crc32(text.encode())}-{number}-"
    payload = text.replace("/api/A", f"/api/{mark}").replace("/api/smuggled", f"/api/smuggled-{mark}")
    return send_raw(front.port, payload.encode("latin-1"), limit_s=3), mark


def attacked(front: Door, cases: dict[str, str]) -> list[tuple[str, bytes, str]]:
    with ThreadPoolExecutor(12) as pool:
        done = list(pool.map(lambda item: attack(front, *item), enumerate(cases.values())))
    return [(name, *result) for name, result in zip(cases, done, strict=True)]


def test_a_message_with_two_readings_is_refused_and_none_of_it_reaches_the_service(front: Door) -> None:
    assert len(ambiguous()) > 40
    for name, answer, mark in attacked(front, ambiguous()):
        assert all(status >= 400 for status in statuses(answer)), (name, answer)
        assert len(statuses(answer)) <= 1, (name, answer)
        assert front.backend.about(mark) == [], name


def test_a_malformed_message_is_refused_or_has_one_reading(front: Door) -> None:
    for name, answer, mark in attacked(front, malformed()):
        front.clean(answer)
        reached = front.backend.about(mark)
        # An answer for each request that reached the service: the service and the gateway count the same.
        assert len(reached) == statuses(answer).count(200), name
        for seen in reached:
            assert seen.path.startswith("/api/"), name
            assert all("\0" not in value and "\r" not in value for _, value in seen.headers), name
            assert len(seen.values("host")) == 1, name
            assert len(seen.values("content-length")) + len(seen.values("transfer-encoding")) <= 1, name


def test_an_upgrade_to_another_protocol_is_no_tunnel(front: Door) -> None:
    for protocol in ("h2c", "websocket2", "TLS/1.0", "h2c, websocket"):
        head = f"GET /api/tunnel HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: {protocol}\r\n"
        answer = send_raw(front.port, f"{head}http2-settings: AAMAAABkAAQAoAAA\r\n\r\n{INNER}".encode())
        assert b" 101 " not in answer, answer
    for seen in front.backend.about("/api/tunnel"):
        assert not seen.values("upgrade")
        assert not seen.values("http2-settings")


def test_headers_beyond_count_or_size_are_refused_while_others_are_served(front: Door) -> None:
    many = "".join(f"x-{number}: 1\r\n" for number in range(500))
    for head in (
        many,
        f"x: {'a' * 70_000}\r\n",
        f"{'a' * 70_000}: x\r\n",
        f"cookie: {'rq_media=a; ' * 9_000}\r\n",
        "x: 1\r\n" * 20_000,
    ):
        answer = send_raw(front.port, f"GET /api/flood HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode())
        assert statuses(answer) in ([431], [400], []), head[:20]
        assert front.backend.about("/api/flood") == []
    answer = send_raw(front.port, f"GET /api/flood/{'a' * 70_000} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert statuses(answer) in ([431], [414], [400], [])
    assert front.backend.about("/api/flood") == []


def test_endless_trailers_and_extensions_are_not_kept(front: Door) -> None:
    process = psutil.Process(front.pid)
    before = process.memory_info().rss
    post = b"POST /hurried/trail HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    for piece in (b"1;" + b"e" * 65536, b"0\r\n" + b"x-t: 1\r\n" * 8192):
        answer = send_raw(front.port, [post, *([piece] * 500)], limit_s=3)
        assert all(status >= 400 for status in statuses(answer))
    assert front.backend.about("/hurried/trail") == []
    assert process.memory_info().rss - before < 64 << 20


def test_a_giant_body_is_refused_without_being_kept(front: Door) -> None:
    process = psutil.Process(front.pid)
    before = process.memory_info().rss
    declared = b"POST /api/giant HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000000000\r\n\r\n"
    endless = b"POST /api/giant HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(send_raw, front.port, [declared, *([b"a" * 65536] * 160)]) for _ in range(8)]
        answers += [pool.submit(send_raw, front.port, [endless, *([chunk] * 160)]) for _ in range(8)]
    for answer in answers:
        # The sender may be cut off before it reads the refusal.
        assert statuses(answer.result()) in ([413], [])
    assert front.backend.about("/api/giant") == []
    assert process.memory_info().rss - before < 160 << 20


def test_headers_from_outside_steer_nothing(front: Door) -> None:
    controls = {
        "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-upstream-rq-per-try-timeout-ms": "1",
        "x-envoy-max-retries": "90",
        "x-envoy-retry-on": "5xx", "x-envoy-hedge-on-per-try-timeout": "true", "x-envoy-fault-abort-request": "503",
        "x-envoy-fault-abort-request-percentage": "100", "x-envoy-fault-delay-request": "20000",
        "x-envoy-original-path": "/other", "x-envoy-upstream-alt-stat-name": "x", "x-envoy-ip-tags": "x",
        "x-envoy-internal": "true", "x-envoy-expected-rq-timeout-ms": "1", "x-envoy-decorator-operation": "x",
        "x-envoy-force-trace": "1", "x-rq-arm": "b", "x-rq-media-token": "x", "x-rq-zone": "c", "X-RQ-Anything": "1",
        "x-request-id": "chosen",
    }  # fmt: skip
    spelled = {**controls, **{name.upper(): value for name, value in controls.items()}}
    spelled |= {name.replace("-", "_"): value for name, value in controls.items()}
    with httpx.Client(trust_env=False, timeout=30) as client:
        for name, value in spelled.items():
            began = time.monotonic()
            answer = client.get(f"{front.gateway.url}/api/steer", headers={name: value})
            assert answer.status_code == 200, name
            assert time.monotonic() - began < 15, name
    seen = front.backend.about("/api/steer")
    assert len(seen) == len(spelled)
    for request in seen:
        names = {key.lower().replace("_", "-"): value for key, value in request.headers}
        assert names.get("x-request-id") != "chosen"
        # Envoy's own word about where the request came from is the only one.
        names.pop("x-envoy-external-address", None)
        assert not [name for name in names if name.startswith(("x-envoy-", "x-rq-"))], names


def test_slow_senders_are_ended_by_the_limits_while_others_are_served(front: Door) -> None:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:

        def opened(first: bytes) -> socket.socket:
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", front.port), timeout=30))
            raw.sendall(first)
            return raw

        heads = [opened(b"GET /api/slow-head HTTP/1.1\r\nhost: x\r\nx-a: ") for _ in range(300)]
        half = b"POST /hurried/slow-body HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\na"
        bodies = [opened(half) for _ in range(100)]
        waiting = [*heads, *bodies]
        while waiting and time.monotonic() - began < 40:
            front.serves()
            # They drip, as a slow loris does.
            waiting = [raw for raw in waiting if not _hung_up(raw)]
            time.sleep(0.5)
        assert not waiting, f"{len(waiting)} of 400 still hold a connection after {time.monotonic() - began:.0f} s"
    assert front.backend.about("/api/slow-head") == []
    assert front.backend.about("/hurried/slow-body") == []


def _hung_up(raw: socket.socket) -> bool:
    try:
        raw.sendall(b"a")
        raw.settimeout(0.0005)
        while raw.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
