"""What is read of a certificate, and for which domains it counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from server.certificate import Certificate, read_certificate

BEGIN, END = 1_700_000_000_000, 1_800_000_000_000
NOW = 1_750_000_000_000


@pytest.mark.parametrize(
    ("domain", "now", "state"),
    [
        ("a.example", NOW, "valid"),
        ("b.a.example", NOW, "mismatch"),
        ("b.wild.example", NOW, "valid"),
        ("*.wild.example", NOW, "valid"),
        ("wild.example", NOW, "mismatch"),
        ("c.b.wild.example", NOW, "mismatch"),
        ("*.a.example", NOW, "mismatch"),
        ("a.example", BEGIN, "valid"),
        ("a.example", BEGIN - 1, "notYetValid"),
        ("a.example", END, "valid"),
        ("a.example", END + 1, "expired"),
        ("other.example", END + 1, "mismatch"),
    ],
)
def test_for_which_domains_and_times(domain: str, now: int, state: str) -> None:
    certificate = Certificate(names={"a.example", "*.wild.example"}, begins_at=BEGIN, ends_at=END)
    assert certificate.judge(domain, now) == state


def test_what_a_file_says(tmp_path: Path) -> None:
    authority = trustme.CA()
    ends = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    issued = authority.issue_cert("a.example", "*.b.example", "10.0.0.1", not_after=ends)
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(tmp_path / "chain.pem", append=number > 0)
    certificate = read_certificate(tmp_path / "chain.pem")
    assert certificate.names == {"a.example", "*.b.example"}
    assert certificate.ends_at == ends.timestamp() * 1000
    assert certificate.begins_at < certificate.ends_at


def test_one_without_names_is_for_nobody(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2040, 1, 1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(pem)
    assert read_certificate(tmp_path / "cert.pem").judge("a.example", NOW) == "mismatch"


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_what_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cert.pem").write_bytes(content)
    with pytest.raises(ValueError, match="PEM"):
        read_certificate(tmp_path / "cert.pem")
