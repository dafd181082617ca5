"""A service in plain Python: greets, counts, says where it runs, and leaves politely."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = os.environ.get("GREETING", "Hello")
# What a release says under [flags]; other programs read the region's flags by OFREP.
FLAGS = json.loads(os.environ.get("FLAGS", "{}"))
WISH = ", and welcome" if FLAGS.get("hello.polite") else ""
ABOUT = {name: os.environ.get(f"REDQUEEN_{name.upper()}", "") for name in ("node", "zone", "version")}


class Handler(BaseHTTPRequestHandler):
    """Answers every request at once."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer the health check, or greet."""
        if self.path == "/health":
            self.answer(200, {"status": "well"})
        else:
            self.answer(200, {"greeting": f"{GREETING} from Python{WISH}", "path": self.path, **ABOUT})

    def answer(self, status: int, body: dict[str, str]) -> None:
        """Send one JSON body."""
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the gateway writes one line a request already."""


class Server(ThreadingHTTPServer):
    """Finishes what it has begun before it ends."""

    daemon_threads = False
    block_on_close = True


def main() -> None:
    """Serve where the region says until it says SIGTERM."""
    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
    # shutdown() waits for the loop, which must not be this thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{ABOUT['node']} greets on port {os.environ['PORT']}", flush=True)  # noqa: T201 - its log
    server.serve_forever(poll_interval=0.1)
    print("bye", flush=True)  # noqa: T201 - its log
    # Idle keep-alive connections would hold the threads; every request begun is answered by now.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
