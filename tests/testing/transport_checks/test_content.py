"""Content that changes, or does not get through, is seen."""

from __future__ import annotations

import json
from typing import Any

from tests.testing.certify import Pairs, broken_for, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport import Request
from trio_mcp_transport.abc import MessageLink
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing.fault_links import LinkAround
from trio_mcp_transport.testing.transport_checks import content
from trio_mcp_transport.wire import messages


@broken_for(content)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class LineServer(HubServer):
    """Splits text where Python's `str.splitlines` does."""

    class Link(LinkAround):
        def next_message(self) -> Any:
            message = self._link.next_message()
            if isinstance(message, Request):
                return messages.decode(messages.encode(message).decode().replace("\u2028", "\\n").encode())
            return message

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


def test_what_changed_is_named() -> None:
    failure = failure_of("odd_content_passes", LineServer)
    assert failure.expected.startswith("'line separators', echoed")
    assert "\\\\u2028" in repr(failure.expected) and "\\\\u2028" not in repr(failure.found)


def test_every_odd_value_is_json() -> None:
    for name, value in content.odd_values().items():
        assert json.loads(json.dumps({name: value})) == {name: value}
