"""Run the node whose spec file is the one argument."""

import sys
from pathlib import Path

import redqueen.lean  # noqa: F401 # pyright: ignore[reportUnusedImport] - comes before httpx on purpose
from redqueen.roles.node import serve_node

if __name__ == "__main__":
    serve_node(Path(sys.argv[1]))
