"""Who may evaluate flags from outside: tokens of server-side clients, tickets of event streams.

A token names a client and gives a right to evaluation only. It is kept as its fingerprint and
shown once. A ticket stands in a stream's address, since browsers send no headers there; it tells
who asked and until when, signed by a secret that is made once in the records. Enter at `FlagAccess`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

import msgspec

from redqueen.accounts.tokens import fingerprint, new_secret
from redqueen.clock import Clock
from redqueen.errors import Broken, InvalidInput, NotFound
from redqueen.store.audit import Audit
from redqueen.store.ports import ABSENT, Delete, Put, Records

PREFIX: Final = "rqf_"
TICKET_S: Final = 43_200
_TOKENS: Final = "flags/tokens"
_SECRETS: Final = "flags/secrets"
_CURRENT: Final = "current"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_KNOWN_S: Final = 2.0
"""How long a token that was looked up is believed: a revoked one works so long at most."""
_KNOWN_TOKENS: Final = 1000


class TokenRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token as it is kept, without the token."""

    name: str
    made_s: float
    by: str


class FlagAccess:
    """The tokens and tickets of a region."""

    def __init__(self, records: Records, clock: Clock, audit: Audit) -> None:
        """Keep them in `records`."""
        self._records = records
        self._clock = clock
        self._audit = audit
        self._known: dict[str, tuple[str | None, float]] = {}
        self._secret = b""

    async def mint(self, name: str, by: str) -> str:
        """Make another token for the client `name` and return its only copy. Raises InvalidInput."""
        if not _NAME.fullmatch(name):
            why = "it must be lower-case letters, digits and _ . -, at most 40"
            raise InvalidInput("flag.token", f"{name[:80]!r} cannot name a client", why=why, hint="Choose another")
        token = PREFIX + new_secret()
        row = TokenRow(name, self._clock.now(), by)
        await self._records.put(_TOKENS, Put(fingerprint(token), msgspec.json.encode(row), ABSENT))
        await self._audit.note(by, "make flag token", f"client {name}")
        return token

    async def revoke(self, name: str, by: str) -> int:
        """Void all tokens of the client `name`; return how many there were. Raises NotFound."""
        found = [row for row in await self._records.scan(_TOKENS) if _token(row.value).name == name]
        if not found:
            raise NotFound("flag.token", f"There is no token of {name[:80]}", hint="See: redqueen flag tokens")
        for row in found:
            await self._records.delete(_TOKENS, Delete(row.clustering))
        self._known.clear()
        await self._audit.note(by, "revoke flag token", f"client {name}")
        return len(found)

    async def clients(self) -> list[TokenRow]:
        """Return what is known of every token, by client."""
        return sorted((_token(row.value) for row in await self._records.scan(_TOKENS)), key=lambda row: row.name)

    async def holder(self, token: str) -> str | None:
        """Return which client holds a token, or None."""
        if not token.startswith(PREFIX) or len(token) > 100:
            return None
        mark, now = fingerprint(token), self._clock.monotonic()
        known = self._known.get(mark)
        if known is not None and now - known[1] < _KNOWN_S:
            return known[0]
        record = await self._records.get(_TOKENS, mark)
        if len(self._known) >= _KNOWN_TOKENS:
            self._known.clear()
        name = None if record is None else _token(record.value).name
        self._known[mark] = (name, now)
        return name

    async def ticket(self, holder: str) -> str:
        """Return a right to a holder's event streams for 12 hours; the same text within an hour."""
        until = (int(self._clock.now()) // 3600 + TICKET_S // 3600) * 3600
        body = base64.urlsafe_b64encode(f"{until}.{holder}".encode()).decode().rstrip("=")
        return f"{body}.{await self._mac(body)}"

    async def ticket_holder(self, ticket: str) -> str | None:
        """Return whose ticket this is, or None where it is none or too old."""
        body, _, mac = ticket.partition(".")
        if len(ticket) > 300 or not hmac.compare_digest(mac.encode(), (await self._mac(body)).encode()):
            return None
        until, _, holder = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode().partition(".")
        return holder if self._clock.now() < int(until) else None

    async def _mac(self, body: str) -> str:
        if not self._secret:
            self._secret = await self._made_secret()
        return hmac.new(self._secret, body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    async def _made_secret(self) -> bytes:
        await self._records.put(_SECRETS, Put(_CURRENT, secrets.token_bytes(32), ABSENT))
        # Of two nodes that make it at once one wins, and both read it back.
        kept = await self._records.get(_SECRETS, _CURRENT)
        if kept is None:
            raise Broken("flag.secret", "The secret that was just kept cannot be read", hint="Check the disk")
        return kept.value


def _token(value: bytes) -> TokenRow:
    return msgspec.json.decode(value, type=TokenRow)
