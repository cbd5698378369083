"""What the command line names as a target, and what it is told when there is none."""

from __future__ import annotations

import pytest

from trio_mcp_transport import ConfigError, StdioClientTransport
from trio_mcp_transport.addresses import SCHEMES, Address
from trio_mcp_transport.cli import targets


def refusal(address: str | None, command: list[str] | None) -> str:
    with pytest.raises(ConfigError) as caught:
        targets.client_transport(address, command)
    return str(caught.value)


def test_a_command_is_a_program_to_start() -> None:
    transport = targets.client_transport(None, ["server", "--secret", "x"])
    assert isinstance(transport, StdioClientTransport)
    assert transport.address == "stdio:server"


def test_there_is_exactly_one_target() -> None:
    assert "either --to ADDRESS" in refusal(None, None)
    assert "exclude each other" in refusal("stdio:", ["server"])
    assert "a command is missing" in refusal(None, [])


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_without_a_transport_is_refused_with_what_exists(scheme: str) -> None:
    told = refusal(SCHEMES[scheme], None)
    assert told.startswith(f"{scheme}: ")
    if scheme not in ("memory", "stdio"):
        assert told == f"{scheme}: is not served by this version; what exists: a command behind --"


def test_an_unknown_scheme_is_told_apart_from_one_that_will_come() -> None:
    assert refusal("gopher://x", None).startswith("gopher: is no scheme")
    assert "is no address" in refusal("localhost", None)


def test_a_transport_joins_by_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = StdioClientTransport(["stands for a network"])
    asked: list[Address] = []

    def connect(address: Address) -> StdioClientTransport:
        asked.append(address)
        return transport

    monkeypatch.setattr(targets, "BY_SCHEME", {"tcp": connect})
    assert targets.client_transport("TCP://h:1", None) is transport
    assert asked == [Address("tcp", "//h:1")]
    assert refusal("ws://h:1/", None).endswith("what exists: tcp://HOST:PORT, or a command behind --")
