"""What a region has before its first node: a store, keys, an owner, and the command line's credentials.

Used by `redqueen up`; safe to repeat. The operator's token is made once and kept in
`credentials.json`, readable by its owner only.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from redqueen import config
from redqueen.accounts.service import Accounts
from redqueen.api.countries import read_database
from redqueen.clock import SystemClock
from redqueen.fleet.datadir import read_json, registry_key, write_json
from redqueen.fleet.ports import SupervisorPorts
from redqueen.gateway.tls import read_pair
from redqueen.registry.rights import REGION, mint
from redqueen.roles.board import RecordBoard, RegistryNotice
from redqueen.roles.declared import RecordWishes
from redqueen.roles.stores import Stores, open_records


class Credentials(msgspec.Struct, frozen=True):
    """`credentials.json`: where the region is, and what the command line proves itself with."""

    address: str
    token: str


async def prepare(data_dir: Path, region: config.Region, tools_url: str) -> None:
    """Make what the region needs before its first node; what exists already stays.

    Raises InvalidInput if there is a certificate that cannot be served, or a database of countries that cannot be read.
    """
    registry_key(data_dir)
    files = config.certificate_files(region, data_dir)
    if files is not None:
        read_pair(*files)
    countries = config.country_file(region, data_dir)
    if countries is not None:
        read_database(countries)
    stores = Stores.open(data_dir, region)
    try:
        accounts = Accounts(stores.records, stores.clock)
        await accounts.ensure_owner()
        await accounts.media.jwks()
        path = data_dir / "credentials.json"
        known = read_json(path, Credentials)
        credentials = Credentials(tools_url, known.token if known else secrets.token_urlsafe(32))
        await accounts.ensure_operator_token(credentials.token)
        write_json(path, credentials, mode=0o600)
    finally:
        await stores.records.close()


async def make_supervisor_ports(data_dir: Path) -> SupervisorPorts:
    """Return the operators' wishes, the fleet's board, the registries' ears, and what closes them."""
    clock = SystemClock()
    records = open_records(data_dir, clock)
    token = mint(registry_key(data_dir), REGION)
    return SupervisorPorts(RecordWishes(records, clock), RecordBoard(records), RegistryNotice(token), records.close)


async def make_samples(data_dir: Path) -> None:
    """Make the sample titles that were not made yet."""
    # The studio is loaded only now, when the region serves already.
    from redqueen.roles import samples

    await samples.make_samples(data_dir)
