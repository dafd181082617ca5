"""Which files the edge serves, to whom, and how they may be cached.

One regular expression per kind of file is the whole door: a path that does not match letter by
letter (percent signs, `#`, `..`, dot files, other extensions, other folders) is not media, and
the same route that opens the folder also demands the token. Refuses: keys that are not public
Ed25519 keys, and folders that are not plain absolute paths. Enter at `MEDIA_TYPES`,
`path_pattern`, `checked_keys`, `checked_root`.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

import msgspec

from redqueen.errors import InvalidInput

ISSUER = "redqueen"
COOKIE = "rq_media"
TOKEN_HEADER = "x-rq-media-token"  # noqa: S105 - a header's name

CHANGING = "no-cache"
"""Playlists grow and get replaced: every use asks again."""
FOREVER = "private, max-age=31536000, immutable"
"""Segments are content-addressed; private, because a shared cache would not ask for the token."""
POSTERS = "private, max-age=300"
"""Pictures and subtitles keep their address when they are replaced."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A kind of file by its extension, with its Content-Type and Cache-Control."""

    extension: str
    content_type: str
    cache_control: str


MEDIA_TYPES: tuple[MediaType, ...] = (
    MediaType("m3u8", "application/vnd.apple.mpegurl", CHANGING),
    MediaType("mpd", "application/dash+xml", CHANGING),
    MediaType("m4s", "video/iso.segment", FOREVER),
    MediaType("mp4", "video/mp4", FOREVER),
    MediaType("m4a", "audio/mp4", FOREVER),
    MediaType("m4v", "video/mp4", FOREVER),
    MediaType("cmfv", "video/mp4", FOREVER),
    MediaType("cmfa", "audio/mp4", FOREVER),
    MediaType("ts", "video/mp2t", FOREVER),
    MediaType("vtt", "text/vtt; charset=utf-8", POSTERS),
    MediaType("jpg", "image/jpeg", POSTERS),
    MediaType("jpeg", "image/jpeg", POSTERS),
    MediaType("png", "image/png", POSTERS),
    MediaType("webp", "image/webp", POSTERS),
    MediaType("avif", "image/avif", POSTERS),
)


def cache_classes() -> tuple[str, ...]:
    """Return each distinct Cache-Control value, in the table's order."""
    return tuple(dict.fromkeys(kind.cache_control for kind in MEDIA_TYPES))


def path_pattern(cache_control: str) -> str:
    """Return the RE2 expression that a media path of this cache class matches as a whole.

    `/media/<title>/[<folder>/]…<name>.<extension>`; no segment begins with a dot.
    """
    extensions = "|".join(kind.extension for kind in MEDIA_TYPES if kind.cache_control == cache_control)
    segment = "[A-Za-z0-9_-][A-Za-z0-9_.-]*"
    return rf"/media/[A-Za-z0-9_-]+/(?:{segment}/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(?:{extensions})"


class _Jwks(msgspec.Struct, frozen=True):
    keys: list[dict[str, object]]


def checked_keys(jwks_json: str) -> str:
    """Return the JWKS if it holds only public Ed25519 keys. Raises InvalidInput (`gateway.media_keys`)."""
    try:
        keys = msgspec.json.decode(jwks_json, type=_Jwks).keys
    except msgspec.DecodeError as error:
        raise _bad_keys(f"it is not a JWKS: {error}") from error
    if not keys:
        raise _bad_keys("it holds no key")
    for key in keys:
        if (key.get("kty"), key.get("crv")) != ("OKP", "Ed25519") or key.get("alg", "EdDSA") != "EdDSA":
            raise _bad_keys(f"key {key.get('kid')!r} is not an Ed25519 key")
        if "d" in key:
            raise _bad_keys(f"key {key.get('kid')!r} is a private key, which must not come near a gateway")
    return jwks_json


def _bad_keys(why: str) -> InvalidInput:
    return InvalidInput("gateway.media_keys", "The media keys cannot be used", why=why, hint="Give public keys only")


def checked_root(media_root: str) -> str:
    """Return the folder without a trailing slash. Raises InvalidInput (`gateway.media_root`)."""
    plain = media_root.rstrip("/")
    if not plain.startswith("/") or posixpath.normpath(plain) != plain or plain.count("/") < 2:
        raise InvalidInput(
            "gateway.media_root",
            f"{media_root!r} cannot be served",
            why="the media folder must be an absolute path without `.`, `..` or `//`, at least two folders deep",
            hint="Give the data folder's objects/media",
        )
    return plain
