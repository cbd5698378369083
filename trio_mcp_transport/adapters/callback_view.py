"""Ours in the shape of a callback transport: AIRS' event-driven one, and the TypeScript SDK's.

Must never call two callbacks at once, and must never outlive the nursery it was given.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from ..abc import ClientTransport, FrameCodec, MessageLink, ServerTransport
from ..errors import ConnectionClosed, LocalProtocolError, MessageError, TransportError
from ..limits import Limits
from ..pipe.end import connection_id
from ..transports.firewall import run_contained
from ..wire.newline import NewlineCodec
from .bytes_link import BytesTransport
from .callback_link import Form, in_form, text_of
from .raw import as_bytes_transport

__all__ = ["CallbackContext", "CallbackView", "as_callback_transport"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")


@attrs.frozen(kw_only=True)
class CallbackContext:
    """What ``handle_message`` gets beside the message.

    Attributes:
        session_id: Of the connection; unique within the process.
        metadata: A dict of this message.
    """

    session_id: str
    metadata: dict[str, Any] = attrs.field(factory=dict)


class CallbackView:
    """What `as_callback_transport` returns: ``start``, ``send``, ``close``, and callbacks.

    For every connection: the message callback for each message, one after the other; an unreadable message goes to the
    error callback and the connection goes on; a failure goes to the error callback; last, and exactly once, whatever
    the reason, comes the close callback.  A callback may be a plain function or a coroutine function; an exception in
    one is logged and contained.

    Attributes:
        onmessage: Called with each message, or None.
        onerror: Called with each error, or None.
        onclose: Called at the end, or None.
    """

    def __init__(self, inner: BytesTransport, *, form: Form, nursery: trio.Nursery | None) -> None:
        self.onmessage: Callable[[Any], object] | None = None
        self.onerror: Callable[[TransportError], object] | None = None
        self.onclose: Callable[[], object] | None = None
        self._inner = inner
        self._form: Form = form
        self._nursery = nursery
        self._manager: Any = None
        self._handler: Any = None
        self._session = connection_id("callback")
        self._scope: trio.CancelScope | None = None
        self._task: trio.lowlevel.Task | None = None
        self._ended = trio.Event()
        self._closed = False

    def set_message_handler(self, handler: Any) -> None:
        """Take an object with ``handle_message(message, context)``, ``handle_error(error)`` and ``handle_close()``.

        Raises:
            LocalProtocolError: It was started before.
        """
        if self._scope is not None:
            raise LocalProtocolError("the handler is set before start")
        self._handler = handler

    def session_id(self) -> str:
        """Return an identifier of this connection, unique within the process."""
        return self._session

    def is_connected(self) -> bool:
        """Whether it was started and has not ended."""
        return self._scope is not None and not self._closed and not self._ended.is_set()

    async def start(self) -> None:
        """Begin to deliver messages, in a task of the nursery.  A checkpoint.

        Raises:
            LocalProtocolError: It was started before, or there is no nursery.
            ConnectionClosed: It was closed before.
        """
        if self._closed:
            raise ConnectionClosed("the transport is closed")
        if self._scope is not None:
            raise LocalProtocolError("a transport is started once")
        if self._nursery is None:
            raise LocalProtocolError("messages are delivered by a task: use `async with`, or give it a nursery")
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._deliver, self._scope)
        await trio.lowlevel.checkpoint()

    async def send(self, message: Any, /) -> None:
        """Send one message: one of ours, decoded JSON, or JSON text.  A checkpoint.

        Raises:
            LocalProtocolError: It is no message, or nothing was started.
            ConnectionClosed: The transport was closed.
            TransportError: The transport broke.
        """
        if self._closed:
            raise ConnectionClosed("the transport is closed")
        if self._scope is None:
            raise LocalProtocolError("a transport is started before anything is sent")
        await self._inner.send(text_of(message))

    async def close(self) -> None:
        """Close, and wait for the close callback; from within a callback it does not wait.  A checkpoint."""
        first, self._closed = not self._closed, True
        if first:
            try:
                await self._inner.close()
            finally:
                if self._scope is not None:
                    self._scope.cancel()
        if self._scope is None or trio.lowlevel.current_task() is self._task:
            return
        await self._ended.wait()

    async def __aenter__(self) -> Self:
        """Hold a nursery open, unless one was given."""
        if self._nursery is None:
            self._manager = trio.open_nursery()
            self._nursery = await self._manager.__aenter__()
        else:
            await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        try:
            await self.close()
        finally:
            if self._manager is not None:
                await self._manager.__aexit__(None, None, None)

    async def _deliver(self, scope: trio.CancelScope) -> None:
        self._task = trio.lowlevel.current_task()
        failure: TransportError | None = None
        try:
            with scope:
                failure = await run_contained(self._read)
        finally:
            with trio.move_on_after(5, shield=True):
                if failure is not None and not isinstance(failure, ConnectionClosed):
                    await self._report(failure)
                await self._call("handle_close", self.onclose)
            self._ended.set()

    async def _read(self) -> None:
        while True:
            try:
                text = await self._inner.receive()
                message = in_form(text, self._form)
            except MessageError as error:
                await self._report(error)
            else:
                context = CallbackContext(session_id=self._session)
                await self._call("handle_message", self.onmessage, message, context=context)

    async def _report(self, error: TransportError) -> None:
        await self._call("handle_error", self.onerror, error)

    async def _call(self, name: str, callback: Callable[..., object] | None, *args: Any, context: Any = None) -> None:
        """Call whoever listens; what it raises is logged and contained."""
        hook: Callable[..., object] | None = getattr(self._handler, name, None)
        given = args if context is None else (*args, context)
        for function, what in ((hook, given), (callback, args)):
            if function is None:
                continue
            failure = await run_contained(partial(_awaited, function, *what))
            if failure is not None:
                logger.error("%s: the callback %s failed", self._session, name, exc_info=failure.__cause__ or failure)


async def _awaited(function: Callable[..., object], *args: Any) -> None:
    done = function(*args)
    if inspect.isawaitable(done):
        await done


def as_callback_transport(
    ours: ClientTransport | ServerTransport | MessageLink | trio.abc.Stream | BytesTransport,
    *,
    form: Form = "message",
    nursery: trio.Nursery | None = None,
    codec: Callable[[int], FrameCodec] = NewlineCodec,
    limits: Limits | None = None,
) -> CallbackView:
    """Give one of ours the shape of a callback transport, for either side of a connection.

    Messages are delivered by a task: it lives in ``nursery``, or in that of an ``async with`` block around the result.

    Args:
        ours: What `raw.as_bytes_transport` takes, or a `BytesTransport`.
        form: What the message callback is given: ``message``, ``object`` or ``bytes``.
        nursery: Where the tasks live.
        codec: Makes the codec of a stream for a largest message.
        limits: The bounds; None for the defaults.

    Raises:
        ConfigError: It is none of these.
    """
    if isinstance(ours, ClientTransport | ServerTransport | trio.abc.Stream) or not isinstance(ours, BytesTransport):
        return _OwnView(ours, form, nursery, codec, limits)
    return CallbackView(ours, form=form, nursery=nursery)


class _OwnView(CallbackView):
    """One whose inner transport has tasks too, and lives in the same nursery."""

    def __init__(
        self,
        ours: ClientTransport | ServerTransport | MessageLink | trio.abc.Stream,
        form: Form,
        nursery: trio.Nursery | None,
        codec: Callable[[int], FrameCodec],
        limits: Limits | None,
    ) -> None:
        inner = as_bytes_transport(ours, nursery=nursery, codec=codec, limits=limits)
        super().__init__(inner, form=form, nursery=nursery)
        self._own = inner

    async def start(self) -> None:
        """Begin to deliver messages; see `CallbackView.start`."""
        if self._nursery is not None:
            self._own.adopt(self._nursery)
        await super().start()
