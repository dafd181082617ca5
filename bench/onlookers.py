"""Viewers who ask for a service again and again, to see when the first of them meets its new version.

With a few plays a second and a slice of 5%, the first play of the slice comes seconds after gateways
began to send it there: that wait is the audience's, not the ship's. So these many viewers, who keep
their cookies, each ask once a second beside the plays, until one is answered by another version than
the one before. They tell no telemetry. Enter at `first_answer`.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from urllib.parse import urlsplit

COUNT = 80
_TIMEOUT_S = 10.0


def first_answer(base: str, path: str, over: Callable[[], bool]) -> float | None:
    """Return the Unix time of the first answer of a version that did not answer first; None: `over` before."""
    place = urlsplit(base)
    line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT_S)
    cookies, known, number = [""] * COUNT, "", 0
    try:
        while not over():
            due = time.monotonic() + 1.0 / COUNT
            try:
                line.request("GET", path, headers={"Cookie": cookies[number]} if cookies[number] else {})
                answer = line.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                line.close()
                time.sleep(0.1)
                continue
            version = answer.getheader("x-version", "")
            if known and version not in ("", known):
                return time.time()
            known = known or version
            cookies[number] = (answer.getheader("set-cookie") or cookies[number]).partition(";")[0]
            number = (number + 1) % COUNT
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        line.close()
    return None
