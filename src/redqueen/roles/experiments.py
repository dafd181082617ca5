"""Experiments with their stores: the leader runs them, api nodes start and show them. Enter at `make_experiments`."""

from __future__ import annotations

from redqueen.experiments.running import Experiments
from redqueen.experiments.service import Flags
from redqueen.roles.node import Node
from redqueen.store.audit import Audit
from redqueen.trials.service import Trials


def make_experiments(node: Node) -> Experiments:
    """Give a node the region's experiments."""
    records, clock = node.stores.records, node.clock
    audit = Audit(records, clock)
    return Experiments(records, clock, audit, Flags(records, clock, audit), Trials(records, clock, node.emit))
