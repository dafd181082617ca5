"""Writes down what a benchmark found: a table for people, one JSON file for the record.

Decides the form of `bench/results/<name>.json`: the claim, each bar with its limit and whether it
was met, all figures, and where they were measured (machine, commit, date), so that a figure can
be judged later. Refuses nothing. Enter at `publish`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise: `value` must be at most `limit`."""

    what: str
    value: float
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Tell whether the promise was kept (a figure that is not a number keeps none)."""
        return self.value <= self.limit


def publish(
    name: str, claim: str, bars: Sequence[Bar], figures: Mapping[str, Any], *, settings: Mapping[str, Any]
) -> int:
    """Print the table, write the JSON, and return the exit code: 0 when every bar was met."""
    print(f"\n{name}: {claim}\n")
    for bar in bars:
        verdict = "met" if bar.met else "MISSED"
        print(f"  {bar.what:<44} {_shown(bar.value):>10} {bar.unit:<4} at most {_shown(bar.limit):<8} {verdict}")
    print()
    for key, value in figures.items():
        if not isinstance(value, list | dict):
            print(f"  {key:<44} {_shown(value):>10}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    told = {
        "name": name,
        "claim": claim,
        "met": all(bar.met for bar in bars),
        "bars": [{**asdict(bar), "met": bar.met} for bar in bars],
        "figures": dict(figures),
        "settings": dict(settings),
        **surroundings(),
    }
    path.write_text(json.dumps(told, indent=2, default=str) + "\n", encoding="utf-8")
    print(f"\nwritten to {path.relative_to(REPOSITORY)}")
    return 0 if told["met"] else 1


def surroundings() -> dict[str, Any]:
    """Describe where and when this was measured."""
    return {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "model": _line_of("/proc/cpuinfo", "model name"),
            "memory": _line_of("/proc/meminfo", "MemTotal"),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Sum up repeated measurements."""
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def stop(reason: str) -> int:
    """Say plainly why nothing could be measured; return the exit code for it."""
    print(f"not measured: {reason}", file=sys.stderr)
    return 2


def _shown(value: object) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _line_of(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "unknown")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()
