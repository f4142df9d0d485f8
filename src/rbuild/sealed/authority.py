"""The certificate authority of one build: with it the recorder can answer for any host."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import ssl
import threading
from collections.abc import Iterator
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rbuild recorder")])
_EARLIER = datetime.timedelta(days=2)  # for a build whose clock is slow
_LATER = datetime.timedelta(days=800)  # and for one whose clock is set ahead
_MOST_HOSTS = 256


class Authority:
    """An EC P-256 authority whose private key never leaves this process.

    `certificate_pem` is what clients are to trust.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        # One key for all hosts: they are all this process.
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        self._from, self._until = now - _EARLIER, now + _LATER
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        self._certificate = (
            self._builder(_NAME, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate_pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        self._lock = threading.Lock()
        self._context = lru_cache(_MOST_HOSTS)(self._make_context)

    def context(self, host: str) -> ssl.SSLContext:
        """What a TLS server needs to be `host`, a name or an address; HTTP/1.1 is all that it offers.

        A client that names another host (SNI) gets the certificate for that one. Raises ValueError for
        what can be neither a name nor an address.
        """
        with self._lock:
            return self._context(host.lower())

    def _make_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        with _in_memory(self._leaf_pem(host)) as path:
            context.load_cert_chain(path)

        def named(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            if name and name.lower() != host:
                with contextlib.suppress(ValueError):
                    connection.context = self.context(name)

        context.sni_callback = named
        return context

    def _leaf_pem(self, host: str) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        leaf = (
            self._builder(subject, self._leaf_key)
            .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        key = self._leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return key + leaf.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_NAME)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(**granted: bool) -> x509.KeyUsage:
    usages = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{usage: granted.get(usage, False) for usage in usages})


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path to a file that is on no disk: the ssl module takes keys from files only."""
    descriptor = os.memfd_create("leaf")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
