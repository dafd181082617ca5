"""The emulator over real sockets, against a server that resets, lies and hangs."""

from __future__ import annotations

import time
from dataclasses import replace

import anyio
import pytest
from hls_origin import CLOSE, HANG, RESET, SEGMENT_BYTES, SHORT, Origin, serving

from redqueen.clock import SystemClock
from redqueen.errors import InvalidInput
from redqueen.testing.viewer import Gathering, RetryPolicy, crowd, watch
from redqueen.testing.viewer.http import Browser, TooSlow, Unreachable
from redqueen.testing.viewer.playlist import ByteRange

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(base_delay_s=0.05, retry_streaming_delay_s=0.05, stall_timeout_s=0.2, connection_timeout_s=0.2)
SURE = replace(QUICK, stall_timeout_s=5.0, connection_timeout_s=5.0)


async def test_a_film_is_watched_to_its_end_over_a_few_kept_connections() -> None:
    async with serving(Origin()) as origin:
        report = await watch(origin.url, speed=6.0)
    assert report.ended and report.stalls == () and report.error == "" and report.retries == 0
    assert report.bytes > 14 * SEGMENT_BYTES
    assert origin.connections == report.connections <= 3


async def test_chunked_answers_are_understood() -> None:
    async with serving(Origin(chunked=True)) as origin:
        report = await watch(origin.url, speed=6.0)
    assert report.ended and report.setbacks == () and report.bytes > 14 * SEGMENT_BYTES


async def test_a_kept_connection_that_was_closed_is_replaced_without_a_retry() -> None:
    async with serving(Origin(trouble=lambda name, times: CLOSE if name == "low-1.m4s" else None)) as origin:
        report = await watch(origin.url, speed=6.0)
    assert report.ended and report.retries == 0 and report.setbacks == ()
    assert origin.asked.count("low-1.m4s") == 1


@pytest.mark.parametrize(
    ("trouble", "kind"), [(503, "status"), (404, "status"), (SHORT, "connection"), (HANG, "timeout")]
)
async def test_a_failed_segment_is_asked_for_again_and_nothing_stalls(trouble: str | int, kind: str) -> None:
    def spoiled(name: str, times: int) -> str | int | None:
        return trouble if name == "low-3.m4s" and times <= 2 else None

    async with serving(Origin(trouble=spoiled)) as origin:
        report = await watch(origin.url, retry=QUICK if trouble == HANG else SURE, speed=3.0)
    assert report.ended and report.stalls == () and report.retries == 2
    assert [setback.kind for setback in report.setbacks] == [kind] * 2


async def test_a_reset_of_a_kept_connection_is_silent_and_of_a_fresh_one_is_a_retry() -> None:
    async with serving(Origin(trouble=lambda name, times: RESET if times == 1 and ".m4s" in name else None)) as origin:
        silent = await watch(origin.url, retry=SURE, speed=6.0)
    assert silent.ended and silent.retries == origin.fresh_resets
    assert origin.kept_resets > 0
    async with serving(
        Origin(trouble=lambda name, times: RESET if times <= 2 and "-3.m4s" in name else None)
    ) as origin:
        heard = await watch(origin.url, retry=SURE, speed=2.0)
    # Picture and sound each meet two resets; one that hits a kept connection is silent.
    assert heard.ended and heard.stalls == () and heard.retries == origin.fresh_resets >= 2
    assert origin.fresh_resets + origin.kept_resets == 4


async def test_a_server_that_is_not_there_is_a_failed_session_and_no_exception() -> None:
    async with serving(Origin()) as origin:
        pass
    report = await watch(origin.url, retry=QUICK)
    assert report.failed and "cannot connect" in report.error and report.play_delay_s is None
    report = await watch("ftp://films.test/x", retry=QUICK)
    assert report.failed and "not an http or https address" in report.error


async def test_a_forged_link_is_a_failed_session() -> None:
    async with serving(Origin(trouble=lambda name, times: 401)) as origin:
        report = await watch(origin.url, retry=SURE)
    assert report.failed and "401" in report.error and report.requests == 1


async def test_a_crowd_comes_staggered_comes_back_and_is_summed_up() -> None:
    async with serving(Origin()) as origin:
        spent = time.process_time()
        gathering = Gathering(duration_s=6.0, stagger_s=0.5, session_s=2.5)
        report = await crowd([origin.url], 20, gathering=gathering)
        spent = time.process_time() - spent
    assert report.failed == 0 and report.viewers == 20
    # Each comes two or three times; who comes last, or meets a machine that stands still, may see nothing start.
    assert 40 <= report.sessions <= 60 and 20 <= report.starts <= report.sessions
    assert 0 < report.play_delay_median_s <= report.play_delay_p95_s <= report.play_delay_max_s
    assert report.play_delay_median_s < 2
    assert spent < 2.5, "viewers and server together must leave the machine to others"


async def test_a_crowd_counts_each_failed_session() -> None:
    async with serving(Origin(trouble=lambda name, times: 403 if name == "low-0.m4s" else None)) as origin:
        report = await crowd([origin.url], 3, gathering=Gathering(duration_s=1.0, stagger_s=0, again=False))
    assert report.sessions == report.failed == 3 and len(report.errors) == 1
    with pytest.raises(InvalidInput):
        await crowd([], 3, gathering=Gathering(duration_s=1.0))


async def test_what_is_not_http_is_unreachable_and_what_is_silent_is_too_slow() -> None:
    async def babble(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if b"/silence" not in await stream.receive():
                await stream.send(b"SSH-2.0-OpenSSH\r\n\r\n")
            else:
                await anyio.sleep(5)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, babble)
        address = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"  # noqa: S610
        async with Browser(QUICK, SystemClock()) as browser:
            with pytest.raises(Unreachable, match="not an HTTP/1 answer"):
                await browser.get(address)
            with pytest.raises(TooSlow):
                await browser.get(f"{address}/silence", part=ByteRange(0, 10))
        group.cancel_scope.cancel()
