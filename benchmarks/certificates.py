"""A certificate for the TLS rows, made anew for each run."""

from __future__ import annotations

from pathlib import Path

import trustme

from benchmarks.peers.base import Certificate


def make_certificate(directory: Path, domain: str) -> Certificate:
    """PEM files in `directory`; ECDSA on P-256, as certificates are issued today."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert(domain, key_type=trustme.KeyType.ECDSA)
    made = Certificate(directory / "chain.pem", directory / "key.pem", directory / "authority.pem")
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(made.chain, append=number > 0)
    issued.private_key_pem.write_to_path(made.key)
    authority.cert_pem.write_to_path(made.authority)
    return made
