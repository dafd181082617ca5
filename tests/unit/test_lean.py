"""Clients within the region read no certificate authorities; one that is misled to HTTPS trusts nobody."""

from __future__ import annotations

import ast
import gc
import ssl
from pathlib import Path

import httpx
import pytest

import redqueen
from redqueen.lean import loading, trust


def test_what_speaks_plain_http_reads_no_authorities_and_trusts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*args: object, **kwargs: object) -> None:
        pytest.fail("the authorities were read")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", read)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", read)
    found = trust("http://127.0.0.1:1")
    httpx.Client(verify=found, trust_env=False).close()
    assert isinstance(found, ssl.SSLContext)
    assert found.verify_mode is ssl.CERT_REQUIRED
    assert found.check_hostname
    assert found.get_ca_certs() == []


def test_an_address_with_https_is_verified_as_usual() -> None:
    assert trust("https://films.example") is True


def test_every_client_of_ours_says_whom_it_trusts() -> None:
    silent: list[str] = []
    for path in Path(redqueen.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in ("httpx.Client", "httpx.AsyncClient"):
                continue
            if "verify" not in {keyword.arg for keyword in call.keywords}:
                silent.append(f"{path.name}:{call.lineno}")
    assert silent == []


def test_what_is_loaded_is_not_looked_at_again_and_garbage_still_is() -> None:
    before = gc.get_threshold()
    try:
        with loading():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled() and gc.get_freeze_count() > 1000
        assert not any(one is kept for one in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
