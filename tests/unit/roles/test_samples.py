"""A region makes sample titles unless its settings say otherwise."""

from pathlib import Path

import pytest

from redqueen.roles.samples import make_samples

pytestmark = pytest.mark.anyio


async def test_a_region_that_wants_no_samples_makes_none_and_opens_no_store(tmp_path: Path) -> None:
    (tmp_path / "redqueen.toml").write_text("samples = false\n")
    await make_samples(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["redqueen.toml"]
