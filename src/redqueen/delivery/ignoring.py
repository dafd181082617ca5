"""Patterns as in .gitignore: which files of a folder stay behind.

The last pattern that matches decides; those of deeper folders come later. `*` and `?` stop at `/`,
`**` does not; a pattern with a `/` before its end is anchored at its folder; one that ends with `/`
means folders only; `!` takes back. Pure. Source: gitignore(5). Enter at `read` and `ignored`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line, compiled; it speaks of paths relative to the root, `/` between names."""

    regex: re.Pattern[str]
    negated: bool
    folders_only: bool


def read(lines: Iterable[str], folder: str = "") -> list[Pattern]:
    """Compile the lines of the ignore file that lies in `folder` (relative to the root; empty: the root)."""
    found: list[Pattern] = []
    for raw in lines:
        pattern = _compiled(raw.rstrip("\r\n"), folder)
        if pattern is not None:
            found.append(pattern)
    return found


def ignored(path: str, patterns: Sequence[Pattern], *, folder: bool) -> bool:
    """Tell whether the last pattern that matches a path leaves it out."""
    for pattern in reversed(patterns):
        if (folder or not pattern.folders_only) and pattern.regex.fullmatch(path):
            return not pattern.negated
    return False


def _compiled(line: str, folder: str) -> Pattern | None:
    # Trailing spaces do not count unless a backslash keeps them.
    line = re.sub(r"(?<!\\)[ \t]+$", "", line)
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    line = line[1:] if negated else line
    folders_only = line.endswith("/")
    line = line.rstrip("/") if folders_only else line
    if not line:
        return None
    anchored = "/" in line
    line = line.lstrip("/")
    start = re.escape(folder) + "/" if folder else ""
    try:
        regex = re.compile(start + ("" if anchored else "(?:.*/)?") + _translated(line))
    except re.error:
        return None  # git leaves out what it cannot read, too
    return Pattern(regex, negated, folders_only)


def _translated(pattern: str) -> str:
    made, at = "", 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**/") and (at == 0 or pattern[at - 1] == "/"):
            made, at = made + "(?:.*/)?", at + 3
        elif rest == "**" and at and pattern[at - 1] == "/":
            made, at = made + ".+", at + 2
        elif rest[0] == "*":
            width = len(rest) - len(rest.lstrip("*"))
            made, at = made + "[^/]*", at + width
        elif rest[0] == "?":
            made, at = made + "[^/]", at + 1
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            inside = rest[1:end].replace("\\", "\\\\")
            inside = "^" + inside[1:] if inside[0] in "!^" else inside
            made, at = f"{made}(?!/)[{inside}]", at + end + 1
        elif rest[0] == "\\" and len(rest) > 1:
            made, at = made + re.escape(rest[1]), at + 2
        else:
            made, at = made + re.escape(rest[0]), at + 1
    return made
