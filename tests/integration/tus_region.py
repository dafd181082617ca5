"""A small region on a real socket that takes uploads and can be told to misbehave."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PREFIX = "/api/v1"


@dataclass
class Region:
    """What the region holds; `trouble(method, path, times)` gives an action before an answer is sent.

    Actions: "die" cuts the connection in the middle of the body, a number is answered as a status,
    "deaf" processes the request and then cuts the connection.
    """

    trouble: Callable[[str, int], str | int | None] = lambda method, times: None
    uploads: dict[str, bytearray] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    titles: list[dict[str, Any]] = field(default_factory=list)
    subtitles: dict[str, bytes] = field(default_factory=dict)
    links: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=lambda: ["encoding", "playable", "complete"])
    failure: dict[str, str] | None = None
    address: str = ""

    def title(self, title_id: str) -> dict[str, Any]:
        """Give a title of an upload; each look moves it one state on."""
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        number = title_id.removeprefix("title-")
        meta = self.metadata.get(f"up-{number}", {})
        shown = meta.get("title") or meta.get("filename", "")
        return {"id": title_id, "title": shown, "state": state, "progress": 0.5, "failure": self.failure}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        region = self.server.region
        region.asked.append(method)
        trouble = region.trouble(method, region.asked.count(method))
        if isinstance(trouble, int):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self._send(trouble, body={"code": "test.status", "what": f"status {trouble}", "why": "", "hint": "wait"})
        elif trouble == "die":
            self._receive(region, int(self.headers.get("content-length", 0)) // 2)
            self._cut()
        else:
            self.silent = trouble == "deaf"
            getattr(self, f"_{method.lower()}")(region, urlsplit(self.path))

    silent = False

    def _send(self, status: int, headers: dict[str, str] | None = None, body: object = None) -> None:
        if self.silent:
            self._cut()
            return
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)

    def _receive(self, region: Region, count: int) -> None:
        upload = region.uploads.get(self.path.rpartition("/")[2])
        body = self.rfile.read(count)
        if upload is not None and int(self.headers.get("upload-offset", -1)) == len(upload):
            upload += body

    def _post(self, region: Region, url: Any) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if url.path.endswith("/play-link"):
            region.links.append(json.loads(body))
            card = {
                "url": f"{region.address}/v/jwt/x/master.m3u8",
                "dash_url": None,
                "expires_at": "2030-01-01T00:00:00Z",
            }
            self._send(200, body=card)
            return
        number = str(len(region.uploads) + 1)
        pairs = [pair.split(" ") for pair in self.headers["upload-metadata"].split(",")]
        meta = {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in pairs}
        if len(meta.get("title", "")) > 300:
            self._send(
                400, body={"code": "title.too_long", "what": "The title is too long", "why": "", "hint": "Shorten it"}
            )
            return
        region.uploads[f"up-{number}"] = bytearray()
        region.lengths[f"up-{number}"] = int(self.headers["upload-length"])
        region.metadata[f"up-{number}"] = meta
        headers = {"location": f"{PREFIX}/uploads/up-{number}", "redqueen-title": f"title-{number}"}
        self._send(201, headers)

    def _patch(self, region: Region, url: Any) -> None:
        name = url.path.rpartition("/")[2]
        before = len(region.uploads[name])
        self._receive(region, int(self.headers["content-length"]))
        if int(self.headers["upload-offset"]) != before:
            self._send(409, body={"code": "upload.offset", "what": "wrong offset", "why": "", "hint": "ask"})
            return
        self._send(204, {"upload-offset": str(len(region.uploads[name]))})

    def _head(self, region: Region, url: Any) -> None:
        upload = region.uploads.get(url.path.rpartition("/")[2])
        if upload is None:
            self._send(404)
        else:
            self._send(200, {"upload-offset": str(len(upload))})

    def _put(self, region: Region, url: Any) -> None:
        region.subtitles[url.path] = self.rfile.read(int(self.headers["content-length"]))
        self._send(204)

    def _get(self, region: Region, url: Any) -> None:
        name = url.path.removeprefix(f"{PREFIX}/titles").removeprefix("/")
        if not name:
            query = parse_qs(url.query)
            found = [t for t in region.titles if query.get("query", [""])[0].casefold() in t["title"].casefold()]
            start = int(query.get("after", ["0"])[0])
            page = found[start : start + 2]
            self._send(200, body={"titles": page, "next": str(start + 2) if start + 2 < len(found) else None})
        elif name.startswith("title-"):
            self._send(200, body=region.title(name))
        else:
            known = [t for t in region.titles if t["id"] == name]
            missing = {"code": "title.none", "what": "No such title", "why": "", "hint": "Look"}
            self._send(200 if known else 404, body=known[0] if known else missing)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, region: Region) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.region = region

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that vanish are part of the tests."""


@contextmanager
def running(region: Region) -> Iterator[Region]:
    """Serve on a free loopback port until the block ends."""
    server = _Server(region)
    region.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield region
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
