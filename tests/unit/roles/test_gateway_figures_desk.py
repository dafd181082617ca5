"""What a gateway node answers: only to the region, only its two questions."""

from __future__ import annotations

import msgspec
import pytest

from redqueen.gateway.figures import Figures, Kept, Place, Total
from redqueen.registry.drivers.http import Answer, Head
from redqueen.registry.rights import REGION, mint
from redqueen.roles.gateway_figures import FigureDesk
from redqueen.telemetry.model import FigureBin

SECRET = b"a secret of this region"
TOKEN = {"authorization": f"Bearer {mint(SECRET, REGION)}"}


def desk() -> FigureDesk:
    kept = Kept()
    for second in (100, 101):
        kept.add(second, [Figures(Place("api", "api-r1", "canary"), 2, 1, 1, (1, 1))], {Place("api"): Total(4)})
    return FigureDesk("gateway-a-1", "a", SECRET, kept, lambda: True)


def asked(path: str, query: str = "", *, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    head = Head(method, path, query, TOKEN if headers is None else headers, here=True)
    found = desk()
    admitted = found.admit(head)
    return admitted if isinstance(admitted, Answer) else found.handle(head, b"")


def test_figures_from_a_second_on_with_the_last_complete_one():
    answer = asked("/telemetry/v1/figures", "since=101")
    assert answer.status == 200
    assert answer.headers["x-rq-until"] == "101"
    bins = msgspec.msgpack.decode(answer.body, type=list[FigureBin])
    assert bins == [FigureBin(101, "gateway-a-1", "a", "api", "api-r1", "canary", 2, 1, 1, (1, 1))]
    assert len(msgspec.msgpack.decode(asked("/telemetry/v1/figures").body)) == 2


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {mint(SECRET, 'shop')}"}]
)
def test_nobody_but_the_region_is_told_anything(headers: dict[str, str]):
    for path in ("/telemetry/v1/figures", "/metrics", "/"):
        assert asked(path, headers=headers).status == 401


def test_odd_questions_are_refused():
    for since in ("-1", "x", "9" * 19, "\u0661"):
        assert asked("/telemetry/v1/figures", f"since={since}").status == 400
    assert asked("/telemetry/v1/sessions").status == 404
    assert asked("/metrics", method="POST").status == 405
    assert b'redqueen_gateway_requests_total{gateway="gateway-a-1"' in asked("/metrics").body
