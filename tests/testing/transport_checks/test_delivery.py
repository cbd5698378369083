"""Messages that get lost, double or changed are seen, in both directions."""

from __future__ import annotations

from tests.testing.certify import Pairs, broken_for, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport.abc import MessageLink
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing import DropLink, DuplicateLink
from trio_mcp_transport.testing.transport_checks import delivery


@broken_for(delivery)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class LosingServer(HubServer):
    """Loses every request to echo something."""

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return DropLink(link, lambda message: getattr(message, "method", "") == "check/echo")


class DoublingServer(HubServer):
    """Reads every notification twice."""

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return DuplicateLink(link)


def test_what_is_said() -> None:
    lost = failure_of("requests_arrive", LosingServer)
    assert str(lost) == ("requests_arrive (modern): expected an answer to check/echo; it did not come within 5 s")
    double = failure_of("notifications_arrive", DoublingServer, eras=("legacy",))
    assert (double.check, double.era) == ("notifications_arrive", "legacy")
    assert "the notifications that reached the handler: ['n0', 'n1'," in str(double)
    assert "it was ['n0', 'n0', 'n1', 'n1'" in str(double)
