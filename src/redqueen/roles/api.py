"""An api node: the viewer, maker and operator API and the web app, over HTTP."""

from __future__ import annotations

import anyio

from redqueen import config
from redqueen.accounts.service import Accounts
from redqueen.api.artifact_intake import ArtifactIntake
from redqueen.api.countries import Countries, Database
from redqueen.api.edge import edge
from redqueen.api.services import Place, Services
from redqueen.delivery.artifacts import Artifacts
from redqueen.experiments.desk import FlagDesk
from redqueen.experiments.showing import ExperimentDesk
from redqueen.fleet.addresses import region_url
from redqueen.fleet.datadir import registry_key
from redqueen.playback.service import Playback
from redqueen.registry.rights import Gate
from redqueen.roles.delivery import make_delivery
from redqueen.roles.desk import FleetDesk
from redqueen.roles.experiments import make_experiments
from redqueen.roles.node import Node
from redqueen.roles.product import Product
from redqueen.roles.service_desk import ServiceDesk
from redqueen.roles.telemetry import make_lake, make_telemetry, traced
from redqueen.roles.web_app import app_of
from redqueen.serving import serving
from redqueen.store.audit import Audit
from redqueen.trials.arm_counts import ArmCounts
from redqueen.trials.following import ArmedTrials
from redqueen.trials.service import Trials

_LINGER_S = 1.0


async def serve_api(node: Node) -> None:
    """Answer requests until the node is stopping and gateways have let go."""
    with traced(node) as tracing:
        spec, services = node.spec, make_services(node)
        async with anyio.create_task_group() as group:
            group.start_soon(services.armed.follow)
            async with services.telemetry.opened():
                async with serving(edge(services, tracing), spec.host, spec.port, linger_s=_LINGER_S):
                    async with node.registered(port=spec.port) as registrar:
                        await node.drained(registrar)
            group.cancel_scope.cancel()


def make_countries(node: Node) -> Countries:
    """Know where requests come from, as the settings say."""
    file = config.country_file(node.region, node.spec.data_path)
    return Countries(node.region.country_header, file and Database(file, node.clock, node.emit))


def make_services(node: Node) -> Services:
    """Give the API all it works with."""
    product = Product(node.stores)
    records, clock = node.stores.records, node.clock
    audit, armed = Audit(records, clock), ArmedTrials(records, clock, node.emit)
    accounts = Accounts(records, clock)
    url = region_url(node.region, node.spec.public_port)
    playback = Playback(records, clock, accounts.media, public_url=url, link_ttl_s=node.region.link_ttl_s)
    flags = FlagDesk.over(records, clock, audit, armed, node.emit)
    return Services(
        accounts=accounts,
        catalogue=product.catalogue,
        playback=playback,
        uploads=product.uploads,
        studio=product.desk,
        fleet=FleetDesk(node, url),
        declared=ServiceDesk(node),
        delivery=make_delivery(node),
        artifacts=ArtifactIntake(
            Artifacts(node.stores.objects, node.stores.records), node.spec.data_path / "artifacts"
        ),
        audit=audit,
        armed=armed,
        trials=Trials(records, clock, node.emit),
        flags=flags,
        experiments=ExperimentDesk(make_experiments(node), flags.flags, make_lake(node), clock),
        telemetry=make_telemetry(node, armed),
        gate=Gate(registry_key(node.spec.data_path)),
        clock=clock,
        emit=node.emit,
        public_url=url,
        counts=ArmCounts(node.spec.node_id, node.spec.zone),
        countries=make_countries(node),
        place=Place(node.spec.node_id, node.spec.zone, node.spec.service, node.spec.version),
        app_dir=app_of(node.spec.web),
    )
