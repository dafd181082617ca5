"""Names of groups: made, read back, never a user's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.config import Region
from redqueen.errors import InvalidInput
from redqueen.fleet.declared import ServiceFile, Wish, Wishes, checked
from redqueen.fleet.desired import Addresses, desired, node_ids, specs
from redqueen.fleet.groups import Group, group_name, group_of
from redqueen.fleet.model import Edition, Role

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True).filter(lambda name: "--" not in name)


@given(NAMES, st.integers(1, 10**7), st.sampled_from(["canary", "baseline", "warm"]))
def test_a_groups_name_says_whose_it_is(service: str, number: int, part: str) -> None:
    name = group_name(service, f"r{number}", part)
    assert group_of(name) == Group(service, f"r{number}", part)
    assert group_of(service) is None


@pytest.mark.parametrize("name", ["a--b", "a--r1", "a--r1-", "--r1-canary", "a--x1-canary", "a--r1-canary-2"])
def test_what_only_looks_like_a_group_is_none(name: str) -> None:
    assert group_of(name) is None


def test_nobody_declares_a_group() -> None:
    with pytest.raises(InvalidInput, match=r"name = 'shop--r1-canary'.*without `--`"):
        checked(ServiceFile("shop--r1-canary", "me", ("x",)), "shop.toml")


def test_the_groups_of_a_release_stand_in_the_same_zones() -> None:
    files = [ServiceFile(group_name("shop", "r7", part), "me", ("x",), count=2) for part in ("canary", "baseline")]
    shares = desired(Region(), "1", Wishes(tuple(Wish(file) for file in files)))
    zones = [[share.zone for share in shares if share.service == file.name and not share.spare] for file in files]
    assert zones[0] == zones[1]
    assert len(zones[0]) == 2


def test_another_edition_of_the_api_is_a_group_of_that_role_or_the_role_itself() -> None:
    edition = Edition("2", "/code", "/web")
    canary = Wish(ServiceFile("api--r1-canary", "me", ("redqueen",), count=1), edition=edition)
    region = Region()
    for wishes, service, count in (
        (Wishes((canary,)), "api--r1-canary", 1),
        (Wishes(editions=(("api", edition),)), "api", 2),
    ):
        shares = desired(region, "1", wishes)
        named = [node_id for node_id, _ in node_ids(shares)]
        where = Addresses(dict.fromkeys(region.zones, "127.0.0.1"), dict.fromkeys(named, 1), "127.0.0.1", 1)
        made = [spec for spec in specs(shares, "r", "/d", where).values() if not spec.spare]
        other = [spec for spec in made if spec.service == service]
        assert [(spec.role, spec.version, spec.code, spec.web, spec.program) for spec in other] == [
            (Role.API, "2", "/code", "/web", None)
        ] * count
        assert {spec.version for spec in made if spec not in other} == {"1"}
