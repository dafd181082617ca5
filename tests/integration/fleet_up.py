"""`run_region` as a process of its own, over tiny nodes: the gateways answer the health check on the public port."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
from fleet_region import Board, Ears

from redqueen.cli.picture import Lines
from redqueen.cli.serving import Running, run_region
from redqueen.config import Region
from redqueen.fleet.declared import Wishes
from redqueen.fleet.opening import Opening
from redqueen.fleet.ports import SupervisorPorts

NODE = """
import http.server, json, os, pathlib, socketserver, sys, time
path = pathlib.Path(sys.argv[-1])
spec = json.loads(path.read_bytes())
if spec["role"] == "gateway":
    from redqueen.processes import identify
    envoy = {"pid": os.getpid(), "started_s": identify(os.getpid()).started_s}
    (path.parent / "envoy.json").write_text(json.dumps(envoy))
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
    class Server(socketserver.TCPServer):
        allow_reuse_address = allow_reuse_port = True
    server = Server((spec["public_host"], spec["public_port"]), Health)
(path.parent / "ready.json").write_text(json.dumps({"pid": os.getpid()}))
server.serve_forever() if spec["role"] == "gateway" else time.sleep(120)
"""


class Asked:
    """Nobody wishes for anything."""

    async def read(self) -> Wishes:
        return Wishes()


class Parts:
    """A composition root whose stores are in memory."""

    async def prepare(self, data_dir: Path, region: Region, public_url: str) -> None:
        credentials = {"address": public_url, "token": "t"}
        (data_dir / "credentials.json").write_text(json.dumps(credentials))

    def make_supervisor_ports(self, data_dir: Path) -> SupervisorPorts:
        async def close() -> None:
            sys.stdout.write("closed\n")

        return SupervisorPorts(Asked(), Board(), Ears(), close)

    def make_samples(self, data_dir: Path) -> None:
        sys.stdout.write(f"samples in {data_dir}\n")
        raise OSError("no films today")


def argv(spec_path: Path) -> list[str]:
    return [sys.executable, "-c", NODE, str(spec_path)]


def main(data_dir: Path, port: int | None) -> None:
    def serving(opening: Opening) -> None:
        sys.stdout.write(f"serves at {opening.public_url}\n")

    with (data_dir.parent / "events.log").open("a") as log:
        anyio.run(run_region, data_dir, port, Running(Parts(), Lines(), log, serving, argv))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
