"""What httpx does at each start and does not need here is spared: its own command line, 40 ms of every client.

Imported before httpx by whatever starts often: httpx imports a command line of its own (with click, rich
and pygments) where these are installed; None makes that import fail, which httpx allows for. And each of
its clients reads the machine's certificate authorities, also one that speaks plain HTTP alone.
Enter at `trust`.
"""

from __future__ import annotations

import ssl
import sys

sys.modules["httpx._main"] = None  # type: ignore[assignment]


def trust(address: str = "http:") -> ssl.SSLContext | bool:
    """Return what a client of `address` is told to verify by: nobody's certificate over plain HTTP, else as usual."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if address.startswith("http:") else True
