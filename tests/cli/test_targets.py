"""What the command line names as a target, and what it is told when there is none."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import authority
from trio_mcp_transport import ConfigError, StdioClientTransport
from trio_mcp_transport.addresses import Address
from trio_mcp_transport.cli import targets


def refusal(address: str | None, command: list[str] | None = None, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        targets.client_transport(address, command, **options)
    return str(caught.value)


def test_a_command_is_a_program_to_start() -> None:
    transport = targets.client_transport(None, ["server", "--secret", "x"])
    assert isinstance(transport, StdioClientTransport)
    assert transport.address == "stdio:server"


def test_there_is_exactly_one_target() -> None:
    assert "either --to ADDRESS" in refusal(None, None)
    assert "exclude each other" in refusal("stdio:", ["server"])
    assert "a command is missing" in refusal(None, [])


def test_what_cannot_be_reached_from_a_shell_says_what_to_do_instead() -> None:
    assert "give its command behind -- instead of --to" in refusal("stdio:")
    assert "in the same process only" in refusal("MEMORY:")


@pytest.mark.parametrize("address", ["http://h:1/mcp", "https://h:1/mcp", "http+unix://x/mcp"])
def test_what_will_come_is_told_apart_from_what_is_unknown(address: str) -> None:
    assert "is not served by this version; what exists for a client: tcp://HOST:PORT" in refusal(address)
    assert refusal("gopher://x").startswith("gopher: is no scheme")
    assert "is no address" in refusal("localhost")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Address, dict[str, Any]]]:
    """Stand in for the registry, and note what it is asked."""
    calls: list[tuple[Address, dict[str, Any]]] = []

    def client_transport_for(address: Address, **options: Any) -> StdioClientTransport:
        calls.append((address, options))
        return StdioClientTransport(["stands for a network"])

    monkeypatch.setattr(targets, "client_transport_for", client_transport_for)
    return calls


def test_every_other_address_is_the_registrys(asked: list[tuple[Address, dict[str, Any]]]) -> None:
    targets.client_transport("TCP://h:1", None)
    targets.client_transport("pty:/dev/pts/1", None)
    assert asked == [(Address("tcp", "//h:1"), {}), (Address("pty", "/dev/pts/1"), {})]


@pytest.mark.parametrize("scheme", ["tls", "wss", "unix"])
def test_a_certificate_may_go_unchecked_if_that_is_asked_for(
    scheme: str, asked: list[tuple[Address, dict[str, Any]]]
) -> None:
    targets.client_transport(f"{scheme}://h:1", None, verify=False)
    assert [options for _, options in asked] == [{"verify": False}]


def test_certificates_to_trust_replace_those_of_the_system(
    asked: list[tuple[Address, dict[str, Any]]], tmp_path: Path
) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    targets.client_transport("tls://h:1", None, ca=str(tmp_path / "ca.pem"))
    ((_, options),) = asked
    context = options["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert '"tests"' in json.dumps(context.get_ca_certs())
    assert len(context.get_ca_certs()) == 1


def test_certificates_that_cannot_be_read_are_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    assert "no certificate can be read" in refusal("tls://h:1", ca=str(tmp_path / "empty.pem"))
    assert "No such file" in refusal("tls://h:1", ca=str(tmp_path / "nowhere.pem"))


def test_options_of_tls_are_refused_where_there_is_none() -> None:
    for address in ("tcp://h:1", "ws://h:1/", "pty:x"):
        assert f"TLS, and {address.partition(':')[0]}: has none" in refusal(address, verify=False)
    assert "not to a command" in refusal(None, ["server"], verify=False)
