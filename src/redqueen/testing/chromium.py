"""How tests, benchmarks and pictures start a headless Chromium: where it is, and with which flags.

It needs no network and may play with sound unasked. Enter at `EXECUTABLE` and `FLAGS`.
"""

from __future__ import annotations

import shutil

EXECUTABLE = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    # A container's root cannot have Chromium's own sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Without these it asks the maker's servers for updates at each start.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
