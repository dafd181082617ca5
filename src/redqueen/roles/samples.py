"""Makes the sample titles of a new region, one after another, through the same doors as any film.

What was begun is remembered in records, so an interrupted making goes on where it was, and a
sample that somebody removed does not come back.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from redqueen.catalogue.model import new_title_id
from redqueen.config import load
from redqueen.errors import Conflict
from redqueen.roles.product import Product
from redqueen.roles.stores import Stores
from redqueen.store.ports import ABSENT, Put, Records
from redqueen.studio.samples import SAMPLES, Sample, make_sample

_PARTITION = "samples"


@dataclass(frozen=True, slots=True)
class Begun:
    """A sample that is being made or was made, and as which title."""

    title_id: str
    done: bool = False


async def make_samples(data_dir: Path) -> None:
    """Make the sample titles that were not made yet, if the settings want them; takes some seconds of one core each."""
    region = load(data_dir)
    if not region.samples:
        return
    stores = Stores.open(data_dir, region)
    try:
        product = Product(stores)
        for sample in SAMPLES:
            begun = await _begun(stores.records, sample)
            if not begun.done:
                await _make(data_dir, stores, product, sample, begun.title_id)
                await stores.records.put(_PARTITION, Put(sample.key, msgspec.json.encode(replace(begun, done=True))))
    finally:
        await stores.records.close()


async def _begun(records: Records, sample: Sample) -> Begun:
    await records.put(_PARTITION, Put(sample.key, msgspec.json.encode(Begun(new_title_id())), when=ABSENT))
    found = await records.get(_PARTITION, sample.key)
    return Begun("", done=True) if found is None else msgspec.json.decode(found.value, type=Begun)


async def _make(data_dir: Path, stores: Stores, product: Product, sample: Sample, title_id: str) -> None:
    folder = data_dir / "scratch" / f"sample-{sample.key}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        film, subtitles = await make_sample(sample, folder)
        await _create(product, sample, title_id, film.stat().st_size)
        source = f"sources/{title_id}/film"
        await stores.objects.put_file(source, film)
        await product.desk.set_subtitles(title_id, "en", "English", subtitles.decode())
        await product.catalogue.subtitled(title_id, "en", "English")
        await product.catalogue.received(title_id)
        await product.studio.submit(title_id, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _create(product: Product, sample: Sample, title_id: str, size_bytes: int) -> None:
    try:
        await product.catalogue.create(
            sample.title,
            size_bytes=size_bytes,
            sample=True,
            description=sample.description,
            title_id=title_id,
        )
    except Conflict:
        return  # an earlier making came as far as this
