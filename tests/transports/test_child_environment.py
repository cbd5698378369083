"""What a child learns about the environment of its parent."""

from __future__ import annotations

import pytest

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.transports.child_environment import child_environment

PARENT = {
    "PATH": "/bin",
    "HOME": "/home/someone",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "API_KEY": "secret",
    "HTTPS_PROXY": "http://user:password@proxy",
    "LD_PRELOAD": "/tmp/evil.so",
    "PYTHONPATH": "/tmp",
    "SHELL": "() { :;}; echo owned",
}


@pytest.mark.requirement("M-SC-05")
def test_only_the_listed_variables_are_inherited() -> None:
    inherited = {"PATH": "/bin", "HOME": "/home/someone", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    assert child_environment(None, source=PARENT) == inherited


@pytest.mark.requirement("M-IO-20")
def test_what_the_caller_names_is_added_and_stronger() -> None:
    environment = child_environment({"API_KEY": "given", "PATH": "/opt/bin"}, source=PARENT)
    assert environment["API_KEY"] == "given"
    assert environment["PATH"] == "/opt/bin"
    assert environment["HOME"] == "/home/someone"
    assert "LD_PRELOAD" not in environment


def test_everything_is_inherited_on_demand() -> None:
    assert child_environment({"EXTRA": "1"}, inherit=True, source=PARENT) == {**PARENT, "EXTRA": "1"}


def test_the_environment_of_this_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_TEST", "here")
    assert child_environment(None)["LC_TEST"] == "here"


@pytest.mark.parametrize("bad", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "\0"}, {"A": 1}, {1: "x"}])
def test_what_cannot_be_a_variable_is_a_configuration_error(bad: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        child_environment(bad)
