"""Accounts as a service over records: who asks, how they sign in, what they hold.

Decides who a session, link, password or operator token belongs to. Sessions live 30 days and
slide; a new password voids all earlier sessions; links live 15 minutes and work exactly once,
even when two use one at the same moment. Refuses in constant words, so that nobody learns which
names exist. Enter at `Accounts.session`, `sign_in_with_link`, `sign_in_with_password`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import msgspec

from redqueen.accounts import attempts, tokens
from redqueen.accounts.keys import MediaKeys
from redqueen.accounts.model import OWNER_ID, Account, Identity, Link, Proof, Role, Session, SignedIn
from redqueen.accounts.passwords import Passwords, check
from redqueen.accounts.viewer_keys import ViewerKeys
from redqueen.clock import Clock
from redqueen.errors import Conflict, Forbidden, NotFound, Unauthorized, Unavailable
from redqueen.store.ports import ABSENT, Delete, Put, Records

SESSION_S = 30 * 86_400
LINK_S = 900
_SLIDE_S = 86_400
_FRESH_LINK_S = 900

_ACCOUNTS = "accounts/people"
_NAMES = "accounts/names"
_LINKS = "accounts/links"
_OPERATORS = "accounts/operators"
_ATTEMPTS = "accounts/attempts"


class Accounts:
    """The people of a region and their proofs; `media` signs rights to films, `viewers` knows browsers again."""

    def __init__(self, records: Records, clock: Clock, passwords: Passwords | None = None) -> None:
        self._records = records
        self._clock = clock
        self._passwords = passwords or Passwords()
        self.media = MediaKeys(records, clock)
        self.viewers = ViewerKeys(records, clock)

    async def ensure_owner(self) -> Account:
        """Return the owner's account; make it when the region is new. Safe to call from many nodes."""
        found = await self._named(OWNER_ID)
        if found is not None:
            return found
        owner = Account(OWNER_ID, OWNER_ID, Role.OWNER, self._clock.now())
        await self._records.put(_ACCOUNTS, Put(owner.id, msgspec.json.encode(owner), when=ABSENT))
        await self._records.put(_NAMES, Put(tokens.fingerprint(_folded(owner.name)), owner.id.encode(), when=ABSENT))
        return (await self._account(OWNER_ID)) or owner

    async def ensure_operator_token(self, token: str) -> None:
        """Make `token` the one that the command line proves itself with; an earlier one is void."""
        await self._records.put(_OPERATORS, Put("current", tokens.fingerprint(token).encode()))

    async def bearer(self, token: str) -> Identity | None:
        """Return who holds a bearer token: a session's, or the operator's (who acts for the owner)."""
        found = await self.session(token)
        if found is not None:
            return found
        kept = await self._records.get(_OPERATORS, "current")
        if kept is None or kept.value.decode() != tokens.fingerprint(token):
            return None
        return Identity(await self.ensure_owner(), Proof.OPERATOR)

    async def mint_link(self, account_id: str = OWNER_ID) -> Link:
        """Return a right to sign in once within 15 minutes."""
        secret = tokens.new_secret()
        await self._records.put(_LINKS, Put(tokens.fingerprint(secret), account_id.encode(), ABSENT, float(LINK_S)))
        return Link(secret, self._clock.now() + LINK_S)

    async def sign_in_with_link(self, token: str) -> SignedIn:
        """Use up a link and begin a session. Raises Unauthorized when it is unknown, used or too old."""
        mark = tokens.fingerprint(token)
        record = await self._records.get(_LINKS, mark)
        # The conditional delete is what makes "once" true: of two racing users one sees False.
        if record is None or not await self._records.delete(_LINKS, Delete(mark, when=record.version)):
            raise Unauthorized(
                "session.link",
                "This sign-in link does not work",
                why="it was used already, is older than 15 minutes, or was never given out",
                hint="Ask the owner for a new one, or run: redqueen sign-in",
            )
        account = await self._account(record.value.decode())
        if account is None:
            raise Unauthorized("session.link", "The account of this link is gone", hint="Ask the owner for a new link")
        return await self.begin_session(account, Proof.LINK)

    async def sign_in_with_password(self, name: str, password: str) -> SignedIn:
        """Begin a session. Raises Unauthorized, in the same words and time for name and password."""
        await self._count_attempt(name)
        account = await self._named(name)
        kept = None if account is None else account.password_hash
        if not await self._passwords.matches(kept, password) or account is None:
            raise Unauthorized(
                "session.password", "Name or password is wrong", hint="Try again, or sign in with a one-time link"
            )
        await self._forget_attempts(name)
        return await self.begin_session(account, Proof.PASSWORD)

    async def begin_session(self, account: Account, proof: Proof) -> SignedIn:
        """Begin a session for somebody who has just proved who they are."""
        secret = tokens.new_secret()
        now = self._clock.now()
        session = Session(account.id, account.generation, proof, now, now + SESSION_S)
        mark = tokens.fingerprint(secret)
        await self._records.put(_shard(mark), Put(mark, msgspec.json.encode(session), ABSENT, float(SESSION_S)))
        return SignedIn(account, secret, session.expires_at)

    async def session(self, token: str) -> Identity | None:
        """Return who holds a session token, and let the session live on; None if it is void."""
        mark = tokens.fingerprint(token)
        record = await self._records.get(_shard(mark), mark)
        if record is None:
            return None
        session = msgspec.json.decode(record.value, type=Session)
        now = self._clock.now()
        account = await self._account(session.account_id)
        if account is None or session.generation != account.generation or session.expires_at <= now:
            return None
        if session.expires_at - now < SESSION_S - _SLIDE_S:
            session = replace(session, expires_at=now + SESSION_S)
            change = Put(mark, msgspec.json.encode(session), when=record.version, ttl_s=float(SESSION_S))
            await self._records.put(_shard(mark), change)
        return Identity(account, session.proof, session)

    async def end_session(self, token: str) -> None:
        """Void a session token; no error when it is void already."""
        mark = tokens.fingerprint(token)
        await self._records.delete(_shard(mark), Delete(mark))

    async def set_password(self, who: Identity, new: str, current: str | None) -> Account:
        """Keep a new password and void all sessions so far.

        The current one is asked for unless there is none, the operator asks, or the session
        began less than 15 minutes ago with a one-time link. Raises InvalidInput, Forbidden.
        """
        check(new)
        if self._must_show_current(who):
            await self._show_current(who.account, current)
        kept = await self._passwords.hashed(new)
        for _ in range(10):
            record = await self._records.get(_ACCOUNTS, who.account.id)
            if record is None:
                raise NotFound("account.gone", "This account is gone", hint="Sign in again")
            account = msgspec.json.decode(record.value, type=Account)
            changed = replace(account, password_hash=kept, generation=account.generation + 1)
            change = Put(changed.id, msgspec.json.encode(changed), when=record.version)
            if await self._records.put(_ACCOUNTS, change) is not None:
                return changed
        raise Conflict("account.busy", "The account was changed elsewhere at the same time", hint="Try again")

    def _must_show_current(self, who: Identity) -> bool:
        if who.account.password_hash is None or who.session is None:
            return False
        age_s = self._clock.now() - who.session.begun_at
        return not (who.proof is Proof.LINK and age_s <= _FRESH_LINK_S)

    async def _show_current(self, account: Account, current: str | None) -> None:
        await self._count_attempt(account.name)
        if current is None or not await self._passwords.matches(account.password_hash, current):
            raise Forbidden(
                "account.current_password",
                "The current password is missing or wrong",
                hint="Send it as `current`, or sign in with a fresh one-time link",
            )
        await self._forget_attempts(account.name)

    async def _account(self, account_id: str) -> Account | None:
        record = await self._records.get(_ACCOUNTS, account_id)
        return None if record is None else msgspec.json.decode(record.value, type=Account)

    async def _named(self, name: str) -> Account | None:
        record = await self._records.get(_NAMES, tokens.fingerprint(_folded(name)))
        return None if record is None else await self._account(record.value.decode())

    async def _count_attempt(self, name: str) -> None:
        mark = tokens.fingerprint(_folded(name))
        for _ in range(20):
            record = await self._records.get(_ATTEMPTS, mark)
            window = None if record is None else msgspec.json.decode(record.value, type=attempts.Attempts)
            now = self._clock.now()
            decision = attempts.attempt(window, now)
            if not decision.allowed:
                raise _too_many(decision.because)
            ttl_s = decision.after.since + attempts.WINDOW_S - now
            when = ABSENT if record is None else record.version
            change = Put(mark, msgspec.json.encode(decision.after), when=when, ttl_s=max(ttl_s, 1.0))
            if await self._records.put(_ATTEMPTS, change) is not None:
                return
        raise _too_many("too many at the same moment")

    async def _forget_attempts(self, name: str) -> None:
        await self._records.delete(_ATTEMPTS, Delete(tokens.fingerprint(_folded(name))))


def _too_many(because: str) -> Unavailable:
    return Unavailable(
        "session.too_many_attempts",
        "Too many attempts for this name",
        why=because,
        hint="Wait a few minutes, or sign in with a one-time link",
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _shard(mark: str) -> str:
    return f"accounts/sessions/{mark[:2]}"
