"""The maker's flags: look at them, change them from the revision that was seen, remove them; tokens of their readers.

A flag is sent as a whole, with the revision that it was read at. Refuses a change from an older
revision, and one of a flag that a trial tries.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from redqueen.accounts.model import Identity
from redqueen.api.schemas import moment
from redqueen.api.services import Services
from redqueen.experiments.flags import Flag, FlagKind, FlagRow
from redqueen.experiments.rules import Rule

_OWNER = {"owner": True}


class FlagCard(msgspec.Struct, frozen=True, kw_only=True):
    """A flag, who changed it last, and the trial that tries it now."""

    key: str
    kind: FlagKind
    variants: dict[str, Any]
    default: str
    owner: str
    description: str
    rules: tuple[Rule, ...]
    enabled: bool
    browser: bool
    revision: int
    changed_at: datetime
    by: str
    trial: str | None


class FlagList(msgspec.Struct, frozen=True):
    """Every flag, by key."""

    flags: list[FlagCard]


class FlagChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flag as it shall be; `revision` is the one it was read at, absent for a new flag."""

    kind: FlagKind
    variants: dict[str, Any]
    default: str
    owner: str = ""
    description: str = ""
    rules: tuple[Rule, ...] = ()
    enabled: bool = True
    browser: bool = False
    revision: int | None = None
    because: str = ""


class ClientName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which program shall read flags."""

    name: str


class ClientToken(msgspec.Struct, frozen=True):
    """A token in its only copy."""

    name: str
    token: str


class Client(msgspec.Struct, frozen=True):
    """A token without the token."""

    name: str
    made_at: datetime
    by: str


class ClientList(msgspec.Struct, frozen=True):
    """Every token, by client."""

    clients: list[Client]


def flag_card(row: FlagRow, trial: str | None) -> FlagCard:
    """Return what clients see of a flag."""
    own = {name: getattr(row.flag, name) for name in Flag.__struct_fields__}
    return FlagCard(**own, revision=row.revision, changed_at=moment(row.changed_s), by=row.by, trial=trial)


@get("/flags", opt=_OWNER, operation_id="listFlags", tags=["flags"])
async def every(services: NamedDependency[Services]) -> FlagList:
    """Return every flag."""
    evaluator = await services.flags.values.current()
    rows = await services.flags.flags.all()
    return FlagList([flag_card(row, evaluator.trial_of(row.flag.key)) for row in rows])


@get("/flags/{key:str}", opt=_OWNER, operation_id="getFlag", tags=["flags"])
async def one(key: FromPath[str], services: NamedDependency[Services]) -> FlagCard:
    """Return one flag."""
    return await _card(services, await services.flags.flags.get(key))


@put("/flags/{key:str}", status_code=200, opt=_OWNER, operation_id="setFlag", tags=["flags"])
async def change(
    key: FromPath[str],
    data: JSONBody[FlagChange],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> FlagCard:
    """Make a flag, or change it from the revision that was seen; every node serves it within a second."""
    own = {name: getattr(data, name) for name in Flag.__struct_fields__ if name != "key"}
    row = await services.flags.flags.put(Flag(key=key, **own), data.revision, identity.account.name, data.because)
    return await _card(services, row)


@delete("/flags/{key:str}", opt=_OWNER, operation_id="removeFlag", tags=["flags"])
async def remove(
    key: FromPath[str],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
    revision: Annotated[int | None, QueryParameter(description="Only if it is still at this revision")] = None,
) -> None:
    """Forget a flag: whoever asks for it gets their own default."""
    await services.flags.flags.remove(key, revision, identity.account.name)


@get("/flag-tokens", opt=_OWNER, operation_id="listFlagTokens", tags=["flags"])
async def clients(services: NamedDependency[Services]) -> ClientList:
    """Return which programs may read flags."""
    rows = await services.flags.access.clients()
    return ClientList([Client(row.name, moment(row.made_s), row.by) for row in rows])


@post("/flag-tokens", status_code=200, opt=_OWNER, operation_id="createFlagToken", tags=["flags"])
async def mint(
    data: JSONBody[ClientName], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> ClientToken:
    """Make a token with which a program evaluates flags by OFREP, and nothing else; it is shown once."""
    return ClientToken(data.name, await services.flags.access.mint(data.name, identity.account.name))


@delete("/flag-tokens/{name:str}", opt=_OWNER, operation_id="revokeFlagTokens", tags=["flags"])
async def revoke(name: FromPath[str], identity: NamedDependency[Identity], services: NamedDependency[Services]) -> None:
    """Void all tokens of a program within seconds."""
    await services.flags.access.revoke(name, identity.account.name)


async def _card(services: Services, row: FlagRow) -> FlagCard:
    return flag_card(row, (await services.flags.values.current()).trial_of(row.flag.key))


ROUTES = [every, one, change, remove, clients, mint, revoke]
