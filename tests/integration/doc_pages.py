"""The documentation as data: pages, their blocks, tables and links.

Decides what of a page is run: every block marked ```sh; `sh skip` is shown only, and so is every
other language. Enter at `pages`, `Page.script` and `Page.tables`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(?P<language>\w*)[ ]?(?P<how>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, what stands behind that, the line it begins at, its text."""

    language: str
    how: str
    line: int
    text: str

    @property
    def runs(self) -> bool:
        """Tell whether the block is to be run."""
        return self.language == "sh" and self.how == ""


@dataclass(frozen=True, slots=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Return the path below the repository."""
        return self.path.relative_to(REPOSITORY).as_posix()

    @property
    def text(self) -> str:
        """Return what is written."""
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        """Return the fenced blocks in order."""
        text = self.text
        return [
            Block(found["language"], found["how"].strip(), text.count("\n", 0, found.start()) + 1, found["text"])
            for found in _FENCE.finditer(text)
        ]

    @property
    def script(self) -> str:
        """Return one shell script of all blocks that run, each announced by its line; empty without any."""
        parts = [f"echo '--- {self.name}:{block.line}' >&2\n{block.text}" for block in self.blocks if block.runs]
        return "\n".join(parts)

    @property
    def prose(self) -> str:
        """Return the page without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """Return the targets of all links and pictures."""
        return [found["target"] for found in _LINK.finditer(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """Return the names that the page's headings can be linked by."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}

    @property
    def tables(self) -> list[list[str]]:
        """Return every table's rows as cells without their backticks, heads and rulers left out."""
        rows = [line.strip("|\n").split("|") for line in self.prose.splitlines() if line.startswith("| `")]
        return [[cell.strip() for cell in row] for row in rows]


def pages() -> list[Page]:
    """Return the README and the pages of docs/, those that end their region last."""
    found = [Page(REPOSITORY / "README.md"), *(Page(path) for path in sorted((REPOSITORY / "docs").glob("*.md")))]
    return sorted(found, key=lambda page: "redqueen down" in page.script)


def page(name: str) -> Page:
    """Return the page of docs/ with this name."""
    return Page(REPOSITORY / "docs" / name)
