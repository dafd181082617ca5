"""Bodies of thousands of brackets are refused like any other that is no beacon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from redqueen.telemetry.grants import secret_of
from redqueen.telemetry.intake import Intake, Wish
from redqueen.telemetry.ports import AssignedViewer
from redqueen.telemetry.sessions import Sessions
from redqueen.telemetry.spool import Spool
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


class Nobody:
    """No trial runs."""

    def arms(self, viewer: AssignedViewer) -> dict[str, str]:
        """Return no arm."""
        return {}


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Intake]:
    clock = VirtualClock()
    async with Spool.opened(tmp_path / "spool", "n.1", clock) as one:
        yield Intake(secret_of(b"r" * 64), one, Sessions(), Nobody(), clock)


async def test_a_body_of_brackets_is_refused_with_a_reason_and_counted_against_its_address(intake: Intake) -> None:
    granted = await intake.grant(Wish(1, "t", "tv", "a", "192.0.2.1"))
    token = msgspec.json.encode(granted.token)
    deep = b"[" * 30_000
    for body in (
        b'{"token":' + token + b',"events":' + deep,
        b'{"token":' + token + b',"events":' + deep + b"]" * 30_000 + b"}",
        b'{"token":' + token + b',"events":[{"seq":' + deep,
        b'{"batches":' + deep,
        deep,
    ):
        taken = await intake.take(body, "192.0.2.9")
        assert taken.because and not taken.kept
    assert sum(intake.tally.refused.values()) == 5
    for _ in range(60):
        taken = await intake.take(b'{"token":"x","events":' + deep, "192.0.2.9")
    assert taken.wait_s > 0
