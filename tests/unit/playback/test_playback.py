"""Where viewers are, and their links."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.errors import Conflict, InvalidInput
from redqueen.playback.model import Progress, checked_position, media_path, token_url
from redqueen.playback.service import Playback
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock


@dataclass(frozen=True)
class Film:
    id: str = "x" * 12
    hls: str | None = "master.m3u8"
    dash: str | None = None
    poster: str | None = None
    duration_s: float | None = 100.0


@dataclass(frozen=True)
class Right:
    token: str
    expires_at: float


class Signer:
    async def sign(self, titles: object, ttl_s: int) -> Right:
        return Right(f"{titles}-{ttl_s}", float(ttl_s))


def playback() -> Playback:
    clock = VirtualClock()
    return Playback(MemoryRecords(clock), clock, Signer(), public_url="http://tv/", link_ttl_s=3600)


@settings(deadline=None)
@given(st.floats(), st.none() | st.floats(0, 1e5))
def test_a_kept_position_lies_in_the_film(position_s: float, duration_s: float | None) -> None:
    try:
        kept = checked_position(position_s, duration_s)
    except InvalidInput:
        assert not 0 <= position_s <= 1_000_000
        return
    assert 0 <= kept <= (duration_s if duration_s is not None else position_s)


def test_what_is_seen_to_its_end_begins_anew() -> None:
    assert Progress("x", 95.0, 0, 100.0).resume_s == 95.0
    assert Progress("x", 95.1, 0, 100.0).resume_s == 0.0
    assert Progress("x", 95.1, 0, None).resume_s == 95.1


def test_addresses_are_built_in_one_way() -> None:
    assert media_path("t", None) is None
    assert media_path("t", "a.m3u8") == "/media/t/a.m3u8"
    assert token_url("http://tv/", "j.w.t", "t", "a.m3u8") == "http://tv/v/j.w.t/t/a.m3u8"


@pytest.mark.anyio
async def test_the_last_device_wins_and_accounts_do_not_mix() -> None:
    service = playback()
    await service.keep_progress("a", Film(), 10.0)
    await service.keep_progress("a", Film(), 5.25)
    await service.keep_progress("b", Film(), 70.0)
    mine = await service.progress("a", Film().id)
    assert mine is not None
    assert mine.position_s == 5.25
    assert {key: at.position_s for key, at in (await service.all_progress("b")).items()} == {Film().id: 70.0}
    await service.forget("a", Film().id)
    assert await service.progress("a", Film().id) is None


@pytest.mark.anyio
async def test_links_name_one_title_live_a_bounded_time_and_need_a_film() -> None:
    service = playback()
    link = await service.play_link(Film())
    assert link.url == f"http://tv/v/['{'x' * 12}']-3600/{'x' * 12}/master.m3u8"
    assert link.dash_url is None
    for ttl_s in (59, 604_801):
        with pytest.raises(InvalidInput):
            await service.play_link(Film(), ttl_s)
    with pytest.raises(Conflict):
        await service.play_link(Film(hls=None))
