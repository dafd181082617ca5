"""Where the built web app lies that an api node serves."""

from __future__ import annotations

from pathlib import Path

from redqueen.api.packaged import PACKAGED_APP

_BUILT_APP = Path(__file__).parents[3] / "web" / "dist"
"""Where it is built in a checkout."""


def installed_app() -> Path:
    """Return the folder of the web app of this very code: packaged with it, or built in the checkout."""
    return PACKAGED_APP if PACKAGED_APP.is_dir() else _BUILT_APP


def app_of(edition: str) -> Path:
    """Return the folder of an edition's web app; empty: the installed one."""
    return Path(edition) if edition else installed_app()
