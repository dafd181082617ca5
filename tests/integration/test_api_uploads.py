"""Uploads over tus against a whole api node: resumption, wrong input, full disks, races, loose ends."""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import anyio
import httpx
import pytest
from api_region import BEARER, OPERATOR, PATCH, TUS, Region, build

from redqueen.api.app import create_app
from redqueen.api.intake import UploadLimits
from redqueen.catalogue.model import State
from redqueen.errors import NotFound, Unavailable
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio

FILM = bytes(range(256)) * 4096
UPLOADS = "/api/v1/uploads"


def metadata(**pairs: str | bytes) -> str:
    encoded = {key: value.encode() if isinstance(value, str) else value for key, value in pairs.items()}
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in encoded.items())


@asynccontextmanager
async def serving(
    folder: Path, limits: UploadLimits | None = None
) -> AsyncGenerator[tuple[httpx.AsyncClient, Region, VirtualClock]]:
    clock = VirtualClock()
    region = build(folder, MemoryRecords(clock), clock, limits=limits)
    await region.services.accounts.ensure_operator_token(OPERATOR)
    transport = httpx.ASGITransport(create_app(region.services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tv") as client:
        yield client, region, clock


async def begin(client: httpx.AsyncClient, length: int = len(FILM), **pairs: str | bytes) -> tuple[str, str]:
    """Create an upload; give its address and its title's id."""
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata(**(pairs or {"filename": "a.mp4"}))}
    answer = await client.post(UPLOADS, headers=headers)
    assert (answer.status_code, answer.text) == (201, "")
    return answer.headers["location"], answer.headers["redqueen-title"]


async def send(client: httpx.AsyncClient, address: str, offset: int, body: bytes) -> httpx.Response:
    return await client.patch(address, headers={**PATCH, "Upload-Offset": str(offset)}, content=body)


async def offset_of(client: httpx.AsyncClient, address: str) -> int:
    answer = await client.head(address, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


async def raw_patch(region: Region, address: str, offset: int, receive: Any) -> int:
    """Send a PATCH whose body comes from `receive`; give the status."""
    headers = {**PATCH, "Upload-Offset": str(offset)}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PATCH",
        "scheme": "http",
        "path": address,
        "raw_path": address.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "server": ("tv", 80),
        "client": ("127.0.0.1", 1),
    }
    statuses: list[int] = []

    async def answer(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await create_app(region.services)(scope, receive, answer)  # type: ignore[arg-type]
    return statuses[0]


async def test_a_film_arrives_in_parts_and_is_handed_to_the_studio_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, title_id = await begin(client, filename="My_first.film.2024.mkv")
        title = await region.services.catalogue.get(title_id)
        assert (title.title, title.state, title.size_bytes) == ("My first film 2024", State.UPLOADING, len(FILM))
        spool = next(region.spool.glob("*.part"))
        assert spool.stat().st_mode & 0o777 == 0o600
        answer = await send(client, address, 0, FILM[:700_000])
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, "700000")
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert "upload-expires" in answer.headers
        assert await offset_of(client, address) == 700_000
        assert (await region.services.catalogue.get(title_id)).uploaded_bytes == 700_000
        answer = await send(client, address, 700_000, FILM[700_000:])
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(FILM)))
        assert (region.sources / title_id / "film").read_bytes() == FILM
        assert list(region.spool.iterdir()) == []
        assert region.studio.submitted == [(title_id, f"sources/{title_id}/film")]
        assert (await region.services.catalogue.get(title_id)).state is State.WAITING
        assert (await send(client, address, len(FILM), b"")).status_code == 204
        assert (await send(client, address, 5, b"x")).status_code == 409
        assert await offset_of(client, address) == len(FILM)
        assert len(region.studio.submitted) == 1
        assert (await client.delete(address, headers=TUS)).status_code == 204
        assert (region.sources / title_id / "film").exists()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Tus-Resumable": ""}, 412, "tus.version"),
        ({"Tus-Resumable": "0.2.2"}, 412, "tus.version"),
        ({"Upload-Length": "0"}, 400, "upload.empty"),
        ({"Upload-Length": ""}, 400, "upload.length"),
        ({"Upload-Length": "-5"}, 400, "upload.length"),
        ({"Upload-Length": "1e3"}, 400, "upload.length"),
        ({"Upload-Length": "9" * 30}, 400, "upload.length"),
        ({"Upload-Length": str(201 << 30)}, 413, "upload.too_large"),
        ({"Upload-Defer-Length": "1"}, 400, "upload.length"),
        ({"Upload-Metadata": "filename a.mp4"}, 400, "upload.metadata"),
        ({"Upload-Metadata": "filename YQ"}, 400, "upload.metadata"),
        ({"Upload-Metadata": "a YQ==,a YQ=="}, 400, "upload.metadata"),
        ({"Upload-Metadata": ","}, 400, "upload.metadata"),
    ],
)
async def test_a_wrong_creation_is_refused_and_leaves_nothing(
    tmp_path: Path, headers: dict[str, str], status: int, code: str
) -> None:
    async with serving(tmp_path) as (client, region, _):
        answer = await client.post(UPLOADS, headers={**TUS, "Upload-Length": "5", **headers})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.json()["hint"]
        assert await region.services.catalogue.all() == []
        assert list(region.spool.iterdir()) == []


@pytest.mark.parametrize(
    ("filename", "title"),
    [
        (b"-rf.mp4", "rf"),
        (b"two\nlines.mp4", "two lines"),
        (b"nul\x00l.mp4", "null"),
        ("\u202egnp.mp4".encode(), "gnp"),
        (b"../../etc/passwd", "passwd"),
        (b"..%2f..%2fx%00.mp4", "%2f %2fx%00"),
        (b"x" * 4096, "x" * 200),
        (b"Am\xe9lie.mp4", "Amélie"),
        (b"", "Untitled"),
        (b"\xe2\x80\x8b.mp4", "Untitled"),
    ],
)
async def test_odd_names_become_titles_that_can_be_read(tmp_path: Path, filename: bytes, title: str) -> None:
    async with serving(tmp_path) as (client, region, _):
        _, title_id = await begin(client, filename=filename)
        shown = (await region.services.catalogue.get(title_id)).title
        assert shown == title


async def test_wrong_parts_are_refused_and_lose_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, _ = await begin(client)
        await send(client, address, 0, FILM[:1000])
        assert (await send(client, address, 999, b"x")).status_code == 409
        assert (await send(client, address, 1001, b"x")).status_code == 409
        wrong_type = {**PATCH, "Content-Type": "text/plain", "Upload-Offset": "1000"}
        assert (await client.patch(address, headers=wrong_type, content=b"x")).status_code == 415
        unversioned = {**BEARER, "Content-Type": PATCH["Content-Type"], "Upload-Offset": "1000"}
        assert (await client.patch(address, headers=unversioned, content=b"x")).status_code == 412
        assert (await client.patch(address, headers=PATCH, content=b"x")).status_code == 400
        too_long = await send(client, address, 1000, FILM)
        assert (too_long.status_code, too_long.json()["code"]) == (413, "upload.too_long")
        offset = await offset_of(client, address)
        assert (await send(client, address, offset, FILM[offset:])).status_code == 204
        film = next(region.sources.glob("*/film"))
        assert film.read_bytes() == FILM
        for name in ("0" * 32, "..%2f..%2fx", "x"):
            assert (await client.head(f"{UPLOADS}/{name}", headers=TUS)).status_code == 404


async def test_no_room_is_said_before_the_first_byte(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        free, _ = region.services.uploads._spool.free()
        answer = await client.post(UPLOADS, headers={**TUS, "Upload-Length": str(min(free, 199 << 30))})
        assert (answer.status_code, answer.json()["code"]) == (507, "upload.no_room")
        assert await region.services.catalogue.all() == []


async def test_a_disk_that_fills_up_keeps_what_fitted_and_the_upload_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [600_000]
    really = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = really(descriptor, data[: room[0]], offset)
        room[0] -= written
        return written

    monkeypatch.setattr("redqueen.api.spool.os.pwrite", pwrite)
    async with serving(tmp_path) as (client, region, _):
        address, title_id = await begin(client)
        answer = await send(client, address, 0, FILM)
        assert (answer.status_code, answer.json()["code"]) == (507, "upload.disk_full")
        assert await offset_of(client, address) == 600_000
        assert (await send(client, address, 600_000, FILM[600_000:])).status_code == 507
        assert await offset_of(client, address) == 600_000
        room[0] = 1 << 30
        assert (await send(client, address, 600_000, FILM[600_000:])).status_code == 204
        assert (region.sources / title_id / "film").read_bytes() == FILM


async def test_a_cut_connection_keeps_what_came(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, _ = await begin(client)
        messages = iter([{"type": "http.request", "body": FILM[:12_345], "more_body": True}])

        async def receive() -> Any:
            return next(messages, {"type": "http.disconnect"})

        assert await raw_patch(region, address, 0, receive) == 408
        assert await offset_of(client, address) == 12_345


async def test_a_newcomer_supersedes_a_writer_whose_client_is_silent(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, title_id = await begin(client)
        first = iter([{"type": "http.request", "body": FILM[:600_000], "more_body": True}])
        waiting = anyio.Event()
        statuses: list[int] = []

        async def silent() -> Any:
            for message in first:
                return message
            waiting.set()
            await anyio.sleep_forever()

        async def old() -> None:
            statuses.append(await raw_patch(region, address, 0, silent))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(old)
                await waiting.wait()
                offset = await offset_of(client, address)
                assert offset == 600_000
                answer = await send(client, address, offset, FILM[offset:])
                assert answer.status_code == 204
        assert statuses == [409]
        assert (region.sources / title_id / "film").read_bytes() == FILM


async def test_many_at_once_never_mix_their_bytes(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, title_id = await begin(client)

        async def client_loop() -> None:
            while (offset := await offset_or_retry(client, address)) < len(FILM):
                await send(client, address, offset, FILM[offset : offset + 200_000])

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(client_loop)
        assert (region.sources / title_id / "film").read_bytes() == FILM
        assert len(set(region.studio.submitted)) == 1


async def offset_or_retry(client: httpx.AsyncClient, address: str) -> int:
    while (answer := await client.head(address, headers=TUS)).status_code == 423:
        await anyio.sleep(0.01)
    return int(answer.headers["upload-offset"])


@pytest.mark.parametrize("how", ["head", "patch", "sweep"])
@pytest.mark.parametrize("broken", ["move", "catalogue", "submit", "record"])
async def test_an_upload_that_died_in_its_last_step_is_completed(
    tmp_path: Path, how: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, title_id = await begin(client)

        async def dies(*_: Any, **__: Any) -> Any:
            raise Unavailable("test.died", "The node died here", hint="Go on")

        uploads = region.services.uploads
        with monkeypatch.context() as patched:
            if broken == "move":
                patched.setattr(region.objects, "put_file", dies)
            elif broken == "catalogue":
                patched.setattr(region.services.catalogue, "received", dies)
            elif broken == "submit":
                patched.setattr(region.studio, "submit", dies)
            else:
                records = AsyncMock(wraps=region.records, put=dies)
                patched.setattr(uploads, "_records", records)
            assert (await send(client, address, 0, FILM)).status_code == 503
        if how == "head":
            assert await offset_of(client, address) == len(FILM)
        elif how == "patch":
            assert (await send(client, address, len(FILM), b"")).status_code == 204
        else:
            assert await uploads.sweep() == 1
            assert await uploads.sweep() == 0
        assert (region.sources / title_id / "film").read_bytes() == FILM
        assert set(region.studio.submitted) == {(title_id, f"sources/{title_id}/film")}
        assert (await region.services.catalogue.get(title_id)).state is State.WAITING


async def test_termination_and_removal_leave_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, title_id = await begin(client)
        await send(client, address, 0, FILM[:1000])
        assert (await client.delete(address, headers=TUS)).status_code == 204
        assert (await client.head(address, headers=TUS)).status_code == 404
        assert await region.services.catalogue.find(title_id) is None
        address, title_id = await begin(client)
        await send(client, address, 0, FILM[:1000])
        assert (await client.delete(f"/api/v1/titles/{title_id}", headers=BEARER)).status_code == 204
        assert (await send(client, address, 1000, FILM[1000:])).status_code == 404
        assert await region.services.catalogue.all() == []
        assert list(region.spool.iterdir()) == []


async def test_an_idle_upload_is_given_up_after_a_day_but_not_before(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        address, _ = await begin(client)
        now = clock.now()
        spool = next(region.spool.glob("*.part"))
        os.utime(spool, (now, now))
        clock.advance(86_399)
        assert await region.services.uploads.sweep() == 0
        clock.advance(2)
        assert await region.services.uploads.sweep() == 1
        assert (await client.head(address, headers=TUS)).status_code == 404
        assert list(region.spool.iterdir()) == []


async def test_an_upload_belongs_to_its_account(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        address, _ = await begin(client)
        with pytest.raises(NotFound):
            await region.services.uploads.find(address.rpartition("/")[2], "somebody-else")


async def test_the_server_says_what_it_speaks_and_takes_overridden_methods(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _, _):
        options = await client.options(UPLOADS)
        assert options.status_code == 204
        assert options.headers["tus-version"] == "1.0.0"
        assert options.headers["tus-extension"] == "creation,expiration,termination"
        assert options.headers["tus-max-size"] == str(200 << 30)
        address, _ = await begin(client)
        headers = {**PATCH, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
        assert (await client.post(address, headers=headers, content=b"abc")).status_code == 204
        answer = await client.post(address, headers={**TUS, "X-HTTP-Method-Override": "HEAD"})
        assert answer.headers["upload-offset"] == "3"
        assert (await client.post(address, headers=TUS)).status_code == 400


async def test_progress_is_told_at_most_twice_a_second(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        told: list[int] = []

        async def uploaded(_: str, size: int) -> None:
            told.append(size)

        region.services.catalogue.uploaded = uploaded  # type: ignore[method-assign]
        address, _ = await begin(client, length=100)
        for offset in range(0, 50, 10):
            await send(client, address, offset, b"x" * 10)
            clock.advance(0.2)
        assert told == [10, 40]


async def test_a_body_is_never_held_in_memory(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        sizes: list[int] = []
        address, _ = await begin(client, length=8 << 20)
        spool = next(region.spool.glob("*.part"))

        async def body() -> AsyncIterator[bytes]:
            for _ in range(128):
                sizes.append(spool.stat().st_size if spool.exists() else -1)
                yield b"x" * (64 << 10)

        answer = await client.patch(address, headers={**PATCH, "Upload-Offset": "0"}, content=body())
        assert answer.status_code == 204
        behind = [index * (64 << 10) - size for index, size in enumerate(sizes)]
        assert max(behind) <= 1 << 20
