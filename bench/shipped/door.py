"""A small service that every play passes, in five versions: what FAULT says is what its viewers feel.

Plain asyncio, no dependency: it is shipped as a maker would ship it. `fault_of` is the whole
difference between the versions; the benchmark uses the same function to say what another way of
rolling out would have done to the same viewers.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import time
from dataclasses import dataclass

FAULTS = ("none", "failures", "delay", "errors", "device")
TV = "SMART-TV"


@dataclass(frozen=True, slots=True)
class Felt:
    """What one request feels: the status, after how many seconds."""

    status: int = 200
    delay_s: float = 0.0


def fault_of(fault: str, viewer: str, agent: str, at_s: float, luck: random.Random) -> Felt:
    """Return what a version does to one request of a viewer at a moment (Unix time)."""
    match fault:
        case "failures":
            # One start in a hundred fails, and trying again at once does not help: twice the usual share.
            drawn = hashlib.sha256(f"{viewer} {at_s // 10:.0f}".encode()).digest()
            return Felt(503 if drawn[0] << 8 | drawn[1] < 655 else 200)
        case "delay":
            return Felt(delay_s=0.16 * luck.lognormvariate(0.0, 0.7))
        case "errors":
            return Felt(500 if luck.random() < 0.02 else 200)
        case "device":
            return Felt(delay_s=0.8 * luck.lognormvariate(0.0, 0.4) if TV in agent else 0.0)
        case _:
            return Felt()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    fault, luck = os.environ.get("FAULT", "none"), random.Random()  # noqa: S311 - luck, not a secret
    version = os.environ.get("REDQUEEN_VERSION", "")
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, _, rest = head.partition("\r\n")
            fields = dict(line.split(": ", 1) for line in rest.strip().split("\r\n") if ": " in line)
            headers = {name.lower(): value for name, value in fields.items()}
            felt = Felt()
            if not first.startswith("GET /health"):
                viewer = headers.get("x-rq-viewer", "")
                felt = fault_of(fault, viewer, headers.get("user-agent", ""), time.time(), luck)
            await asyncio.sleep(felt.delay_s)
            reason = "OK" if felt.status == 200 else "Broken"
            told = f"server-timing: fault;dur={felt.delay_s * 1000:.3f}\r\nx-version: {version}"
            writer.write(f"HTTP/1.1 {felt.status} {reason}\r\n{told}\r\ncontent-length: 2\r\n\r\nok".encode())
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve where the region says until it says SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    server = await asyncio.start_server(answer, os.environ["HOST"], int(os.environ["PORT"]))
    await over.wait()
    server.close()
    # What was begun is answered: a request waits for seconds at most.
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main())
