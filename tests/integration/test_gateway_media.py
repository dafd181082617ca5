"""Who may read which media through a real Envoy, and that no spelling of a path reads anything else."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import time
from pathlib import Path

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from gateway_rig import KEY, OTHER_KEY, SECRET, Endpoints, Gateway, Routes, backends, gateway, jwks, put_media, token

from redqueen.gateway.model import MediaKeys, RouteInputs
from redqueen.gateway.routes import default_routes

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client():
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
async def running(tmp_path: Path):
    put_media(tmp_path)
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            yield running


def cookie(value: str) -> dict[str, str]:
    return {"cookie": f"rq_media={value}"}


async def test_a_cookie_or_a_link_with_a_right_to_the_title_reads_it(running: Gateway, client):
    for titles in (("t1",), ("t0", "t1"), ("*",)):
        by_cookie = await client.get(f"{running.url}/media/t1/master.m3u8", headers=cookie(token(*titles)))
        by_link = await client.get(f"{running.url}/v/{token(*titles)}/t1/v/1.m4s")
        assert by_cookie.text.startswith("#EXTM3U")
        assert by_link.content == bytes(range(256)) * 40


async def test_the_link_decides_even_beside_a_better_cookie(running: Gateway, client):
    answer = await client.get(f"{running.url}/v/{token('t2')}/t1/master.m3u8", headers=cookie(token("*")))
    assert answer.status_code == 403


async def test_each_wrong_token_is_refused_with_a_reason(running: Gateway, client):
    def unsigned(algorithm: str) -> str:
        parts = [{"alg": algorithm, "kid": "k1"}, {"iss": "redqueen", "exp": int(time.time()) + 600, "titles": ["*"]}]
        heads = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return ".".join(heads)

    def with_public_key_as_secret() -> str:
        import hashlib
        import hmac

        public = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        signed = unsigned("HS256")
        mark = hmac.new(public, signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"

    good = token("t1")
    head, _, mark = good.split(".")
    better = base64.urlsafe_b64encode(json.dumps({"iss": "redqueen", "exp": 9999999999, "titles": ["*"]}).encode())
    wrong = {
        "none": "",
        "rubbish": "abc",
        "forged": token("t1", key=OTHER_KEY),
        "changed": f"{head}.{better.rstrip(b'=').decode()}.{mark}",
        "expired": token("t1", ttl_s=-30),
        "other issuer": token("t1", iss="somebody"),
        "no issuer": token("t1", iss=None),
        "no end": token("t1", exp=None),
        "not yet": token("t1", nbf=int(time.time()) + 300),
        "alg none": unsigned("none") + ".",
        "alg none with mark": unsigned("none") + "." + mark,
        "alg HS256": with_public_key_as_secret(),
    }
    for name, value in wrong.items():
        answer = await client.get(f"{running.url}/media/t1/master.m3u8", headers=cookie(value) if value else {})
        assert answer.status_code == 401, name
        assert answer.json()["code"] == "gateway.token", name
        assert answer.json()["why"], name
        assert answer.headers["cache-control"] == "no-store"
        if value:
            linked = await client.get(f"{running.url}/v/{value}/t1/master.m3u8")
            assert linked.status_code in (401, 404), name
            assert "#EXTM3U" not in linked.text


async def test_a_token_for_other_titles_or_with_odd_claims_is_refused(running: Gateway, client):
    odd = [token("t2"), token(), token("t1", titles="t1"), token("t1", titles="*"), token("t1", titles={"t1": 1})]
    odd += [
        token("t1", titles=None),
        token("t1", titles=[["t1"]]),
        token("t1", titles=[7, None]),
        token("t.*"),
        token("t"),
    ]
    for value in odd:
        answer = await client.get(f"{running.url}/media/t1/master.m3u8", headers=cookie(value))
        assert answer.status_code == 403, value
        assert answer.json()["code"] == "gateway.title"


async def test_a_token_that_was_good_ends_on_time_although_it_is_remembered(running: Gateway, client):
    # Five seconds of clock difference are allowed.
    value = token("t1", ttl_s=-3)
    headers = cookie(value)
    assert (await client.get(f"{running.url}/media/t1/master.m3u8", headers=headers)).status_code == 200
    await anyio.sleep(3.2)
    assert (await client.get(f"{running.url}/media/t1/master.m3u8", headers=headers)).status_code == 401


async def test_files_carry_their_type_and_how_long_they_keep(running: Gateway, client):
    headers = cookie(token("t1"))
    expected = {
        "master.m3u8": ("application/vnd.apple.mpegurl", "no-cache"),
        "v/1.m4s": ("video/iso.segment", "private, max-age=31536000, immutable"),
        "poster.jpg": ("image/jpeg", "private, max-age=300"),
    }
    for name, (kind, cache) in expected.items():
        answer = await client.get(f"{running.url}/media/t1/{name}", headers=headers)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == (kind, cache)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
    missing = await client.get(f"{running.url}/media/t1/none.m4s", headers=headers)
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")
    head = await client.head(f"{running.url}/media/t1/v/1.m4s", headers=headers)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10240", b"")


async def test_links_work_for_players_of_other_pages_and_cookies_do_not(running: Gateway, client):
    origin = {"origin": "https://elsewhere.example"}
    preflight = {**origin, "access-control-request-method": "GET", "access-control-request-headers": "range"}
    link = f"{running.url}/v/{token('t1')}/t1/master.m3u8"
    assert (await client.get(link, headers=origin)).headers["access-control-allow-origin"] == "*"
    allowed = await client.options(link, headers=preflight)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, "*")
    assert allowed.headers["access-control-allow-headers"].split(", ")[0] == "range"
    plain = await client.options(f"{running.url}/media/t1/master.m3u8", headers=preflight)
    assert plain.status_code == 204
    assert "access-control-allow-origin" not in plain.headers


async def test_media_can_only_be_read(running: Gateway, client):
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
        answer = await client.request(method, f"{running.url}/media/t1/master.m3u8", headers=cookie(token("*")))
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def tricks() -> list[str]:
    dots = ["..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..;", ".../..", "..%00", "%c0%ae%c0%ae", "%uff0e%uff0e"]
    slashes = ["/", "%2f", "%2F", "\\", "%5c", "%255c", "%252f", "//", "%c0%af", "/./"]
    paths = [
        f"{start}{dot}{slash}secret.m4s" for start in ("/media/", "/media/t1/") for dot in dots for slash in slashes
    ]
    paths += [f"/media/t1{slash}..{slash}..{slash}secret.m4s" for slash in slashes]
    paths += [f"/media/t1/{dot}/t2/master.m3u8" for dot in dots]
    paths += [f"/{dot}{slash}media/t2/master.m3u8" for dot in dots[:4] for slash in slashes[:6]]
    paths += [
        "/media/t2/master.m3u8", "//media/t2/master.m3u8", "/media//t2/master.m3u8", "/media/t2//master.m3u8",
        "/%6dedia/t2/master.m3u8", "/media/%742/master.m3u8", "/media/t2/master%2em3u8", "/MEDIA/t2/master.m3u8",
        "/media/t1/.hidden.m4s", "/media/t1/v/2.m4s%231", "/media/t1/v/2.m4s#1", "/media/t1/notes.txt",
        "/media/t1/notes.txt?x=.m4s", "/media/t1/notes.txt%3f.m4s", "/media/t1/notes.txt%00.m4s",
        "/media/t1/notes.txt;.m4s", "/media/secret.m4s", "/media/.m4s", "/media/../../etc/passwd",
        "/media/t1/link.m4s", "/media/t1/out/secret.m4s", "/media/t1/v/../../../secret.m4s", "/media/*/master.m3u8",
        "/v/x.y.z/../media/t2/master.m3u8", "/v/x.y.z//t2/master.m3u8", "/media/t1/?/../../secret.m4s",
        "http://elsewhere/media/t2/master.m3u8", "/media/t1/%2e%2e/t2/master.m3u8", "/media/-/../../secret.m4s",
        "/media", "/media/", "/media/t1", "/media/t1/", "/media/t1/v", "/media/t1/v/", "/v/", "/v",
    ]  # fmt: skip
    return paths


async def test_no_spelling_of_a_path_reads_what_lies_outside(running: Gateway):
    root = running.settings.media_root
    (root / "t1" / "link.m4s").symlink_to(root.parent / "secret.m4s")
    (root / "t1" / "out").symlink_to(root.parent)
    (root / "t1" / "etc.m4s").symlink_to("/etc/passwd")
    paths = [*tricks(), "/media/t1/etc.m4s"]
    assert len(set(paths)) > 200
    value = token("t1")
    through = [(path, f"cookie: rq_media={value}\r\n") for path in paths]
    through += [(path.replace("/media/", f"/v/{value}/", 1), "") for path in paths if path.startswith("/media/")]
    for path, headers in through:
        status, answer = await anyio.to_thread.run_sync(_raw, running.settings.listen_port, path, headers)
        assert SECRET not in answer, path
        assert "root:" not in answer, path
        if status == 200:
            # Not media at all: a path like any other, which belongs to the service.
            assert answer.split("\r\n\r\n")[1].startswith("api-a-1 "), path
            assert not path.startswith(("/media/", "/v/")), path
        else:
            assert status in (400, 401, 403, 404, 503), (path, status)
    # What was asked for in an honest way is still there.
    assert _raw(running.settings.listen_port, "/media/t1/v/1.m4s", f"cookie: rq_media={value}\r\n")[0] == 200


def _raw(port: int, path: str, headers: str) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n".encode("latin-1"))
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
            head, end, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if end and len(body) >= int(length[1] if length else 0):
                break
    return int(answer.split()[1]), answer.decode("latin-1")


async def test_playlists_replaced_by_rename_while_they_are_read_are_always_whole(running: Gateway, client):
    playlist = running.settings.media_root / "t1" / "master.m3u8"
    headers = cookie(token("t1"))
    done = False

    async def replace() -> None:
        for number in range(200):
            aside = playlist.with_name("master.m3u8#1")
            aside.write_text(f"#EXTM3U {number} " + "x" * (number * 500) + " END")
            os.replace(aside, playlist)
            await anyio.sleep(0.002)
        nonlocal done
        done = True

    playlist.write_text("#EXTM3U END")
    async with anyio.create_task_group() as group:
        group.start_soon(replace)
        count = 0
        while not done:
            answer = await client.get(f"{running.url}/media/t1/master.m3u8", headers=headers)
            assert answer.status_code == 200
            assert answer.text.startswith("#EXTM3U")
            assert answer.text.endswith("END")
            count += 1
    assert count > 20


async def test_without_keys_no_media_is_served_and_with_new_keys_old_tokens_end(tmp_path: Path, client):
    put_media(tmp_path)
    routes = Routes(RouteInputs(default_routes()))
    async with gateway(tmp_path, Endpoints(), routes) as running:
        url = f"{running.url}/media/t1/master.m3u8"
        state = await running.until_state(lambda state: state.serving)
        assert (await client.get(url, headers=cookie(token("t1")))).status_code == 503
        for key, other in ((KEY, OTHER_KEY), (OTHER_KEY, KEY)):
            routes.now = RouteInputs(default_routes(), MediaKeys(jwks(key)))
            known = state.version
            state = await running.until_state(lambda state, known=known: state.serving and state.version != known)
            # A connection made before may still meet the old keys, for the drain time at most.
            async with httpx.AsyncClient(timeout=30, trust_env=False) as fresh:
                assert (await fresh.get(url, headers=cookie(token("t1", key=key)))).status_code == 200
                assert (await fresh.get(url, headers=cookie(token("t1", key=other)))).status_code == 401


async def test_no_media_token_reaches_the_log(running: Gateway, client):
    value = token("t1")
    for path in (
        f"/v/{value}/t1/none.m4s",
        f"/v/{value}/../x",
        f"/v/{value}/t1/a b.m4s",
        f"/v/{value}",
        f"/v/{value}x/",
    ):
        await anyio.to_thread.run_sync(_raw, running.settings.listen_port, path.replace(" ", "%20"), "")
    await client.get(f"{running.url}/media/t9/none.m4s", headers=cookie(value))
    with anyio.fail_after(30):
        while "/media/t9/none.m4s" not in running.settings.log.read_text():
            await anyio.sleep(0.1)
    assert value.split(".")[2] not in running.settings.log.read_text()
