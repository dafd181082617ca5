"""examples/ship.yml: its step, run by the shell that a runner would use, with what a runner would give it."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parents[3] / "examples" / "ship.yml"
TITLE = 'Faster carts"; touch hacked; $(touch hacked) `touch hacked`'


def step() -> tuple[str, set[str]]:
    """Return the shell's lines, and the names that its environment gives."""
    text = WORKFLOW.read_text()
    environment, _, script = text[text.index("- name: Ship it") :].partition("run: |\n")
    assert "${{" not in script, "what a stranger wrote must not become a part of the script"
    return textwrap.dedent(script), set(re.findall(r"^ {10}([A-Z_]+): ", environment, re.MULTILINE))


@pytest.mark.parametrize("code", [0, 10])
def test_the_step_ships_with_the_secret_ends_as_the_verdict_does_and_leaves_nothing_behind(
    tmp_path: Path, code: int
) -> None:
    script, names = step()
    (tmp_path / "bin").mkdir()
    said, data = tmp_path / "said", tmp_path / "runner" / "region"
    command = tmp_path / "bin" / "redqueen"
    command.write_text(
        "#!/bin/sh\n"
        f'stat -c %a "$REDQUEEN_DATA/credentials.json" >> {said}\ncat "$REDQUEEN_DATA/credentials.json" >> {said}\n'
        f'printf "\\n" >> {said}\nfor one in "$@"; do printf "%s\\n" "$one" >> {said}; done\nexit {code}\n'
    )
    command.chmod(0o755)
    given = {
        "REDQUEEN_CREDENTIALS": '{"address": "http://region", "token": "a secret"}',
        "REDQUEEN_DATA": str(data),
        "TITLE": TITLE,
        "NUMBER": "7",
    }
    assert names == set(given)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    # As the runner does it: bash -e FILE.
    (tmp_path / "step.sh").write_text(script)
    done = subprocess.run(["bash", "-e", "step.sh"], cwd=tmp_path, env={**given, "PATH": path}, check=False)
    assert done.returncode == code
    assert said.read_text().splitlines() == [
        "600", given["REDQUEEN_CREDENTIALS"], "ship", ".", "--because", f"#7 {TITLE}"
    ]  # fmt: skip
    assert not data.exists() and not (tmp_path / "hacked").exists()


def test_only_what_was_merged_is_shipped_and_one_after_the_other() -> None:
    text = WORKFLOW.read_text()
    assert "if: github.event.pull_request.merged == true" in text
    assert "cancel-in-progress: false" in text and "ref: ${{ github.event.pull_request.merge_commit_sha }}" in text
