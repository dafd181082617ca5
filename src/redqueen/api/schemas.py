"""The JSON of the viewer's and maker's routes, in and out; unknown fields are refused.

Times are RFC 3339 in UTC, lengths seconds, sizes bytes. Enter at `card`, which turns a title of the
catalogue into what clients see.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from redqueen.accounts.model import Account
from redqueen.catalogue.model import Failure, Rung, Subtitle, Title

_DERIVED = ("position_s", "created_at", "updated_at")


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A one-time link's token, or a name with its password."""

    link_token: str | None = None
    name: str | None = None
    password: str | None = None


class NewPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new password (8 to 256 characters), and the current one where there is one."""

    password: str
    current: str | None = None


class TitleChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change; absent: stays."""

    title: str | None = None
    description: str | None = None


class Position(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the viewer is, in seconds from the beginning."""

    position_s: float


class LinkWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a link shall live: 60 s to 7 days; absent: the region's default."""

    ttl_s: int | None = None


class AccountCard(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody is."""

    id: str
    name: str
    role: str


class SessionCard(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in."""

    account: AccountCard


class SignInLink(msgspec.Struct, frozen=True, kw_only=True):
    """An address that signs in once."""

    url: str
    expires_at: datetime


class TitleCard(msgspec.Struct, frozen=True, kw_only=True):
    """A title, and where the asking account is in it."""

    id: str
    title: str
    description: str
    state: str
    progress: float
    uploaded_bytes: int
    size_bytes: int
    duration_s: float | None
    width: int | None
    height: int | None
    fps: float | None
    rungs: tuple[Rung, ...]
    subtitles: tuple[Subtitle, ...]
    failure: Failure | None
    poster: str | None
    hls: str | None
    dash: str | None
    created_at: datetime
    updated_at: datetime
    sample: bool
    position_s: float


class TitlePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some titles; `next` goes into `after` for the following page."""

    titles: list[TitleCard]
    next: str | None


class HomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A strip of the home page."""

    key: str
    title: str
    items: list[TitleCard]


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The home page."""

    rows: list[HomeRow]


class SubtitleTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A subtitle track and its address."""

    lang: str
    label: str
    url: str


class PlaybackInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a player with the media cookie needs."""

    state: str
    hls: str | None
    dash: str | None
    poster: str | None
    position_s: float
    duration_s: float | None
    subtitles: list[SubtitleTrack]
    complete: bool


class PlayLinkCard(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses for players that keep no cookies."""

    url: str
    dash_url: str | None
    expires_at: datetime


def moment(epoch_s: float) -> datetime:
    """Return epoch seconds as the API shows times: RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(round(epoch_s, 3), UTC)


def card(title: Title, position_s: float = 0.0) -> TitleCard:
    """Return what clients see of a title."""
    own = {name: getattr(title, name) for name in TitleCard.__struct_fields__ if name not in _DERIVED}
    return TitleCard(
        **own, created_at=moment(title.created_at), updated_at=moment(title.updated_at), position_s=position_s
    )


def account_card(account: Account) -> SessionCard:
    """Return what clients see of an account."""
    return SessionCard(account=AccountCard(id=account.id, name=account.name, role=account.role.value))
