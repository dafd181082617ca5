"""What every job of the studio works with: engines, objects, memory, and a scratch folder of its own.

Scratch lies on the same disk as the objects, so that what is made there is moved, not copied. A killed
worker's leftovers are removed when a worker of the same name starts. Enter at `Workbench`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from redqueen.errors import Conflict
from redqueen.processes import Completed, Confinement, run
from redqueen.store.ports import Objects
from redqueen.studio.engines import Engines
from redqueen.studio.fragments import disk_full
from redqueen.studio.ledger import Ledger

_FULL = (b"No space left on device", b"Disk quota exceeded", b"File too large")


@dataclass(frozen=True, slots=True)
class Workbench:
    """The tools of a job."""

    engines: Engines
    objects: Objects
    ledger: Ledger
    scratch: Path

    @contextmanager
    def folder(self) -> Generator[Path]:
        """Give an empty folder that is gone afterwards."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.scratch, ignore_cleanup_errors=True) as name:
            yield Path(name)

    def clear(self) -> None:
        """Remove what an earlier life left in scratch."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    async def check_wanted(self, title_id: str) -> None:
        """Raise Conflict (`studio.title_gone`) when the title was deleted: nothing more is stored of it then."""
        if await self.ledger.title(title_id) is None:
            raise Conflict("studio.title_gone", f"The title {title_id} was deleted", hint="Stop working on it")

    async def engine(
        self, argv: Sequence[str], *, read: Sequence[Path], write: Path, timeout_s: float, niceness: int = 10
    ) -> Completed:
        """Run an engine that reads `read` and writes into the folder `write`. Raises Exhausted on a full disk."""
        limits = Confinement(read=tuple(read), write=(write,), cpu_s=int(timeout_s) * 4, niceness=niceness)
        done = await run(argv, timeout_s=timeout_s, limits=limits, cwd=write)
        if done.exit_code != 0 and any(said in done.stderr for said in _FULL):
            raise disk_full()
        return done


def said(done: Completed) -> str:
    """Return the last thing an engine said, short, for people."""
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return f"exit code {done.exit_code}: {lines[-1][:200]}" if lines else f"exit code {done.exit_code}"


def innermost(error: Exception) -> Exception:
    """Return the first error inside groups of errors."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error
