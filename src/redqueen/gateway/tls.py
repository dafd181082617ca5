"""The certificate that a gateway shows: read from its two files, checked before any Envoy sees it.

Decides whether a pair can be served: both files PEM, the key not encrypted and the first
certificate's own. Refuses the rest with the reason, so that a bad renewal never replaces a good
pair; warns about a time of validity that is over or soon will be. Enter at `read_pair`,
`Certificate.pair` (follows renewed files), `warning`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from redqueen.errors import InvalidInput, RedQueenError
from redqueen.events import Emit, Event
from redqueen.gateway.transport import TlsPair

SOON = timedelta(days=14)
"""Renewals happen weeks before the end; so close to it something is wrong."""


@dataclass(frozen=True, slots=True)
class CertificateTaken(Event):
    """Another certificate is served from now on."""

    subject: str
    valid_until: str


@dataclass(frozen=True, slots=True)
class CertificateRefused(Event):
    """The files on disk cannot be served; the last good certificate stays, if there is one."""

    because: str


@dataclass(frozen=True, slots=True)
class CertificateWarned(Event):
    """The certificate is served, but clients do not believe it, or soon will not."""

    because: str


def read_pair(certificate: Path, key: Path) -> TlsPair:
    """Read and check a pair. Raises InvalidInput (`gateway.tls`) naming the file and what is wrong with it."""
    texts = [_read("certificate", certificate), _read("key", key)]
    return checked_pair(*texts, names=(str(certificate), str(key)))


def checked_pair(certificate_pem: bytes, key_pem: bytes, *, names: tuple[str, str]) -> TlsPair:
    """Return the pair if it can be served. Raises InvalidInput (`gateway.tls`); `names` are for its words."""
    try:
        first = x509.load_pem_x509_certificates(certificate_pem)[0]
    except ValueError as error:
        raise _wrong("certificate", names[0], "it is not a PEM certificate", "Give the full chain as PEM") from error
    try:
        key = load_pem_private_key(key_pem, password=None)
    except TypeError as error:
        hint = "Decrypt it: openssl pkey -in KEY -out PLAIN"
        raise _wrong("key", names[1], "it is encrypted with a password", hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong("key", names[1], "it is not a PEM private key", "Give the certificate's own key") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if first.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        hint = "Give the key that the certificate was made for; in the chain that certificate comes first"
        raise _wrong("key", names[1], f"it is not the key of the certificate in {names[0]}", hint)
    return TlsPair(certificate_pem.decode("latin-1"), key_pem.decode("latin-1"))


def _read(which: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise _wrong(which, str(path), "there is no such file", "Correct the path in redqueen.toml") from error
    except OSError as error:
        why = f"it cannot be read: {error.strerror}"
        raise _wrong(which, str(path), why, "Make it readable for the user that runs the region") from error


def _wrong(which: str, path: str, why: str, hint: str) -> InvalidInput:
    return InvalidInput("gateway.tls", f"tls.{which} = {path!r} cannot be used", why=why, hint=hint)


def warning(pair: TlsPair, now_s: float) -> str | None:
    """Tell what clients will object to about the time of validity, or None; `now_s` counts from 1970."""
    first, now = _first(pair), datetime.fromtimestamp(now_s, UTC)
    if now >= first.not_valid_after_utc:
        return f"the certificate ended on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < first.not_valid_before_utc:
        return f"the certificate begins on {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now >= first.not_valid_after_utc - SOON:
        return f"the certificate ends on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC and was not renewed"
    return None


def _first(pair: TlsPair) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pair.certificate_pem.encode("latin-1"))[0]


class Certificate:
    """Follows the two files of a certificate; a renewal counts when it can be served."""

    def __init__(self, certificate: Path, key: Path, emit: Emit) -> None:
        self._paths = (certificate, key)
        self._emit = emit
        self._seen: tuple[object, ...] = ()
        self._pair: TlsPair | None = None
        self._complaint = self._told = self._warned = ""

    def pair(self, now_s: float) -> TlsPair | None:
        """Return the pair to serve now; None while there never was a good one."""
        seen = tuple(_state(path) for path in self._paths)
        if seen != self._seen:
            self._complaint = self._take()
            # Read again when a file is just being written: only a quiet state is remembered.
            self._seen = seen if seen == tuple(_state(path) for path in self._paths) else ()
        elif self._complaint and self._complaint != self._told:
            # A renewal replaces one file after the other: what lasts a second look is said.
            self._told = self._complaint
            self._emit(CertificateRefused(self._complaint))
        self._warn(now_s)
        return self._pair

    def _take(self) -> str:
        try:
            pair = read_pair(*self._paths)
        except RedQueenError as error:
            return str(error)
        self._told = ""
        if pair != self._pair:
            self._pair = pair
            first = _first(pair)
            self._emit(CertificateTaken(first.subject.rfc4514_string(), f"{first.not_valid_after_utc:%Y-%m-%d}"))
        return ""

    def _warn(self, now_s: float) -> None:
        because = (warning(self._pair, now_s) if self._pair else None) or ""
        if because != self._warned:
            self._warned = because
            if because:
                self._emit(CertificateWarned(because))


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)
