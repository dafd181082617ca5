"""A region's API made of answers, for tests of verbs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from redqueen.cli.client import ApiClient

Handler = Callable[[httpx.Request], httpx.Response]


def serve(monkeypatch: pytest.MonkeyPatch, handler: Handler) -> None:
    """Let every verb talk to `handler` instead of a region."""

    def local(data_dir: Path, **options: Any) -> ApiClient:
        return ApiClient("http://region", "t", patience_s=0.1, transport=httpx.MockTransport(handler))

    monkeypatch.setattr(ApiClient, "local", local)


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def node(node_id: str, role: str, zone: str, *, pid: int = 7, state: str = "up") -> dict[str, Any]:
    return {
        "id": node_id,
        "role": role,
        "service": role,
        "zone": zone,
        "pid": pid,
        "address": "127.0.1.1:20001",
        "state": state,
        "version": "1",
        "restarts": 0,
        "because": "",
        "snapshot": "",
        "warning": "",
    }


FLEET: dict[str, Any] = {
    "region": "local",
    "public_url": "http://127.0.0.1:8080",
    "as_of": 1.0,
    "zones": ["a", "b"],
    "nodes": [
        node("api-b-1", "api", "b", pid=11),
        node("api-a-1", "api", "a", pid=10, state="starting"),
        node("supervisor", "supervisor", ""),
    ],
    "leader": "control-a-1",
}
