"""What telemetry asks of the rest: which arms a viewer is in, and where Parquet files are kept.

`Assignment` is answered by whoever runs the trials, from memory: a grant waits for nobody. Enter
at `Assignment` and `Shelf`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AssignedViewer:
    """What assignment may know of a viewer."""

    key: int
    """64 bits, see `redqueen.viewers`."""
    device: str = "other"
    zone: str = ""
    country: str = ""
    returning: bool = False


class Assignment(Protocol):
    """The trials that viewers are assigned to by api nodes: flags and A/A; releases are the gateways'."""

    def arms(self, viewer: AssignedViewer) -> Mapping[str, str]:
        """Return the viewer's arm by trial, for each running trial that it is in; never blocks."""
        ...


class Unassigned:
    """The assignment of a region in which nothing is tried."""

    def arms(self, viewer: AssignedViewer) -> Mapping[str, str]:
        """Return that the viewer is in no trial."""
        return {}


class Shelf(Protocol):
    """Where Parquet files are kept, under keys such as `events/date=…/hour=…/….parquet`."""

    async def put_file(self, key: str, path: Path) -> None:
        """Store a file, which is gone afterwards; the same key again replaces it."""
        ...

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Give a path from which the file may be read. Raises NotFound."""
        ...

    def list(self, prefix: str) -> AsyncIterator[str]:
        """Give the keys that begin with the folder `prefix`, in no particular order."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a file; no error when there is none."""
        ...

    async def delete_all(self, prefix: str) -> None:
        """Remove every file under the folder `prefix`; no error when there is none."""
        ...
