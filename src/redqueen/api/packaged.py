"""Where the web app lies that is part of an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PACKAGED_APP: Final = Path(__file__).with_name("app")
