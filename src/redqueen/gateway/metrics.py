"""What a gateway counted, in Prometheus' text format: requests, errors and times by service, trial and arm.

Counters go up from Envoy's birth and begin anew with the next one, as Prometheus expects. Enter at `exposition`;
others write further ones with `family`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from redqueen.gateway.figures import Place, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(gateway: str, zone: str, totals: Totals, bounds_ms: Sequence[float], *, serving: bool) -> str:
    """Write all metrics of a gateway; `bounds_ms` are those that its histograms have."""
    own = {"gateway": gateway, "zone": zone}
    places = sorted(totals.items())
    return "".join(
        (
            family("redqueen_gateway_serving", "gauge", "Whether Envoy serves what is known now.", [(own, serving)]),
            family(
                "redqueen_gateway_requests_total",
                "counter",
                "An arm's requests; without a trial the tries that a service's or a group's nodes answered.",
                ((_labels(place, own), total.requests) for place, total in places),
            ),
            family(
                "redqueen_gateway_errors_total",
                "counter",
                "Of these, the ones that ended with a status from 500 on.",
                ((_labels(place, own), total.errors) for place, total in places),
            ),
            family(
                "redqueen_gateway_first_exposures_total",
                "counter",
                "Of an arm's requests, those of viewers who were not in the trial before.",
                ((_labels(place, own), total.first) for place, total in places if place.trial),
            ),
            family(
                "redqueen_gateway_request_seconds",
                "histogram",
                "From a request's last byte to its answer's last byte, all tries included.",
                (row for place, total in places for row in _buckets(_labels(place, own), total.latency, bounds_ms)),
            ),
        )
    )


def _labels(place: Place, own: Mapping[str, str]) -> dict[str, str]:
    return {**own, "service": place.service, "trial": place.trial, "arm": place.arm}


def _buckets(
    labels: Mapping[str, str], latency: Sequence[int], bounds_ms: Sequence[float]
) -> Iterable[tuple[Mapping[str, str], int]]:
    if len(latency) != len(bounds_ms) + 1:
        return  # an Envoy of earlier settings: its buckets mean something else
    reached = 0
    for bound_ms, count in zip(bounds_ms, latency, strict=False):
        reached += count
        yield {**labels, "": "_bucket", "le": f"{bound_ms / 1000:g}"}, reached
    yield {**labels, "": "_bucket", "le": "+Inf"}, sum(latency)
    yield {**labels, "": "_count"}, sum(latency)


def family(name: str, kind: str, words: str, rows: Iterable[tuple[Mapping[str, str], int]]) -> str:
    """Write one metric: labels and value of each row; the label "" is what is appended to the name."""
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    for labels, value in rows:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items() if label)
        lines.append(f"{name}{labels.get('', '')}{{{pairs}}} {int(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
