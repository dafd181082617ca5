"""A viewer emulator: watches HLS films in real time and reports what a viewer would have seen.

Public: test any HLS server with it. It keeps 12 s of buffer and retries as Shaka Player does; it
downloads, it does not decode. Enter at `watch` (one viewer) and `crowd` (many in one process).
"""

from redqueen.testing.viewer.crowd import Gathering, crowd
from redqueen.testing.viewer.model import Stall
from redqueen.testing.viewer.player import Transport, Viewing, Wishes, watch
from redqueen.testing.viewer.policy import WEB_PLAYER, RetryPolicy
from redqueen.testing.viewer.report import CrowdReport, Report, Setback

__all__ = [
    "WEB_PLAYER",
    "CrowdReport",
    "Gathering",
    "Report",
    "RetryPolicy",
    "Setback",
    "Stall",
    "Transport",
    "Viewing",
    "Wishes",
    "crowd",
    "watch",
]
