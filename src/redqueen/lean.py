"""What httpx does at each start and does not need here is spared: its own command line, 40 ms of every client.

Imported before httpx by whatever starts often: httpx imports a command line of its own (with click, rich
and pygments) where these are installed; None makes that import fail, which httpx allows for. And each of
its clients reads the machine's certificate authorities, also one that speaks plain HTTP alone. And
Python's collector stops a process for 90 ms to see that all it ever loaded is still in use.
Enter at `trust` and `loading`.
"""

from __future__ import annotations

import gc
import ssl
import sys
from collections.abc import Generator
from contextlib import contextmanager

sys.modules["httpx._main"] = None  # type: ignore[assignment]


def trust(address: str = "http:") -> ssl.SSLContext | bool:
    """Return what a client of `address` is told to verify by: nobody's certificate over plain HTTP, else as usual."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if address.startswith("http:") else True


@contextmanager
def loading() -> Generator[None]:
    """Spare what is loaded by the block's end every later collection of garbage: it lives as long as the process.

    From then on garbage is looked for after 10,000 new objects, not 700.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()
