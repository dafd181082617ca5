"""What a node or a command does not use is not loaded before it serves: a new version's first viewer waits for that."""

from __future__ import annotations

import subprocess
import sys

import pytest

EVERYTHING = ("scipy", "numpy", "duckdb", "litestar", "granian", "jwt", "sqlite3", "rich", "redqueen.gateway")
START = {"redqueen.roles": "__main__", "redqueen.cli": "main"}
"""What a process of each package imports first."""
UNUSED = {
    "redqueen.roles.service": EVERYTHING,
    "redqueen.roles.registry": EVERYTHING,
    "redqueen.roles.worker": ("scipy", "numpy", "duckdb", "litestar", "granian", "jwt", "redqueen.gateway"),
    "redqueen.roles.gateway": ("scipy", "numpy", "duckdb", "litestar", "granian", "rich"),
    "redqueen.roles.control": ("scipy", "duckdb", "litestar", "granian", "jwt", "rich"),
    "redqueen.roles.api": ("scipy", "duckdb", "rich"),
    "redqueen.cli.ship": ("scipy", "numpy", "duckdb", "litestar", "pygments"),
}


@pytest.mark.parametrize("module", UNUSED)
def test_nothing_is_loaded_that_is_not_used_from_the_start(module: str) -> None:
    package = module.rpartition(".")[0]
    loading = f"import sys, {package}.{START[package]}, {module}"
    names = f"{loading}; print(*(name for name, found in sys.modules.items() if found))"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not [name for name in UNUSED[module] if name in loaded]
