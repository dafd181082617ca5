"""How a player tries again when a request fails; pure.

Models Shaka Player 5. Decides the wait before each attempt and what a failure means. Refuses
nothing: a policy is only numbers. Enter at `RetryPolicy`; `WEB_PLAYER` is how our own player sets it.

Sources, in Shaka Player: lib/net/networking_engine.js (attempts, connection and stall time limits),
lib/net/backoff.js (fuzz and growth), lib/net/http_plugin_utils.js (401 and 403 are critical, every
other status is tried again), lib/media/streaming_engine.js (`handleStreamingError_`: the failure
callback waits by a backoff of its own that resets itself), lib/player.js
(`defaultStreamingFailureCallback_`: `retryStreaming(1)` after HTTP errors, `retryStreaming(0.1)`
after a time limit; by default only for live streams, here for every title, as our web player does),
lib/hls/hls_parser.js (a failed reload of a playlist is tried again after 0.1 s, for ever).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Why a request failed, split by what the player does next."""

    CONNECTION = "connection"
    STATUS = "status"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    """401 or 403: never tried again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Shaka Player's retry parameters, in seconds; the defaults are those of Shaka Player 5."""

    max_attempts: int = 2
    """Attempts of one request, the first included."""
    base_delay_s: float = 1.0
    backoff_factor: float = 2.0
    fuzz_factor: float = 0.5
    """Each wait is multiplied by a random number in 1 ± this."""
    timeout_s: float = 30.0
    """A whole request may take so long."""
    connection_timeout_s: float = 10.0
    """The answer's first byte may take so long."""
    stall_timeout_s: float = 5.0
    """Two pieces of an answer may lie so far apart."""
    retry_streaming: bool = True
    """After the attempts are used up, ask for the segment again, for ever; False: give up (plain VOD default)."""
    retry_streaming_delay_s: float = 1.0
    retry_streaming_after_timeout_s: float = 0.1
    reload_retry_s: float = 0.1
    """Wait before a failed reload of a playlist is tried again."""
    give_up_s: float = 60.0
    """A viewer who looks at a standing picture for so long leaves; counted as a failed session."""


WEB_PLAYER = RetryPolicy(
    max_attempts=7,
    base_delay_s=0.15,
    backoff_factor=1.7,
    timeout_s=20.0,
    connection_timeout_s=5.0,
    stall_timeout_s=6.0,
    retry_streaming_delay_s=0.5,
    retry_streaming_after_timeout_s=0.5,
)
"""What web/src/lib/player/engine.ts sets: quicker and more stubborn than the defaults."""


def attempt_delay_s(policy: RetryPolicy, attempt: int, luck: float) -> float:
    """Return the wait before attempt number `attempt` (the first is 0); `luck` is random in 0..1."""
    if attempt == 0:
        return 0.0
    return fuzzed(policy.base_delay_s * policy.backoff_factor ** (attempt - 1), policy.fuzz_factor, luck)


def streaming_delay_s(policy: RetryPolicy, failure: Failure, turn: int, luck: float) -> float:
    """Return the wait between a segment's exhausted attempts and the next round of them.

    The streaming engine's own backoff grows with each `turn` (the first is 0) and resets itself after
    `max(max_attempts, 2)`; with the default of 2 it always stands at the base delay.
    """
    after = policy.retry_streaming_delay_s
    if failure is Failure.TIMEOUT:
        after = policy.retry_streaming_after_timeout_s
    growth = policy.backoff_factor ** (turn % (max(policy.max_attempts, 2) - 1))
    return fuzzed(policy.base_delay_s * growth, policy.fuzz_factor, luck) + after


def fuzzed(value: float, factor: float, luck: float) -> float:
    """Multiply `value` by 1 ± `factor`, placed by `luck` in 0..1."""
    return value * (1.0 + (luck * 2.0 - 1.0) * factor)


def judge_status(status: int) -> Failure | None:
    """Tell what an HTTP status means to the player: None is success."""
    if 200 <= status <= 299 and status != 202:
        return None
    return Failure.REFUSED if status in (401, 403) else Failure.STATUS
