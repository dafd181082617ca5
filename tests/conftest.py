"""Fixtures for every test: the event loop's kind, and the folder of real films."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure: examples are bounded in number, not in time.
settings.register_profile("redqueen", deadline=None)
settings.load_profile("redqueen")

FILMS = Path(os.environ.get("REDQUEEN_TEST_FILMS", Path(__file__).parents[2] / "shared" / "media"))


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, as the product does."""
    return "asyncio"


@pytest.fixture
def films() -> Path:
    """Give the folder of real films, or skip the test plainly where it is absent."""
    if not FILMS.is_dir():
        pytest.skip(f"no real films in {FILMS} (set REDQUEEN_TEST_FILMS)")
    return FILMS
