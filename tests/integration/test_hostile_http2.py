"""HTTP/2 spoken badly to a real Envoy: broken frames, floods, and headers that HTTP/1.1 could not carry."""

from __future__ import annotations

import random
import struct
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from hostile_door import Door, door
from hostile_wire import (
    CONTINUATION,
    DATA,
    GOAWAY,
    H2,
    HEADERS,
    PING,
    PRIORITY,
    PUSH,
    RST,
    SETTINGS,
    WINDOW,
    frame,
    hpack,
    request,
)

END_STREAM, END_HEADERS, ACK = 1, 4, 1


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory):
    with door(tmp_path_factory.mktemp("door")) as standing:
        yield standing


@pytest.fixture(autouse=True)
def unharmed(front: Door):
    memory = psutil.Process(front.pid).memory_info().rss
    yield
    front.serves()
    assert psutil.Process(front.pid).memory_info().rss - memory < 128 << 20
    assert front.backend.broken == []


def asked(front: Door, block: bytes, body: bytes | None = None) -> tuple[bytes, list[int]]:
    """Ask once over a fresh connection; return the first byte of the answer's headers, and the frames' kinds."""
    with H2(front.port) as client:
        client.send(frame(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), 1, block))
        if body is not None:
            client.send(frame(DATA, END_STREAM, 1, body))
        found = client.frames(quiet_s=0.4)
    status = next((payload[:1] for kind, _, stream, payload in found if kind == HEADERS and stream == 1), b"")
    return status, [kind for kind, _, _, _ in found]


def test_an_honest_request_by_hand_is_answered(front: Door) -> None:
    assert asked(front, request("/api/honest-by-hand"))[0] == b"\x88"
    assert len(front.backend.about("/api/honest-by-hand")) == 1


def floods() -> dict[str, list[bytes]]:
    """Each flood in pieces; every one is beyond what the door may bear from one client."""
    reset = b"".join(
        frame(HEADERS, END_HEADERS | END_STREAM, n, request("/api/rapid")) + frame(RST, 0, n, b"\0\0\0\x08")
        for n in range(1, 401, 2)
    )
    later = [
        b"".join(
            frame(HEADERS, END_HEADERS | END_STREAM, n, request("/api/rapid")) + frame(RST, 0, n, b"\0\0\0\x08")
            for n in range(start, start + 400, 2)
        )
        for start in range(401, 8001, 400)
    ]
    opening = frame(HEADERS, 0, 1, request("/api/continued"))
    return {
        "rapid reset": [reset, *later],
        "settings": [frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 200] * 100,
        "ping": [frame(PING, 0, 0, b"12345678") * 200] * 100,
        "continuation": [opening, *([frame(CONTINUATION, 0, 1, hpack(("x", "y" * 4000)) * 4)] * 2000)],
        "continuation without bytes": [opening, *([frame(CONTINUATION, 0, 1) * 500] * 20)],
        "empty data": [
            frame(HEADERS, END_HEADERS, 1, request("/api/empty", method="POST")),
            *([frame(DATA, 0, 1) * 500] * 40),
        ],
        "priority": [frame(PRIORITY, 0, 3, b"\0\0\0\0\x10") * 500] * 40,
    }


@pytest.mark.parametrize("name", floods())
def test_a_flood_of_frames_ends_its_own_connection_only(front: Door, name: str) -> None:
    with H2(front.port) as client:
        for piece in floods()[name]:
            if not client.send(piece):
                break
        assert client.ended(), f"the {name} flood was borne"
    assert len(front.backend.about("/api/rapid")) < 1500
    assert front.backend.about("/api/continued") == []


def test_streams_beyond_the_limit_are_refused(front: Door) -> None:
    with H2(front.port) as client:
        for number in range(1, 1200, 2):
            client.send(frame(HEADERS, END_HEADERS, number, request("/hurried/many", method="POST")))
        kinds = [kind for kind, _, _, _ in client.frames(quiet_s=1.0)]
    assert RST in kinds or GOAWAY in kinds or -1 in kinds
    assert front.backend.about("/hurried/many") == []


def broken() -> list[bytes]:
    """Single frames that break the protocol."""
    good = request("/api/broken")
    return [
        frame(HEADERS, END_HEADERS | END_STREAM, 0, good), frame(HEADERS, END_HEADERS | END_STREAM, 2, good),
        frame(DATA, 0, 0, b"x"), frame(DATA, 0, 7, b"x"), frame(RST, 0, 9, b"\0\0\0\0"), frame(RST, 0, 1, b"\0"),
        frame(SETTINGS, 0, 1), frame(SETTINGS, ACK, 0, b"\0\1\0\0\0\1"), frame(SETTINGS, 0, 0, b"\0\1\0"),
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)),
        frame(WINDOW, 0, 0, b"\0\0\0\0"), frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 2, frame(PING, 0, 1, b"12345678"),
        frame(PING, 0, 0, b"123"), frame(PUSH, END_HEADERS, 1, b"\0\0\0\2" + good), frame(CONTINUATION, 4, 1, good),
        frame(HEADERS, 0, 1, good) + frame(PING, 0, 0, b"12345678"), frame(GOAWAY, 0, 1, bytes(8)),
        frame(HEADERS, END_HEADERS | END_STREAM | 8, 1, b"\xff" + good),
        frame(0xAA, 0xFF, 1, b"x" * 100) * 3 + b"\0" * 9,
        frame(DATA, 0, 1, b"", length=0xFFFFFF), frame(HEADERS, 5, 1, b"\x80"), frame(HEADERS, 5, 1, b"\xff" * 40),
        frame(HEADERS, 5, 1, b"\x3f\xff\xff\xff\xff\xff\xff\x7f" + good),
        frame(HEADERS, 5, 1, b"\0\x8f" + b"\xff" * 15),
    ]  # fmt: skip


def test_broken_frames_break_nothing_else(front: Door) -> None:

    def answered(payload: bytes) -> bool:
        with H2(front.port) as client:
            client.send(payload)
            return any(kind == HEADERS for kind, _, _, _ in client.frames(quiet_s=0.3))

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(answered, broken()))
    assert front.backend.about("/api/broken") == []


def test_random_bytes_after_the_preface_break_nothing(front: Door) -> None:
    dice = random.Random(3)  # noqa: S311 - the same bytes on every run
    for _ in range(100):
        with H2(front.port) as client:
            kinds = [dice.randrange(12) for _ in range(20)]
            client.send(
                b"".join(
                    frame(kind, dice.randrange(256), dice.randrange(6), dice.randbytes(dice.randrange(60)))
                    for kind in kinds
                )
            )
            client.frames(quiet_s=0.02)


def test_headers_that_another_version_would_read_otherwise_are_refused_or_kept_whole(front: Door) -> None:
    odd: list[tuple[tuple[str, str], ...]] = [
        (("transfer-encoding", "chunked"),), (("connection", "close"),), (("upgrade", "h2c"),), (("te", "gzip"),),
        (("content-length", "90"),), (("content-length", "1"), ("content-length", "2")), (("Upper", "case"),),
        (("x\r\nsmuggled: 1", "y"),), (("x", "y\r\nsmuggled: 1"),), (("x", "y\nsmuggled: 1"),), (("x", "y\0"),),
        (("x y", "1"),), (("x:", "1"),), (("", "1"),), ((":path", "/api/second"),), ((":smuggled", "1"),),
        (("host", "y"),), (("x", "1"), (":method", "POST")),
    ]  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda case: asked(front, request(f"/api/odd-{case[0]}-", *case[1]), b"x"), enumerate(odd)))
    for number, more in enumerate(odd):
        for seen in front.backend.about(f"/api/odd-{number}-"):
            assert not seen.values("smuggled"), more
            assert len(seen.values("content-length")) + len(seen.values("transfer-encoding")) <= 1, more
            assert seen.body == b"x", more
            assert not seen.values("upgrade"), more
            assert len(seen.values("host")) == 1, more
            assert seen.path == f"/api/odd-{number}-", more


def test_pseudo_headers_cannot_carry_a_second_request(front: Door) -> None:
    inner = " HTTP/1.1\r\nhost: x\r\n\r\nGET /api/smuggled"
    blocks = [
        request(f"/api/pseudo{inner}"),
        request("/api/pseudo", method="GET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\nGET"),
        request("/api/pseudo x"),
        request("/api/pseudo\0"),
        request("/api/pseudo\t"),
        request(""),
        request("api/pseudo"),
        request("*"),
        hpack((":method", "GET"), (":scheme", "http"), (":authority", f"x{inner}"), (":path", "/api/pseudo")),
        hpack((":method", "GET"), (":scheme", f"http{inner}"), (":authority", "x"), (":path", "/api/pseudo")),
        hpack((":method", "CONNECT"), (":authority", "127.0.0.1:80")),
        hpack(
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/api/pseudo"),
            (":authority", "x"),
        ),
        hpack((":path", "/api/pseudo")),
        hpack((":method", "GET"), (":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/api/x")),
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda block: asked(front, block)[0], blocks))
    assert b"\x88" not in answers, answers
    assert front.backend.about("smuggled") == []
