"""The command line's client: what it sends again, and what errors become."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from redqueen.cli.client import ApiClient, read_credentials
from redqueen.errors import Broken, Conflict, Exhausted, NotFound, RedQueenError, Unavailable

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, *, patience_s: float = 2.0) -> ApiClient:
    return ApiClient("http://region", "secret", patience_s=patience_s, transport=httpx.MockTransport(handler))


class Flaky:
    """Fails a few times, then answers; remembers what it was asked."""

    def __init__(self, *failures: int | Exception) -> None:
        self.failures = list(failures)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if not self.failures:
            return httpx.Response(200, json={"ok": True})
        failure = self.failures.pop(0)
        if isinstance(failure, Exception):
            raise failure
        return httpx.Response(failure)


def test_a_get_carries_the_token_and_returns_json() -> None:
    region = Flaky()
    with client(region) as api:
        assert api.get("/titles", {"limit": 3}) == {"ok": True}
    assert str(region.asked[0].url) == "http://region/api/v1/titles?limit=3"
    assert region.asked[0].headers["authorization"] == "Bearer secret"


def test_a_get_survives_dying_nodes() -> None:
    region = Flaky(httpx.ConnectError("refused"), httpx.ReadError("reset"), 502, 503, 504)
    with client(region) as api:
        assert api.get("/titles") == {"ok": True}
    assert len(region.asked) == 6


@pytest.mark.parametrize("failure", [httpx.ReadError("reset"), 503])
def test_a_post_that_may_have_been_processed_is_not_sent_again(failure: int | Exception) -> None:
    region = Flaky(failure)
    with client(region) as api, pytest.raises(Unavailable):
        api.post("/titles", {"a": 1})
    assert len(region.asked) == 1


def test_a_post_that_found_no_connection_is_sent_again() -> None:
    region = Flaky(httpx.ConnectError("refused"))
    with client(region) as api:
        assert api.post("/titles", {"a": 1}) == {"ok": True}
    assert json.loads(region.asked[1].content) == {"a": 1}


def test_a_post_said_to_be_repeatable_is_sent_again() -> None:
    region = Flaky(503)
    with client(region) as api:
        assert api.post("/fleet/nodes/api-a-1/kill", again=True) == {"ok": True}


def test_a_region_that_never_answers_is_given_up_on() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with client(refuse, patience_s=0.1) as api, pytest.raises(Unavailable) as caught:
        api.get("/health")
    assert caught.value.code == "region.unreachable"
    assert caught.value.exit_code == 7


@pytest.mark.parametrize(
    ("status", "kind"), [(409, Conflict), (404, NotFound), (507, Exhausted), (413, Exhausted), (500, Broken)]
)
def test_an_error_body_becomes_the_error_it_was(status: int, kind: type[RedQueenError]) -> None:
    body = {"code": "a.b", "what": "W", "why": "Y", "hint": "H"}
    with client(lambda request: httpx.Response(status, json=body)) as api, pytest.raises(kind) as caught:
        api.patch("/titles/1", {})
    error = caught.value
    assert (error.code, error.what, error.why, error.hint) == ("a.b", "W", "Y", "H")


def test_an_error_without_a_body_names_the_request() -> None:
    with client(lambda request: httpx.Response(404)) as api, pytest.raises(NotFound, match=r"DELETE /api/v1/titles/1"):
        api.delete("/titles/1")


def test_an_answer_that_is_no_json_is_said_so() -> None:
    with client(lambda request: httpx.Response(200, text="<html>")) as api, pytest.raises(Broken):
        api.get("/titles")


def test_an_answer_is_read_into_a_type_and_new_fields_are_ignored() -> None:
    class Answer(msgspec.Struct):
        ok: bool

    body = {"ok": True, "later": 1}
    with client(lambda request: httpx.Response(200, json=body)) as api:
        assert api.read("/x", Answer) == Answer(ok=True)


def test_an_empty_answer_is_none() -> None:
    with client(lambda request: httpx.Response(204)) as api:
        assert api.put("/x", {}) is None


def test_credentials_come_from_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"address": "http://127.0.0.1:1", "token": "t"}')
    known = read_credentials(tmp_path)
    assert (known.address, known.token) == ("http://127.0.0.1:1", "t")


def test_a_folder_without_a_region_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="redqueen up --data"):
        read_credentials(tmp_path / "none")


def test_damaged_credentials_are_said(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(Broken, match="damaged"):
        read_credentials(tmp_path)
