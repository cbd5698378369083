"""Failed handshakes in words."""

from __future__ import annotations

import ssl

import pytest

from trio_mcp_transport.transports.tls_errors import explain_handshake


def error_of(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}] text of the library")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", "does not trust the authority"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "demands a certificate"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "showed no certificate"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("HTTP_REQUEST", "does not speak TLS but HTTP"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "has expired"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "share no version"),
        ("NO_SHARED_CIPHER", "share no cipher"),
    ],
)
def test_known_reasons_say_who_must_fix_what_and_keep_the_original(reason: str, meaning: str) -> None:
    message = explain_handshake("host.example", error_of(reason))
    assert meaning in message
    assert "host.example" in message
    assert reason in message


def test_any_other_reason_is_shown_as_it_is() -> None:
    assert "[SSL: SOMETHING_NEW]" in explain_handshake("h", error_of("SOMETHING_NEW"))
    assert "text of the library" in explain_handshake("h", error_of("", ssl.SSLError))


def test_certificates_and_the_end_have_words_of_their_own() -> None:
    error = error_of("CERTIFICATE_VERIFY_FAILED", ssl.SSLCertVerificationError)
    assert "the certificate of h is not accepted" in explain_handshake("h", error)
    error.verify_message = "self-signed certificate"  # type: ignore[attr-defined]  # set by the library
    assert explain_handshake("h", error) == "the certificate of h is not accepted: self-signed certificate"
    assert "ended the connection" in explain_handshake("h", error_of("", ssl.SSLEOFError))
