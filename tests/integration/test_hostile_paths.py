"""Paths that try to read what a token for one title does not open, generated, over HTTP/1.1 and HTTP/2.

What must stay hidden lies in another title, in hidden and wrongly named files, beside the media
folder, and behind symlinks out of it; every such file holds the secret. Whatever the spelling, no
answer may carry a byte of it.
"""

from __future__ import annotations

import itertools
import random
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gateway_rig import OTHER_KEY, SECRET, token
from hostile_door import WHOLE, Door, door
from hostile_wire import DATA, H2, HEADERS, frame, hpack


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory):
    with door(tmp_path_factory.mktemp("door")) as standing:
        root = standing.gateway.settings.media_root
        (root / "t1" / "link.m4s").symlink_to(root.parent / "secret.m4s")
        (root / "t1" / "link.m3u8").symlink_to(root / "t2" / "master.m3u8")
        (root / "t1" / "out").symlink_to(root.parent)
        (root / "t1" / "other").symlink_to(root / "t2")
        (root / "t1" / "etc").symlink_to("/etc")
        (root / "t1" / "passwd.m4s").symlink_to("/etc/passwd")
        (root / "t1" / "self").symlink_to(".")
        (root / "linked").symlink_to(root.parent)
        for name in ("..m4s", "a b.m4s", "-.m4s.txt", "%2e%2e.m4s", "..;.m4s", "x\\y.m4s", "t1%2fz.m4s", "n\n.m4s"):
            (root / "t1" / name).write_text(SECRET)
        (root / "t2" / "v").mkdir()
        (root / "t2" / "v" / "1.m4s").write_text(SECRET)
        yield standing


@pytest.fixture(autouse=True)
def unharmed(front: Door):
    yield
    front.serves()


DOTS = (
    "..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%25252e%25252e", "..;", "..;x=1", "...", "..%00", "..%20", "..%0a",
    "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "%f0%80%80%ae.", "%uff0e%uff0e", "%u002e%u002e", "\uff0e\uff0e", "%2e%2e%3b",
    ".", "%2e", "\xc0\xae\xc0\xae", "..\t", "%%32%65%%32%65",
)  # fmt: skip
SLASHES = (
    "/", "//", "/./", "%2f", "%2F", "%252f", "%25252f", "\\", "%5c", "%255c", "%c0%af", "%e0%80%af", "%u2215", "\u2215",
    "/%2e/", "/;/", "%00/", "%09/", "\\/", "%2f/", "%%32%66",
)  # fmt: skip
GOALS = ("t2/master.m3u8", "t2/v/1.m4s", "../secret.m4s", "../../secret.m4s", "../../../../../../etc/passwd")
STARTS = ("/media/t1/", "/media/t1/v/", "/media/")


def climbing() -> Iterator[str]:
    """Every way up with every separator, from every place, to every goal of the other side."""
    for start, dots, slash in itertools.product(STARTS, DOTS, SLASHES):
        goal = GOALS[(len(dots) + len(slash)) % len(GOALS)]
        yield f"{start}{dots}{slash}{goal}"
        yield f"{start}{dots}{slash}{dots}{slash}secret.m4s"
        yield f"{start}x{slash}{dots}{slash}{dots}{slash}t2{slash}master.m3u8"


def respelled(path: str) -> Iterator[str]:
    """The same path with each letter in percent signs, upper and lower case, single and double."""
    for position in range(1, len(path)):
        code = f"{ord(path[position]):02x}"
        for written in (f"%{code}", f"%{code.upper()}", f"%25{code}", f"%u00{code}", f"%{code}%00"):
            yield path[:position] + written + path[position + 1 :]


def named() -> list[str]:
    """Hard names: other titles, hidden and wrong files, folders, links, odd prefixes and suffixes."""
    titles = ("t2", "T1", "t1.", "t1%20", "t1%00", "t1;", "t1,t2", "*", "~", "-", "..", "linked", "t1/self", "t1/../t2")
    files = (
        "link.m4s", "link.m3u8", "out/secret.m4s", "other/master.m3u8", "etc/passwd", "passwd.m4s", "self/link.m4s",
        ".hidden.m4s", "notes.txt", "notes.txt.m4s", "notes.txt?.m4s", "notes.txt%3f.m4s", "notes.txt%00.m4s",
        "notes.txt;.m4s", "notes.txt#.m4s", "notes.txt%23.m4s", "notes.txt/.m4s", "notes.txt%20", "v/2.m4s#1",
        "v/2.m4s%231", "..m4s",
        "a b.m4s", "a%20b.m4s", "a+b.m4s", "-.m4s.txt", "%2e%2e.m4s", "%252e%252e.m4s", "..;.m4s", "x\\y.m4s",
        "x%5cy.m4s", "t1%2fz.m4s", "t1%252fz.m4s", "n\n.m4s", "n%0a.m4s", "v", "v/", "", ".", "v/.", "v/..", "v/1.m4s/",
        "v/1.m4s/..",
        "v/1.m4s/../../../t2/master.m3u8", "v/1.m4s%00", "v/1.m4s;x", "v//1.m4s/../../link.m4s",
        "self/self/../link.m4s",
    )  # fmt: skip
    found = [f"/media/{title}/master.m3u8" for title in titles] + [f"/media/{title}/secret.m4s" for title in titles]
    found += [f"/media/t1/{name}" for name in files]
    found += [
        f"{mask}/media/t2/master.m3u8" for mask in ("/.", "/api/..", "/;", "/%2e", "//x", "/\\", "http://x", "//")
    ]
    found += [f"http://{host}/media/t2/master.m3u8" for host in ("x", "127.0.0.1", "x:1", "x@y", "[::1]", "t1/../")]
    found += [f"https://x{path}" for path in ("/media/t1/link.m4s", "/media/t1/../t2/master.m3u8")]
    found += ["/media", "/media/", "/MEDIA/t2/master.m3u8", "/media;/t2/master.m3u8", "/media?/t2/master.m3u8"]
    return found


def tricks() -> list[str]:
    """All variants, each once, in a fixed order."""
    every = [*climbing(), *respelled("/media/t2/master.m3u8"), *respelled("/media/t1/../t2/v/1.m4s"), *named()]
    return [path for path in dict.fromkeys(every) if path.isprintable() or "\n" not in path]


def by_link(path: str, right: str) -> str:
    """Give the same trick with the token in the address."""
    return path.replace("/media/", f"/v/{right}/", 1)


def around_links(right: str) -> list[str]:
    """Give tricks with the link's own form."""
    wrong = token("*", key=OTHER_KEY)
    head, claims, mark = right.split(".")
    forms = (
        f"/v/{right}/../media/t2/master.m3u8", f"/v/{right}/../{right}/t2/master.m3u8", f"/v/{right}//t2/master.m3u8",
        f"/v/{right}/t1/../t2/master.m3u8", f"/v/{right}%2ft2/master.m3u8", f"/v/{right}/t2/master.m3u8",
        f"/v/{wrong}/t2/master.m3u8",
        f"/v/{right}/v/{right}/t2/master.m3u8", f"/v/{right}/media/t2/master.m3u8", f"/v//{right}/t2/master.m3u8",
        f"/v/{right}.x/t2/master.m3u8", f"/v/{head}.{claims}./t2/master.m3u8", f"/v/.{claims}.{mark}/t2/master.m3u8",
        f"/v/{right},{wrong}/t2/master.m3u8", f"/v/{right}%00/t2/master.m3u8", f"/v/{right}/t1%00/../t2/master.m3u8",
        f"/v/{right}", f"/v/{right}/", "/v/", "/v", f"/V/{right}/t2/master.m3u8", f"/./v/{wrong}/t2/master.m3u8",
        f"/v/{right}?/t2/master.m3u8", f"/v/{right};/t2/master.m3u8", f"/v/{right}\\t2\\master.m3u8",
    )  # fmt: skip
    return list(forms)


def http1(port: int, path: str, headers: str = "") -> tuple[int, bytes]:
    """Ask for a path exactly as it is written."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n".encode())
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
            head, end, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if end and len(body) >= int(length[1] if length else 0):
                break
    return int(answer.split()[1]), answer


def judged(front: Door, path: str, status: int, answer: bytes) -> None:
    front.clean(answer)
    if status in (200, 206):
        # No media at all: a path like any other, which belongs to the service.
        assert b"seen GET " in answer, path
        assert not path.startswith(("/media/", "/v/")), path
    else:
        assert 400 <= status < 500 or status == 503, (path, status)


def test_there_are_many_tricks() -> None:
    assert len(tricks()) > 1500


def test_no_spelling_reads_another_title_or_what_lies_outside(front: Door) -> None:
    right = token("t1")
    cookie = f"cookie: rq_media={right}\r\n"
    asked = [(path, cookie) for path in tricks()]
    asked += [(by_link(path, right), "") for path in tricks() if path.startswith("/media/")]
    asked += [(path, extra) for path in around_links(right) for extra in ("", cookie)]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda one: http1(front.port, *one), asked)
        for (path, _), (status, answer) in zip(asked, answers, strict=True):
            judged(front, path, status, answer)


def test_no_spelling_reads_it_over_http2_either(front: Door) -> None:
    right = token("t1")
    paths = [*tricks()[::5], *named(), *around_links(right)]
    for start in range(0, len(paths), 60):
        with H2(front.port) as client:
            wanted = paths[start : start + 60]
            for number, path in enumerate(wanted):
                block = hpack(
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":authority", "x"),
                    (":path", path.encode().decode("latin-1")),
                    ("cookie", f"rq_media={right}"),
                )
                client.send(frame(HEADERS, 5, 2 * number + 1, block))
            heads = {}
            for kind, _, stream, payload in client.frames(quiet_s=0.3):
                front.clean(payload)
                if kind == HEADERS:
                    heads[stream] = payload[:1]
                if kind == DATA and heads.get(stream) == b"\x88" and payload:
                    path = wanted[stream // 2]
                    assert payload.startswith(b"seen GET "), path
                    assert not path.startswith(("/media/", "/v/")), path


def test_a_right_to_every_title_opens_no_link_and_no_hidden_file(front: Door) -> None:
    cookie = f"cookie: rq_media={token('*')}\r\n"
    for path in named():
        if re.search(r"(^|/)t2/|other", path):
            continue  # another title, which this token does open
        status, answer = http1(front.port, path, cookie)
        judged(front, path, status, answer)


def test_random_edits_of_a_good_path_open_nothing(front: Door) -> None:
    dice = random.Random(7)  # noqa: S311 - the same paths on every run
    pieces = [
        *DOTS,
        *SLASHES,
        "t2",
        "t1",
        "media",
        "v",
        "secret.m4s",
        "master.m3u8",
        ".m4s",
        "?",
        ";",
        "*",
        "~",
        "&",
        "%",
        "+",
    ]
    cookie = f"cookie: rq_media={token('t1')}\r\n"
    paths = ["/media/t1/" + "".join(dice.choices(pieces, k=dice.randrange(2, 9))) for _ in range(500)]
    with ThreadPoolExecutor(8) as pool:
        for path, (status, answer) in zip(
            paths, pool.map(lambda path: http1(front.port, path, cookie), paths), strict=True
        ):
            front.clean(answer)
            assert 400 <= status < 500 or WHOLE[:64] in answer or b"#EXTM3U\nv/1" in answer, (path, status)


def test_requests_without_a_right_are_refused_before_the_disk_is_asked(front: Door) -> None:
    with httpx.Client(trust_env=False) as client:
        for name in ("master.m3u8", "none.m4s", "link.m4s", "v/1.m4s"):
            there = client.get(f"{front.gateway.url}/media/t2/{name}", headers={"cookie": f"rq_media={token('t1')}"})
            assert (there.status_code, there.json()["code"]) == (403, "gateway.title"), name
            assert client.get(f"{front.gateway.url}/media/t2/{name}").status_code == 401
