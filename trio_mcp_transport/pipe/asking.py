"""A question to the peer on behalf of a message being handled, which only the legacy era has.

Must never hold a permit while it waits: two peers that ask each other would otherwise starve one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..call import Call
from ..context import MessageContext
from ..deadlines import Deadlines
from ..errors import ConnectionClosed, LocalProtocolError
from ..wire.messages import Request

if TYPE_CHECKING:
    from .end import PipeEnd

__all__ = ["ask"]


async def ask(end: PipeEnd, method: str, params: Mapping[str, Any] | None, context: MessageContext) -> Any:
    """Send a request and return the decoded result; the asking exchange lends its permit to others meanwhile.

    A checkpoint; cancelled, the peer is told.

    Args:
        end: The connection.
        method: The method.
        params: The params, or None.
        context: The message being handled.

    Raises:
        RpcError: The peer's answer.
        ConnectionClosed: There will be none.
        LocalProtocolError: Too many questions already wait.
    """
    limits = end.intake.limits
    if not end.accepting:
        raise ConnectionClosed(f"{method}: the connection is ending, and nobody would read the answer")
    if len(end.calls) >= limits.max_pending:
        raise LocalProtocolError(f"{limits.max_pending} requests to this peer already wait for an answer")
    call = Call(Request(end.calls.next_id(), method, params), Deadlines(total=None), limits)
    exchange = context.exchange
    lent = end.admission.lend(exchange) if exchange is not None else False
    try:
        await end.outbound.send(call)
        response = await call.answer()
    finally:
        if lent and exchange in end.exchanges.open:
            # One that has ended meanwhile, while a task it left behind was asking, could never give it back.
            end.admission.retake(exchange)
    if response.error is not None:
        raise response.error
    return response.result
