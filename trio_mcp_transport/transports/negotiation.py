"""How a client learns which era its server speaks, and the terms it speaks itself from then on.

Must never be keyed to one error code: on a pipe any answer but a recognised modern one, or silence, means legacy
(M-BC-03), and must never loop: each question is asked once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Literal, Protocol

import attrs
import trio

from ..deadlines import DeadlineExceeded
from ..errors import RpcError, UnsupportedRevision
from ..wire import modern as modern_wire
from ..wire.codes import HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_REVISION
from ..wire.envelope import ClientInfo
from ..wire.meta import CLIENT_CAPABILITIES, CLIENT_INFO, PROGRESS_TOKEN, PROTOCOL_VERSION, check_application_meta
from ..wire.revisions import LATEST_MODERN, MODERN
from .eras import handshake

__all__ = ["Era", "ModernTerms", "Negotiator", "Terms", "no_common", "supported_of"]

Era = Literal["auto", "modern", "legacy"]
"""Which eras a client is willing to speak; ``auto`` probes and falls back."""

RECOGNISED: Final = frozenset({HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_REVISION})
"""Errors that only a modern server gives (D-04)."""


class Terms(Protocol):
    """How a client speaks to its server once the era is known."""

    modern: bool
    revision: str
    server_info: Mapping[str, Any] | None
    server_capabilities: Mapping[str, Any]
    instructions: str | None

    def prepare(self, params: Any, token: int | str | None) -> Any:
        """Return the params to send, with what the era adds."""
        ...

    def check(self, result: Any) -> None:
        """Check a decoded result.

        Raises:
            MessageError: It is invalid in this era.
        """
        ...


class ModernTerms:
    """How a client speaks 2026-07-28: every request carries its own envelope (M-ME-01 to M-ME-03)."""

    modern = True

    def __init__(
        self,
        info: ClientInfo,
        result: Mapping[str, Any] | None = None,
        *,
        revision: str = LATEST_MODERN,
        result_types: Collection[str] = modern_wire.CORE_RESULT_TYPES,
        send_info: bool = True,
    ) -> None:
        self.revision = revision
        result = result or {}
        meta = result.get("_meta")
        known = meta if isinstance(meta, Mapping) else {}
        self.server_info: Mapping[str, Any] | None = known.get("io.modelcontextprotocol/serverInfo")
        self.server_capabilities: Mapping[str, Any] = result.get("capabilities") or {}
        self.instructions: str | None = result.get("instructions")
        self._result_types = result_types
        self._stamp: dict[str, Any] = {PROTOCOL_VERSION: revision, CLIENT_CAPABILITIES: dict(info.capabilities)}
        if send_info:
            self._stamp[CLIENT_INFO] = info.identity()

    def prepare(self, params: Any, token: int | str | None) -> Any:
        """Return params with the envelope, and the progress token where one is wanted.

        Raises:
            LocalProtocolError: The caller used a reserved ``_meta`` key (M-ME-12).  Raw params are not judged: a bridge
                passes on what a later revision may have defined.
        """
        if token is None and type(params) is dict and "_meta" not in params:
            return {**params, "_meta": self._stamp}
        own = params.get("_meta") if type(params) is dict or isinstance(params, Mapping) else None
        if own is not None and isinstance(own, Mapping):
            check_application_meta(own)
        stamp = self._stamp if token is None else {**self._stamp, PROGRESS_TOKEN: token}
        return modern_wire.stamp_params(params, stamp)

    def check(self, result: Any) -> None:
        """Check ``resultType``: absent is ``complete``, unknown is invalid.

        Raises:
            MessageError: The type is unknown.
        """
        modern_wire.check_result_type(result, self._result_types)


@attrs.frozen(kw_only=True)
class Negotiator:
    """Finds the terms of one connection.

    Attributes:
        call: Sends a request as it is and returns the decoded result.
        notify: Sends a notification without params.
        info: This client.
        era: Which eras it is willing to speak.
        discover: Whether a ``modern`` client asks ``server/discover`` first, to fail early (M-BC-04, M-VN-05).
        probe: Seconds of silence after the probe before ``initialize`` is tried; None waits for ever.
        extensions: Further ``resultType`` values of declared extensions.
        send_info: Whether ``clientInfo`` is sent.
        revisions: Modern revisions this client speaks, preferred first.
    """

    call: Callable[[str, Mapping[str, Any]], Awaitable[Any]]
    notify: Callable[[str], Awaitable[None]]
    info: ClientInfo
    era: Era = "auto"
    discover: bool = True
    probe: float | None = 5.0
    extensions: frozenset[str] = frozenset()
    send_info: bool = True
    revisions: tuple[str, ...] = MODERN

    async def negotiate(self) -> Terms:
        """Return the terms; a checkpoint.

        Raises:
            UnsupportedRevision: The two sides share no revision in an era the client is willing to speak.
            RpcError: A legacy server refused ``initialize``.
            TransportError: The connection failed.
        """
        if self.era == "legacy":
            return await handshake(self.call, self.notify, self.info)
        if self.era == "modern" and not self.discover:
            await trio.lowlevel.checkpoint()
            return self.modern(None)
        terms = await self._probe()
        if terms is not None:
            return terms
        if self.era == "modern":
            raise UnsupportedRevision(
                f"the server does not speak {LATEST_MODERN}, and legacy revisions are switched off on this client",
                requested=LATEST_MODERN,
            )
        return await handshake(self.call, self.notify, self.info)

    async def _probe(self) -> Terms | None:
        """Ask ``server/discover``; None means the server is legacy."""
        result: Any = None
        with trio.move_on_after(float("inf") if self.probe is None else self.probe) as silence:
            try:
                result = await self._discover(self.revisions[0])
            except RpcError as error:
                if error.code not in RECOGNISED:
                    return None
                return await self._after_modern_error(error)
            except DeadlineExceeded:
                return None
        if silence.cancelled_caught or not isinstance(result, Mapping) or "supportedVersions" not in result:
            return None
        revision = self.common(result["supportedVersions"])
        if revision is None:
            raise no_common(result["supportedVersions"], self.revisions)
        return self.modern(result, revision)

    async def _discover(self, revision: str) -> Any:
        return await self.call("server/discover", self.modern(None, revision).prepare({}, None))

    async def _after_modern_error(self, error: RpcError) -> Terms:
        """Stay modern; with a common revision ask once more, with a new id (M-VN-03, M-BC-02)."""
        if error.code != UNSUPPORTED_REVISION:
            return self.modern(None)
        revision = self.common(supported_of(error))
        if revision is None:
            raise no_common(supported_of(error), self.revisions)
        try:
            return self.modern(await self._discover(revision), revision)
        except RpcError:
            return self.modern(None, revision)

    def common(self, supported: object) -> str | None:
        """Return the preferred revision the server speaks as well, or None."""
        offered = supported if isinstance(supported, (list, tuple)) else ()
        return next((revision for revision in self.revisions if revision in offered), None)

    def modern(self, result: Mapping[str, Any] | None, revision: str | None = None) -> ModernTerms:
        """Return the terms of a modern server.

        Args:
            result: Its discover result, or None.
            revision: The revision; None for the preferred one.
        """
        return ModernTerms(
            self.info,
            result,
            revision=revision or self.revisions[0],
            result_types=modern_wire.CORE_RESULT_TYPES | self.extensions,
            send_info=self.send_info,
        )


def supported_of(error: RpcError) -> Any:
    """Return ``data.supported`` of a version error, whatever it is."""
    return error.data.get("supported") if isinstance(error.data, Mapping) else None


def no_common(supported: Any, revisions: tuple[str, ...]) -> UnsupportedRevision:
    """Return the error for two sides without a common modern revision."""
    offered = tuple(str(one) for one in supported) if isinstance(supported, (list, tuple)) else ()
    speaks = ", ".join(offered) or "no revision it named"
    return UnsupportedRevision(
        f"the server speaks {speaks}; this client speaks {', '.join(revisions)}",
        requested=revisions[0],
        supported=offered,
    )
