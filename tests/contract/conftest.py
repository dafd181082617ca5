"""The store's drivers, each given to every test of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.ports import Records
from redqueen.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """Give a clock that moves only when told."""
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def records(request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Records]:
    """Give an empty store of each driver."""
    made: Records = MemoryRecords(clock)
    if request.param == "sqlite":
        made = SqliteRecords.open(tmp_path / "store.sqlite3", clock)
    yield made
    await made.close()
