"""The one tree of settings of a region: each field with its default, unit and trade-off.

A region reads `redqueen.toml` in its data folder when there is one; everything has a default
that is right for one machine. Unknown keys and wrong values are refused with the file, key,
value and what would be accepted. Enter at `load`.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from redqueen.errors import InvalidInput


class Timings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast nodes are believed dead and how long they may take to leave."""

    heartbeat_s: float = 1.0
    """Seconds between a node's heartbeats. Shorter finds death faster and costs requests."""
    lease_s: float = 3.0
    """Seconds a node is believed without a heartbeat. Must exceed two heartbeats."""
    drain_s: float = 2.0
    """Seconds a draining node still serves after it said OUT_OF_SERVICE."""
    stop_s: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many nodes of each role the region runs, spread over its zones."""

    registry: int = 2
    gateway: int = 2
    api: int = 2
    worker: int = 2
    control: int = 2


class Objects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where films lie. An empty `url` is the data folder; `s3://bucket/prefix` is S3."""

    url: str = ""
    options: dict[str, str] = {}
    """obstore's client options, such as `aws_region` or `endpoint`."""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The certificate that gateways show; both paths empty: there is none, and no HTTPS."""

    certificate: str = ""
    """A PEM file with the full chain, absolute or relative to the data folder."""
    key: str = ""
    """The PEM file of its private key, without a password."""
    port: int = 8443
    """The port of HTTPS (TCP) and HTTP/3 (UDP)."""


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where traces go."""

    otlp_url: str = ""
    """An OpenTelemetry collector's address for OTLP over HTTP; empty: nothing is traced."""


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long is kept what would only grow; 0 keeps it for ever."""

    events_days: int = 90
    """Days that players' events are kept; at least 14, since experiments look at the week before them."""
    trial_logs_days: int = 400
    """Days after its end for which a trial can be replayed, at least 7; its verdict and evidence stay for ever."""
    releases: int = 10
    """Of how many releases of each service the artifacts are kept, beside those that run or may have to."""


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of one region."""

    name: str = "local"
    zones: tuple[str, ...] = ("a", "b", "c")
    """Failure zones in order; each has loopback addresses of its own."""
    host: str = "127.0.0.1"
    """The address the public port listens on. `0.0.0.0` opens it to the network."""
    port: int = 8080
    """The public port; when taken, the next free one is chosen and said."""
    public_url: str = ""
    """What viewers call the region, when it is not what the machine would say; links begin with it."""
    tls: Tls = Tls()
    timings: Timings = Timings()
    counts: Counts = Counts()
    objects: Objects = Objects()
    country_header: str = ""
    """The header in which an edge in front tells a viewer's country, such as `CF-IPCountry`; empty: none does."""
    country_database: str = ""
    """A MaxMind DB file of countries by address, absolute or relative to the data folder; empty: there is none."""
    telemetry: Telemetry = Telemetry()
    retention: Retention = Retention()
    samples: bool = True
    """Whether a new region makes sample titles for itself; without them nothing is encoded that nobody published."""
    link_ttl_s: int = 21_600
    """Seconds that a playback link lives. Longer survives pauses, shorter limits sharing."""


def load(data_dir: Path) -> Region:
    """Read `redqueen.toml` of a data folder, or give the defaults. Raises InvalidInput."""
    path = data_dir / "redqueen.toml"
    if not path.exists():
        return Region()
    try:
        region = msgspec.toml.decode(path.read_bytes(), type=Region)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "config.invalid",
            f"{path} is not a valid configuration: {error}",
            hint="Correct that key; the fields and their defaults are in docs/configuration.md",
        ) from error
    return checked(region, path)


def checked(region: Region, path: Path) -> Region:
    """Return `region` if its values make sense together. Raises InvalidInput naming the key."""
    wrong = _first_wrong(region)
    if wrong is None:
        return region
    key, value, accepted = wrong
    raise InvalidInput("config.invalid", f"{path}: {key} = {value!r}", why=f"it must be {accepted}", hint="Change it")


def _first_wrong(region: Region) -> tuple[str, object, str] | None:
    if not 0 < region.port < 65536:
        return "port", region.port, "a port number, 1 to 65535"
    if not region.zones or len(region.zones) > 8:
        return "zones", region.zones, "1 to 8 names"
    for zone in region.zones:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", zone):
            return "zones", zone, "lower-case letters and digits, at most 8, first a letter"
    if region.timings.lease_s < 2 * region.timings.heartbeat_s:
        return "timings.lease_s", region.timings.lease_s, "at least two heartbeats"
    wrong = _wrong_tls(region) or _wrong_public_url(region) or _wrong_telemetry(region) or _wrong_retention(region)
    wrong = wrong or _wrong_country_header(region)
    if wrong is not None:
        return wrong
    for role, count in msgspec.to_builtins(region.counts).items():
        if not 1 <= count <= 64:
            return f"counts.{role}", count, "1 to 64"
    return None


def _wrong_tls(region: Region) -> tuple[str, object, str] | None:
    tls = region.tls
    if bool(tls.certificate) != bool(tls.key):
        missing = "key" if tls.certificate else "certificate"
        return f"tls.{missing}", "", "a path; certificate and key belong together"
    if not 0 < tls.port < 65536 or (tls.certificate and tls.port == region.port):
        return "tls.port", tls.port, "a port number, 1 to 65535, other than `port`"
    return None


def _wrong_telemetry(region: Region) -> tuple[str, object, str] | None:
    url = region.telemetry.otlp_url
    if url and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        return "telemetry.otlp_url", url, "http:// or https://, a host, perhaps a port and a path"
    return None


def _wrong_retention(region: Region) -> tuple[str, object, str] | None:
    kept = region.retention
    for key, value, least, most in (
        ("events_days", kept.events_days, 14, 36_500),
        ("trial_logs_days", kept.trial_logs_days, 7, 36_500),
        ("releases", kept.releases, 1, 500),
    ):
        if value != 0 and not least <= value <= most:
            return f"retention.{key}", value, f"{least} to {most}, or 0 for ever"
    return None


def _wrong_country_header(region: Region) -> tuple[str, object, str] | None:
    name = region.country_header
    # What begins so is the region's own, and dropped when it comes from outside.
    if name and not re.fullmatch(r"(?!x-rq-|x-envoy-)[a-z][a-z0-9-]{0,63}", name.lower()):
        return "country_header", name, "a header's name of letters, digits and dashes, not one of ours (X-Rq-)"
    return None


def _wrong_public_url(region: Region) -> tuple[str, object, str] | None:
    accepted = "http:// or https://, a host, perhaps a port, and nothing after it"
    if region.public_url and not re.fullmatch(
        r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?", region.public_url
    ):
        return "public_url", region.public_url, accepted
    if region.tls.certificate and region.public_url.startswith("http://"):
        return "public_url", region.public_url, "https:// when there is a certificate"
    return None


def country_file(region: Region, data_dir: Path) -> Path | None:
    """Return the database of countries, or None where the region has none."""
    return data_dir / region.country_database if region.country_database else None


def certificate_files(region: Region, data_dir: Path) -> tuple[Path, Path] | None:
    """Return the certificate's and the key's file, or None where the region has none."""
    tls = region.tls
    return (data_dir / tls.certificate, data_dir / tls.key) if tls.certificate else None
