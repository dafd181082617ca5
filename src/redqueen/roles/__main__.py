"""Run the node whose spec file is the one argument."""

import sys
from pathlib import Path

from redqueen.roles.node import serve_node

if __name__ == "__main__":
    serve_node(Path(sys.argv[1]))
