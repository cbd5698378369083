"""Why a TLS handshake failed, in words that say who must fix it.

Must never hide what the TLS library said: it is in every message.
"""

from __future__ import annotations

import ssl

__all__ = ["explain_handshake"]

_ALERTS = {
    "ALERT_UNKNOWN_CA": "the peer does not trust the authority behind this side's certificate",
    "ALERT_BAD_CERTIFICATE": "the peer does not accept this side's certificate",
    "ALERT_CERTIFICATE_REQUIRED": "the peer demands a certificate of this side",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer showed no certificate, and this side demands one",
    "ALERT_CERTIFICATE_EXPIRED": "this side's certificate has expired",
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS",
    "HTTP_REQUEST": "the peer does not speak TLS but HTTP",
    "NO_SHARED_CIPHER": "the two sides share no cipher",
    "UNSUPPORTED_PROTOCOL": "the two sides share no version of TLS",
    "ALERT_PROTOCOL_VERSION": "the two sides share no version of TLS",
}
"""Parts of OpenSSL's names of reasons, and what they mean to the one who reads the message."""


def explain_handshake(name: str, error: ssl.SSLError) -> str:
    """Return the message of a failed handshake.

    Args:
        name: Whose handshake it was.
        error: What the TLS library raised.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {name} is not accepted: {getattr(error, 'verify_message', '') or error}"
    if isinstance(error, ssl.SSLEOFError):
        return f"the TLS handshake with {name} failed: the peer ended the connection"
    reason = error.reason or ""
    for part, meaning in _ALERTS.items():
        if part in reason:
            return f"the TLS handshake with {name} failed: {meaning} ({error})"
    return f"the TLS handshake with {name} failed: {error}"
