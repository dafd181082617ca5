"""Who may use the region, and what they hold: accounts, sessions, one-time links, identities.

Values only. Secrets never stand here in the clear except in what is handed out once
(`SignedIn.token`, `Link.token`); records keep their fingerprints.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OWNER_ID = "owner"
"""The account that every region has; its name until somebody changes it."""


class Role(StrEnum):
    """What an account may do."""

    OWNER = "owner"
    VIEWER = "viewer"


class Proof(StrEnum):
    """How somebody showed who they are."""

    LINK = "link"
    PASSWORD = "password"  # noqa: S105 - the name of a method
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Account:
    """A person of the region. Sessions of an older `generation` are void."""

    id: str
    name: str
    role: Role
    created_at: float
    password_hash: str | None = None
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in of one account: when and how it began, until when it holds (epoch seconds)."""

    account_id: str
    generation: int
    proof: Proof
    begun_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh session and the only copy of its token."""

    account: Account
    token: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and by which proof; `session` is absent for the operator's token."""

    account: Account
    proof: Proof
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time right to sign in, in its only copy."""

    token: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class MediaToken:
    """A signed right to the bytes of some titles until `expires_at` (epoch seconds)."""

    token: str
    expires_at: float
