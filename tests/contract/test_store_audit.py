"""The audit log over every driver of records."""

from __future__ import annotations

import pytest

from redqueen.store.audit import Audit
from redqueen.store.ports import Records
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


async def test_lines_come_newest_first_over_months_and_by_pages(records: Records, clock: VirtualClock) -> None:
    audit = Audit(records, clock)
    for number in range(7):
        await audit.note("owner", "declare", f"service {number}", "because")
        clock.advance(20 * 86_400.0)
    first = await audit.newest(3)
    assert [line.subject for line in first] == ["service 6", "service 5", "service 4"]
    rest = await Audit(records, clock).newest(100, before=first[-1].id)
    assert [line.subject for line in rest] == ["service 3", "service 2", "service 1", "service 0"]
    assert first[0].who == "owner" and first[0].what == "declare" and first[0].because == "because"


async def test_two_lines_of_one_moment_are_both_kept_in_order(records: Records, clock: VirtualClock) -> None:
    audit = Audit(records, clock)
    await audit.note("a", "x", "one")
    await audit.note("b", "y", "two" * 1000)
    lines = await audit.newest()
    assert [line.who for line in lines] == ["b", "a"]
    assert max(len(line.subject) for line in lines) == 2000


async def test_an_empty_log_is_an_empty_list(records: Records, clock: VirtualClock) -> None:
    assert await Audit(records, clock).newest() == []
