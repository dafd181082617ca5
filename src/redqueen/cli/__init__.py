"""The command line: one file a verb."""

import redqueen.lean  # noqa: F401 # pyright: ignore[reportUnusedImport] - comes before httpx on purpose
