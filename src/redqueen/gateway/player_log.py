"""What players say of themselves on media requests (CMCD), written by Envoy into a small log of its own.

Decides which requests have a line: those whose token could read the file, and that carry CMCD in the query
or in headers (CTA-5004). All others pay for one look at a header. A text that may hold a token, or is
longer than LONGEST, is left out. The log is apart from the gateway's, so that a crowd of players pushes
nobody's lines out of that one; it is emptied when it was read, and what is beyond MOST_A_LOOK is counted
only. Nothing is judged by it, so that a lost line costs nothing. Enter at `player_log`, `PlayerLog`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from redqueen.gateway.envoy_json import TYPE
from redqueen.gateway.evidence import LogTail
from redqueen.gateway.media_script import CMCD_HEADER, ETAG_HEADER

NAME: Final = "players.log"
HEADERS: Final = ("cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status")
LONGEST: Final = 2000
"""Characters of the query's text or of one header that are kept."""
LOOK_S: Final = 1.0
MOST_A_LOOK: Final = 2000
"""Lines that are read of one look: some 80 ms of a core."""
_CUT_BYTES: Final = 4 << 20


class PlayerLine(msgspec.Struct, frozen=True):
    """A media request that carried CMCD, as Envoy wrote it down."""

    time: float
    """Unix seconds."""
    request_id: str
    path: str
    """`/media/<title>/…`"""
    status: int
    sent_bytes: int = 0
    query: str = ""
    """CMCD's value as it stood in the address, percent-encoded."""
    object: str = ""
    request: str = ""
    session: str = ""
    state: str = ""

    @property
    def title(self) -> str:
        """Return the title that was read."""
        return self.path.split("/")[2]

    @property
    def headers(self) -> dict[str, str]:
        """Return the four headers by their names in lower case."""
        return dict(zip(HEADERS, (self.object, self.request, self.session, self.state), strict=True))


def player_log(folder: str) -> dict[str, Any]:
    """Give the access log; `folder` is where Envoy may write."""
    # The media script has found a file that the token may read: nobody else writes here.
    readable = {"header_filter": {"header": {"name": ETAG_HEADER, "present_match": True}}}
    said = [{"header_filter": {"header": {"name": name, "present_match": True}}} for name in (CMCD_HEADER, *HEADERS)]
    fields = {
        "time": "%START_TIME(%s.%3f)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "sent_bytes": "%BYTES_SENT%",
        "query": _tokenless(CMCD_HEADER),
        **dict(zip(("object", "request", "session", "state"), map(_tokenless, HEADERS), strict=True)),
    }
    return {
        "name": "players",
        "filter": {"and_filter": {"filters": [readable, {"or_filter": {"filters": said}}]}},
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": f"{folder}/{NAME}",
            "log_format": {"json_format": fields, "omit_empty_values": True},
        },
    }


def _tokenless(name: str) -> str:
    """Give a header's text, unless it may hold a token: a player may tell the address of what it asks for next."""
    text = f"request.headers['{name}']"
    return f"%CEL({text}.contains('eyJ') || size({text}) > {LONGEST} ? '' : {text})%"


class PlayerLog:
    """Reads the log's new lines, and keeps it small."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tail = LogTail(path)

    def read(self) -> tuple[list[PlayerLine], int]:
        """Return what came since the last time, and how many lines were too many to be read. Raises OSError."""
        text = self._tail.read()
        if text and self._path.stat().st_size > _CUT_BYTES:
            os.truncate(self._path, 0)
            self._tail = LogTail(self._path)
        lines = text.splitlines()
        return lines_in(lines[:MOST_A_LOOK]), max(0, len(lines) - MOST_A_LOOK)


def lines_in(lines: list[bytes]) -> list[PlayerLine]:
    """Return what some lines say; those that are torn are passed over."""
    found: list[PlayerLine] = []
    for line in lines:
        try:
            found.append(_DECODER.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return found


_DECODER: Final = msgspec.json.Decoder(PlayerLine, strict=False)
