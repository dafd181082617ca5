"""Ranges, conditions and caching of media through a real Envoy, by the letter of RFC 9110; what is no plain file."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import anyio
import httpx
import pytest
from gateway_rig import SECRET, Endpoints, Gateway, Routes, gateway, put_media, token

pytestmark = pytest.mark.anyio

SEGMENT, PLAYLIST, POSTER = "t1/v/1.m4s", "t1/master.m3u8", "t1/poster.jpg"
WHOLE = bytes(range(256)) * 40
SIZE = len(WHOLE)
COOKIE = {"cookie": f"rq_media={token('*')}"}


@pytest.fixture
async def running(tmp_path: Path):
    put_media(tmp_path)
    async with gateway(tmp_path, Endpoints(), Routes()) as running:
        yield running


@pytest.fixture
async def ask(running: Gateway):
    async with httpx.AsyncClient(
        base_url=f"{running.url}/media/", headers=COOKIE, timeout=30, trust_env=False
    ) as client:

        async def ask(name: str, how: str = "GET", **headers: str) -> httpx.Response:
            return await client.request(how, name, headers={key.replace("_", "-"): headers[key] for key in headers})

        yield ask


def part(first: int, last: int) -> tuple[int, str | None, bytes]:
    return 206, f"bytes {first}-{last}/{SIZE}", WHOLE[first : last + 1]


ALL, NOTHING = (200, None, WHOLE), (416, f"bytes */{SIZE}", b"")

RANGES = {
    "bytes=100-199": part(100, 199),
    "bytes=0-0": part(0, 0),
    "bytes=0-": part(0, SIZE - 1),
    "bytes=10000-": part(10000, SIZE - 1),
    f"bytes={SIZE - 1}-": part(SIZE - 1, SIZE - 1),
    "bytes=-500": part(SIZE - 500, SIZE - 1),
    "bytes=-1": part(SIZE - 1, SIZE - 1),
    f"bytes=-{SIZE}": part(0, SIZE - 1),
    "bytes=-99999999": part(0, SIZE - 1),
    "bytes=10000-99999": part(10000, SIZE - 1),
    f"bytes=0-{10**30}": part(0, SIZE - 1),
    "Bytes=1-2": part(1, 2),
    "bytes= 1 - 2": part(1, 2),
    f"bytes={SIZE}-": NOTHING,
    "bytes=20000-30000": NOTHING,
    f"bytes={10**40}-": NOTHING,
    "bytes=-0": NOTHING,
    "bytes=5-4": ALL,
    "bytes=-": ALL,
    "bytes=": ALL,
    "bytes": ALL,
    "bytes=a-b": ALL,
    "bytes=1-b": ALL,
    "bytes=+1-2": ALL,
    "bytes=1.5-2": ALL,
    "bytes=0x10-0x20": ALL,
    "bytes=0-1,5-6": ALL,
    "pages=1-2": ALL,
}


async def test_each_range_gets_its_part_or_the_whole_or_416_with_the_size(ask):
    for span, (status, content_range, content) in RANGES.items():
        answer = await ask(SEGMENT, range=span)
        assert (answer.status_code, answer.headers.get("content-range")) == (status, content_range), span
        if status == 416:
            assert answer.json()["code"] == "gateway.range"
            assert answer.headers["cache-control"] == "no-store"
        else:
            assert answer.content == content, span
            assert answer.headers["accept-ranges"] == "bytes"
            assert int(answer.headers["content-length"]) == len(content)


async def test_a_link_serves_the_same_ranges_and_any_page_may_read_them(running: Gateway):
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        link = f"{running.url}/v/{token('t1')}/{SEGMENT}"
        answer = await client.get(link, headers={"range": "bytes=-3", "origin": "https://elsewhere.example"})
    assert (answer.status_code, answer.content) == (206, WHOLE[-3:])
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == "content-length, content-range, etag"


async def test_head_tells_the_size_and_never_a_part(ask):
    for span in (None, "bytes=-5", "bytes=99999-"):
        answer = await ask(SEGMENT, "HEAD", **({"range": span} if span else {}))
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == str(SIZE)
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["etag"]


async def test_an_empty_file_is_whole_and_has_no_parts(ask, running: Gateway):
    (running.settings.media_root / "t1" / "empty.m4s").write_bytes(b"")
    for span, status in ((None, 200), ("bytes=-5", 200), ("bytes=0-", 416), ("bytes=0-0", 416)):
        answer = await ask("t1/empty.m4s", **({"range": span} if span else {}))
        assert answer.status_code == status, span
        assert answer.headers.get("content-range") == ("bytes */0" if status == 416 else None)


async def test_a_condition_on_the_etag_is_answered_weakly_or_strongly_as_it_must(ask):
    etag = (await ask(SEGMENT)).headers["etag"]
    assert re.fullmatch(r'"[0-9a-f.-]+"', etag)
    other = '"abc"'
    expected = {
        ("if-none-match", etag): 304,
        ("if-none-match", f"W/{etag}"): 304,
        ("if-none-match", f"{other}, {etag}"): 304,
        ("if-none-match", f"{other},W/{etag} , {other}"): 304,
        ("if-none-match", "*"): 304,
        ("if-none-match", other): 200,
        ("if-none-match", etag.strip('"')): 200,
        ("if-none-match", etag[:-2] + '"'): 200,
        ("if-none-match", ""): 200,
        ("if-match", etag): 200,
        ("if-match", f"{other}, {etag}"): 200,
        ("if-match", f"W/{etag}, {etag}"): 200,
        ("if-match", "*"): 200,
        ("if-match", f"W/{etag}"): 412,
        ("if-match", other): 412,
    }
    for (name, value), status in expected.items():
        for how in ("GET", "HEAD"):
            answer = await ask(SEGMENT, how, **{name: value})
            assert answer.status_code == status, (name, value)
            if status == 304:
                assert answer.content == b""
                assert "content-type" not in answer.headers
                assert answer.headers["etag"] == etag
                assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
                assert answer.headers["last-modified"]
            if status == 412 and how == "GET":
                assert answer.json()["code"] == "gateway.precondition"


async def test_two_header_lines_are_one_list(running: Gateway, ask):
    etag = (await ask(SEGMENT)).headers["etag"]
    lines = f'if-none-match: "a"\r\nif-none-match: {etag}\r\ncookie: {COOKIE["cookie"]}\r\n'
    answer = await anyio.to_thread.run_sync(_raw, running.settings.listen_port, f"/media/{SEGMENT}", lines)
    assert answer.startswith("HTTP/1.1 304")


def _raw(port: int, path: str, headers: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")


def aged(path: Path, seconds: float) -> float:
    then = int(time.time() - seconds)
    os.utime(path, (then, then))
    return then


async def test_a_condition_on_the_date_is_answered_in_the_order_of_the_standard(ask, running: Gateway):
    then = aged(running.settings.media_root / SEGMENT, 86_400 * 400)
    answer = await ask(SEGMENT)
    same, etag = answer.headers["last-modified"], answer.headers["etag"]
    assert parsedate_to_datetime(same).timestamp() == then
    before, after = formatdate(then - 1, usegmt=True), formatdate(then + 86_400 * 60, usegmt=True)
    expected: list[tuple[int, dict[str, str]]] = [
        (304, {"if-modified-since": same}),
        (304, {"if-modified-since": after}),
        (200, {"if-modified-since": before}),
        (200, {"if-modified-since": "yesterday"}),
        (200, {"if-modified-since": after, "if-none-match": '"a"'}),
        (304, {"if-modified-since": before, "if-none-match": etag}),
        (200, {"if-unmodified-since": same}),
        (200, {"if-unmodified-since": after}),
        (412, {"if-unmodified-since": before}),
        (200, {"if-unmodified-since": "yesterday"}),
        (200, {"if-unmodified-since": before, "if-match": etag}),
        (412, {"if-match": '"a"', "if-none-match": etag}),
        (304, {"if-none-match": etag, "range": "bytes=0-1"}),
        (412, {"if-match": '"a"', "range": "bytes=99999-"}),
    ]
    for status, headers in expected:
        assert (await ask(SEGMENT, **headers)).status_code == status, headers


async def test_every_day_of_four_centuries_is_read_right(ask, running: Gateway):
    days = [*range(0, 366 * 5, 61), *(11_016 + n for n in (0, 1, 59, 60)), 47_540, 47_541, 47_542, 60_000]
    for day in days:
        then = day * 86_400 + 3_723
        os.utime(running.settings.media_root / SEGMENT, (then, then))
        for difference, status in ((0, 304), (1, 304), (-1, 200)):
            since = formatdate(then + difference, usegmt=True)
            assert (await ask(SEGMENT, if_modified_since=since)).status_code == status, since


async def test_a_part_is_only_given_of_the_file_that_the_client_has(ask, running: Gateway):
    path = running.settings.media_root / SEGMENT
    then = aged(path, 100)
    answer = await ask(SEGMENT)
    etag, date = answer.headers["etag"], answer.headers["last-modified"]
    expected = {etag: 206, date: 206, f"W/{etag}": 200, '"a"': 200, formatdate(then + 1, usegmt=True): 200, "": 200}
    for validator, status in expected.items():
        part = await ask(SEGMENT, range="bytes=0-9", if_range=validator)
        assert (part.status_code, part.content) == (status, WHOLE[:10] if status == 206 else WHOLE), validator
    # 416 would tell of a file that the client does not have.
    assert (await ask(SEGMENT, range="bytes=99999-", if_range='"a"')).status_code == 200
    # A date says too little about a file of this very second.
    os.utime(path, (time.time() + 5, time.time() + 5))
    young = (await ask(SEGMENT)).headers["last-modified"]
    assert (await ask(SEGMENT, range="bytes=0-9", if_range=young)).status_code == 200


async def test_a_playlist_that_grew_is_never_not_modified(ask, running: Gateway):
    playlist, known = running.settings.media_root / PLAYLIST, ""
    for number in range(100):
        aside = playlist.with_name("master.m3u8#1")
        aside.write_text("#EXTM3U\n" + "v/1.m4s\n" * number)
        # All within one second, and none of them newer by its date.
        os.utime(aside, ns=(1_700_000_000_000_000_000 + number, 1_700_000_000_000_000_000 + number))
        os.replace(aside, playlist)
        headers = {"if-none-match": known, "if-modified-since": formatdate(time.time() + 60, usegmt=True)}
        answer = await ask(PLAYLIST, **headers)
        assert (answer.status_code, answer.text.count("m4s")) == (200, number)
        assert (answer.headers["cache-control"], "last-modified" in answer.headers) == ("no-cache", False)
        assert (await ask(PLAYLIST, if_modified_since=headers["if-modified-since"])).status_code == 200
        known = answer.headers["etag"]
        again = await ask(PLAYLIST, if_none_match=known)
        assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


async def test_one_file_has_one_etag_and_a_file_of_the_same_size_and_date_another(ask, running: Gateway):
    path = running.settings.media_root / POSTER
    first = (await ask(POSTER)).headers["etag"]
    assert {(await ask(POSTER)).headers["etag"] for _ in range(5)} == {first}
    stamp = path.stat().st_mtime_ns
    os.utime(path, ns=(stamp, stamp + 1))
    assert (await ask(POSTER)).headers["etag"] != first
    os.utime(path, ns=(stamp, stamp))
    assert (await ask(POSTER)).headers["etag"] == first
    aside = path.with_name("poster.new")
    aside.write_bytes(b"JPEG")
    os.utime(aside, ns=(stamp, stamp))
    os.replace(aside, path)
    assert (await ask(POSTER)).headers["etag"] != first


async def test_a_question_in_the_address_changes_nothing(ask):
    plain = await ask(SEGMENT)
    asked = await ask(SEGMENT + "?CMCD=bl%3D4000%2Csid%3D%22x%22&a=/../../secret.m4s")
    assert (asked.status_code, asked.content, asked.headers["etag"]) == (200, WHOLE, plain.headers["etag"])
    assert (await ask("t1/none.m4s?x=/media/t1/v/1.m4s")).status_code == 404


def _made(root: Path) -> dict[str, Callable[[Path], object]]:
    (root / "t1" / "real").mkdir()
    (root / "t1" / "real" / "1.m4s").write_text(SECRET)
    return {
        "t1/link.m4s": lambda path: path.symlink_to(root / "t1" / "real" / "1.m4s"),
        "t1/relative.m4s": lambda path: path.symlink_to("real/1.m4s"),
        "t1/outside.m4s": lambda path: path.symlink_to(root.parent / "secret.m4s"),
        "t1/dangling.m4s": lambda path: path.symlink_to("nowhere.m4s"),
        "t1/loop.m4s": lambda path: path.symlink_to("loop.m4s"),
        "t1/pipe.m4s": os.mkfifo,
        "t1/folder.m4s": Path.mkdir,
        "t1/socket.m4s": _socket,
        "t1/linked/1.m4s": lambda path: path.parent.symlink_to("real"),
        "t1/deep/linked/1.m4s": lambda path: (path.parent.parent.mkdir(), path.parent.symlink_to(root / "t1/real")),
        "title/1.m4s": lambda path: path.parent.symlink_to(root / "t1" / "real"),
        "up/secret.m4s": lambda path: path.parent.symlink_to(root.parent),
        "same/t1/real/1.m4s": lambda path: (root / "same").symlink_to(root),
        "file/1.m4s": lambda path: path.parent.write_text("a file where a folder should be"),
    }


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))
    assert stat.S_ISSOCK(path.lstat().st_mode)


async def test_what_is_not_a_plain_file_in_plain_folders_is_not_found(ask, running: Gateway, monkeypatch):
    root = running.settings.media_root
    monkeypatch.chdir(root)
    for name, make in _made(root).items():
        make(root / name)
        for headers in ({}, {"range": "bytes=0-3"}, {"if-none-match": "*"}, {"if-match": "*"}):
            answer = await ask(name, **headers)
            assert (answer.status_code, answer.headers.get("etag")) == (404, None), (name, headers)
            assert SECRET not in answer.text
            assert answer.json()["code"] == "gateway.not_found"
    # Nor do they hold up the threads that read files.
    assert (await ask(SEGMENT)).content == WHOLE


async def test_a_device_is_not_found(ask, running: Gateway):
    try:
        os.mknod(running.settings.media_root / "t1" / "zero.m4s", stat.S_IFCHR | 0o644, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make devices")
    assert (await ask("t1/zero.m4s")).status_code == 404


async def test_a_media_folder_with_an_odd_name_is_served(tmp_path: Path):
    folder = tmp_path / "a \"b\" 'c' ]] \\n é\n%1"
    put_media(folder)
    async with (
        gateway(folder, Endpoints(), Routes()) as running,
        httpx.AsyncClient(headers=COOKIE, timeout=30, trust_env=False) as client,
    ):
        answer = await client.get(f"{running.url}/media/{SEGMENT}", headers={"range": "bytes=-1"})
        assert (answer.status_code, answer.content) == (206, WHOLE[-1:])
