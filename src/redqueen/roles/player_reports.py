"""What players say on media requests, between the gateway that reads it and the telemetry that keeps it.

Enter at `make_player_reports`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from redqueen.gateway.metrics import family
from redqueen.gateway.player_log import PlayerLine
from redqueen.roles.node import Node
from redqueen.telemetry.media_reports import BOUNDS_BPS, MediaRead, MediaReports, Spread

_Row = tuple[Mapping[str, str], int]


def make_player_reports(node: Node) -> PlayerReports:
    """Give a gateway node its reports; all nodes of this machine spool below one folder."""
    spec = node.spec
    root = spec.data_path / "telemetry"
    return PlayerReports(MediaReports(root, spec.node_id, spec.zone, node.clock, node.emit))


class PlayerReports:
    """One gateway's reports of players: kept as rows, shown as metrics. Run `keep` beside it."""

    def __init__(self, reports: MediaReports) -> None:
        self._reports = reports
        self._own = {"gateway": reports.gateway, "zone": reports.zone, "service": "media"}

    def told(self, lines: Sequence[PlayerLine], dropped: int) -> None:
        """Take what Envoy wrote down."""
        self._reports.take(map(_read, lines), dropped)

    async def keep(self) -> None:
        """Put on disk what was told, until cancelled."""
        await self._reports.keep()

    def exposition(self) -> str:
        """Write what was counted in Prometheus' text format; nothing as long as no player said anything."""
        counted, own = self._reports.counted, self._own
        ends = {"kept": counted.kept, "unreadable": counted.unreadable, "dropped": counted.dropped}
        if not any(ends.values()):
            return ""
        return "".join(
            (
                family(
                    "redqueen_gateway_cmcd_reports_total",
                    "counter",
                    "Media requests that carried CMCD, by what became of the report.",
                    (({**own, "outcome": outcome}, count) for outcome, count in ends.items()),
                ),
                family(
                    "redqueen_gateway_cmcd_starvations_total",
                    "counter",
                    "Reports of a buffer that ran empty (bs).",
                    [(own, counted.starved)],
                ),
                family(
                    "redqueen_gateway_cmcd_throughput_bps",
                    "histogram",
                    "Throughput as players measured it (mtp).",
                    _rows(own, counted.throughput),
                ),
                family(
                    "redqueen_gateway_cmcd_bitrate_bps",
                    "histogram",
                    "Bitrate of what players asked for (br).",
                    _rows(own, counted.bitrate),
                ),
            )
        )


def _read(line: PlayerLine) -> MediaRead:
    return MediaRead(line.time, line.request_id, line.title, line.status, line.sent_bytes, line.query, line.headers)


def _rows(own: Mapping[str, str], spread: Spread) -> Iterator[_Row]:
    reached = 0
    for bound, count in zip((*map(str, BOUNDS_BPS), "+Inf"), spread.counts, strict=True):
        reached += count
        yield {**own, "": "_bucket", "le": bound}, reached
    yield {**own, "": "_sum"}, spread.total
    yield {**own, "": "_count"}, reached
