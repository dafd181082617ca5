"""Run the node whose spec file is the one argument."""

import sys
from pathlib import Path

# httpx imports a command line of its own where rich and click are installed, which costs a node
# half of its start; None makes that import fail, which httpx allows for.
sys.modules["httpx._main"] = None  # type: ignore[assignment]

from redqueen.roles.node import serve_node  # noqa: E402 - after the line above, on purpose

if __name__ == "__main__":
    serve_node(Path(sys.argv[1]))
