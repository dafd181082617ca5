"""An api node: the viewer, maker and operator API and the web app, over HTTP."""

from __future__ import annotations

from pathlib import Path

from redqueen.accounts.service import Accounts
from redqueen.api.app import create_app
from redqueen.api.services import PACKAGED_APP, Services
from redqueen.fleet.addresses import region_url
from redqueen.playback.service import Playback
from redqueen.roles.desk import FleetDesk
from redqueen.roles.node import Node
from redqueen.roles.product import Product
from redqueen.roles.service_desk import ServiceDesk
from redqueen.serving import serving
from redqueen.store.audit import Audit

_LINGER_S = 1.0
_BUILT_APP = Path(__file__).parents[3] / "web" / "dist"
"""Where the web app is built in a checkout."""


async def serve_api(node: Node) -> None:
    """Answer requests until the node is stopping and gateways have let go."""
    spec = node.spec
    async with serving(create_app(make_services(node)), spec.host, spec.port, linger_s=_LINGER_S):
        async with node.registered(port=spec.port) as registrar:
            await node.drained(registrar)


def make_services(node: Node) -> Services:
    """Give the API all it works with."""
    product = Product(node.stores)
    accounts = Accounts(node.stores.records, node.clock)
    url = region_url(node.region, node.spec.public_port)
    playback = Playback(
        node.stores.records, node.clock, accounts.media, public_url=url, link_ttl_s=node.region.link_ttl_s
    )
    return Services(
        accounts=accounts,
        catalogue=product.catalogue,
        playback=playback,
        uploads=product.uploads,
        studio=product.desk,
        fleet=FleetDesk(node, url),
        declared=ServiceDesk(node),
        audit=Audit(node.stores.records, node.clock),
        clock=node.clock,
        emit=node.emit,
        public_url=url,
        app_dir=_app_dir(node.spec.web),
    )


def _app_dir(edition: str) -> Path:
    """Return the folder of the web app: this edition's own, what was packaged with the code, or the checkout's."""
    if edition:
        return Path(edition)
    return PACKAGED_APP if PACKAGED_APP.is_dir() else _BUILT_APP
