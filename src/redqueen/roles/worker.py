"""A worker node: takes the studio's leased jobs, one at a time, until it is told to leave."""

from __future__ import annotations

from redqueen.roles.node import Node
from redqueen.roles.product import Product
from redqueen.studio.service import work


async def serve_worker(node: Node) -> None:
    """Work until the node is stopping; a job under way goes back to the queue."""
    studio = Product(node.stores).studio
    async with node.registered():
        await work(studio, node.spec.node_id, node.stopping)
