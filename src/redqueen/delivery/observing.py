"""What is declared and what is seen of it, as a release's lifecycle looks at it. Pure.

A service's nodes are those under its name; a group's those under `<service>--<release>-<part>`. A
group that is not wished for any more is there as long as one of its nodes is. Enter at `own_nodes`
and `group_nodes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from redqueen.delivery.acting import Nodes
from redqueen.delivery.manifest import OWN
from redqueen.delivery.model import Build, Part, Release
from redqueen.delivery.ports import Size
from redqueen.fleet.declared import Wish, Wishes
from redqueen.fleet.model import NodeView, Role
from redqueen.fleet.standing import standing


def own_nodes(service: str, wishes: Wishes, views: Sequence[NodeView], size: Size) -> Nodes | None:
    """Return a service's own nodes; None where there is no such service."""
    if service in OWN:
        role = Role(service)
        build = Build(edition=wishes.edition(role))
        return _nodes(build, _named(service, views), size.own.get(service, 1), wishes.revision(role))
    wish = _wish(service, wishes)
    if wish is None:
        return None
    return _nodes(Build(file=wish.file), _named(service, views), wish.wanted(size.zones), wish.revision)


def group_nodes(release: Release, wishes: Wishes, views: Sequence[NodeView], size: Size) -> dict[Part, Nodes]:
    """Return the groups of a release that are wished for or not gone yet."""
    found: dict[Part, Nodes] = {}
    for part in Part:
        name = release.group(part)
        wish, members = _wish(name, wishes), _named(name, views)
        if wish is not None:
            build = Build(edition=wish.edition) if wish.edition else Build(file=wish.file)
            found[part] = _nodes(build, members, wish.wanted(size.zones), wish.revision)
        elif members:
            found[part] = Nodes(Build(), "replacing", 0, 0, because="its nodes are leaving")
    return found


def _nodes(build: Build, views: Sequence[NodeView], wanted: int, revision: int) -> Nodes:
    found = standing(views, wanted, revision)
    restarts = sum(view.restarts for view in views)
    return Nodes(build, found.state, wanted, found.ready, restarts, found.because)


def _named(service: str, views: Sequence[NodeView]) -> list[NodeView]:
    return [view for view in views if view.service == service]


def _wish(name: str, wishes: Wishes) -> Wish | None:
    return next((wish for wish in wishes.services if wish.file.name == name), None)
