"""The SQLite file itself: its format, its connections, one write transaction, and its errors.

Decides the settings every connection has, refuses files of a newer format or of another kind, and turns SQLite's
errors into ours. All of it blocks; `sqlite.py` runs it in threads. A row's version is its rowid, which
AUTOINCREMENT never gives twice: a row deleted and written again cannot be mistaken for the old one.
Sources: sqlite.org/wal.html, sqlite.org/autoinc.html. Enter at `prepare`, `connect`, `write`, `checkpoint`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redqueen.errors import Broken, Exhausted, InvalidInput, RedQueenError, Unavailable
from redqueen.store.admission import holds
from redqueen.store.ports import Delete, Put, Record

FORMAT = 1
_SCHEMA = (
    """CREATE TABLE records (
        version INTEGER PRIMARY KEY AUTOINCREMENT,
        partition_key TEXT NOT NULL,
        clustering_key TEXT NOT NULL,
        value BLOB NOT NULL,
        expires_at REAL,
        UNIQUE (partition_key, clustering_key))""",
    "CREATE INDEX records_by_expiry ON records (expires_at) WHERE expires_at IS NOT NULL",
    f"PRAGMA user_version = {FORMAT}",
)
_LIVING = "partition_key = ? AND (expires_at IS NULL OR expires_at > ?)"
_COLUMNS = "partition_key, clustering_key, value, version, expires_at"
_PURGE = "DELETE FROM records WHERE version IN (SELECT version FROM records WHERE expires_at <= ? LIMIT 32)"


def prepare(path: Path, *, busy_s: float) -> None:
    """Make the file (mode 0600) and its tables where missing. Raises InvalidInput for a newer format."""
    with translated(path):
        _create(path)
        connection = connect(path, busy_s=busy_s)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            _migrate(connection, path)
        finally:
            connection.close()


def _create(path: Path) -> None:
    # An existing file is never opened and closed by hand: POSIX would drop this process's SQLite locks on it.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
    connection.execute("COMMIT")
    if found > FORMAT:
        raise InvalidInput(
            "store.format",
            f"{path} has format {found}; this version reads up to {FORMAT}",
            why="a newer Red Queen wrote it",
            hint="Start that version, or restore a backup made by this one",
        )


def connect(
    path: Path, *, busy_s: float, read_only: bool = False, limit_bytes: int | None = None
) -> sqlite3.Connection:
    """Open one connection that waits up to `busy_s` seconds for other writers."""
    # check_same_thread: worker threads change, but the owner lends a connection to one at a time.
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        # NORMAL: in WAL mode a killed process loses nothing and a power cut never damages the file; at worst the last
        # moments are gone, which players and workers repeat. FULL would cost an fsync for each heartbeat.
        connection.execute("PRAGMA synchronous = NORMAL")
        # Checkpoints are made by `checkpoint` alone, see there.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # After a burst the WAL shrinks to this again.
        connection.execute("PRAGMA journal_size_limit = 16777216")
        connection.execute(f"PRAGMA query_only = {int(read_only)}")
        if limit_bytes is not None:
            page_bytes: int = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {max(1, limit_bytes // page_bytes)}")
    except BaseException:
        connection.close()
        raise
    return connection


def checkpoint(writer: sqlite3.Connection, other: sqlite3.Connection) -> None:
    """Move what the WAL holds into the file, while `writer` keeps all processes from committing.

    SQLite before 3.51.3 can damage the file when a commit restarts the WAL in the middle of a checkpoint
    (sqlite.org/wal.html, "the WAL-reset bug"); holding the write lock meanwhile makes that impossible.
    """
    writer.execute("BEGIN IMMEDIATE")
    try:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        writer.execute("ROLLBACK")


def read(connection: sqlite3.Connection, partition: str, clustering: str, now: float) -> Record | None:
    """Return one living record, or None."""
    sql = f"SELECT {_COLUMNS} FROM records WHERE {_LIVING} AND clustering_key = ?"  # noqa: S608 - constants only
    row = connection.execute(sql, (partition, now, clustering)).fetchone()
    return None if row is None else Record(*row)


def read_range(
    connection: sqlite3.Connection, partition: str, start: str, end: str | None, limit: int, reverse: bool, now: float
) -> list[Record]:
    """Return the living records of a range; SQLite orders text by UTF-8 bytes, which is code point order."""
    below = "" if end is None else "AND clustering_key < ?"
    order = "DESC" if reverse else "ASC"
    sql = (
        f"SELECT {_COLUMNS} FROM records WHERE {_LIVING} AND clustering_key >= ? {below} "  # noqa: S608 - constants only
        f"ORDER BY clustering_key {order} LIMIT ?"
    )
    values = [partition, now, start, *([] if end is None else [end]), min(limit, 1 << 31)]
    return [Record(*row) for row in connection.execute(sql, values)]


def write(
    connection: sqlite3.Connection, partition: str, changes: Sequence[Put | Delete], now: float
) -> list[Record] | None:
    """Make all changes in one transaction and return what was put, or None when a condition fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not all(_holds(connection, partition, change, now) for change in changes):
            connection.execute("ROLLBACK")
            return None
        connection.execute(_PURGE, (now,))
        written = [record for change in changes if (record := _apply(connection, partition, change, now))]
        connection.execute("COMMIT")
        return written
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _holds(connection: sqlite3.Connection, partition: str, change: Put | Delete, now: float) -> bool:
    if change.when is not None and not isinstance(change.when, int):
        return True
    sql = f"SELECT version FROM records WHERE {_LIVING} AND clustering_key = ?"  # noqa: S608 - constants only
    row = connection.execute(sql, (partition, now, change.clustering)).fetchone()
    return holds(change.when, None if row is None else row[0])


def _apply(connection: sqlite3.Connection, partition: str, change: Put | Delete, now: float) -> Record | None:
    keys = (partition, change.clustering)
    if isinstance(change, Delete):
        connection.execute("DELETE FROM records WHERE partition_key = ? AND clustering_key = ?", keys)
        return None
    expires_at = None if change.ttl_s is None else now + change.ttl_s
    done = connection.execute(
        "INSERT OR REPLACE INTO records (partition_key, clustering_key, value, expires_at) VALUES (?, ?, ?, ?)",
        (*keys, change.value, expires_at),
    )
    return Record(*keys, bytes(change.value), done.lastrowid or 0, expires_at)


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn SQLite's and the system's errors about `path` into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except OSError as error:
        raise _unreachable(path, str(error)) from error


def explained(error: sqlite3.Error, path: Path) -> RedQueenError:
    """Say what an SQLite error means for the caller. Source: sqlite.org/rescode.html."""
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return Exhausted(
                "store.full", f"{path} cannot grow", why=str(error), hint="Free disk space; nothing was changed"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return busy(path)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Broken(
                "store.damaged", f"{path} is not a store that can be read", why=str(error), hint="Restore a backup"
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return _unreachable(path, str(error))
        case _:
            return Broken("store.failed", f"{path} refused a statement", why=str(error), hint="Report this")


def busy(path: Path) -> Unavailable:
    """Say that other writers kept the file for too long."""
    return Unavailable("store.busy", f"{path} was kept busy by other writers", hint="Try again")


def _unreachable(path: Path, why: str) -> Unavailable:
    return Unavailable(
        "store.unreachable", f"{path} cannot be used", why=why, hint="Check the folder, its rights and its disk"
    )
