"""Events in the object store: Parquet by the hour in which their session was granted, each event once.

Decides where an event lies (`events/date=…/hour=…/`), so that two deliveries of one event, however
far apart, meet in one hour; how a spool's segment becomes Parquet; how an hour's many small files
become one; which days are forgotten whole. Shipping and compacting are repeated after a crash
without harm: names follow from what goes in, inputs are removed only after the output is stored,
and readers see an event once whatever lies there twice. Grants are rows of kind `grant` with seq 0.
Enter at `Lake`.
"""

# ruff: noqa: S608 - queries are put together from constants of this module, numbers and our own paths
from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from redqueen.errors import Unavailable
from redqueen.telemetry.ports import Shelf

if TYPE_CHECKING:
    import duckdb  # loaded with the first query: a node that only spools starts without it

PREFIX: Final = "events"
_WHOLE: Final = "all-"
"""Begins the name of a compacted file."""
_OVER_S: Final = 600
"""Seconds after an hour's end until it is compacted: by then players' queues have come."""
_QUIET_S: Final = 90_000
"""Seconds after an hour's end when no session of it may be told of any more."""
_FEW: Final = 8
"""Late files that may lie beside a compacted one, so that one late event does not rewrite an hour."""
_LOOK_BACK_DAYS: Final = 3
_DAY: Final = re.compile(rf"({PREFIX}/date=(\d{{4}}-\d{{2}}-\d{{2}}))/hour=\d{{2}}/[^/]+\.parquet")

_GRANT: Final = (
    'STRUCT("session" UBIGINT, "viewer" UBIGINT, "title" VARCHAR, "device" VARCHAR, "zone" VARCHAR, "second" BIGINT, '
    '"window_s" INTEGER, "arms" MAP(VARCHAR, VARCHAR), "first" VARCHAR[], "release" VARCHAR, "country" VARCHAR, '
    '"returning" BOOLEAN)'
)
_EVENT: Final = (
    'STRUCT("seq" INTEGER, "kind" VARCHAR, "at_ms" INTEGER, "delay_ms" INTEGER, "played_ms" INTEGER, '
    '"stalled_ms" INTEGER, "stalls" INTEGER, "errors" INTEGER, "bitrate_bps" BIGINT, "mean_bitrate_bps" BIGINT, '
    '"detail" VARCHAR, "gateway" VARCHAR, "sid" VARCHAR, "throughput_bps" BIGINT, "served_bytes" BIGINT, '
    '"status" INTEGER)'
)
_SPOOLED: Final = f"""
SELECT make_timestamp(CAST(received * 1000000 AS BIGINT)) AS received, g.*,
  coalesce(e.seq, 0) AS seq, coalesce(e.kind, 'grant') AS kind, coalesce(e.at_ms, 0) AS at_ms,
  coalesce(e.delay_ms, -1) AS delay_ms, coalesce(e.played_ms, 0) AS played_ms,
  coalesce(e.stalled_ms, 0) AS stalled_ms, coalesce(e.stalls, 0) AS stalls, coalesce(e.errors, 0) AS errors,
  coalesce(e.bitrate_bps, 0) AS bitrate_bps, coalesce(e.mean_bitrate_bps, 0) AS mean_bitrate_bps,
  coalesce(e.detail, '') AS detail, coalesce(e.gateway, '') AS gateway,
  coalesce(e.sid, '') AS sid, coalesce(e.throughput_bps, 0) AS throughput_bps,
  coalesce(e.served_bytes, 0) AS served_bytes, coalesce(e.status, 0) AS status
FROM (
  SELECT received, "grant" AS g, unnest(CASE WHEN len(told) = 0 THEN [NULL] ELSE told END) AS e
  FROM (
    SELECT received, "grant", list_concat(coalesce(events, []), coalesce(reports, [])) AS told
    FROM read_json($path, format = 'newline_delimited', maximum_object_size = 1048576,
      columns = {{'received': 'DOUBLE', 'grant': '{_GRANT}', 'events': '{_EVENT}[]', 'reports': '{_EVENT}[]'}})
  )
)
"""
_ONCE: Final = "QUALIFY row_number() OVER (PARTITION BY session, seq ORDER BY received) = 1"
_STORED: Final = "SELECT * FROM read_parquet($paths, union_by_name = true, hive_partitioning = false)"
_BY_HOUR: Final = ", PARTITION_BY (date, hour)"
_HOURS: Final = (
    'strftime(make_timestamp("second" * 1000000), \'%Y-%m-%d\') AS "date", '
    'strftime(make_timestamp("second" * 1000000), \'%H\') AS "hour"'
)
_EMPTY: Final = (
    f"SELECT NULL::TIMESTAMP AS received, g.*, e.* FROM (SELECT NULL::{_GRANT} AS g, NULL::{_EVENT} AS e) WHERE false"
)


class Damaged(Exception):
    """A segment has lines that are none."""


class Lake:
    """The region's events in its object store; `scratch` is a folder on this machine's disk."""

    def __init__(self, shelf: Shelf, scratch: Path, *, memory_mib: int = 256) -> None:
        self._shelf = shelf
        self._scratch = scratch
        self._memory_mib = memory_mib

    async def ship(self, segment: Path, name: str) -> int:
        """Store a segment of a spool under a name that only it has; return how many files. Raises Damaged."""
        with self._room() as room:
            made = await to_thread.run_sync(self._by_hour, segment, room)
            for path in made:
                hour = path.parent.relative_to(room / "hours").as_posix()
                number = path.stem.rpartition("_")[2]
                await self._shelf.put_file(f"{PREFIX}/{hour}/{name}-{number}.parquet", path)
        return len(made)

    async def compact(self, now: float) -> int:
        """Make one file of each hour that is over, where several lie; return how many hours were rewritten."""
        done = 0
        first = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
        for back in range(1, 24 * _LOOK_BACK_DAYS):
            ended_s = now - (first - timedelta(hours=back - 1)).timestamp()
            if ended_s >= _OVER_S:
                done += await self._compact_hour(_folder(first - timedelta(hours=back)), ended_s)
        return done

    async def forget(self, before: float, most: int) -> list[str]:
        """Remove whole days that were over `before` (Unix time), the oldest first, at most so many; name them."""
        gone = days_over([key async for key in self._shelf.list(PREFIX)], before)[:most]
        for folder in gone:
            await self._shelf.delete_all(folder)
        return gone

    async def files(self, since: float, until: float) -> list[str]:
        """Return the keys of all files with sessions granted in [since, until), Unix time."""
        hour, found = datetime.fromtimestamp(since, UTC).replace(minute=0, second=0, microsecond=0), list[str]()
        while hour.timestamp() < until:
            found += [key async for key in self._shelf.list(_folder(hour)) if key.endswith(".parquet")]
            hour += timedelta(hours=1)
        return sorted(found)

    async def query(
        self, since: float, until: float, sql: str, parameters: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return what `sql` says of the view `events`: the sessions granted in [since, until), each event once."""
        async with self._lent(await self.files(since, until)) as paths:
            return await to_thread.run_sync(self._asked, paths, since, until, sql, parameters)

    async def _compact_hour(self, folder: str, ended_s: float) -> int:
        keys = sorted([key async for key in self._shelf.list(folder) if key.endswith(".parquet")])
        late = [key for key in keys if not key.rpartition("/")[2].startswith(_WHOLE)]
        whole = len(keys) > len(late)
        if len(keys) < 2 or (whole and len(late) < _FEW and ended_s < _QUIET_S):
            return 0
        name = _WHOLE + hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
        with self._room() as room:
            async with self._lent(keys) as paths:
                await to_thread.run_sync(self._joined, paths, room / "all.parquet")
            await self._shelf.put_file(f"{folder}/{name}.parquet", room / "all.parquet")
        for key in keys:
            await self._shelf.delete(key)
        return 1

    @contextlib.asynccontextmanager
    async def _lent(self, keys: Sequence[str]) -> AsyncGenerator[list[str]]:
        async with contextlib.AsyncExitStack() as stack:
            yield [str(await stack.enter_async_context(self._shelf.local(key))) for key in keys]

    @contextlib.contextmanager
    def _room(self) -> Generator[Path]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix="parquet-", dir=self._scratch))
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)

    @contextlib.contextmanager
    def _engine(self, room: Path) -> Generator[duckdb.DuckDBPyConnection]:
        import duckdb

        # One thread and little memory: an api node serves viewers meanwhile. Nothing is ever downloaded.
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": 1,
            "memory_limit": f"{self._memory_mib}MB",
            "temp_directory": str(room / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        try:
            with duckdb.connect(":memory:", config=settings) as engine:
                yield engine
        except duckdb.Error as error:
            raise Unavailable(
                "telemetry.parquet",
                "The events cannot be read or written as Parquet",
                why=str(error).partition("\n")[0][:300],
                hint="It is tried again; what was acknowledged lies in the spool",
            ) from error

    def _by_hour(self, segment: Path, room: Path) -> list[Path]:
        import duckdb

        with self._engine(room) as engine:
            told = {"path": str(segment)}
            try:
                engine.execute(_copied(f"SELECT *, {_HOURS} FROM ({_SPOOLED})", room / "hours", _BY_HOUR), told)
            except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
                raise Damaged(str(error).partition("\n")[0][:300]) from error
        return sorted((room / "hours").glob("date=*/hour=*/*.parquet"))

    def _joined(self, paths: list[str], output: Path) -> None:
        with self._engine(output.parent) as engine:
            engine.execute(
                _copied(f"SELECT * FROM ({_STORED}) {_ONCE} ORDER BY session, seq", output), {"paths": paths}
            )

    def _asked(
        self, paths: list[str], since: float, until: float, sql: str, parameters: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        with self._room() as room, self._engine(room) as engine:
            stored = engine.sql(_STORED, params={"paths": paths}) if paths else engine.sql(_EMPTY)
            stored.create_view("stored")
            span = f"second >= {float(since)} AND second < {float(until)}"
            engine.execute(f"CREATE VIEW events AS SELECT * FROM stored WHERE {span} {_ONCE}")
            return engine.execute(sql, parameters).fetchall()


def days_over(keys: Iterable[str], before: float) -> list[str]:
    """Return the folders of the days (UTC) that were over at a time, oldest first; keys of other things say nothing."""
    last = datetime.fromtimestamp(before, UTC).strftime("%Y-%m-%d")
    return sorted({found[1] for key in keys if (found := _DAY.fullmatch(key)) and found[2] < last})


def _copied(query: str, target: Path, how: str = "") -> str:
    """Return the statement that writes a query's rows to Parquet."""
    quoted = str(target).replace("'", "''")
    return f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd{how})"


def _folder(hour: datetime) -> str:
    return f"{PREFIX}/date={hour:%Y-%m-%d}/hour={hour:%H}"
