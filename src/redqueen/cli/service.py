"""`redqueen service`: run any HTTP service as part of the region, look at it, replace or remove it.

Decides that a service file is checked here first, so that errors name the file; that its folder
is meant relative to the file; that removal shows what ends and asks. The region checks again.
Enter at `service`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from redqueen.api.declarations import gateway_side
from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say, show_json, show_table
from redqueen.errors import InvalidInput, Unavailable
from redqueen.fleet.declared import ServiceFile, parsed
from redqueen.fleet.drivers.command import runnable

_LOOK_S = 0.2


class Instance(msgspec.Struct, frozen=True):
    """One node of a service as the API tells of it."""

    id: str
    zone: str = ""
    state: str = ""
    pid: int | None = None
    address: str = ""
    version: str = ""
    restarts: int = 0
    because: str = ""
    current: bool = True
    spare: bool = False


class Card(msgspec.Struct, frozen=True):
    """A service as the API tells of it."""

    name: str
    state: str
    because: str = ""
    wanted: int = 0
    ready: int = 0
    revision: int = 0
    instances: tuple[Instance, ...] = ()
    file: ServiceFile | None = None
    group_of: str = ""

    @property
    def shown(self) -> str:
        """Return its name as the list shows it: a release's groups stand under their service."""
        return f"  {self.name}" if self.group_of else self.name

    @property
    def paths(self) -> str:
        """Name the paths that lead to it."""
        routes = self.file.routes if self.file else []
        return ", ".join(str(route.get("path", "/")) for route in routes)


class Cards(msgspec.Struct, frozen=True):
    """All of them."""

    services: tuple[Card, ...]


@click.group()
def service() -> None:
    """Run any HTTP service as part of the region.

    \b
    Example:
      redqueen service add hello.toml --wait
    """


@service.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--wait", is_flag=True, help="Return when every instance is up and as declared.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=120.0, metavar="S", help="With --wait.")
@data_option
@json_option
def add(file: Path, wait: bool, timeout_s: float, data_dir: Path, as_json: bool) -> None:
    """Declare the service of FILE, or change it: instances are replaced one by one.

    \b
    Example:
      redqueen service add hello.toml --wait
    """
    declared = read(file)
    with ApiClient.local(data_dir) as api:
        card = _card(api.put(f"/services/{declared.name}", declared))
        _tell(_settled(api, card, timeout_s, quiet=as_json) if wait else card, "declared", as_json=as_json)


@service.command("list")
@data_option
@json_option
def every(data_dir: Path, as_json: bool) -> None:
    """List the declared services.

    \b
    Example:
      redqueen service list
    """
    with ApiClient.local(data_dir) as api:
        cards = api.read("/services", Cards).services
    if as_json:
        show_json(cards)
    elif not cards:
        note("No service is declared yet: redqueen service add FILE")
    else:
        rows = [
            [card.shown, card.state, f"{card.ready}/{card.wanted}", _owner(card), card.paths, card.because]
            for card in cards
        ]
        show_table(["service", "state", "ready", "owner", "paths", "because"], rows, state_column="state")


@service.command()
@click.argument("name", metavar="NAME")
@data_option
@json_option
def show(name: str, data_dir: Path, as_json: bool) -> None:
    """Show a service and its instances.

    \b
    Example:
      redqueen service show hello
    """
    with ApiClient.local(data_dir) as api:
        card = api.read(f"/services/{name}", Card)
    if as_json:
        show_json(card)
        return
    say(_line(card))
    if card.file:
        say(f"owner {card.file.owner}, version {card.file.version}, paths {card.paths or 'none'}")
        say(f"runs {' '.join(card.file.command)} in {card.file.directory}\n")
    columns = ("zone", "id", "state", "pid", "address", "version", "restarts", "because")
    rows = [[getattr(instance, column) for column in columns] for instance in card.instances]
    show_table(columns, rows, state_column="state")


@service.command()
@click.argument("name", metavar="NAME")
@click.option("--wait", is_flag=True, help="Return when every instance has been replaced.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=120.0, metavar="S", help="With --wait.")
@data_option
@json_option
def restart(name: str, wait: bool, timeout_s: float, data_dir: Path, as_json: bool) -> None:
    """Replace every instance by a fresh one, one by one, without a lost request.

    NAME may also be one of the region's own roles: api, gateway, worker, control, registry.

    \b
    Example:
      redqueen service restart hello --wait
      redqueen service restart api
    """
    with ApiClient.local(data_dir) as api:
        card = _card(api.post(f"/services/{name}/restart"))
        _tell(_settled(api, card, timeout_s, quiet=as_json) if wait else card, "being replaced", as_json=as_json)


@service.command()
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
@json_option
def remove(name: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """End a service: its routes go, its instances drain and leave. Shows what ends, and asks.

    \b
    Example:
      redqueen service remove hello --yes
    """
    with ApiClient.local(data_dir) as api:
        card = api.read(f"/services/{name}", Card)
        if card.file is None:
            raise InvalidInput("service.own", f"{name} is one of the region's own roles", hint="It cannot be removed")
        if not yes:
            note(f"This ends {card.name} (owner {card.file.owner}):")
            note(f"  instances: {', '.join(instance.id for instance in card.instances) or 'none'}")
            note(f"  routes: {card.paths or 'none'}")
            click.confirm("Remove it?", abort=True, err=True)
        # Only what was shown is removed: a change in between is refused.
        api.request("DELETE", f"/services/{name}", params={"revision": card.revision})
    if as_json:
        show_json({"removed": name})
    else:
        say(f"removed {name}")


def read(path: Path) -> ServiceFile:
    """Read and check a service file; its folder becomes absolute. Raises InvalidInput naming file and key."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            "service.file", f"{path} cannot be read", why=error.strerror or str(error), hint="Give a service file"
        ) from error
    file = parsed(text, str(path))
    file = msgspec.structs.replace(file, directory=str((path.parent / file.directory).absolute().resolve()))
    gateway_side(file, str(path))
    return runnable(file, str(path))


def _card(answer: Any) -> Card:
    return msgspec.convert(answer, Card)


def _settled(api: ApiClient, card: Card, timeout_s: float, *, quiet: bool) -> Card:
    """Wait until the service is up as declared; tell each change. Raises Unavailable with the reason."""
    give_up_at, told = time.monotonic() + timeout_s, ""
    while card.state != "up":
        line = _line(card)
        if line != told and not quiet:
            note(line)
            told = line
        if time.monotonic() >= give_up_at:
            raise Unavailable(
                "service.not_up",
                f"{card.name} is not up after {timeout_s:g} s: {card.ready} of {card.wanted} instances are ready",
                why=card.because,
                hint=f"See: redqueen logs --service {card.name}",
            )
        time.sleep(_LOOK_S)
        card = api.read(f"/services/{card.name}", Card)
    return card


def _tell(card: Card, done: str, *, as_json: bool) -> None:
    if as_json:
        show_json(card)
    else:
        say(_line(card) if card.state == "up" else f"{card.name} is {done}; see: redqueen service show {card.name}")


def _line(card: Card) -> str:
    because = f" ({card.because})" if card.because else ""
    return f"{card.name} is {card.state}: {card.ready} of {card.wanted} instances are ready{because}"


def _owner(card: Card) -> str:
    return card.file.owner if card.file else ""
