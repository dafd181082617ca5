"""The publisher between a folder and an Envoy: what it waits for, and what it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from redqueen.clock import SystemClock
from redqueen.events import discard
from redqueen.gateway.compiler import version_of
from redqueen.gateway.envoy_admin import EnvoyAdmin, subscription
from redqueen.gateway.envoy_process import Envoy
from redqueen.gateway.model import GatewayState, Snapshot
from redqueen.gateway.publisher import Publisher
from redqueen.gateway.snapshot_folder import SnapshotFolder
from redqueen.processes import identify

pytestmark = pytest.mark.anyio


def snapshot(**marks: str) -> Snapshot:
    """Make the files of a gateway; `marks` change the content of some."""
    files = {"bootstrap.json": b"{}"}
    for name in ("cds", "eds-api", "eds-shop", "lds", "rds", "sds"):
        mark = marks.get(name.removeprefix("eds-"), "1")
        files[f"{name}.json"] = json.dumps({"version_info": mark, "resources": []}).encode()
    return Snapshot(version_of(files.items()), files)


class Reader:
    """Stands for an Envoy that reads its folder when asked about it, and refuses what is marked `bad`.

    A certificate only once: when the same comes again, it says that it uses it (seen with Envoy 1.40).
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.stats, self.busy = folder, cast("dict[str, str]", {}), False
        self.refused: dict[str, int] = {}
        """When the refused file was written, ns since the epoch, by its name."""

    def read(self) -> None:
        """Take up what has changed, or count a refusal."""
        for path in self.folder.glob("*.json"):
            prefix, version = subscription(path.name), json.loads(path.read_bytes()).get("version_info")
            if prefix is None or self.stats.get(f"{prefix}.version_text") == version:
                continue
            written = path.stat().st_mtime_ns
            if version == "bad" and self.refused.get(path.name) == written:
                continue
            if version == "bad" and not (path.name == "sds.json" and path.name in self.refused):
                self.refused[path.name] = written
                self.stats[f"{prefix}.update_rejected"] = str(int(self.stats.get(f"{prefix}.update_rejected", "0")) + 1)
            else:
                self.stats[f"{prefix}.version_text"] = version

    async def subscriptions(self) -> dict[str, str]:
        if self.busy:
            await anyio.sleep_forever()
        self.read()
        return dict(self.stats)


class Rig:
    """A publisher over a folder, with a reader in Envoy's place."""

    def __init__(self, path: Path) -> None:
        self.folder = SnapshotFolder(path / "envoy")
        self.folder.prepare()
        self.reader = Reader(self.folder.path)
        process = identify(os.getpid())
        assert process is not None
        self.envoy = Envoy(process, cast(EnvoyAdmin, self.reader), "f")
        self.states: list[GatewayState] = []
        self.publisher = Publisher(self.folder, path / "log", SystemClock(), discard, self.states.append)

    async def served(self, wanted: Snapshot, **kwargs: Any) -> None:
        self.folder.write(wanted)
        self.publisher.start_with(wanted)
        await self.publisher.confirm_all(self.envoy, newborn=True)

    async def refused_unheard(self, wanted: Snapshot) -> None:
        """Let Envoy serve, and refuse what comes next while nobody waits for its answer."""
        await self.served(snapshot())
        self.reader.busy = True
        await self.publisher.bring(wanted, self.envoy, newer=anyio.lowlevel.checkpoint)
        self.reader.read()
        self.reader.busy = False


async def test_an_envoy_that_is_reading_is_not_waited_for_when_newer_inputs_come(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.served(snapshot())
    rig.reader.busy, changed = True, anyio.Event()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(rig.publisher.bring, snapshot(api="2"), rig.envoy, changed.wait)
            await anyio.wait_all_tasks_blocked()
            assert rig.folder.load() == snapshot(api="2")
            changed.set()
    assert rig.folder.load_good() == snapshot()
    rig.reader.busy = False
    await rig.publisher.bring(snapshot(api="2", shop="2"), rig.envoy)
    assert rig.states[-1].version == snapshot(api="2", shop="2").version
    assert rig.folder.load_good() == snapshot(api="2", shop="2")


async def test_a_refusal_that_was_not_waited_for_is_found_with_the_next_change(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.refused_unheard(snapshot(cds="bad"))
    await rig.publisher.bring(snapshot(cds="bad", shop="2"), rig.envoy)
    assert rig.states[-1].rejected == snapshot(cds="bad", shop="2").version
    assert rig.folder.load() == rig.folder.load_good() == snapshot()


async def test_a_certificate_whose_refusal_nobody_heard_is_not_taken_for_used(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.refused_unheard(snapshot(sds="bad"))
    await rig.publisher.bring(None, rig.envoy)
    assert rig.states[-1].rejected == snapshot(sds="bad").version
    assert rig.states[-1].serving
    assert rig.folder.load() == rig.folder.load_good() == snapshot()
