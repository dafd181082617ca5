"""The command line's sender, `titles` and `play-link` against the real API of a whole api node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from api_region import OPERATOR, Region, build

from redqueen.api.app import create_app
from redqueen.cli.client import ApiClient
from redqueen.cli.play_link import chosen
from redqueen.cli.publish import TitleNow
from redqueen.cli.titles import matching, row
from redqueen.cli.upload import Memory, Sender, examine
from redqueen.errors import InvalidInput, NotFound, RedQueenError
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio

FILM = bytes(range(256)) * 2000
_Result = TypeVar("_Result")


@dataclass
class Door(httpx.BaseTransport):
    """Carries a blocking client's requests into the application's event loop; cuts connections on request."""

    app: httpx.ASGITransport
    cut: Callable[[str, int], str | None] = lambda method, times: None
    asked: list[str] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.method)
        cut = self.cut(request.method, self.asked.count(request.method))
        if cut == "before":
            raise httpx.ConnectError("refused", request=request)
        answer = anyio.from_thread.run(self._carry, request)
        if cut == "after":
            raise httpx.ReadError("reset", request=request)
        return answer

    async def _carry(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = await self.app.handle_async_request(request)
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content, request=request)


@dataclass
class Node:
    """An api node, and a blocking client of it in a thread."""

    region: Region
    door: Door
    folder: Path

    async def asks(self, work: Callable[[ApiClient], _Result]) -> _Result:
        """Run `work` with a client in a thread."""

        def run() -> _Result:
            with ApiClient("http://tv", OPERATOR, patience_s=0.3, transport=self.door) as api:
                return work(api)

        return await anyio.to_thread.run_sync(run)

    def sender(self, api: ApiClient) -> Sender:
        """Make a sender with small parts."""
        return Sender(api, region="r", memory=Memory(self.folder / "memory"), chunk_bytes=65_536, pause=lambda s: None)


@asynccontextmanager
async def node(folder: Path) -> AsyncGenerator[Node]:
    clock = VirtualClock()
    region = build(folder, MemoryRecords(clock), clock)
    await region.services.accounts.ensure_operator_token(OPERATOR)
    yield Node(region, Door(httpx.ASGITransport(create_app(region.services), raise_app_exceptions=False)), folder)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "Ein Film.mp4"
    path.write_bytes(FILM)
    return path


async def test_a_film_arrives_whole_and_goes_to_the_studio(tmp_path: Path, film: Path) -> None:
    async with node(tmp_path) as here:
        receipt = await here.asks(lambda api: here.sender(api).send(examine(film)))
        found = await here.asks(lambda api: api.read(f"/titles/{receipt.title_id}", TitleNow))
    assert (here.region.sources / receipt.title_id / "film").read_bytes() == FILM
    assert [title for title, _ in here.region.studio.submitted] == [receipt.title_id]
    assert found.title == "Ein Film" and found.state == "waiting"


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_every_connection_may_break_once_and_nothing_is_lost(tmp_path: Path, film: Path, cut: str) -> None:
    async with node(tmp_path) as here:
        here.door.cut = lambda method, times: cut if times % 2 and method != "POST" else None
        receipt = await here.asks(lambda api: here.sender(api).send(examine(film), title="T"))
    assert (here.region.sources / receipt.title_id / "film").read_bytes() == FILM
    assert len(here.region.studio.submitted) == 1


async def test_an_interrupted_upload_goes_on_in_the_next_run(tmp_path: Path, film: Path) -> None:
    def stop(done: int) -> None:
        if done >= 200_000:
            raise KeyboardInterrupt

    async with node(tmp_path) as here:
        with pytest.raises(KeyboardInterrupt):
            await here.asks(lambda api: here.sender(api).send(examine(film), on_progress=stop))
        receipt = await here.asks(lambda api: here.sender(api).send(examine(film)))
    assert receipt.resumed_at_bytes >= 200_000
    assert (here.region.sources / receipt.title_id / "film").read_bytes() == FILM


async def test_what_the_api_refuses_is_raised_as_it_says(tmp_path: Path, film: Path) -> None:
    async with node(tmp_path) as here:
        with pytest.raises(RedQueenError) as caught:
            await here.asks(lambda api: here.sender(api).send(examine(film), title="x" * 9000))
    assert caught.value.exit_code == 2 and caught.value.hint


async def test_titles_are_listed_and_found_by_name_or_id(tmp_path: Path, film: Path) -> None:
    async with node(tmp_path) as here:
        for title in ("Twin", "Twin", "Other"):
            (tmp_path / "memory").mkdir(exist_ok=True)
            await here.asks(lambda api, title=title: here.sender(api).send(examine(film), title=title))
        listed = await here.asks(lambda api: list(matching(api, "")))
        assert sorted(str(row(title)[1]) for title in listed) == ["Other", "Twin", "Twin"]
        other = await here.asks(lambda api: chosen(api, "other"))
        assert (await here.asks(lambda api: chosen(api, other["id"])))["title"] == "Other"
        with pytest.raises(InvalidInput) as caught:
            await here.asks(lambda api: chosen(api, "twin"))
        assert caught.value.code == "title.ambiguous"
        with pytest.raises(NotFound):
            await here.asks(lambda api: chosen(api, "nothing"))
