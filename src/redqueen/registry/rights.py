"""Who may say what to a registry: tokens that name an owner, and names that belong to owners.

A token is minted from the region's secret, so that a registry checks it without asking anybody.
A name (of an application or a VIP, regardless of case) belongs to the region when it is
reserved, else to the owner whose instances hold it. Without a token only this machine may
speak, and only of names that nobody owns. A registry without a secret trusts its machine wholly.
Refuses a bad token outright, never taking it for none. Enter at `Gate.caller` and `refusal`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from redqueen.errors import InvalidInput, Unauthorized
from redqueen.registry.model import Instance

REGION = "region"
"""The owner whose token speaks for the region itself: its own nodes, its supervisor, its registries."""
_OWNER = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_REMEMBERED = 1024
"""Headers whose token was found right, remembered so that a heartbeat costs no hash."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks: the owner its token names ("" without one), from this machine or not.

    `commands` says that it speaks for the region: it may do everything.
    """

    owner: str = ""
    here: bool = True
    commands: bool = False


LOCAL = Caller()
"""Somebody on this machine without a token."""
ITSELF = Caller(commands=True)
"""The registry itself, and its peers."""


def mint(secret: bytes, owner: str) -> str:
    """Make the token of an owner. Raises InvalidInput for a name that cannot be one."""
    if not _OWNER.fullmatch(owner):
        raise InvalidInput(
            "registry.owner", f"{owner[:60]!r} cannot be an owner", hint="Use a-z, 0-9, - and _, at most 40 of them"
        )
    return f"{owner}.{_seal(secret, owner)}"


def _seal(secret: bytes, owner: str) -> str:
    made = hmac.new(secret, b"redqueen registry owner\0" + owner.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def owner_of(secret: bytes, token: str) -> str:
    """Name the owner of a token. Raises Unauthorized for one that was not minted from `secret`."""
    owner, _, seal = token.partition(".")
    right = bool(secret) and _OWNER.fullmatch(owner) is not None
    if not right or not hmac.compare_digest(seal.encode(), _seal(secret, owner).encode()):
        raise _unauthorized("The token is not one of this region's")
    return owner


def _unauthorized(why: str) -> Unauthorized:
    return Unauthorized(
        "registry.token",
        "The registry does not know you",
        why=why,
        hint="Send a token of this region's as Bearer, or as the password beside its owner in the address",
    )


def token_in(authorization: str) -> str:
    """Read the token of an Authorization header, Bearer or Basic ("" if there is none). Raises Unauthorized."""
    scheme, _, value = authorization.strip().partition(" ")
    match scheme.lower():
        case "":
            return ""
        case "bearer":
            return value.strip()
        case "basic":
            return _password(value.strip())
        case _:
            raise _unauthorized(f"{scheme[:20]!r} is not Bearer or Basic")


def _password(value: str) -> str:
    """Read Basic's password; its user, if given, must be the token's owner."""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _unauthorized("Its Basic credentials cannot be read") from error
    if user and user != password.partition(".")[0]:
        raise _unauthorized("The user is not the token's owner")
    return password


class Gate:
    """Tells who a caller is; one a registry. An empty secret trusts this machine wholly."""

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret
        self._known: dict[str, str] = {}

    def caller(self, authorization: str, *, here: bool) -> Caller:
        """Name who speaks; `here` tells whether it is this machine. Raises Unauthorized for a bad token."""
        if not self._secret:
            return Caller(here=here, commands=here)
        if not authorization:
            return Caller(here=here)
        owner = self._known.get(authorization)
        if owner is None:
            owner = owner_of(self._secret, token_in(authorization))
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[authorization] = owner
        return Caller(owner, here, owner == REGION)


def names_of(instance: Instance) -> tuple[str, ...]:
    """List the names that an instance answers to, in lower case: its application's and its VIPs."""
    return _names(instance.app, instance.vip, instance.secure_vip)


@lru_cache(maxsize=4096)
def _names(app: str, *addresses: str) -> tuple[str, ...]:
    parts = (part.strip() for vips in addresses for part in vips.split(","))
    return tuple(dict.fromkeys(name.lower() for name in (app, *parts) if name))


def refusal(caller: Caller, names: Iterable[str], owner: Callable[[str], str]) -> str:
    """Say why a caller may not take these names; empty if it may. `owner` names whose a name is, or ""."""
    if caller.commands:
        return ""
    if not caller.owner and not caller.here:
        return "Without a token only the registry's own machine may write"
    for name in names:
        whose = owner(name)
        if whose and whose != caller.owner:
            return f"The name {name[:80]!r} belongs to {whose!r}"
    return ""


def refusal_to_touch(caller: Caller, holder: str, names: Iterable[str], owner: Callable[[str], str]) -> str:
    """Say why a caller may not renew or end an instance that `holder` registered; empty if it may.

    Its holder may, though others own its names by now; so may whoever owns its names.
    """
    if caller.commands or (caller.owner == holder and (holder or caller.here)):
        return ""
    if caller.owner and all(owner(name) == caller.owner for name in names):
        return ""
    whose = f"{holder!r} registered it" if holder else "Others own its names"
    return f"{whose}, and you are {caller.owner or 'nobody'!r}"
