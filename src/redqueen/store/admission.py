"""What a records driver lets in, and when a condition holds: the same for every driver.

Refuses (InvalidInput): an empty partition, NUL or lone surrogates in keys, keys over 1 KiB,
values over 1 MiB, a TTL that is not a positive number, a batch that is too long or names a row
twice. All limits are ones that Cassandra keeps comfortably. Enter at `check_changes`,
`check_keys`, `check_range` and `holds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from redqueen.errors import InvalidInput
from redqueen.store.ports import Condition, Delete, Put

MAX_KEY_BYTES = 1024
MAX_VALUE_BYTES = 1 << 20
MAX_BATCH = 1000


def check_keys(partition: str, clustering: str = "") -> None:
    """Accept the keys of a row, or raise InvalidInput (`store.key`)."""
    if not partition:
        raise InvalidInput("store.key", "A record needs a partition", hint="Name one")
    for key in (partition, clustering):
        why = _key_fault(key)
        if why:
            raise InvalidInput("store.key", f"The key {key[:64]!r} cannot be stored", why=why, hint="Choose another")


def _key_fault(key: str) -> str:
    if "\0" in key:
        return "it contains NUL"
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return f"it has {size_bytes} bytes of at most {MAX_KEY_BYTES}" if size_bytes > MAX_KEY_BYTES else ""


def check_changes(partition: str, changes: Sequence[Put | Delete]) -> None:
    """Accept a batch for one partition, or raise InvalidInput."""
    check_keys(partition)
    if len(changes) > MAX_BATCH:
        raise InvalidInput("store.batch", f"A batch has at most {MAX_BATCH} changes", hint="Split it")
    if len({change.clustering for change in changes}) < len(changes):
        raise InvalidInput("store.batch", "A batch changes the same record twice", hint="Join the two changes")
    for change in changes:
        check_keys(partition, change.clustering)
        if isinstance(change, Put):
            _check_put(change)


def _check_put(put: Put) -> None:
    if len(put.value) > MAX_VALUE_BYTES:
        raise InvalidInput(
            "store.value",
            f"The value of {put.clustering!r} has {len(put.value)} bytes",
            why=f"a record holds at most {MAX_VALUE_BYTES}",
            hint="Store it as an object and keep its key here",
        )
    if put.ttl_s is not None and not (put.ttl_s > 0 and math.isfinite(put.ttl_s)):
        raise InvalidInput(
            "store.ttl", f"ttl_s = {put.ttl_s!r}", why="it must be a positive number of seconds", hint="Change it"
        )


def check_range(partition: str, start: str, end: str | None, limit: int) -> None:
    """Accept the bounds of a scan, or raise InvalidInput; a bound may end in NUL (the next key after another)."""
    check_keys(partition)
    check_keys(partition, start.rstrip("\0"))
    check_keys(partition, (end or "").rstrip("\0"))
    if limit < 0:
        raise InvalidInput("store.limit", f"limit = {limit}", why="it must be 0 or more", hint="Change it")


def holds(condition: Condition, version: int | None) -> bool:
    """Tell whether a condition holds for a row that has `version` now (None: there is none)."""
    if condition is None:
        return version is None
    if isinstance(condition, int):
        return condition == version
    return True
