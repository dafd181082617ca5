"""The command `redqueen`: its verbs, and how failures leave it.

Decides that a verb's module is imported only when that verb is asked for, so that each starts
quickly; that every RedQueenError ends as one red line (or JSON with `--json`) and its exit code;
that Ctrl-C ends quietly with 130. Enter at `main`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import click

from redqueen import __version__
from redqueen.cli.output import show_error
from redqueen.errors import InvalidInput, RedQueenError


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb's command is, and its line in the help."""

    module: str
    command: str
    summary: str


VERBS: Final = {
    "up": Verb("redqueen.cli.up", "up", "Start a region on this machine and keep it running."),
    "down": Verb("redqueen.cli.down", "down", "End every process of a region."),
    "status": Verb("redqueen.cli.status", "status", "Show the region's nodes by zone."),
    "publish": Verb("redqueen.cli.publish", "publish", "Upload films and have them encoded."),
    "titles": Verb("redqueen.cli.titles", "titles", "List the titles and their state."),
    "play-link": Verb("redqueen.cli.play_link", "play_link", "Print an address that ffplay or VLC plays."),
    "sign-in": Verb("redqueen.cli.sign_in", "sign_in", "Print a one-time sign-in address for the owner."),
    "node": Verb("redqueen.cli.node", "node", "Kill a node, to see that nobody notices."),
    "service": Verb("redqueen.cli.service", "service", "Run any HTTP service as part of the region."),
    "ship": Verb("redqueen.cli.ship", "ship", "Try a new version on some viewers; promote it or roll it back."),
    "rollback": Verb("redqueen.cli.rollback", "rollback", "Go back to the version before."),
    "releases": Verb("redqueen.cli.releases", "releases", "List what was shipped and what became of it."),
    "flag": Verb("redqueen.cli.flag", "flag", "Look at flags, change them, or try a change first."),
    "experiment": Verb("redqueen.cli.experiment", "experiment", "Test variants of a flag on viewers."),
    "trial": Verb("redqueen.cli.trial", "trial", "See what is tried on viewers, and what they say."),
    "logs": Verb("redqueen.cli.logs", "logs", "Show what the nodes have logged."),
    "token": Verb("redqueen.cli.token", "token", "Print the token of an owner of names in the registries."),
    "doctor": Verb("redqueen.cli.doctor", "doctor", "Check what this machine offers."),
}


class Verbs(click.Group):
    """A group that imports a verb's module when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        return cast("click.Command", getattr(importlib.import_module(verb.module), verb.command))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])


_EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 a fault of Red Queen's; 2 what was asked cannot be; 3 no right to it; 4 it is not there; "
    "5 somebody changed it meanwhile; 6 a disk or a limit is full; 7 it does not answer; 130 Ctrl-C. Whatever "
    "follows a trial ends with its verdict: 0 promoted, 10 rolled back, 11 inconclusive, 12 stopped, 13 failed."
)


@click.group(
    cls=Verbs, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="redqueen")
def redqueen() -> None:
    """Run a streaming service that keeps playing while its servers die.

    \b
    Example:
      redqueen up
      redqueen publish film.mp4 --wait playable
    """


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        result: object = redqueen.main(args=list(args), prog_name="redqueen", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return 0
    except click.ClickException as error:
        return _usage(error, as_json=_wants_json(args))
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        return 130
    except RedQueenError as error:
        show_error(error, as_json=_wants_json(args))
        return error.exit_code
    except BaseExceptionGroup as group:
        return _grouped(group, args)
    return result if isinstance(result, int) else 0


def _grouped(group: BaseExceptionGroup[BaseException], args: Sequence[str]) -> int:
    """Show the error that a task group wrapped; anything else is a defect and keeps its traceback."""
    error = _leaf(group)
    if isinstance(error, KeyboardInterrupt):
        return 130
    if not isinstance(error, RedQueenError):
        raise group
    show_error(error, as_json=_wants_json(args))
    return error.exit_code


def _leaf(error: BaseException) -> BaseException:
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _leaf(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _usage(error: click.ClickException, *, as_json: bool) -> int:
    if not as_json:
        error.show()
        return error.exit_code
    verb = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "redqueen"
    show_error(InvalidInput("cli.usage", error.format_message(), hint=f"See: {verb} --help"), as_json=True)
    return error.exit_code


def _wants_json(args: Sequence[str]) -> bool:
    options = list(args)
    return "--json" in options[: options.index("--")] if "--" in options else "--json" in options


def main() -> None:
    """Run this process's command line and exit."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
