"""Fixtures for pytest with pytest-trio: ``pytest_plugins = ["trio_mcp_transport.testing.fixtures"]`` brings them.

Must never give out anything that lives in a `trio.run`: pytest-trio runs every example of a Hypothesis test in a run of
its own, and a fixture is made once for all of them.  So every fixture is a function that makes fresh things, for the
whole session, and what it makes is opened and closed in the body of the test.
"""

from __future__ import annotations

import pytest

from ..transports.memory import MemoryClientTransport, MemoryServerTransport, memory_transports
from .connect import connect
from .mock import Era, MockTransport

__all__ = ["MakeMemory", "MakeMock", "mcp_connect", "mcp_memory", "mock_transport"]


class MakeMemory:
    """Makes a server transport and a client transport that leads to it."""

    def __call__(self) -> tuple[MemoryServerTransport, MemoryClientTransport]:
        """Return a fresh pair."""
        return memory_transports()


class MakeMock:
    """Makes a `MockTransport`."""

    def __call__(self, *, era: Era = "modern", handshake: bool = True) -> MockTransport:
        """Return a fresh one; the arguments are its own."""
        return MockTransport(era=era, handshake=handshake)


@pytest.fixture(scope="session")
def mcp_connect() -> type[connect]:
    """Give `testing.connect`: a handler is served and a client of it open, in one block."""
    return connect


@pytest.fixture(scope="session")
def mcp_memory() -> MakeMemory:
    """Give what makes a pair of transports for `serve` and `open_client` in one process."""
    return MakeMemory()


@pytest.fixture(scope="session")
def mock_transport() -> MakeMock:
    """Give what makes the other side of a conversation, written down by the test."""
    return MakeMock()
