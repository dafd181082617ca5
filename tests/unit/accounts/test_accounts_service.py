"""Accounts over records: sessions, links, passwords, shared keys."""

from __future__ import annotations

import anyio
import argon2
import pytest

from redqueen.accounts.keys import MediaKeys
from redqueen.accounts.model import Identity, Proof
from redqueen.accounts.passwords import Passwords
from redqueen.accounts.service import SESSION_S, Accounts
from redqueen.errors import Forbidden, InvalidInput, Unauthorized, Unavailable
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
CHEAP = Passwords(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def region() -> tuple[Accounts, MemoryRecords, VirtualClock]:
    clock = VirtualClock()
    records = MemoryRecords(clock)
    return Accounts(records, clock, CHEAP), records, clock


async def test_two_nodes_that_start_at_once_agree_on_owner_and_keys() -> None:
    _, records, clock = region()
    nodes = [Accounts(records, clock, CHEAP) for _ in range(5)]
    sets: list[str] = []

    async def start(node: Accounts) -> None:
        await node.ensure_owner()
        sets.append(await node.media.jwks())

    async with anyio.create_task_group() as group:
        for node in nodes:
            group.start_soon(start, node)
    assert len(set(sets)) == 1
    right = await nodes[0].media.sign(["a"], 60)
    assert await MediaKeys(records, clock).verify(right.token) == ("a",)


async def test_a_session_slides_and_ends() -> None:
    accounts, _, clock = region()
    signed_in = await accounts.begin_session(await accounts.ensure_owner(), Proof.LINK)
    for _ in range(3):
        clock.advance(SESSION_S - 10)
        found = await accounts.session(signed_in.token)
        assert found is not None
        assert found.account.id == "owner"
    clock.advance(SESSION_S + 1)
    assert await accounts.session(signed_in.token) is None
    fresh = await accounts.begin_session(await accounts.ensure_owner(), Proof.LINK)
    await accounts.end_session(fresh.token)
    assert await accounts.session(fresh.token) is None


async def test_secrets_are_not_in_the_records() -> None:
    accounts, records, _ = region()
    owner = await accounts.ensure_owner()
    link = await accounts.mint_link()
    session = await accounts.begin_session(owner, Proof.LINK)
    await accounts.ensure_operator_token("an operator's token")
    rows = str(records._partitions)
    assert all(secret not in rows for secret in (link.token, session.token, "an operator's token"))


async def test_a_link_that_many_use_at_once_works_for_exactly_one() -> None:
    accounts, _, _ = region()
    await accounts.ensure_owner()
    link = await accounts.mint_link()
    outcomes: list[bool] = []

    async def use() -> None:
        try:
            await accounts.sign_in_with_link(link.token)
            outcomes.append(True)
        except Unauthorized:
            outcomes.append(False)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(use)
    assert sum(outcomes) == 1


async def test_the_operators_token_acts_for_the_owner_and_a_new_one_voids_it() -> None:
    accounts, _, _ = region()
    await accounts.ensure_operator_token("first")
    found = await accounts.bearer("first")
    assert found is not None
    assert (found.account.id, found.proof, found.session) == ("owner", Proof.OPERATOR, None)
    await accounts.ensure_operator_token("second")
    assert await accounts.bearer("first") is None
    assert await accounts.bearer("second") is not None


async def test_parallel_guesses_are_counted_too() -> None:
    accounts, _, _ = region()
    await accounts.ensure_owner()
    kinds: list[type] = []

    async def guess() -> None:
        try:
            await accounts.sign_in_with_password("owner", "guess")
        except (Unauthorized, Unavailable) as error:
            kinds.append(type(error))

    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(guess)
    assert kinds.count(Unauthorized) <= 10
    assert len(kinds) == 30


async def test_success_clears_the_count_and_names_are_read_kindly() -> None:
    accounts, _, _ = region()
    owner = await accounts.ensure_owner()
    await accounts.set_password(Identity(owner, Proof.OPERATOR), "correct horse", None)
    for _ in range(3):
        for _ in range(9):
            with pytest.raises(Unauthorized):
                await accounts.sign_in_with_password("owner", "wrong")
        assert (await accounts.sign_in_with_password(" OWNER", "correct horse")).account.id == "owner"


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
async def test_passwords_of_wrong_length_are_refused(password: str) -> None:
    accounts, _, _ = region()
    who = Identity(await accounts.ensure_owner(), Proof.OPERATOR)
    with pytest.raises(InvalidInput):
        await accounts.set_password(who, password, None)


async def test_the_current_password_is_asked_for_unless_the_session_is_a_fresh_link() -> None:
    accounts, _, clock = region()
    owner = await accounts.set_password(Identity(await accounts.ensure_owner(), Proof.OPERATOR), "first phrase", None)
    session = await accounts.begin_session(owner, Proof.LINK)
    by_link = await accounts.session(session.token)
    assert by_link is not None
    clock.advance(901)
    with pytest.raises(Forbidden):
        await accounts.set_password(by_link, "second phrase", None)
    with pytest.raises(Forbidden):
        await accounts.set_password(by_link, "second phrase", "wrong")
    await accounts.set_password(by_link, "second phrase", "first phrase")
    assert await accounts.session(session.token) is None


async def test_an_unknown_name_costs_a_hash_too() -> None:
    calls: list[str] = []

    class Counting(argon2.PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            calls.append(str(hash)[:10])
            return super().verify(hash, password)

    clock = VirtualClock()
    hasher = Counting(time_cost=1, memory_cost=8, parallelism=1)
    accounts = Accounts(MemoryRecords(clock), clock, Passwords(hasher))
    await accounts.ensure_owner()
    for name in ("owner", "nobody"):
        with pytest.raises(Unauthorized):
            await accounts.sign_in_with_password(name, "guess")
    assert calls == ["$argon2id$"] * 2
