"""The handler that stands behind a transport under check: it does what a request's method says, and notes it all.

Must never know which check is running; a program that serves it in another process serves every check.
"""

from __future__ import annotations

from typing import Any, Protocol

import trio

from ...abc import MessageHandler
from ...context import MessageContext
from ...errors import RpcError, TransportError
from ...wire.messages import Notification, Request
from .journal import Event, Kind

__all__ = ["Notebook", "ProbeHandler"]


class Notebook(Protocol):
    """Where events go."""

    def add(self, event: Event) -> None:
        """Note an event."""
        ...


class ProbeHandler(MessageHandler):
    """Obeys the methods ``check/...`` and notes in a journal what became of each message."""

    def __init__(self, journal: Notebook) -> None:
        """Write into a `MemoryJournal` or a `FileJournal`."""
        self._journal = journal
        self._gates: dict[str, trio.Event] = {}
        self._groups: dict[str, _Group] = {}

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        """Do what the method says.

        Raises:
            RpcError: The method is ``check/fail`` or unknown.
        """
        self._note("began", message, context, repr(getattr(message, "id", None)))
        try:
            result = await self._behave(message, context)
        except trio.Cancelled:
            cause = context.cancel_cause
            self._note("cancelled", message, context, "" if cause is None else cause.value)
            raise
        except Exception as error:
            self._note("raised", message, context, type(error).__name__)
            raise
        self._note("ended", message, context)
        return result

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        """Note the error's class."""
        self._journal.add(Event("error", context.connection_id, detail=type(error).__name__))

    async def handle_close(self, context: MessageContext) -> None:
        """Note the end of the connection."""
        self._journal.add(Event("close", context.connection_id))

    def _note(self, kind: Kind, message: Request | Notification, context: MessageContext, detail: str = "") -> None:
        key = str(message.params.get("key", ""))
        self._journal.add(Event(kind, context.connection_id, message.method, key, detail))

    async def _behave(self, message: Request | Notification, context: MessageContext) -> Any:
        params = {name: value for name, value in message.params.items() if name != "_meta"}
        match message.method.rpartition("/")[2]:
            case "echo":
                return {"echo": params}
            case "wait":
                await trio.sleep_forever()
            case "hold":
                await self._gate(params["gate"]).wait()
                return {"key": params.get("key")}
            case "delay":
                await trio.sleep(params["seconds"])
                return {"key": params.get("key")}
            case "release":
                self._gate(params["gate"]).set()
                return {"released": params["gate"]}
            case "gather":
                group = self._groups.setdefault(params["group"], _Group(params["size"]))
                await group.turn(params["turn"])
                return {"turn": params["turn"]}
            case "progress":
                for step in range(params["count"]):
                    await context.progress(step + 1, params["count"], params.get("text"))
                return {"count": params["count"]}
            case "blob":
                return {"blob": "x" * params["size"]}
            case "measure":
                return {"length": len(params["text"])}
            case "fail":
                raise _failure(params)
            case "ask":
                ask: Any = context  # only the legacy era's context has `request`
                return {"answer": await ask.request(params["method"], params["params"])}
            case "tell":
                await context.notify(params["method"], params["params"])
                return {"told": params["method"]}
            case "silence":
                return None
            case _:
                raise RpcError(-32601, f"{message.method} is not known here")

    def _gate(self, name: str) -> trio.Event:
        return self._gates.setdefault(name, trio.Event())


class _Group:
    """Messages that wait for each other, and then end one by one, the last turn first."""

    def __init__(self, size: int) -> None:
        self._turns = {turn: trio.Event() for turn in range(size)}
        self._missing = size

    async def turn(self, turn: int) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._turns[max(self._turns)].set()
        await self._turns[turn].wait()
        if turn > 0:
            self._turns[turn - 1].set()


def _failure(params: dict[str, Any]) -> Exception:
    if params["how"] == "rpc":
        return RpcError(params["code"], params["message"], params.get("data"))
    if params["how"] == "group":
        return ExceptionGroup("several", [RpcError(1, "one"), ValueError("two")])
    return ZeroDivisionError("the handler is broken, as it was asked to be")
