"""`redqueen titles`: all pages, one line each."""

from __future__ import annotations

import httpx

from redqueen.cli.client import ApiClient
from redqueen.cli.titles import matching, row

TITLES = [{"id": f"t{n}", "title": f"Film {n}", "state": "complete", "progress": 1.0} for n in range(250)]


def answer(request: httpx.Request) -> httpx.Response:
    query, start = request.url.params.get("query", ""), int(request.url.params.get("after", 0))
    limit = int(request.url.params["limit"])
    found = [title for title in TITLES if query in str(title["title"])]
    more = str(start + limit) if start + limit < len(found) else None
    return httpx.Response(200, json={"titles": found[start : start + limit], "next": more})


def test_every_page_is_read() -> None:
    with ApiClient("http://region", "t", transport=httpx.MockTransport(answer)) as api:
        assert [title["id"] for title in matching(api, "")] == [title["id"] for title in TITLES]
        assert [title["id"] for title in matching(api, "Film 24")][:2] == ["t24", "t240"]


def test_a_page_that_promises_more_and_holds_nothing_ends_the_list() -> None:
    empty = httpx.MockTransport(lambda request: httpx.Response(200, json={"titles": [], "next": "9"}))
    with ApiClient("http://region", "t", transport=empty) as api:
        assert list(matching(api, "")) == []


def test_a_line_shows_what_is_known_and_leaves_the_rest_empty() -> None:
    title = TITLES[3] | {"duration_s": 3723.4, "width": 1920, "height": 1080, "fps": 29.97}
    title |= {"created_at": "2026-03-04T05:06:07Z"}
    assert row(title) == ["t3", "Film 3", "complete", "100%", "1:02:03", "1920x1080 29.97/s", "2026-03-04 05:06"]
    assert row({"id": "x", "title": "y", "state": "uploading"}) == ["x", "y", "uploading", "0%", "", "", ""]
