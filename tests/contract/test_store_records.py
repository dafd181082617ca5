"""What every records driver promises, and what SQLite promises to several processes besides."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from redqueen.errors import InvalidInput
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.ports import ABSENT, ANY, Condition, Delete, Put, Records
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


async def test_a_put_record_is_read_back(records: Records) -> None:
    put = await records.put("p", Put("c", b"\0value"))
    assert put is not None
    assert (put.partition, put.clustering, put.value, put.expires_at) == ("p", "c", b"\0value", None)
    assert await records.get("p", "c") == put


async def test_what_is_not_there_is_none(records: Records) -> None:
    assert await records.get("p", "c") is None
    await records.put("p", Put("c", b""))
    assert await records.get("p", "d") is None
    assert await records.get("q", "c") is None


async def test_a_put_for_an_absent_record_happens_once(records: Records) -> None:
    first = await records.put("p", Put("c", b"1", when=ABSENT))
    assert await records.put("p", Put("c", b"2", when=ABSENT)) is None
    assert await records.get("p", "c") == first


async def test_a_put_with_a_version_happens_only_at_that_version(records: Records) -> None:
    old = await records.put("p", Put("c", b"1"))
    assert old
    new = await records.put("p", Put("c", b"2", when=old.version))
    assert new
    assert await records.put("p", Put("c", b"3", when=old.version)) is None
    assert await records.put("p", Put("never", b"3", when=old.version)) is None
    assert await records.get("p", "c") == new


async def test_versions_grow_and_never_come_back_even_after_a_delete(records: Records) -> None:
    seen: list[int] = []
    for _ in range(3):
        for value in (b"same", b"same"):
            record = await records.put("p", Put("c", value))
            assert record
            seen.append(record.version)
        assert await records.delete("p", Delete("c"))
    assert seen == sorted(set(seen))


async def test_a_delete_obeys_its_condition(records: Records) -> None:
    record = await records.put("p", Put("c", b"1"))
    assert record
    assert not await records.delete("p", Delete("c", when=record.version + 1))
    assert not await records.delete("p", Delete("c", when=ABSENT))
    assert await records.delete("p", Delete("c", when=record.version))
    assert await records.get("p", "c") is None
    assert await records.delete("p", Delete("c"))
    assert not await records.delete("p", Delete("c", when=record.version))


async def test_a_record_vanishes_when_its_time_is_over(records: Records, clock: VirtualClock) -> None:
    record = await records.put("p", Put("c", b"1", ttl_s=10))
    assert record
    assert record.expires_at == clock.now() + 10
    clock.advance(9.5)
    assert await records.get("p", "c") == record
    clock.advance(0.5)
    assert await records.get("p", "c") is None
    assert await records.scan("p") == []


async def test_an_expired_record_counts_as_absent(records: Records, clock: VirtualClock) -> None:
    old = await records.put("p", Put("c", b"1", ttl_s=1))
    assert old
    clock.advance(1)
    assert await records.put("p", Put("c", b"2", when=old.version)) is None
    new = await records.put("p", Put("c", b"2", when=ABSENT))
    assert new
    assert new.version != old.version
    assert await records.get("p", "c") == new


async def test_a_put_without_a_time_to_live_clears_the_old_one(records: Records, clock: VirtualClock) -> None:
    await records.put("p", Put("c", b"1", ttl_s=1))
    await records.put("p", Put("c", b"2"))
    clock.advance(100)
    assert await records.get("p", "c") is not None


async def test_a_scan_gives_a_half_open_range_in_order(records: Records) -> None:
    for key in ("b", "", "é", "a", "\U0001f451", "a/1", "ﬀ"):
        await records.put("p", Put(key, key.encode()))
    await records.put("other", Put("a", b""))
    everything = ["", "a", "a/1", "b", "é", "ﬀ", "\U0001f451"]
    assert [row.clustering for row in await records.scan("p")] == everything
    assert [row.clustering for row in await records.scan("p", reverse=True)] == everything[::-1]
    assert [row.clustering for row in await records.scan("p", start="a", end="é")] == ["a", "a/1", "b"]
    assert [row.clustering for row in await records.scan("p", start="a\0")] == everything[2:]
    assert [row.clustering for row in await records.scan("p", start="a", end="é", limit=2, reverse=True)] == [
        "b",
        "a/1",
    ]
    assert await records.scan("p", limit=0) == []
    assert await records.scan("p", start="b", end="a") == []
    assert await records.scan("p", end="") == []


async def test_a_batch_is_made_whole(records: Records) -> None:
    old = await records.put("p", Put("old", b"1"))
    assert old
    assert await records.batch("p", [Put("a", b"1", when=ABSENT), Delete("old", when=old.version), Put("b", b"2")])
    assert [row.clustering for row in await records.scan("p")] == ["a", "b"]
    assert await records.batch("p", [])


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_batch_with_one_failing_condition_changes_nothing(records: Records, place: int) -> None:
    await records.put("p", Put("old", b"1"))
    changes: list[Put | Delete] = [Put("a", b"1", when=ABSENT), Delete("old")]
    changes.insert(place, Put("x", b"", when=12345))
    before = await records.scan("p")
    assert not await records.batch("p", changes)
    assert await records.scan("p") == before


@pytest.mark.parametrize(
    ("partition", "change", "code"),
    [
        ("", Put("c", b""), "store.key"),
        ("p", Put("c\0", b""), "store.key"),
        ("p\0", Put("c", b""), "store.key"),
        ("p", Put("\ud800", b""), "store.key"),
        ("p", Put("é" * 513, b""), "store.key"),
        ("p" * 1025, Put("c", b""), "store.key"),
        ("p", Put("c", b"x" * (1 << 20 | 1)), "store.value"),
        ("p", Put("c", b"", ttl_s=0), "store.ttl"),
        ("p", Put("c", b"", ttl_s=-1), "store.ttl"),
        ("p", Put("c", b"", ttl_s=float("nan")), "store.ttl"),
        ("p", Put("c", b"", ttl_s=float("inf")), "store.ttl"),
    ],
)
async def test_what_cannot_be_stored_is_refused(records: Records, partition: str, change: Put, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await records.put(partition, change)
    assert refused.value.code == code
    assert refused.value.hint


async def test_the_greatest_keys_and_values_are_stored(records: Records) -> None:
    value = b"x" * (1 << 20)
    await records.put("p" * 1024, Put("é" * 512, value))
    found = await records.get("p" * 1024, "é" * 512)
    assert found
    assert found.value == value


async def test_a_batch_that_names_a_row_twice_is_refused(records: Records) -> None:
    with pytest.raises(InvalidInput):
        await records.batch("p", [Put("c", b"1"), Delete("c")])


async def test_a_negative_limit_is_refused(records: Records) -> None:
    with pytest.raises(InvalidInput):
        await records.scan("p", limit=-1)


async def test_of_many_writers_at_once_each_compare_and_set_counts_once(records: Records) -> None:
    await records.put("p", Put("n", b"0"))

    async def increment() -> None:
        for _ in range(5):
            while True:
                row = await records.get("p", "n")
                assert row
                if await records.put("p", Put("n", str(int(row.value) + 1).encode(), when=row.version)):
                    break

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(increment)
    row = await records.get("p", "n")
    assert row
    assert row.value == b"30"


KEYS = st.sampled_from(["", "a", "a/", "b", "é", "\U0001f451"])
PARTITIONS = st.sampled_from(["p", "q"])
WHEN = st.sampled_from(["any", "absent", "current", "stale"])
TTL = st.one_of(st.none(), st.sampled_from([1.0, 5.0]))


class DriversAgree(RuleBasedStateMachine):
    """Drives memory, SQLite and a plain dictionary through the same life and compares them after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = VirtualClock()
        self.drivers: list[Records] = [MemoryRecords(self.clock), SqliteRecords.open(self.folder / "s", self.clock)]
        self.model: dict[tuple[str, str], tuple[bytes, float]] = {}
        self.runner = asyncio.Runner()

    def teardown(self) -> None:
        for driver in self.drivers:
            self.runner.run(driver.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule(step=st.sampled_from([0.5, 1.0, 4.0]))
    def time_passes(self, step: float) -> None:
        self.clock.advance(step)
        self.model = {key: row for key, row in self.model.items() if row[1] > self.clock.now()}

    @rule(
        partition=PARTITIONS,
        changes=st.lists(st.tuples(KEYS, WHEN, TTL, st.booleans()), min_size=1, max_size=4, unique_by=lambda c: c[0]),
        value=st.binary(max_size=3),
    )
    def change(self, partition: str, changes: list[tuple[str, str, float | None, bool]], value: bytes) -> None:
        expected = all(self._holds(partition, key, when) for key, when, _, _ in changes)
        for driver in self.drivers:
            assert self.runner.run(self._change(driver, partition, changes, value)) == expected
        for key, _, ttl_s, is_put in changes if expected else []:
            self.model.pop((partition, key), None)
            if is_put:
                self.model[partition, key] = (value, float("inf") if ttl_s is None else self.clock.now() + ttl_s)

    def _holds(self, partition: str, key: str, when: str) -> bool:
        present = (partition, key) in self.model
        return {"any": True, "absent": not present, "current": present, "stale": False}[when]

    async def _change(
        self, driver: Records, partition: str, changes: list[tuple[str, str, float | None, bool]], value: bytes
    ) -> bool:
        made: list[Put | Delete] = []
        for key, when, ttl_s, is_put in changes:
            row = await driver.get(partition, key)
            version = -1 if row is None else row.version
            condition: Condition = {"any": ANY, "absent": ABSENT, "current": version, "stale": version - 1}[when]
            made.append(Put(key, value, when=condition, ttl_s=ttl_s) if is_put else Delete(key, when=condition))
        return await driver.batch(partition, made)

    @rule(
        partition=PARTITIONS, start=KEYS, end=st.one_of(st.none(), KEYS), limit=st.integers(0, 4), reverse=st.booleans()
    )
    def scan(self, partition: str, start: str, end: str | None, limit: int, reverse: bool) -> None:
        keys = sorted(key for part, key in self.model if part == partition and start <= key)
        keys = [key for key in keys if end is None or key < end]
        expected = [(key, self.model[partition, key][0]) for key in (keys[::-1] if reverse else keys)[:limit]]
        for driver in self.drivers:
            rows = self.runner.run(driver.scan(partition, start=start, end=end, limit=limit, reverse=reverse))
            assert [(row.clustering, row.value) for row in rows] == expected


def test_all_drivers_behave_like_a_dictionary() -> None:
    run_state_machine_as_test(
        DriversAgree,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
