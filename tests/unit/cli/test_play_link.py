"""`redqueen play-link`: which title was meant, and for how long."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from redqueen.cli.client import ApiClient
from redqueen.cli.play_link import chosen, seconds
from redqueen.errors import InvalidInput, NotFound

TITLES = [
    {"id": "aa11", "title": "Big Buck Bunny"},
    {"id": "bb22", "title": "Big Buck Bunny 2"},
    {"id": "cc33", "title": "Tears of Steel"},
    {"id": "dd44", "title": "Twin"},
    {"id": "ee55", "title": "Twin"},
]


def answer(request: httpx.Request) -> httpx.Response:
    name = request.url.path.removeprefix("/api/v1/titles").removeprefix("/")
    if not name:
        query = request.url.params.get("query", "").casefold()
        return httpx.Response(200, json={"titles": [t for t in TITLES if query in t["title"].casefold()], "next": None})
    known = [title for title in TITLES if title["id"] == name]
    return httpx.Response(200, json=known[0]) if known else httpx.Response(404, json={"code": "c", "what": "w"})


@pytest.fixture
def api() -> Iterator[ApiClient]:
    with ApiClient("http://region", "t", transport=httpx.MockTransport(answer)) as client:
        yield client


@pytest.mark.parametrize(
    ("wanted", "found"), [("cc33", "cc33"), ("tears", "cc33"), ("Tears of Steel", "cc33"), ("big buck bunny", "aa11")]
)
def test_an_id_an_exact_title_or_the_only_match_is_taken(api: ApiClient, wanted: str, found: str) -> None:
    assert chosen(api, wanted)["id"] == found


@pytest.mark.parametrize(("wanted", "count"), [("big", 2), ("Twin", 2), ("bunny", 2)])
def test_several_matches_are_listed_and_none_is_taken(api: ApiClient, wanted: str, count: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        chosen(api, wanted)
    assert caught.value.exit_code == 2 and caught.value.why.count("(") == count


def test_no_match_and_no_path_tricks(api: ApiClient) -> None:
    for wanted in ("nothing", "../session", "%2e%2e%2fsession", "aa11/playback"):
        with pytest.raises(NotFound):
            chosen(api, wanted)


def test_lengths_of_time_are_read_with_their_unit() -> None:
    assert [seconds(text) for text in ("90", "90s", "5m", "6h", "7d")] == [90, 90, 300, 21_600, 604_800]
    for text in ("", "0", "-5", "1w", "6 h", "1.5h", "٣"):
        with pytest.raises(InvalidInput):
            seconds(text)
