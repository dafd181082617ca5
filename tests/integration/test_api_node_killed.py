"""Uploads against real api nodes: killed in the middle, cut off, silent, and large."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from api_region import PATCH, TUS

NODE = Path(__file__).with_name("api_node.py")
FILM = os.urandom(1 << 20) * 24


@dataclass
class Node:
    """A running api node."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        """Give its address."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def nodes(folder: Path, count: int) -> Generator[list[Node]]:
    with ExitStack() as stack:
        started = [stack.enter_context(_node(folder)) for _ in range(count)]
        for node in started:
            _await(node)
        yield started


@contextmanager
def _node(folder: Path) -> Generator[Node]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(NODE), str(folder), str(port)], stdout=log, stderr=log)
    try:
        yield Node(process, port)
    finally:
        process.kill()
        process.wait()


def _await(node: Node) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and node.process.poll() is None:
        try:
            if httpx.get(f"{node.url}/api/v1/health", timeout=30).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the api node did not start")


def begin(node: Node) -> str:
    headers = {**TUS, "Upload-Length": str(len(FILM)), "Upload-Metadata": "filename YS5tcDQ="}
    answer = httpx.post(f"{node.url}/api/v1/uploads", headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


def offset_of(node: Node, address: str) -> int:
    return int(httpx.head(node.url + address, headers=TUS, timeout=30).headers["upload-offset"])


def rest(node: Node, address: str, offset: int) -> httpx.Response:
    headers = {**PATCH, "Upload-Offset": str(offset)}
    return httpx.patch(node.url + address, headers=headers, content=FILM[offset:], timeout=60)


def half_open(node: Node, address: str, size: int) -> socket.socket:
    """Begin a PATCH of the whole film and send only `size` bytes of it."""
    connection = socket.create_connection(("127.0.0.1", node.port), timeout=20)
    lines = [f"PATCH {address} HTTP/1.1", "Host: x", f"Content-Length: {len(FILM)}", "Upload-Offset: 0"]
    lines += [f"{name}: {value}" for name, value in PATCH.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + FILM[:size])
    return connection


def wait_for_offset(node: Node, address: str, at_least: int) -> int:
    deadline = time.monotonic() + 20
    while (offset := offset_of(node, address)) < at_least and time.monotonic() < deadline:
        time.sleep(0.05)
    return offset


def arrived(folder: Path) -> str:
    return hashlib.sha256(next((folder / "objects" / "sources").glob("*/film")).read_bytes()).hexdigest()


def test_a_node_killed_in_the_middle_costs_nothing_another_goes_on(tmp_path: Path) -> None:
    with nodes(tmp_path, 2) as (first, second):
        address = begin(first)
        with half_open(first, address, 9 << 20):
            assert wait_for_offset(second, address, 8 << 20) >= 8 << 20
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            offset = offset_of(second, address)
            assert 8 << 20 <= offset <= 9 << 20
            answer = rest(second, address, offset)
        assert answer.status_code == 204, answer.text
        assert arrived(tmp_path) == hashlib.sha256(FILM).hexdigest()


def test_a_silent_connection_to_one_node_is_superseded_through_another(tmp_path: Path) -> None:
    with nodes(tmp_path, 2) as (first, second):
        address = begin(first)
        with half_open(first, address, 5 << 20) as silent:
            offset = wait_for_offset(second, address, 5 << 20)
            answer = rest(second, address, offset)
            assert answer.status_code == 204, answer.text
            assert silent.recv(4096).startswith(b"HTTP/1.1 409")
        assert arrived(tmp_path) == hashlib.sha256(FILM).hexdigest()


def test_a_cut_connection_frees_the_upload_at_once_and_keeps_every_byte(tmp_path: Path) -> None:
    with nodes(tmp_path, 1) as (node,):
        address = begin(node)
        with half_open(node, address, 5_000_001):
            pass
        assert wait_for_offset(node, address, 5_000_001) == 5_000_001
        before = psutil.Process(node.process.pid).memory_info().rss
        assert rest(node, address, 5_000_001).status_code == 204
        after = psutil.Process(node.process.pid).memory_info().rss
        assert arrived(tmp_path) == hashlib.sha256(FILM).hexdigest()
        assert after - before < 12 << 20, "the body was held in memory"


def test_an_early_refusal_reaches_a_client_that_is_still_sending(tmp_path: Path) -> None:
    with nodes(tmp_path, 1) as (node,):
        address = begin(node)
        headers = {**PATCH, "Upload-Offset": "77"}
        answer = httpx.patch(node.url + address, headers=headers, content=FILM[: 8 << 20], timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (409, "upload.offset")
        assert offset_of(node, address) == 0
