"""JSON-RPC batches, which revision 2025-03-26 alone allows (rows L03-01 to L03-03).

Must never be consulted for any other revision: elsewhere an array is an invalid request.
"""

from __future__ import annotations

from ..errors import MessageError
from ..wire import messages
from ..wire.codes import INVALID_REQUEST
from ..wire.messages import Batch, Message, Request, Response

__all__ = ["refuse_batch", "split_batch"]

MAX_MEMBERS = 1000
"""Messages in one batch; as many as an admission queue holds."""


def refuse_batch(batch: Batch) -> MessageError:
    """Return the error for an array where single messages are the rule (M-JR-15, L25-JR-01)."""
    return MessageError("one message per frame: batches do not exist here", rpc_code=INVALID_REQUEST, frame=batch.frame)


def split_batch(batch: Batch) -> list[Message | MessageError]:
    """Return the members of a batch; a member that is no message becomes the error to answer it with.

    Raises:
        MessageError: The batch is empty, too long, mixes responses with anything else, or holds ``initialize``.
    """
    if not 1 <= len(batch.items) <= MAX_MEMBERS:
        raise _invalid(batch, f"a batch has 1 to {MAX_MEMBERS} members")
    members: list[Message | MessageError] = []
    for item in batch.items:
        try:
            members.append(messages.from_value(item))
        except MessageError as error:
            members.append(error)
    responses = sum(isinstance(member, Response) for member in members)
    if responses not in (0, len(members)):
        raise _invalid(batch, "a batch holds responses only, or none")
    if any(isinstance(member, Request) and member.method == "initialize" for member in members):
        raise _invalid(batch, "initialize is never part of a batch")
    return members


def _invalid(batch: Batch, why: str) -> MessageError:
    return MessageError(why, rpc_code=INVALID_REQUEST, frame=batch.frame)
