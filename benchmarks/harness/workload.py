"""The work: `tools/call` requests of the echo tool in both eras, and the check of every answer.

Pure: bytes in and out. A contender that answers with the wrong id, the wrong text or the wrong shape must never
end up with a figure.
"""

from __future__ import annotations

import attrs
import msgspec

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"benchmark","version":"0"}}}'
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
MODERN_META = (
    b',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    b'"io.modelcontextprotocol/clientCapabilities":{},'
    b'"io.modelcontextprotocol/clientInfo":{"name":"benchmark","version":"0"}}'
)


class WrongAnswer(Exception):
    """A contender answered something else than the echo it was asked for."""


class Content(msgspec.Struct):
    """One content of a result."""

    type: str
    text: str


class EchoResult(msgspec.Struct, rename="camel"):
    """The result of the echo tool, other members ignored."""

    content: list[Content]
    result_type: str | None = None
    is_error: bool = False


class Answer(msgspec.Struct):
    """Any message a contender may write."""

    id: int | None = None
    result: EchoResult | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    method: str | None = None


@attrs.frozen
class Workload:
    """Echo calls of one size in one era.

    Attributes:
        size: Length of the text argument in bytes (ASCII); the envelope comes on top.
        era: `MODERN` or `LEGACY`.
    """

    size: int = attrs.field(validator=attrs.validators.ge(10))
    era: str = attrs.field(validator=attrs.validators.in_((MODERN, LEGACY)))
    _decoder: msgspec.json.Decoder[Answer] = attrs.field(factory=lambda: msgspec.json.Decoder(Answer), init=False)

    def text(self, number: int) -> str:
        """Return the text of call `number`: unique, so that answers cannot be mixed up unseen."""
        return f"{number:010d}".ljust(self.size, "x")

    def request(self, number: int) -> bytes:
        """Encode call `number`, without a framing."""
        meta = MODERN_META if self.era == MODERN else b""
        return (
            b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"%s"}%s}}'
            % (number, self.text(number).encode(), meta)
        )

    def check(self, message: bytes) -> int | None:
        """Check one message from the contender and return the number it answers; None for a notification.

        Raises:
            WrongAnswer: It is not JSON, an error, a request, or not the text that was sent.
        """
        try:
            answer = self._decoder.decode(message)
        except msgspec.MsgspecError as error:
            raise WrongAnswer(f"{error}: {message[:200]!r}") from error
        if answer.method is not None and answer.id is None:
            return None
        result = answer.result
        if answer.id is None or not isinstance(result, EchoResult) or result.is_error:
            raise WrongAnswer(f"no result: {message[:300]!r}")
        if self.era == MODERN and result.result_type != "complete":
            raise WrongAnswer(f"no resultType in the modern era: {message[:300]!r}")
        if len(result.content) != 1 or result.content[0].text != self.text(answer.id):
            raise WrongAnswer(f"not the text that was sent with id {answer.id}: {message[:300]!r}")
        return answer.id
