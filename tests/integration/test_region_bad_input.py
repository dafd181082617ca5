"""A whole region under bad input: each refused in clear words, nothing lost, everything else goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec
import pytest

from redqueen.accounts import tokens
from redqueen.accounts.tokens import SigningKey
from redqueen.cli.upload import examine
from redqueen.clock import SystemClock
from redqueen.errors import RedQueenError
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.testing.region import NO_SAMPLES, Region, free_port, play_link, temporary, wait_for

pytestmark = [pytest.mark.region, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def region() -> Generator[Region]:
    """Give a region that serves and is not busy with samples."""
    with temporary(settings=NO_SAMPLES) as started:
        started.up("--port", str(free_port()))
        yield started


def published(region: Region, *arguments: str) -> tuple[int, dict[str, object]]:
    """Run `redqueen publish --json`; return its exit code and what it said."""
    done = region.run("publish", "--json", *arguments)
    return done.returncode, json.loads(done.stdout or done.stderr)


def test_what_is_no_film_is_refused_in_clear_words(region: Region, films: Path, tmp_path: Path) -> None:
    real = (films / "animation_bbb_480p24_30s.mp4").read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("This is a letter, not a film.\n" * 100)
    (tmp_path / "truncated.mp4").write_bytes(real[:-200_000] if real.rfind(b"moov") > 500_000 else real[:20_000])
    for name, word in (("empty", "empty"), ("text", "film"), ("truncated", "film")):
        code, said = published(region, "--wait", "playable", str(tmp_path / f"{name}.mp4"))
        text = json.dumps(said)
        assert code not in (0, 1), f"{name}: an error with a meaning, not {code}: {text}"
        assert word in text, f"{name}: {text}"
        assert "Traceback" not in text


def test_a_bit_flipped_film_ends_clearly_and_quickly(region: Region, films: Path, tmp_path: Path) -> None:
    spoiled = bytearray((films / "animation_bbb_480p24_30s.mp4").read_bytes())
    chance = random.Random(7)  # noqa: S311 - the same damage in every run
    for _ in range(400):
        spoiled[chance.randrange(100_000, len(spoiled) - 100_000)] ^= 1 << chance.randrange(8)
    (tmp_path / "flipped.mp4").write_bytes(spoiled)
    code, said = published(region, "--wait", "playable", str(tmp_path / "flipped.mp4"))
    assert code == 0 or "why" in json.dumps(said), said


@pytest.mark.parametrize("name", ["-i.mp4", "a\nb.mp4", "\u202egpj.mp4", "; rm -rf $HOME.mp4", "n" * 240 + ".mp4"])
def test_odd_names_become_titles(region: Region, films: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(films / "screen_mediabunny_1080p30_35s.mkv")
    code, said = published(region, "--", str(tmp_path / name))
    assert code == 0, said
    with region.api() as api:
        titles = [found for found in api.get("/titles")["titles"] if found["state"] != "failed"]
        shown = "".join(found["title"] for found in titles)
        assert not any(mark in shown for mark in "\n\r\0\u202e"), "the name is safe to show"
        for found in titles:
            api.delete(f"/titles/{found['id']}")


def test_a_title_of_four_kilobytes_is_shortened(region: Region, films: Path) -> None:
    film = str(films / "screen_mediabunny_1080p30_35s.mkv")
    code, said = published(region, "--title", "x" * 4096, film)
    assert code == 0, said
    with region.api() as api:
        (found,) = [title for title in api.get("/titles")["titles"] if title["title"].startswith("xxxx")]
        assert len(found["title"]) <= 200
        api.delete(f"/titles/{found['id']}")


def expired(region: Region, title_id: str) -> str:
    """Return a token that the region signed itself, and that ended a minute ago."""

    async def sign() -> str:
        records = SqliteRecords.open(region.data / "store.sqlite3", SystemClock())
        (kept,) = await records.scan("accounts/keys")
        await records.close()
        key = msgspec.json.decode(kept.value, type=SigningKey)
        return tokens.sign(key, [title_id], now=time.time() - 120, ttl_s=60)

    return anyio.run(sign)


def test_no_byte_of_a_film_without_a_right_to_it(region: Region, films: Path) -> None:
    with region.api() as api:
        receipt = region.sender(api).send(examine(films / "live_tos_800x332_70s.webm"), title="Private")
        wait_for(api, receipt.title_id, ("playable", "complete"), timeout_s=60)
        link = play_link(api, receipt.title_id)
    parts = urlsplit(link)
    _, _, token, title_id, name = parts.path.split("/")
    base = f"{parts.scheme}://{parts.netloc}"
    head, body, signature = token.split(".")
    forged = f"{head}.{body}.{signature[:-4]}AAAA"
    refused = [
        f"/media/{title_id}/{name}",
        f"/v/{expired(region, title_id)}/{title_id}/{name}",
        f"/v/{forged}/{title_id}/{name}",
        f"/v/{head}.{body}./{title_id}/{name}",
        f"/v/{token}/another-title/{name}",
        f"/v/{token}/{title_id}/..%2f..%2f..%2fstore.sqlite3",
        f"/v/{token}/{title_id}/%00",
        f"/v/{token}/{title_id}/../../../credentials.json",
        "/media/..%2f..%2fcredentials.json",
    ]
    with httpx.Client(trust_env=False) as client:
        assert client.get(link).status_code == 200
        for path in refused:
            request = client.build_request("GET", base)
            request.url = request.url.copy_with(raw_path=path.encode())
            answer = client.send(request)
            assert answer.status_code in (400, 401, 403, 404), f"{path}: {answer.status_code}"
            assert "#EXTM3U" not in answer.text and '"address"' not in answer.text, path


def test_a_second_up_is_refused_with_the_address_and_a_newer_folder_is_left_alone(region: Region) -> None:
    second = region.run("up", "--json")
    assert second.returncode == 5
    assert "127.0.0.1" in second.stdout + second.stderr
    with temporary() as newer:
        newer.data.mkdir()
        (newer.data / "region.json").write_text('{"format": 99}')
        refused = newer.run("up", "--json")
        assert refused.returncode == 2
        assert "newer version" in refused.stdout + refused.stderr
        assert os.listdir(newer.data) == ["region.json"]
        (newer.data / "region.json").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """Give a disk of 1.4 GB in memory; skip where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1400m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextlib.contextmanager
def full(disk: Path) -> Generator[None]:
    """Fill the disk to its last byte while the block runs."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        yield
    finally:
        ballast.unlink(missing_ok=True)


def test_a_full_disk_costs_no_upload_and_no_title(small_disk: Path, films: Path) -> None:
    region = Region(small_disk / "data")
    region.data.mkdir(mode=0o700)
    (region.data / "redqueen.toml").write_text(NO_SAMPLES)
    region.up("--port", str(free_port()))
    try:
        with region.api() as api:
            film = examine(films / "animation_bbb_480p24_30s.mp4")
            sender = region.sender(api, chunk_bytes=1 << 20, patience_s=3)
            with contextlib.ExitStack() as later:
                fills = iter([full(small_disk)])

                def fill_once(sent: int) -> None:
                    for disk in fills if sent > 0 else ():
                        later.enter_context(disk)

                with pytest.raises(RedQueenError, match=r"full|room"):
                    sender.send(film, title="Full", on_progress=fill_once)

            receipt = sender.send(film, title="Full")
            assert receipt.resumed_at_bytes > 0, "what had come was kept"

            wait_for(api, receipt.title_id, ("encoding", "playable"), timeout_s=60)
            with full(small_disk), contextlib.suppress(RedQueenError):
                for _ in range(20):
                    assert api.get(f"/titles/{receipt.title_id}")["state"] != "failed"
            wait_for(api, receipt.title_id, ("complete",), timeout_s=200)
    finally:
        region.down()
