"""Tokens name owners, names belong to owners, and nobody else touches what is theirs."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import InvalidInput, Unauthorized
from redqueen.registry import leases, rights
from redqueen.registry.calls import (
    Cancel,
    Event,
    Exited,
    Merge,
    Outcome,
    Override,
    Register,
    Renew,
    Reply,
    Reserve,
    SetMetadata,
    Suspected,
    Sweep,
)
from redqueen.registry.ledger import Ledger
from redqueen.registry.model import Identity, Instance, Moment, Status
from redqueen.registry.rights import LOCAL, REGION, Caller, Gate, mint, owner_of

SECRET = b"s" * 64
NOW = Moment(100.0, 1_700_000_000_000)
ABROAD = Caller(here=False)
REGIONS = Caller(REGION, commands=True)
TEAM = Caller("team-a", here=False)


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def node(app: str = "ORDERS", instance_id: str = "o-1", **changes: object) -> Instance:
    return replace(Instance(app, instance_id, "127.0.0.1", 80, status=Status.UP, dirty_at_ms=1), **changes)  # type: ignore[arg-type]


def ledger() -> Ledger:
    made = Ledger("here", NOW)
    made.apply(Reserve(frozenset({"api", "gateway"})), NOW)
    return made


def names(known: Ledger) -> list[str]:
    return [r.instance.instance_id for r in known.living()]


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,39}", fullmatch=True))
def test_a_token_names_its_owner_and_only_under_its_own_secret(owner: str) -> None:
    token = mint(SECRET, owner)
    assert owner_of(SECRET, token) == owner
    for secret in (b"", b"t" * 64):
        with pytest.raises(Unauthorized):
            owner_of(secret, token)


@given(st.text(max_size=80))
def test_no_text_that_was_not_minted_is_a_token(text: str) -> None:
    with pytest.raises(Unauthorized):
        owner_of(SECRET, text)


@pytest.mark.parametrize("owner", ["", "Region", "a b", "x" * 41, "a.b", "ä"])
def test_an_owner_that_cannot_stand_in_an_address_gets_no_token(owner: str) -> None:
    with pytest.raises(InvalidInput):
        mint(SECRET, owner)


def test_a_token_travels_as_bearer_or_as_a_password_beside_its_owner() -> None:
    token, gate = mint(SECRET, "team-a"), Gate(SECRET)
    for header in (f"Bearer {token}", f"bearer  {token} ", basic("team-a", token), basic("", token)):
        assert gate.caller(header, here=False) == TEAM
    assert gate.caller(f"Bearer {mint(SECRET, REGION)}", here=True) == REGIONS
    assert gate.caller("", here=True) == LOCAL


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer region.x",
        f"Bearer region.{mint(SECRET, 'team-a').partition('.')[2]}",
        basic("region", mint(SECRET, "team-a")),
        "Basic !!!",
        "Digest x",
        basic("region", "region."),
    ],
)
def test_a_bad_token_is_refused_and_not_taken_for_none(header: str) -> None:
    with pytest.raises(Unauthorized):
        Gate(SECRET).caller(header, here=True)


def test_a_registry_without_a_secret_trusts_its_own_machine_and_nobody_else() -> None:
    assert Gate().caller("Bearer whatever", here=True).commands
    assert not Gate().caller(f"Bearer {mint(SECRET, REGION)}", here=False).commands


@pytest.mark.parametrize("forged", [node("API"), node(vip="api"), node(vip="orders, Api "), node(secure_vip="gateway")])
def test_a_name_of_the_regions_is_refused_before_its_own_instance_ever_registered(forged: Instance) -> None:
    for by in (LOCAL, TEAM, ABROAD):
        assert ledger().apply(Register(forged), NOW, by).reply is Reply.REFUSED
    assert ledger().apply(Register(forged), NOW, REGIONS).reply is Reply.DONE


def test_without_a_token_this_machine_may_use_names_that_nobody_owns_and_others_may_not() -> None:
    known = ledger()
    assert known.apply(Register(node()), NOW, ABROAD).reply is Reply.REFUSED
    assert known.apply(Register(node()), NOW, LOCAL).reply is Reply.DONE
    for event in (Renew(node().identity), SetMetadata(node().identity, {}), Cancel(node().identity)):
        assert known.apply(event, NOW, ABROAD).reply is Reply.REFUSED, event
        assert known.apply(event, NOW, LOCAL).reply is Reply.DONE, event


TOUCHES: list[Event] = [
    Register(node()),
    Register(node("BILLING", vip="ORDERS")),
    Register(node("BILLING", vip="orders-v2")),
    Register(node(instance_id="o-2")),
    Renew(node().identity),
    Cancel(node().identity),
    Override(node().identity, Status.OUT_OF_SERVICE),
    SetMetadata(node().identity, {"zone": "x"}),
]


@pytest.mark.parametrize("event", TOUCHES)
def test_the_first_with_a_token_owns_its_names_and_nobody_else_touches_them(event: Event) -> None:
    known = ledger()
    known.apply(Register(node(vip="orders,orders-v2")), NOW, TEAM)
    for by in (LOCAL, ABROAD, Caller("team-b", here=True)):
        outcome = known.apply(event, NOW, by)
        assert outcome.reply is Reply.REFUSED and outcome.because
    assert known.apply(event, NOW, TEAM).reply is Reply.DONE


@pytest.mark.parametrize(
    "event",
    [
        Exited(node().identity, "x", 2),
        Suspected(node().identity, "127.0.0.1", 80, "x"),
        Merge(()),
        Sweep(),
        Reserve(frozenset({"orders"})),
    ],
)
def test_only_the_region_gives_evidence_and_replicates(event: Event) -> None:
    known = ledger()
    known.apply(Register(node()), NOW, TEAM)
    for by in (LOCAL, TEAM):
        assert known.apply(event, NOW, by).reply is Reply.REFUSED


def test_a_heartbeats_short_way_has_the_same_rights() -> None:
    known = ledger()
    known.apply(Register(node()), NOW, TEAM)
    assert known.renew(Renew(node().identity), NOW, LOCAL) is Reply.REFUSED
    assert known.renew(Renew(node().identity), NOW, Caller("team-b")) is Reply.REFUSED
    assert known.renew(Renew(node().identity), NOW, TEAM) is Reply.DONE
    assert known.renew(Renew(Identity("ORDERS", "unknown")), NOW, TEAM) is Reply.UNKNOWN


def test_a_name_stays_its_owners_for_a_while_after_its_last_instance() -> None:
    known = ledger()
    known.apply(Register(node()), NOW, TEAM)
    known.apply(Cancel(node().identity), NOW, TEAM)
    for after_s, reply in ((leases.RETENTION_S, Reply.REFUSED), (leases.RETENTION_S + 20, Reply.DONE)):
        later = Moment(NOW.mono_s + after_s, NOW.wall_ms)
        known.apply(Sweep(), later)
        assert known.apply(Register(node(instance_id="other")), later, LOCAL).reply is reply


def test_what_the_region_reserves_later_is_taken_from_whoever_holds_it() -> None:
    known = ledger()
    known.apply(Register(node()), NOW, LOCAL)
    known.apply(Register(node("BILLING", "b-1", vip="orders")), NOW, TEAM)
    known.apply(Register(node("OTHER", "x")), NOW, LOCAL)
    known.apply(Reserve(frozenset({"orders"})), NOW)
    assert names(known) == ["x"]
    assert known.apply(Register(node()), NOW, LOCAL).reply is Reply.REFUSED


def test_records_of_a_release_that_knew_no_owners_live_on_until_their_nodes_are_replaced() -> None:
    old = Ledger("old", NOW)
    old.apply(Register(node("API")), NOW)
    known = ledger()
    known.load(old.table.records(), NOW)
    assert known.apply(Renew(Identity("API", "o-1")), NOW, LOCAL).reply is Reply.DONE
    assert known.apply(Register(node("API", "forged")), NOW, LOCAL).reply is Reply.REFUSED
    assert known.apply(Register(node("API", dirty_at_ms=2)), NOW, REGIONS).reply is Reply.DONE
    assert known.apply(Renew(Identity("API", "o-1")), NOW, LOCAL).reply is Reply.REFUSED


def test_owners_agree_everywhere_though_two_took_one_name_on_either_side_of_a_cut() -> None:
    here, there = Ledger("here", NOW), Ledger("there", NOW)
    here.apply(Register(node(instance_id="o-1")), NOW, Caller("team-a"))
    there.apply(Register(node(instance_id="o-2")), Moment(101.0, NOW.wall_ms + 1000), Caller("team-b"))
    for one, other in ((here, there), (there, here)):
        one.apply(Merge(tuple((r, 0.0) for r in other.table.records())), NOW)
    assert here.table.owner("orders") == there.table.owner("orders") == "team-a"


def test_outcomes_say_whose_a_name_is() -> None:
    known = ledger()
    known.apply(Register(node()), NOW, TEAM)
    refused: Outcome = known.apply(Register(node()), NOW, LOCAL)
    assert "'orders' belongs to 'team-a'" in refused.because
    assert rights.names_of(node(vip="A, b", secure_vip="orders")) == ("orders", "a", "b")


def test_a_group_of_a_name_that_the_region_owns_is_the_regions_too() -> None:
    canary = Register(node("API--R3-CANARY"))
    assert ledger().apply(canary, NOW, LOCAL).reply is Reply.REFUSED
    assert ledger().apply(canary, NOW, REGIONS).reply is Reply.DONE
    assert ledger().apply(Register(node("APIARY--R3")), NOW, LOCAL).reply is Reply.DONE
