"""Certificates for tests, made in a millisecond."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC)


def certificate(
    name: str = "localhost", *, begins: datetime = NOW - timedelta(days=1), days: float = 90, password: bytes = b""
) -> tuple[bytes, bytes]:
    """Make a certificate that signs itself, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(
        x509.SubjectAlternativeName(names), critical=False
    )
    builder = builder.not_valid_before(begins).not_valid_after(begins + timedelta(days=days))
    made = builder.sign(key, hashes.SHA256())
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return made.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)


def put_certificate(folder: Path, name: str = "localhost", **how: object) -> tuple[Path, Path]:
    """Write a certificate and its key into a folder; return their paths."""
    pair = certificate(name, **how)  # type: ignore[arg-type]
    paths = folder / "certificate.pem", folder / "key.pem"
    for path, content in zip(paths, pair, strict=True):
        path.write_bytes(content)
    return paths
