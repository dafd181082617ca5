"""How connections are encrypted: TLS 1.2 and 1.3 over TCP, QUIC over UDP, one certificate for both.

The certificate is a file of its own among Envoy's, replaced by rename: a renewed one is shown on the
next connection, and no connection ends for it. Enter at `tls_socket`, `quic_socket`, `secret`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redqueen.gateway.envoy_json import TYPE

SECRETS = "sds.json"
SECRET = "front-door-certificate"  # noqa: S105 - its name
_SOCKETS = TYPE + "envoy.extensions.transport_sockets."


@dataclass(frozen=True, slots=True)
class TlsEdge:
    """Where HTTPS is served: TCP and UDP `port`; browsers are told `public_port`, and `public_host` if it is set."""

    port: int
    public_port: int
    public_host: str = ""


@dataclass(frozen=True, slots=True)
class TlsPair:
    """A certificate with its chain and its private key, both PEM."""

    certificate_pem: str
    key_pem: str = field(repr=False)


def tls_socket(folder: str) -> dict[str, Any]:
    """Give the transport socket of a TCP listener."""
    kind = _SOCKETS + "tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, **_context(folder, ["h2", "http/1.1"])}}


def quic_socket(folder: str) -> dict[str, Any]:
    """Give the transport socket of a UDP listener."""
    quic = {
        "@type": _SOCKETS + "quic.v3.QuicDownstreamTransport",
        "downstream_tls_context": _context(folder, ["h3"]),
        # A request sent before the handshake is over can be sent again by anyone who heard it.
        "enable_early_data": False,
    }
    return {"name": "quic", "typed_config": quic}


def secret(pair: TlsPair) -> dict[str, Any]:
    """Give the certificate as the resource that both sockets watch."""
    return {
        "@type": _SOCKETS + "tls.v3.Secret",
        "name": SECRET,
        "tls_certificate": {
            "certificate_chain": {"inline_string": pair.certificate_pem},
            "private_key": {"inline_string": pair.key_pem},
        },
    }


def _context(folder: str, protocols: list[str]) -> dict[str, Any]:
    source = {"path_config_source": {"path": f"{folder}/{SECRETS}"}, "initial_fetch_timeout": "1s"}
    return {
        "common_tls_context": {
            "alpn_protocols": protocols,
            # Older versions are broken.
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "cipher_suites": _CIPHERS},
            "tls_certificate_sds_secret_configs": [{"name": SECRET, "sds_config": source}],
        },
    }


_CIPHERS = [
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
]
"""For TLS 1.2, each with forward secrecy; in brackets the client chooses what its processor does best."""
