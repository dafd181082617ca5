"""The API's routes for artifacts and releases: what is taken, what is refused and leaves nothing, who may."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from api_region import BEARER, OPERATOR, build

from redqueen.api import releases
from redqueen.api.app import create_app
from redqueen.api.artifact_intake import ArtifactIntake
from redqueen.delivery.artifact import Bounds
from redqueen.delivery.artifacts import Artifacts
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
TOML = b'service = "shop"\nowner = "me"\ncommand = ["run"]\nversion = "2"\n'


def artifact(**files: bytes) -> tuple[str, bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as packed:
        for name, data in {"redqueen.toml": TOML, **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return hashlib.sha256(out.getvalue()).hexdigest(), out.getvalue()


@asynccontextmanager
async def client_of(folder: Path, bounds: Bounds | None = None) -> AsyncIterator[httpx.AsyncClient]:
    clock = VirtualClock()
    region = build(folder, MemoryRecords(clock), clock)
    await region.services.accounts.ensure_owner()
    await region.services.accounts.ensure_operator_token(OPERATOR)
    services = region.services
    if bounds is not None:
        intake = ArtifactIntake(Artifacts(region.objects, region.records), folder / "artifacts", bounds)
        services = type(services)(
            **{name: getattr(services, name) for name in type(services).__slots__} | {"artifacts": intake}  # type: ignore[attr-defined]
        )
    transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tv/api/v1", headers=BEARER) as client:
        yield client


def left(folder: Path) -> list[str]:
    kept = [*(folder / "artifacts").glob("*"), *(folder / "objects").rglob("artifacts/*")]
    return [path.name for path in kept if path.is_file()]


async def test_an_artifact_is_sent_once_shipped_listed_stopped_and_noted(tmp_path: Path) -> None:
    digest, body = artifact(run=b"x" * 3000)
    async with client_of(tmp_path) as client:
        assert (await client.get(f"/artifacts/{digest}")).status_code == 404
        sent = await client.put(f"/artifacts/{digest}", content=body)
        assert sent.status_code == 200, sent.text
        assert sent.json() == {
            "digest": digest,
            "size_bytes": len(body),
            "files": 2,
            "unpacked_bytes": 3000 + len(TOML),
        }
        assert (await client.get(f"/artifacts/{digest}")).json() == sent.json()
        assert left(tmp_path) == [f"{digest}.tar"]
        origin = {"commit": "c" * 40, "author": "Ada <a@b>", "clean": True}
        wish = {"artifact": digest, "because": "faster", "provenance": origin}
        assert (await client.post("/releases", json=wish, headers={"idempotency-key": "k" * 65})).status_code == 400
        made = await client.post("/releases", json=wish, headers={"idempotency-key": "k" * 64})
        assert made.status_code == 201, made.text
        card = msgspec.json.decode(made.content, type=releases.ReleaseCard)
        assert (card.service, card.id, card.trial, card.version, card.why) == ("shop", "r1", "shop-r1", "2", "faster")
        assert card.provenance.commit == "c" * 40 and card.artifact.digest == digest and card.undoable
        assert (await client.get("/releases/shop/r1")).json() == made.json()
        await client.post("/releases", json={"artifact": digest})
        listed = (await client.get("/releases", params={"service": "shop", "limit": 1})).json()["releases"]
        assert [one["id"] for one in listed] == ["r2"]
        stopped = await client.post("/releases/shop/r2/stop", json={"because": "enough"})
        assert (stopped.status_code, stopped.json()["phase"]) == (202, "stopped")
        undone = await client.post("/releases/shop/rollback", json={})
        assert (undone.status_code, undone.json()["phase"]) == (202, "rolled back")
        lines = (await client.get("/audit")).json()["lines"]
        assert [(one["what"], one["subject"]) for one in lines] == [
            ("roll back", "release r2 of shop"),
            ("stop release", "release r2 of shop"),
            ("ship", "release r2 of shop"),
            ("ship", "release r1 of shop"),
        ]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda body: body[:-100] + b"x" * 100, 400, "release.artifact"),
        (lambda body: body.replace(b"owner", b"OWNER"), 400, "release.digest"),
        (lambda body: body[:700], 400, "release.artifact"),
        (lambda body: b"", 400, "release.artifact"),
        (lambda body: b"\x1f\x8b" + body, 400, "release.artifact"),
        (lambda body: body + bytes(1 << 20), 507, "release.too_large"),
    ],
)
async def test_what_is_not_what_it_says_is_refused_and_leaves_nothing(
    change: object, status: int, code: str, tmp_path: Path
) -> None:
    digest, body = artifact(run=b"x")
    async with client_of(tmp_path, Bounds(size_bytes=200_000)) as client:
        answer = await client.put(f"/artifacts/{digest}", content=change(body))  # type: ignore[operator]
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert left(tmp_path) == []
        assert (await client.post("/releases", json={"artifact": digest})).status_code == 404


async def test_a_body_that_is_shorter_than_told_is_refused(tmp_path: Path) -> None:
    digest, body = artifact(run=b"x" * 5000)
    async with client_of(tmp_path) as client:
        told = {"content-length": str(len(body) + 512)}
        answer = await client.put(f"/artifacts/{digest}", content=body, headers=told)
        assert (answer.status_code, answer.json()["code"]) == (400, "release.truncated")
        assert left(tmp_path) == []


async def test_a_body_without_a_told_length_is_bounded_all_the_same(tmp_path: Path) -> None:
    digest, _ = artifact()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 10_000
            yield bytes(10_000)

    async with client_of(tmp_path, Bounds(size_bytes=100_000)) as client:
        answer = await client.put(f"/artifacts/{digest}", content=endless())
        assert (answer.status_code, answer.json()["code"]) == (507, "release.too_large")
        assert left(tmp_path) == []
    # What was refused is read away up to a bound, so that the answer arrives.
    assert sent < 20 << 20


@pytest.mark.parametrize("digest", ["abc", "A" * 64, "..%2f..%2fetc", "0" * 63 + "g"])
async def test_what_is_no_digest_names_nothing(digest: str, tmp_path: Path) -> None:
    async with client_of(tmp_path) as client:
        for answer in (
            await client.get(f"/artifacts/{digest}"),
            await client.put(f"/artifacts/{digest}", content=b"x"),
            await client.post("/releases", json={"artifact": digest}),
        ):
            assert answer.status_code == 404
        assert left(tmp_path) == []


async def test_an_artifact_with_a_wrong_manifest_ships_nothing_and_says_which_key(tmp_path: Path) -> None:
    digest, body = artifact(**{"redqueen.toml": TOML + b"step_s = 0\n"})
    async with client_of(tmp_path) as client:
        await client.put(f"/artifacts/{digest}", content=body)
        answer = await client.post("/releases", json={"artifact": digest})
        assert answer.status_code == 400 and "redqueen.toml: step_s = 0" in answer.json()["what"]
        assert (await client.get("/releases")).json() == {"releases": []}


async def test_odd_names_and_words_are_refused(tmp_path: Path) -> None:
    digest, body = artifact()
    async with client_of(tmp_path) as client:
        await client.put(f"/artifacts/{digest}", content=body)
        for wish in (
            {"artifact": digest, "because": "x" * 501},
            {"artifact": digest, "because": "a\x1b[2Jb"},
            {"artifact": digest, "provenance": {"author": "a\nb"}},
            {"artifact": digest, "provenance": {"signed": True}},
            {"artifact": digest, "manifest": {}},
            {},
        ):
            assert (await client.post("/releases", json=wish)).status_code == 400, wish
        for release in ("3", "rx", "r-1", "r1e3", "r99999999999"):
            answer = await client.get(f"/releases/shop/{release}")
            assert (answer.status_code, answer.json()["code"]) == (404, "release.unknown")


async def test_only_the_owner_may(tmp_path: Path) -> None:
    async with client_of(tmp_path) as client:
        for method, path in (
            ("GET", "/artifacts/x"),
            ("PUT", "/artifacts/x"),
            ("GET", "/releases"),
            ("POST", "/releases"),
            ("GET", "/releases/shop/r1"),
            ("POST", "/releases/shop/r1/stop"),
            ("POST", "/releases/shop/rollback"),
        ):
            answer = await client.request(method, path, headers={"Authorization": "Bearer nobody"})
            assert answer.status_code == 401, path
