"""The two A/A trials that always run: nothing is changed, so whatever they find is noise.

`aa-even` halves the viewers, where noise is seen soonest; `aa-slice` gives a twentieth, as a first
step of a real trial does. They show the false alarms that the judge really raises here, and their
noise gives every other trial its dispersion. Each has a layer of its own, so that they take no
viewer from anybody. Values only. Enter at `permanent`.
"""

from __future__ import annotations

from typing import Final

from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm

METRICS: Final = (
    *("start_failures", "play_delay", "rebuffering", "playback_errors", "bitrate", "starts"),
    *("request_errors", "request_latency"),
)
"""What players tell, and how viewers' requests fared, which here api nodes count (gateways know releases only)."""
SERVICE: Final = "api"
"""Whose requests these are."""
TURN_S: Final = 86_400.0
"""After so long a trial begins anew, with viewers drawn anew: each turn is one more test of the judge."""
_SHARES: Final = {"aa-even": 0.5, "aa-slice": 0.05}


def permanent() -> tuple[Trial, ...]:
    """Return the permanent trials, as the leader starts them."""
    return tuple(_trial(name, share) for name, share in _SHARES.items())


def is_permanent(trial_id: str) -> bool:
    """Tell whether a trial is one of them: nobody may stop or start it."""
    return trial_id in _SHARES


def _trial(name: str, share: float) -> Trial:
    return Trial(
        id=name,
        subject=Subject.NOTHING,
        target="",
        owner="redqueen",
        because=f"Nothing is changed for {share:.0%} of the viewers: what it finds is noise.",
        salt=name,
        layer=name,
        treatments=(TrialArm("same"),),
        metrics=tuple(MetricPlan(metric) for metric in METRICS),
        steps=(share,),
        horizon_s=TURN_S,
        # An idle region has nothing to report for hours, and that is no reason to begin anew.
        hold_s=TURN_S,
        for_ever=True,
    )
