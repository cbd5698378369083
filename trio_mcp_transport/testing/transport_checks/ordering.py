"""Checks of the one order there is: what belongs to a request comes in the order put, its response last.

Must never expect an order between requests.
"""

from __future__ import annotations

from ...wire.messages import Notification, Response
from .bench import Bench
from .check import check

__all__ = ["notifications_precede_the_response"]


@check(when="each")
async def notifications_precede_the_response(bench: Bench) -> None:
    """The notifications of a request arrive in order, complete, and before its response."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        for count in (1, 50):
            steps: list[object] = []
            with bench.within(f"{count} notifications and a response"):
                async with client.open_exchange("check/progress", {"count": count}) as replies:
                    async for message in replies:
                        if isinstance(message, Notification):
                            steps.append(message.params.get("progress"))
                        else:
                            assert isinstance(message, Response)
                            steps.append("response")
            bench.equal(steps, [*range(1, count + 1), "response"], "what arrived for one request")
