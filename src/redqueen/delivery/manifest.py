"""`redqueen.toml`: all that a maker says of a service that is shipped - code, configuration, flags, routes, trial.

Decides what the file may say and refuses everything else with the file, the key, its value and
what would do. What the process is told obeys the rules of service files, routes and policies those
of the gateway. The region's own `api` may be shipped too: then other folders of code or of the web
app take the place of a command. Pure. Enter at `parsed`, `converted`; `service_file` is what it becomes.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from redqueen.errors import InvalidInput
from redqueen.fleet.declared import Limits, ServiceFile, Timings, first_wrong
from redqueen.fleet.model import Edition
from redqueen.gateway.declared import RouteDeclaration, ServicePolicyDeclaration, route_of, service_policy_of
from redqueen.refusals import Refusals
from redqueen.stats.model import Harm
from redqueen.trials.metrics import CATALOGUE, PLAYED
from redqueen.trials.model import MetricPlan

FILE: Final = "redqueen.toml"
"""The manifest's name, at the root of what is shipped."""
OWN: Final = frozenset({"api"})
"""The region's own roles that can be shipped."""
FLAGS_VARIABLE: Final = "FLAGS"
"""The environment variable in which a release's nodes find its flags, as a JSON object."""
_REFUSALS: Final = Refusals("release.manifest", "Change it and ship again", "docs/ship.md")
MAX_BYTES: Final = 256 << 10
_MAX_NAME = 32
"""A trial's id is the service's name and the release's, at most 40 characters."""
_MAX_VERSION = 50
_FARTHEST = 6.0
"""Harms beyond a factor 6 cannot be judged (`trials.planning`)."""
_FLAG = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
"""As the region's flags are named (`experiments.flags`), which these become with the promotion."""
_MAX_FLAGS, _MAX_FLAG_BYTES, _MAX_PATTERNS = 100, 4096, 100
_MAX_NUMBER = 2**53
_OWN_ONLY = ("code", "web")
_SERVICE_ONLY = (
    "command",
    "directory",
    "health",
    "count",
    "count_per_zone",
    "config",
    "limits",
    "timings",
    "routes",
    "policy",
)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a manifest says. Times in seconds, shares in [0, 1]."""

    service: str
    owner: str
    """Who answers for the service, and is called when it is guilty."""
    command: tuple[str, ...] = ()
    """The program and its arguments; no shell reads them."""
    version: str = ""
    """In the maker's words; empty: the release's id alone."""
    directory: str = "."
    """Where the command runs, within what is shipped."""
    health: str = "/health"
    count: int | None = None
    count_per_zone: int | None = None
    code: str = ""
    """The region's own `api`: the folder within what is shipped that holds the package `redqueen`."""
    web: str = ""
    """The region's own `api`: the folder within what is shipped that holds the built web app."""
    config: dict[str, str] = {}
    """The environment of its processes."""
    flags: dict[str, Any] = {}
    """Values of flags that hold for whoever is served by this release; names begin with the service's and a dot."""
    include: tuple[str, ...] = ()
    """Patterns of what is shipped although .gitignore leaves it out."""
    exclude: tuple[str, ...] = ()
    """Patterns of what is not shipped, beyond .gitignore."""
    steps: tuple[float, ...] = (0.05, 0.25, 0.5)
    """Share of viewers on the canary, step by step."""
    step_s: float = 60.0
    """Shortest time at a step."""
    horizon_s: float = 3600.0
    """When the trial ends at the latest."""
    hold_s: float = 300.0
    """How long it may be held for want of telemetry."""
    alpha: float = 0.05
    """Bound on a wrong rollback, and on a wrong promotion at the margin."""
    warm_s: float = 3600.0
    """How long the old version is kept running after the promotion."""
    limits: Limits = Limits()
    timings: Timings = Timings()
    routes: list[dict[str, Any]] = []
    policy: dict[str, Any] = {}
    metrics: tuple[MetricPlan, ...] = ()
    """What the trial measures; none: what suits the service."""

    @property
    def own(self) -> bool:
        """Tell whether it is one of the region's own roles."""
        return self.service in OWN


def parsed(text: bytes, source: str = FILE) -> Manifest:
    """Read a manifest; `source` is its name in errors. Raises InvalidInput (`release.manifest`)."""
    if len(text) > MAX_BYTES:
        raise InvalidInput(
            "release.manifest", f"{source} has {len(text)} bytes", why=f"the limit is {MAX_BYTES}", hint="Say less"
        )
    try:
        raw = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            "release.manifest", f"{source} is not TOML: {error}", hint="See docs/ship.md for an example"
        ) from error
    return converted(raw, source)


def converted(raw: object, source: str = FILE) -> Manifest:
    """Make a manifest of plain values. Raises InvalidInput naming file, key, value and what would do."""
    try:
        return checked(msgspec.convert(raw, Manifest), source)
    except msgspec.ValidationError as error:
        raise _REFUSALS.refused(raw, source, str(error), _TABLES) from error
    except RecursionError as error:
        raise InvalidInput("release.manifest", f"{source} has tables in tables without end", hint="Say less") from error


def checked(manifest: Manifest, source: str = FILE) -> Manifest:
    """Return the manifest if everything in it can be. Raises InvalidInput naming the key."""
    found = _wrong_side(manifest) or _wrong_process(manifest) or _wrong_trial(manifest) or _wrong_rest(manifest)
    if found is not None:
        raise _REFUSALS.wrong(source, *found)
    _check_gateway_side(manifest, source)
    return manifest


def service_file(manifest: Manifest, version: str, folder: str) -> ServiceFile:
    """Return the declared service that a manifest becomes, unpacked in the absolute `folder`."""
    config = dict(manifest.config)
    if manifest.flags:
        config[FLAGS_VARIABLE] = msgspec.json.encode(manifest.flags, order="deterministic").decode()
    return ServiceFile(
        name=manifest.service,
        owner=manifest.owner,
        command=manifest.command,
        version=version,
        directory=_within(folder, manifest.directory),
        health=manifest.health,
        count=manifest.count,
        count_per_zone=manifest.count_per_zone,
        environment=config,
        limits=manifest.limits,
        timings=manifest.timings,
        routes=manifest.routes,
        policy=manifest.policy,
    )


def edition(manifest: Manifest, version: str, folder: str) -> Edition:
    """Return the edition of the region's own role that a manifest becomes, unpacked in the absolute `folder`."""
    return Edition(
        version=version,
        code=_within(folder, manifest.code) if manifest.code else "",
        web=_within(folder, manifest.web) if manifest.web else "",
    )


def _within(folder: str, path: str) -> str:
    return str(PurePosixPath(folder) / path)


_Wrong = tuple[str, object, str]


def _wrong_side(manifest: Manifest) -> _Wrong | None:
    """Refuse keys that belong to the other kind of service."""
    if manifest.own:
        blank = Manifest(manifest.service, manifest.owner)
        for key in _SERVICE_ONLY:
            if getattr(manifest, key) != getattr(blank, key):
                return key, getattr(manifest, key), f"absent: {manifest.service} is the region's own"
        if not (manifest.code or manifest.web):
            return (
                "code",
                "",
                f"a folder that holds the package `redqueen`, or give `web` ({manifest.service} is our own)",
            )
        return None
    for key in _OWN_ONLY:
        if getattr(manifest, key):
            return key, getattr(manifest, key), f"absent: only the region's own {', '.join(sorted(OWN))} has it"
    return None


def _wrong_process(manifest: Manifest) -> _Wrong | None:
    """Ask the rules of service files, in the manifest's words."""
    if len(manifest.service) > _MAX_NAME:
        return "service", manifest.service, f"at most {_MAX_NAME} characters"
    if len(manifest.version) > _MAX_VERSION:
        # The nodes' version is this one, a `+` and the release's id.
        return "version", manifest.version, f"at most {_MAX_VERSION} characters"
    for key in ("directory", *_OWN_ONLY):
        path = getattr(manifest, key)
        if path and not _inside(path):
            return key, path, f"a folder within what is shipped, relative to {FILE}, without `..`"
    asked = manifest
    if manifest.own:
        # Only the name is special; owner and version obey the same rules.
        asked = msgspec.structs.replace(manifest, service="own", command=("own",))
    found = first_wrong(service_file(asked, manifest.version or "1", "/"))
    if found is None:
        return None
    key, value, accepted = found
    return _RENAMED.get(key, key.replace("environment", "config", 1)), value, accepted


_RENAMED: Final = {"name": "service"}


def _inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and path.isprintable() and len(path) <= 500


def _wrong_trial(manifest: Manifest) -> _Wrong | None:
    steps = manifest.steps
    if (
        not steps
        or len(steps) > 10
        or any(not 0.0 < step <= 0.5 for step in steps)
        or list(steps) != sorted(set(steps))
    ):
        return "steps", steps, "1 to 10 growing shares above 0, at most 0.5 (the other half is the control)"
    bounds = (
        ("step_s", manifest.step_s, 1, 86_400),
        ("horizon_s", manifest.horizon_s, 10, 30 * 86_400),
        ("hold_s", manifest.hold_s, 1, 86_400),
        ("alpha", manifest.alpha, 0.0001, 0.2),
        ("warm_s", manifest.warm_s, 0, 7 * 86_400),
    )
    for key, value, lowest, highest in bounds:
        if not lowest <= value <= highest:
            return key, value, f"{lowest:g} to {highest:g}"
    if manifest.horizon_s < manifest.step_s * len(steps):
        return "horizon_s", manifest.horizon_s, f"at least {manifest.step_s * len(steps):g}: {len(steps)} steps' time"
    return None


def _wrong_rest(manifest: Manifest) -> _Wrong | None:
    return _wrong_flag(manifest) or _wrong_pattern(manifest) or _wrong_metric(manifest)


def _wrong_flag(manifest: Manifest) -> _Wrong | None:
    if len(manifest.flags) > _MAX_FLAGS:
        return "flags", len(manifest.flags), f"at most {_MAX_FLAGS} flags"
    if manifest.flags and FLAGS_VARIABLE in manifest.config:
        return (
            f"config.{FLAGS_VARIABLE}",
            manifest.config[FLAGS_VARIABLE],
            "absent where there are [flags]: they go there",
        )
    for key, value in manifest.flags.items():
        if not _FLAG.fullmatch(key):
            return "flags", key, "names of lower-case letters, digits and `._-`, at most 64, first a letter"
        if not (manifest.own or key.startswith(f"{manifest.service}.")):
            # Two services that put one flag would take it from each other on their way back.
            begins = f"a flag of this service: its name begins with `{manifest.service}.`"
            quoted = f'in quotes, since TOML reads a dot as a table: "{key}.name" = …'
            return "flags", key, quoted if key == manifest.service else begins
        if not isinstance(value, bool | int | float | str | dict):
            return f"flags.{key}", str(value), "true or false, text, a number or a table"
        if isinstance(value, int | float) and not abs(value) <= _MAX_NUMBER:
            return f"flags.{key}", str(value), "a finite number of at most 2^53"
        if len(msgspec.json.encode(value)) > _MAX_FLAG_BYTES:
            return f"flags.{key}", "…", f"at most {_MAX_FLAG_BYTES} bytes as JSON"
    return None


def _wrong_pattern(manifest: Manifest) -> _Wrong | None:
    for key in ("include", "exclude"):
        patterns: tuple[str, ...] = getattr(manifest, key)
        if len(patterns) > _MAX_PATTERNS:
            return key, len(patterns), f"at most {_MAX_PATTERNS} patterns"
        for index, pattern in enumerate(patterns):
            bad = not pattern.strip() or len(pattern) > 200 or not pattern.isprintable() or pattern[0] in "!#"
            if bad or ".." in pattern.split("/"):
                return (
                    f"{key}[{index}]",
                    pattern,
                    "a pattern as in .gitignore, without `..`, not beginning with `!` or `#`",
                )
    return None


def _wrong_metric(manifest: Manifest) -> _Wrong | None:
    seen: set[str] = set()
    for index, metric in enumerate(manifest.metrics):
        key = f"metrics[{index}]"
        if metric.name not in CATALOGUE:
            return f"{key}.name", metric.name, f"a metric of the catalogue: {', '.join(sorted(CATALOGUE))}"
        if metric.name in seen:
            return f"{key}.name", metric.name, "a metric only once"
        seen.add(metric.name)
        if metric.weight is not None and not 0.0 < metric.weight <= 1000.0:
            return f"{key}.weight", metric.weight, "above 0, at most 1000"
        more = CATALOGUE[metric.name].harm is Harm.MORE
        lowest, highest = (1.0, _FARTHEST) if more else (1.0 / _FARTHEST, 1.0)
        for name, value in (("margin", metric.margin), ("expected", metric.expected)):
            # PLAYED is a difference in its own unit.
            if value is not None and metric.name != PLAYED.name and not (lowest <= value <= highest and value != 1.0):
                side = "above 1, at most 6" if more else "below 1, at least 1/6"
                return f"{key}.{name}", value, f"a ratio to today {side}"
    goals = [index for index, metric in enumerate(manifest.metrics) if metric.goal]
    return (f"metrics[{goals[1]}].goal", True, "true for one metric at most") if len(goals) > 1 else None


def _check_gateway_side(manifest: Manifest, source: str) -> None:
    """Ask the gateway's rules for routes and policy. Raises InvalidInput."""
    for index, raw in enumerate(manifest.routes):
        try:
            declared = msgspec.convert(raw, RouteDeclaration)
        except msgspec.ValidationError as error:
            within = str(error).replace("`$", f"`$.routes[{index}]", 1)
            within = within if "`$" in str(error) else f"{error} - at `$.routes[{index}]`"
            raise _REFUSALS.refused({"routes": manifest.routes}, source, within, _TABLES) from error
        route_of(declared, manifest.service, where=f"{source}: routes[{index}]")
    try:
        policy = msgspec.convert(manifest.policy, ServicePolicyDeclaration)
    except msgspec.ValidationError as error:
        within = str(error).replace("`$", "`$.policy", 1)
        within = within if "`$" in str(error) else f"{error} - at `$.policy`"
        raise _REFUSALS.refused({"policy": manifest.policy}, source, within, _TABLES) from error
    service_policy_of(policy, where=f"{source}: policy")


_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "": Manifest,
    "limits": Limits,
    "timings": Timings,
    "routes": RouteDeclaration,
    "policy": ServicePolicyDeclaration,
    "metrics": MetricPlan,
}
