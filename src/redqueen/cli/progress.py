"""How a verb shows that something goes on: a bar on a terminal, plain lines elsewhere, or nothing.

Decides the form once; verbs only say what has begun, how far it is and that it is over. Refuses
control characters: names of films come from strangers. Writes to standard error only.
Enter at `shower`.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from redqueen.cli.output import note


class Shower(Protocol):
    """A place to show progress; a context manager."""

    def __enter__(self) -> Shower:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen as it is."""
        ...

    def show(self, label: str, fraction: float, detail: str = "") -> None:
        """Show that `label` is done by `fraction` (0..1)."""
        ...


def shower(*, quiet: bool) -> Shower:
    """Choose: nothing when `quiet`, a bar on a terminal, lines elsewhere."""
    if quiet:
        return Quiet()
    return Bar() if sys.stderr.isatty() else Lines()


def printable(text: str) -> str:
    """Replace what would move the cursor, hide or turn text around."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Quiet:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def show(self, label: str, fraction: float, detail: str = "") -> None:
        """Show nothing."""


class Lines(Quiet):
    """Prints one line at the beginning of each tenth."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def show(self, label: str, fraction: float, detail: str = "") -> None:
        """Print a line when another tenth is reached."""
        tenth = int(fraction * 10 + 1e-9)
        if tenth > self._shown.get(label, -1):
            self._shown[label] = tenth
            note(f"{printable(label)}: {fraction:.0%} {detail}".rstrip())


class Bar(Quiet):
    """Draws a bar for each label."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}% {task.fields[detail]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bar:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; the bars stay."""
        self._progress.stop()

    def show(self, label: str, fraction: float, detail: str = "") -> None:
        """Move the label's bar."""
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(escape(printable(label)), total=1.0, detail="")
        self._progress.update(self._tasks[label], completed=fraction, detail=escape(detail))
