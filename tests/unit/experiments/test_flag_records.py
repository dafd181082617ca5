"""Flags in the records, tokens and tickets, and the streams that tell of changes."""

from __future__ import annotations

import json

import anyio
import msgspec
import pytest
from experiment_rig import FLAG as RUNG

from redqueen.errors import Conflict, InvalidInput, NotFound, Unavailable
from redqueen.experiments.access import FlagAccess
from redqueen.experiments.desk import FlagDesk
from redqueen.experiments.own import OWN
from redqueen.experiments.service import FlagBook, Flags
from redqueen.experiments.streams import MOST_OF_ONE
from redqueen.store.audit import Audit
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Record
from redqueen.testing.clock import VirtualClock
from redqueen.trials.following import ArmedTrials

pytestmark = pytest.mark.anyio
FLAG = msgspec.structs.replace(RUNG, key="a.flag")
OTHER = msgspec.structs.replace(FLAG, default="low")


class Region:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.records = MemoryRecords(self.clock)
        self.audit = Audit(self.records, self.clock)
        self.flags = Flags(self.records, self.clock, self.audit)
        self.access = FlagAccess(self.records, self.clock, self.audit)


async def test_of_two_who_change_a_flag_at_once_one_is_told() -> None:
    region = Region()
    await region.flags.put(FLAG, None, "me")
    outcomes: list[str] = []

    async def change(default: str) -> None:
        try:
            await region.flags.put(msgspec.structs.replace(FLAG, default=default), 1, default)
            outcomes.append("done")
        except Conflict as error:
            outcomes.append(error.code)

    async with anyio.create_task_group() as group:
        for default in ("low", "high", "huge"):
            group.start_soon(change, default)
    assert sorted(outcomes) == ["done", "flag.changed", "flag.changed"]
    row = await region.flags.get(FLAG.key)
    assert row.revision == 2
    assert row.by == row.flag.default
    assert [line.what for line in await region.audit.newest()] == ["set flag", "make flag"]


async def test_the_same_change_again_changes_nothing_and_an_older_one_is_refused() -> None:
    region = Region()
    await region.flags.put(FLAG, None, "me")
    first = await region.flags.put(OTHER, 1, "me")
    assert await region.flags.put(OTHER, 1, "me") == first
    with pytest.raises(Conflict):
        await region.flags.put(FLAG, 1, "me")
    with pytest.raises(Conflict):
        await region.flags.put(msgspec.structs.replace(FLAG, description="x"), None, "me")
    with pytest.raises(Conflict):
        await region.flags.remove(FLAG.key, 1, "me")
    await region.flags.remove(FLAG.key, 2, "me")
    with pytest.raises(NotFound):
        await region.flags.get(FLAG.key)
    with pytest.raises(NotFound):
        await region.flags.get("~")


async def test_own_flags_are_made_once_and_cannot_be_removed() -> None:
    region = Region()
    await region.flags.ensure_own()
    changed = msgspec.structs.replace(OWN[0], default="new-first")
    await region.flags.put(changed, 1, "me")
    await region.flags.ensure_own()
    assert (await region.flags.get(OWN[0].key)).flag == changed
    with pytest.raises(Conflict, match="itself reads"):
        await region.flags.remove(OWN[0].key, None, "me")


async def test_a_book_reads_again_only_after_a_change_and_keeps_what_it_has_while_the_store_is_away() -> None:
    region = Region()
    await region.flags.put(FLAG, None, "me")
    book = FlagBook(region.records, region.clock)
    rows = await book.rows()
    region.clock.advance(10)
    assert await book.rows() is rows
    stamp = book.stamp
    await region.flags.put(OTHER, 1, "me")
    assert await book.rows() is rows, "half a second may pass"
    assert (await book.rows(now=True))[0].flag == OTHER
    assert book.stamp != stamp

    async def away(partition: str, clustering: str) -> Record | None:
        raise Unavailable("store.away", "away", hint="wait")

    region.records.get = away  # type: ignore[method-assign]
    region.clock.advance(10)
    assert (await book.rows())[0].flag == OTHER


async def test_a_token_is_kept_as_its_fingerprint_and_ends_with_its_client() -> None:
    region = Region()
    token = await region.access.mint("checkout", "me")
    assert await region.access.holder(token) == "checkout"
    assert [row.name for row in await region.access.clients()] == ["checkout"]
    everything = [row.value + row.clustering.encode() for row in await region.records.scan("flags/tokens")]
    assert token.encode() not in b"".join(everything)
    for wrong in (token[:-1], token + "x", "rqf_", "", "x" * 500):
        assert await region.access.holder(wrong) is None
    await region.access.revoke("checkout", "me")
    assert await region.access.holder(token) is None
    with pytest.raises(NotFound):
        await region.access.revoke("checkout", "me")
    with pytest.raises(InvalidInput):
        await region.access.mint("Not A Name", "me")


async def test_a_ticket_names_its_holder_for_twelve_hours_on_every_node() -> None:
    region = Region()
    ticket = await region.access.ticket("viewer 00ff")
    other = FlagAccess(region.records, region.clock, region.audit)
    assert await other.ticket_holder(ticket) == "viewer 00ff"
    assert await region.access.ticket("viewer 00ff") == ticket
    body, _, mac = ticket.partition(".")
    for forged in ("", "x", f"{body}.", f"{body}.{'0' * 32}", f"{body[:-2]}.{mac}", ticket + "é", "." + mac):
        assert await other.ticket_holder(forged) is None
    region.clock.advance(43_201)
    assert await other.ticket_holder(ticket) is None


async def test_a_stream_tells_of_each_change_and_frees_its_place_when_it_is_left() -> None:
    region = Region()
    armed = ArmedTrials(region.records, region.clock)
    desk = FlagDesk.over(region.records, region.clock, region.audit, armed)
    told: list[bytes] = []

    async def listen(known: str) -> None:
        async for piece in desk.streams.opened("me", known):
            told.append(piece)

    async with anyio.create_task_group() as group:
        group.start_soon(listen, await desk.values.version())
        await region.clock.run_for(3)
        assert len(told) == 1, "nothing has changed"
        assert len(desk.streams) == 1
        await region.flags.put(FLAG, None, "me")
        await region.clock.run_for(2)
        assert len(told) == 2
        event = json.loads(told[1].partition(b"data: ")[2])
        assert event["type"] == "refetchEvaluation"
        assert event["etag"] == await desk.values.version()
        await region.clock.run_for(16)
        assert told[2] == b":\n\n", "a sign of life"
        for _ in range(MOST_OF_ONE - 1):
            group.start_soon(listen, "")
        await region.clock.run_for(1)
        assert desk.streams.full("me")
        assert not desk.streams.full("you")
        group.cancel_scope.cancel()
    assert len(desk.streams) == 0
