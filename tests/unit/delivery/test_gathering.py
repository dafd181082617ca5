"""Which files of a folder are shipped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from redqueen.delivery.gathering import gathered
from redqueen.delivery.ignoring import ignored, read
from redqueen.delivery.manifest import Manifest
from redqueen.errors import InvalidInput


def shop(**fields: Any) -> Manifest:
    return Manifest("shop", "me", command=("run",), **fields)


def tree(folder: Path, *paths: str) -> Path:
    for path in ("redqueen.toml", *paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    return folder


def test_what_gitignore_leaves_out_stays_behind_and_include_brings_it_back(tmp_path: Path) -> None:
    tree(
        tmp_path, "run", "dist/app.js", "dist/map/a", "node_modules/x/i.js", "logs/a.log", "logs/keep.log", "deep/b.tmp"
    )
    (tmp_path / ".gitignore").write_text("dist/\nnode_modules\n*.log\n!keep.log\n# a comment\n\n")
    (tmp_path / "deep" / ".gitignore").write_text("*.tmp\n")
    left = [".gitignore", "deep/.gitignore", "logs/keep.log", "redqueen.toml", "run"]
    assert gathered(tmp_path, shop()) == left
    assert gathered(tmp_path, shop(include=("dist/",))) == sorted([*left, "dist/app.js", "dist/map/a"])
    assert gathered(tmp_path, shop(include=("app.js",))) == sorted([*left, "dist/app.js"])
    assert gathered(tmp_path, shop(include=("dist/",), exclude=("dist/map",))) == sorted([*left, "dist/app.js"])


def test_what_no_service_runs_from_is_never_shipped(tmp_path: Path) -> None:
    tree(tmp_path, ".git/config", "a/__pycache__/m.pyc", "b.pyc", ".venv/bin/python", "src/main.py")
    assert gathered(tmp_path, shop(include=(".git", "*.pyc"))) == ["redqueen.toml", "src/main.py"]


def test_a_link_to_a_file_within_is_that_file_and_every_other_link_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "lib/real.js")
    (tmp_path / "bin.js").symlink_to("lib/real.js")
    assert gathered(tmp_path, shop()) == ["bin.js", "lib/real.js", "redqueen.toml"]
    for name, target, why in (
        ("out", "/etc/hosts", "leads out"),
        ("up", "../..", "leads out"),
        ("none", "nowhere", "link to nothing"),
        ("lib2", "lib", "link to a folder"),
    ):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(InvalidInput, match=f"'{name}' cannot be shipped.*{why}") as caught:
            raise_all(tmp_path)
        assert "xclude it" in caught.value.hint
        (tmp_path / name).unlink()


def raise_all(folder: Path) -> None:
    try:
        gathered(folder, shop())
    except InvalidInput as error:
        raise InvalidInput(error.code, str(error), hint=error.hint) from error


def test_pipes_are_refused_and_ignored_ones_are_not_looked_at(tmp_path: Path) -> None:
    os.mkfifo(tree(tmp_path) / "pipe")
    with pytest.raises(InvalidInput, match="'pipe' cannot be shipped"):
        gathered(tmp_path, shop())
    assert gathered(tmp_path, shop(exclude=("pipe",))) == ["redqueen.toml"]


def test_a_manifest_that_is_ignored_or_a_folder_that_is_not_shipped_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "dist/index.html")
    (tmp_path / ".gitignore").write_text("dist\n")
    with pytest.raises(InvalidInput, match=r"directory = 'dist': no file of this folder is shipped"):
        gathered(tmp_path, shop(directory="dist"))
    assert "dist/index.html" in gathered(tmp_path, shop(directory="dist", include=("dist",)))
    with pytest.raises(InvalidInput, match="is not among what is shipped"):
        gathered(tmp_path, shop(exclude=("*.toml",)))


NAMES = some.sampled_from(["a", "b", "ab", "a.log", "b.log", ".x", "a b"])
PATHS = some.lists(NAMES, min_size=1, max_size=3).map("/".join)
PATTERNS = some.one_of(
    PATHS,
    some.sampled_from(
        """* | *.log | /a | a/ | /a/ | **/a | a/** | a/**/b | !a | !*.log | ? | [ab] | [!a] | [a-b].log | #a | \\#a |
        a\\ b | a* | *b | !/a/b | ** | a/* | b  | \\!a | a/**/ | **/b/a""".replace("\n        ", " ").split(" | ")
    ),
)


@settings(max_examples=25, deadline=None)
@given(paths=some.lists(PATHS, min_size=4, max_size=8, unique=True), lines=some.lists(PATTERNS, min_size=1, max_size=4))
def test_patterns_mean_what_they_mean_to_git(paths: list[str], lines: list[str], tmp_path_factory: Any) -> None:
    folder: Path = tmp_path_factory.mktemp("tree")
    for path in paths:
        made = folder / path
        if any(parent.is_file() for parent in made.parents if parent.is_relative_to(folder)) or made.is_dir():
            continue
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text("")
    (folder / ".gitignore").write_text("\n".join(lines) + "\n!.gitignore\n!redqueen.toml\n")
    (folder / "redqueen.toml").write_text("")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    git = ["git", "-c", "core.excludesFile=", "ls-files", "-z", "--others", "--exclude-standard"]
    told = subprocess.run(git, cwd=folder, check=True, capture_output=True, text=True).stdout
    assert gathered(folder, shop()) == sorted(path for path in told.split("\0") if path)


def test_a_pattern_that_cannot_be_read_means_nothing() -> None:
    assert not ignored("a", read(["[z-a]"]), folder=False)
