"""A release's flags as the region keeps them: put, changed in kind, taken back."""

from __future__ import annotations

from typing import Any

import pytest

from redqueen.experiments.flags import Flag, FlagKind
from redqueen.experiments.rules import Condition, Rule
from redqueen.experiments.service import Flags
from redqueen.roles.delivery import ReleaseFlags
from redqueen.store.audit import Audit
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
KEY = "shop.size"


@pytest.fixture
def flags() -> Flags:
    clock = VirtualClock()
    records = MemoryRecords(clock)
    return Flags(records, clock, Audit(records, clock))


async def test_a_release_makes_its_flags_and_takes_them_away_again(flags: Flags) -> None:
    port = ReleaseFlags(flags)
    assert await port.values([KEY]) == {KEY: None}
    await port.put({KEY: 3}, "release shop-r2")
    await port.put({KEY: 3}, "release shop-r2")
    assert await port.values([KEY]) == {KEY: 3}
    assert (await flags.get(KEY)).revision == 1
    await port.put({KEY: None}, "release shop-r2")
    assert await port.values([KEY]) == {KEY: None}


@pytest.mark.parametrize("values", [[1, 1.5, 2], [True, "very", True], ["a", {"b": [1]}, 7]], ids=str)
async def test_a_flag_may_be_of_another_kind_in_the_next_release_and_back_again(
    flags: Flags, values: list[Any]
) -> None:
    port = ReleaseFlags(flags)
    for value in values:
        await port.put({KEY: value}, "release")
        assert await port.values([KEY]) == {KEY: value}


async def test_rules_of_people_stay_while_the_kind_does(flags: Flags) -> None:
    tv = Rule("wide", (Condition("device", "in", ("tv",)),))  # type: ignore[arg-type]
    await flags.put(Flag(KEY, FlagKind.INTEGER, {"usual": 3, "wide": 9}, "usual", rules=(tv,)), None, "ada")
    port = ReleaseFlags(flags)
    await port.put({KEY: 4}, "release")
    await port.put({KEY: 4.5}, "release")
    flag = (await flags.get(KEY)).flag
    assert (flag.kind, flag.rules, flag.variants["wide"]) == (FlagKind.NUMBER, (tv,), 9.0)
    await port.put({KEY: "much"}, "release")
    assert (await flags.get(KEY)).flag.rules == ()
