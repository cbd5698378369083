"""Certificates for tests: an authority that the system does not know, and contexts of both sides.

Must never be used outside of tests.
"""

from __future__ import annotations

import functools
import ssl

import trustme

__all__ = ["authority", "client_context", "server_context"]


@functools.cache
def authority(name: str = "tests") -> trustme.CA:
    """Return an authority; the same one for the same name."""
    return trustme.CA(organization_name=name)


@functools.cache
def _certificate(authority_name: str, *names: str) -> trustme.LeafCert:
    return authority(authority_name).issue_cert(*names)


def server_context(
    *names: str, issued_by: str = "tests", demand: str | None = None, newest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return a server's context.

    Args:
        *names: What its certificate is for; ``localhost`` and ``127.0.0.1`` unless given.
        issued_by: The authority behind it.
        demand: The authority clients must show a certificate of, or None for no certificate.
        newest: The newest version of TLS it speaks.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _certificate(issued_by, *(names or ("localhost", "127.0.0.1"))).configure_cert(context)
    if demand is not None:
        authority(demand).configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    if newest is not None:
        context.maximum_version = newest
    return context


def client_context(*, trusts: str = "tests", shows: str | None = None, issued_by: str = "tests") -> ssl.SSLContext:
    """Return a client's context.

    Args:
        trusts: The authority it trusts, and nobody else.
        shows: The name in the certificate it shows, or None for none.
        issued_by: The authority behind that.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority(trusts).configure_trust(context)
    if shows is not None:
        _certificate(issued_by, shows).configure_cert(context)
    return context
