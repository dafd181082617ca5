"""`redqueen flag`: look at flags, change them or try a change first; tokens for the programs that read them.

Decides that a value is read as JSON where it is JSON and as text otherwise; that a change is made
from the revision that was just read, so that nobody's is overwritten. A flag's rules come from a
file. The region checks everything again. Enter at `flag`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say, show_json, show_table
from redqueen.cli.stopping import because_option
from redqueen.errors import InvalidInput, NotFound
from redqueen.experiments.flags import Flag, FlagKind, checked, kind_of
from redqueen.experiments.showing import variant_name


class Card(Flag, frozen=True, kw_only=True, forbid_unknown_fields=False, omit_defaults=False):
    """A flag as the API tells of it."""

    revision: int | None = None
    changed_at: str = ""
    by: str = ""
    trial: str | None = None


class Cards(msgspec.Struct, frozen=True):
    """All of them."""

    flags: tuple[Card, ...]


class Started(msgspec.Struct, frozen=True):
    """An experiment as far as it is told here."""

    name: str
    trial: str


@click.group()
def flag() -> None:
    """Look at flags and change them, or try a change on some viewers first.

    \b
    Example:
      redqueen flag set greeting hello
    """


@flag.command("list")
@data_option
@json_option
def every(data_dir: Path, as_json: bool) -> None:
    """List the flags.

    \b
    Example:
      redqueen flag list
    """
    with ApiClient.local(data_dir) as api:
        cards = api.read("/flags", Cards).flags
    if as_json:
        show_json(cards)
    elif not cards:
        note("No flag is there yet: redqueen flag set KEY VALUE")
    else:
        rows = [
            [card.key, _shown(card.variants[card.default]), _state(card), len(card.rules), card.by, card.description]
            for card in cards
        ]
        show_table(["flag", "default", "state", "rules", "by", "description"], rows)


@flag.command()
@click.argument("key", metavar="KEY")
@data_option
@json_option
def show(key: str, data_dir: Path, as_json: bool) -> None:
    """Show a flag: its variants, its rules, who changed it.

    \b
    Example:
      redqueen flag show home.row_order
    """
    with ApiClient.local(data_dir) as api:
        card = api.read(f"/flags/{key}", Card)
    if as_json:
        show_json(card)
        return
    say(f"{card.key} ({card.kind.value}) is {_state(card)}: {card.default} = {_shown(card.variants[card.default])}")
    say(f"revision {card.revision} by {card.by} at {card.changed_at}; {card.description or 'no description'}")
    for name, value in card.variants.items():
        say(f"  {'*' if name == card.default else ' '} {name} = {_shown(value)}")
    for number, rule in enumerate(card.rules, 1):
        when = " and ".join(f"{one.attribute} {one.op.value} {_shown(list(one.values))}" for one in rule.when)
        say(f"  rule {number}: {rule.variant} when {when or 'always'}")


@flag.command("set")
@click.argument("key", metavar="KEY")
@click.argument("value", metavar="[VALUE]", required=False)
@click.option("--try", "trying", is_flag=True, help="Try it on some viewers first; keep it if it harms nobody.")
@click.option("--variant", default="", metavar="NAME", help="The value's name [default: after the value].")
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="The whole flag, as TOML.")
@click.option("--on/--off", "enabled", default=None, help="Switch it on, or off: then everybody gets the default.")
@click.option("--browser/--no-browser", "browser", default=None, help="Whether viewers' browsers may read it.")
@because_option
@data_option
@json_option
def put(
    key: str,
    value: str | None,
    trying: bool,
    variant: str,
    file: Path | None,
    enabled: bool | None,
    browser: bool | None,
    because: str,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Make VALUE the default of the flag KEY; make the flag where there is none.

    VALUE is JSON (true, 3, 0.5, {"a": 1}), or else text.

    \b
    Example:
      redqueen flag set player.start_rung 240 --try
      redqueen flag set shiny true --browser
      redqueen flag set shiny --off
    """
    with ApiClient.local(data_dir) as api:
        if trying:
            known = api.read(f"/flags/{key}", Card)
            _try(api, key, _given(value, known.kind), variant, because, as_json=as_json)
            return
        before = _known(api, key)
        card = _read(file, key, before) if file else _changed(before, key, value, variant)
        switches = {"enabled": enabled, "browser": browser}
        given = {name: switch for name, switch in switches.items() if switch is not None}
        wish = {**_body(msgspec.structs.replace(card, **given)), "because": because}
        answer = msgspec.convert(api.put(f"/flags/{key}", wish), Card)
    if as_json:
        show_json(answer)
    else:
        shown = _shown(answer.variants[answer.default])
        say(f"{answer.key} is {_state(answer)}: {answer.default} = {shown} (revision {answer.revision})")


@flag.command()
@click.argument("key", metavar="KEY")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
@json_option
def remove(key: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Forget a flag: whoever asks for it gets their own default. Shows it, and asks.

    \b
    Example:
      redqueen flag remove shiny --yes
    """
    with ApiClient.local(data_dir) as api:
        card = api.read(f"/flags/{key}", Card)
        if not yes:
            note(f"This removes {card.key}, now {_shown(card.variants[card.default])} for everybody without a rule")
            click.confirm("Remove it?", abort=True, err=True)
        # Only what was shown is removed: a change in between is refused.
        api.request("DELETE", f"/flags/{key}", params={"revision": card.revision})
    if as_json:
        show_json({"removed": key})
    else:
        say(f"removed {key}")


@flag.command()
@click.argument("name", metavar="NAME")
@click.option("--revoke", is_flag=True, help="Void all tokens of NAME instead.")
@data_option
@json_option
def token(name: str, revoke: bool, data_dir: Path, as_json: bool) -> None:
    """Print a token with which the program NAME reads flags by OFREP, and nothing else.

    \b
    Example:
      redqueen flag token checkout
      redqueen flag token checkout --revoke
    """
    with ApiClient.local(data_dir) as api:
        if revoke:
            api.delete(f"/flag-tokens/{name}")
            answer: dict[str, str] = {"revoked": name}
        else:
            answer = api.post("/flag-tokens", {"name": name})
    if as_json:
        show_json(answer)
        return
    say(f"revoked {name}" if revoke else answer["token"])
    if not revoke:
        note("It is shown only now; send it as Authorization: Bearer, or as X-API-Key")


@flag.command()
@data_option
@json_option
def tokens(data_dir: Path, as_json: bool) -> None:
    """List the programs that may read flags.

    \b
    Example:
      redqueen flag tokens
    """
    with ApiClient.local(data_dir) as api:
        clients = api.get("/flag-tokens")["clients"]
    if as_json:
        show_json(clients)
    else:
        show_table(["client", "made", "by"], [[one["name"], one["made_at"], one["by"]] for one in clients])


def _try(api: ApiClient, key: str, value: Any, variant: str, because: str, *, as_json: bool) -> None:
    wish = {"value": value, "variant": variant, "because": because}
    started = msgspec.convert(api.post(f"/flags/{key}/try", wish), Started)
    if as_json:
        show_json(started)
    else:
        say(f"{key} is being tried; see: redqueen experiment show {started.name}")


def _known(api: ApiClient, key: str) -> Card | None:
    try:
        return api.read(f"/flags/{key}", Card)
    except NotFound:
        return None


def _changed(known: Card | None, key: str, value: str | None, variant: str) -> Card:
    """Return the flag with a value as its default; without one, as it is."""
    if value is None and known is not None:
        return known
    wanted = _given(value, known.kind if known else None)
    if known is None:
        kind = kind_of(wanted)
        if kind is None:
            raise InvalidInput("flag.value", f"{value} can be no flag's value", hint="Give text, a number or JSON")
        name = variant or variant_name(wanted)
        variants = {"on": True, "off": False} if kind is FlagKind.BOOLEAN and not variant else {name: wanted}
        return Card(key=key, kind=kind, variants=variants, default=name)
    same = [name for name, other in known.variants.items() if type(other) is type(wanted) and other == wanted]
    name = variant or (same[0] if same else variant_name(wanted))
    return msgspec.structs.replace(known, variants={**known.variants, name: wanted}, default=name)


def _given(value: str | None, kind: FlagKind | None) -> Any:
    """Return a value as the flag's kind wants it: of a text flag `240` is a text."""
    if value is None:
        raise InvalidInput("flag.value", "There is no value", hint="Give one: redqueen flag set KEY VALUE")
    try:
        told: Any = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
    if kind is FlagKind.STRING and not isinstance(told, str):
        return value
    return float(told) if kind is FlagKind.NUMBER and type(told) is int else told


def _read(file: Path, key: str, known: Card | None) -> Card:
    """Read a whole flag from a file, to be sent over what is there. Raises InvalidInput naming file and key."""
    try:
        told = msgspec.toml.decode(file.read_bytes())
        read = checked(msgspec.convert({"key": key, **told}, Flag), str(file))
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidInput("flag.file", f"{file} cannot be read", why=why, hint="Give a TOML file") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
        raise InvalidInput("flag.file", f"{file} is no flag: {error}", hint="See docs/experiments.md") from error
    if read.key != key:
        raise InvalidInput("flag.file", f"{file}: key = {read.key!r}", why=f"it must be {key}", hint="Change one")
    own = {name: getattr(read, name) for name in Flag.__struct_fields__}
    return Card(**own, revision=known.revision if known else None)


def _body(card: Card) -> dict[str, Any]:
    """Return what the API takes of a flag: all but its key, and the revision it was read at."""
    own = {name: getattr(card, name) for name in Flag.__struct_fields__ if name != "key"}
    return {**own, "revision": card.revision}


def _state(card: Card) -> str:
    if not card.enabled:
        return "off"
    return f"tried by {card.trial}" if card.trial else "on"


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
